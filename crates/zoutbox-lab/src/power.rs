//! A power cut of the file server in the middle of acknowledged appends: one run appends until the guest is killed, a second one
//! with the same disk looks for everything the first one printed.

use std::collections::HashSet;
use std::process::{Command, ExitCode};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use zoutbox_test_support::{Fault, Hits};
use zoutbox_writer::{Options, Record, Writer};

use crate::hosts::{ALPHA, BETA, Host, Share, lab};
use crate::process::finish;

const NAME: &str = "power";
const SHARE: &str = "/tank/outbox/power-4.2";
/// Two writers over NFS, and one on the server's own file system.
const WRITERS: [(&str, Option<Host>); 3] =
    [("orders", Some(ALPHA)), ("payments", Some(BETA)), ("local", None)];

/// Appends until the guest is killed; prints `ACK writer/epoch/sequence` for what is durable. With `ZOUTBOX_LAB_SYNC=disabled` the
/// dataset ignores syncs.
pub(crate) fn append() -> ExitCode {
    if std::env::var("ZOUTBOX_LAB_SYNC").is_ok_and(|sync| sync == "disabled") {
        lab(&["set", "sync=disabled"]);
    }
    let share = Share::new(NAME, crate::hosts::NFS_4_2);
    let (acks, acked) = channel();
    let writers = WRITERS.map(|(writer, host)| {
        let root = host.map_or_else(|| share.on_server(), |host| share.on(host));
        let options = Options { segment_size: 256 * 1024, ..Options::default() };
        let writer = Writer::open(root, writer, options).unwrap();
        append_batch(&writer, &acks, 0);
        writer
    });
    // So that there is something to be found in any case: what is lost later is not all there ever was.
    let synced = Command::new("zpool").args(["sync", "tank"]).status().unwrap();
    assert!(synced.success());
    for writer in writers {
        let acks = acks.clone();
        std::thread::spawn(move || {
            for number in 1.. {
                append_batch(&writer, &acks, number);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
    }
    // One thread prints, so that lines stay whole; each is out before the next is taken.
    for id in acked {
        println!("ACK {id}");
    }
    ExitCode::FAILURE
}

fn append_batch(writer: &Writer, acks: &Sender<String>, number: usize) {
    let tickets: Vec<_> =
        (0..8).map(|n| writer.append(&Record::new("power", payload(number * 8 + n))).unwrap()).collect();
    for ticket in tickets {
        drop(acks.send(ticket.wait().unwrap().to_string()));
    }
}

/// Of a record of the first epoch, by what stands in front of it.
fn payload(number: usize) -> String {
    format!("{number:08} {}", "power ".repeat(number % 100))
}

/// Whether what was printed before the cut is there: all of it, or (when syncs were ignored) not all of it.
pub(crate) fn check(printed: &str, some_lost: bool) -> Vec<Trial> {
    let printed = std::fs::read_to_string(printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
    let acked: Vec<String> =
        printed.lines().filter_map(|l| Some(l.strip_prefix("ACK ")?.trim().to_owned())).collect();
    let name = if some_lost {
        "power: with sync=disabled a power cut loses acknowledged records, so the check can fail"
    } else {
        "power: every acknowledged record is there after a power cut, and the writers go on"
    };
    vec![Trial::test(name, move || {
        let lost = compare(&acked, some_lost).map_err(Failed::from)?;
        let (what, outcome) = if some_lost {
            let outcome = format!("{lost} of {} acknowledged records lost: the check can fail", acked.len());
            ("power cut of a server that ignores syncs", outcome)
        } else {
            let outcome =
                format!("{} acknowledged records, all there and unchanged; the writers go on", acked.len());
            ("power cut of the server", outcome)
        };
        Fault::new("lab", Hits::Disk, what, "the guest is killed in the middle of appends, and boots again")
            .held(1, outcome);
        Ok(())
    })]
}

/// How many are lost.
fn compare(acked: &[String], some_lost: bool) -> Result<usize, String> {
    if acked.len() < 100 {
        return Err(format!("only {} records were acknowledged before the cut", acked.len()));
    }
    let mut there = HashSet::new();
    for (writer, _) in WRITERS {
        let mut cat = Command::new("/lab/zoutbox");
        let log = finish(cat.args(["cat", "--root", SHARE, "--writer", writer]));
        for (_, line) in log.lines {
            let (id, found) = crate::producer::record(&line);
            let sequence: usize = id.rsplit('/').next().and_then(|it| it.parse().ok()).unwrap_or(0);
            if found != payload(sequence.saturating_sub(1)) {
                return Err(format!("{id} has other bytes than were appended: {found}"));
            }
            there.insert(id);
        }
    }
    let lost: Vec<_> = acked.iter().filter(|id| !there.contains(*id)).collect();
    println!("{} acknowledged, {} there, {} lost", acked.len(), there.len(), lost.len());
    match (lost.first(), some_lost) {
        (Some(first), false) => {
            Err(format!("{} acknowledged records are lost, the first is {first}", lost.len()))
        }
        (None, true) => Err("nothing is lost although syncs were ignored: the cut proves nothing".into()),
        (_, true) if there.is_empty() => Err("not even what was synced before is there".into()),
        (_, true) => Ok(lost.len()),
        (None, false) => goes_on().map(|()| 0),
    }
}

/// Each writer opens behind what is there.
fn goes_on() -> Result<(), String> {
    for (writer, host) in WRITERS {
        let root = host.map_or_else(|| SHARE.to_owned(), |host| format!("/mnt/{host}/power-4.2"));
        let writer = Writer::open(root, writer, Options::default()).map_err(|error| error.to_string())?;
        let ticket = writer.append(&Record::new("power", "after")).map_err(|error| error.to_string())?;
        let id = ticket.wait().map_err(|error| error.to_string())?;
        println!("goes on with {id}");
        writer.close().map_err(|error| error.to_string())?;
    }
    Ok(())
}
