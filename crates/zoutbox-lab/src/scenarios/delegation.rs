//! Calls on the files of a host that is cut off hang for about a lease, where that host holds a delegation.
//!
//! Our own writers get none, since they open segments write-only. Another program may: a backup, an editor, anything that opens a
//! segment for reading and writing. The relay must then neither stop for the others nor keep to itself what it waits for.

use std::fs::File;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use zoutbox_test_support::Hits;

use super::visibility::relay;
use super::{fault, trial};
use crate::hosts::{ALPHA, BETA, GAMMA, NFS_4_2, Share};
use crate::process::{Running, finish};
use crate::producer::{Producer, assert_all_there, log};

/// A call that took so long did hang; the lease is 10 s, and what is slow in the lab takes less than this.
const HUNG: Duration = Duration::from_secs(6);

pub(super) fn trials() -> Vec<Trial> {
    vec![trial(
        "delegation: while a call on the files of a host that is cut off hangs, the other lanes go on, and status says what waits",
        hangs,
    )]
}

fn hangs() {
    let share = Share::new("delegation", NFS_4_2);
    let pause = Duration::from_millis(20);
    let held = Producer::start(ALPHA, &share, "held", &[], pause);
    held.running.wait_for_lines(20);
    let held = held.finish();
    let payments = Producer::start(BETA, &share, "payments", &[], pause);
    payments.running.wait_for_lines(20);

    let foreign = foreign_open(&share);
    let cut = ALPHA.cut();
    let since = Instant::now();
    let relay = relay(GAMMA, &share, &[]);
    let told = status_tells(&share, since, &relay);
    println!("status, {:?} after the cut: {told}", since.elapsed());
    let (hung, longest) = watch(&relay, since, held.len());
    println!("the lane waited {hung:?}; the longest the relay printed nothing of the other: {longest:?}");
    assert!(hung >= HUNG, "nothing hung, so nothing is shown");
    assert!(longest < HUNG, "the other lane waited as well");
    assert!(relay.errors().contains("the share answers again"), "{}", relay.errors());

    cut.heal();
    drop(foreign);
    let payments = payments.finish();
    relay.wait_for("everything is relayed", || relayed(&relay, "payments") >= payments.len());
    for (writer, acked) in [("held", held), ("payments", payments)] {
        assert_all_there(&acked, &log(GAMMA, &share, writer));
    }
    relay.stop().succeeded();
    fault(Hits::Share, "a call hangs for a lease", "the file is delegated to another program's host, which is cut off").held(
        1,
        format!(
            "its lane waited {:.1} s, and status said for what; the other lane for at most {:.1} s; nothing lost",
            hung.as_secs_f64(),
            longest.as_secs_f64()
        ),
    );
    share.remove();
}

/// Another program's open of a segment on alpha: alone, for reading and writing, so that the server delegates the file to it.
fn foreign_open(share: &Share) -> File {
    let directory = share.on(ALPHA).join("writers/held");
    let names = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let segment = names.into_iter().find(|path| path.extension().is_some_and(|e| e == "seg"));
    let segment = segment.expect("an orderly end seals");
    let file = File::options().read(true).write(true).open(segment).unwrap();
    let clients = std::fs::read_dir("/proc/fs/nfsd/clients").unwrap();
    let states = clients.map(|client| std::fs::read_to_string(client.unwrap().path().join("states")));
    let states: String = states.map(Result::unwrap_or_default).collect();
    let delegated = states.lines().any(|line| line.contains("type: deleg") && line.contains("access: w"));
    assert!(delegated, "the server delegated nothing, so nothing would hang:\n{states}");
    file
}

/// What status on a third host says that the lane waits for, in the relay's own words.
fn status_tells(share: &Share, since: Instant, relay: &Running) -> String {
    let mut status = BETA.command("zoutbox");
    status.args(["status", "--json", "--patience", "2", "--root"]).arg(share.on(BETA));
    loop {
        let ended = finish(&mut status);
        assert!(
            since.elapsed() < Duration::from_mins(1),
            "status never said what the lane waits for: {ended:?}; relayed {}, and the relay:\n{}",
            relayed(relay, "held"),
            relay.errors()
        );
        let Some((_, json)) = ended.lines.first() else { continue };
        let status: serde_json::Value = serde_json::from_str(json).unwrap();
        let lanes = status["writers"].as_array().unwrap();
        let waits = |writer: &str| {
            let lane = lanes.iter().find(|lane| lane["writer"] == writer);
            let waits = lane.map(|lane| lane["waits"].as_array().unwrap().clone()).unwrap_or_default();
            waits.into_iter().find(|wait| wait["relay_epoch"].is_u64())
        };
        if let Some(wait) = waits("held") {
            assert_eq!(waits("payments"), None, "the other lane waits for nothing");
            let what = wait["what"].as_str().unwrap().to_owned();
            assert!(what.contains("held"), "{what}");
            return what;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Until the lane that hung is relayed: how long that took, and the longest the relay printed nothing of the other one.
fn watch(relay: &Running, since: Instant, held: usize) -> (Duration, Duration) {
    relay.wait_for("the lane goes on", || relayed(relay, "held") >= held);
    let hung = since.elapsed();
    let lines = relay.lines();
    let other: Vec<_> = lines.iter().filter(|(_, line)| is_of(line, "payments")).collect();
    let pauses = other.iter().zip(other.iter().skip(1)).map(|(before, after)| after.0 - before.0);
    (hung, pauses.max().expect("the other lane printed something"))
}

fn relayed(relay: &Running, writer: &str) -> usize {
    relay.lines().iter().filter(|(_, line)| is_of(line, writer)).count()
}

fn is_of(line: &str, writer: &str) -> bool {
    line.contains(&format!("\"id\":\"{writer}/"))
}
