//! What a relay's looking costs the server while nothing is appended.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use zoutbox_writer::{Record, Writer};

use super::Rpcs;
use crate::hosts::{GAMMA, PROGRAMS, Share, Version, lab};
use crate::process::Running;

const WRITERS: [usize; 3] = [1, 100, 10_000];
/// The pauses between looks have grown to their longest by then.
const SETTLE: Duration = Duration::from_secs(30);
const MOST_SETTLES: u32 = 40;
const WATCHED: Duration = Duration::from_mins(1);

pub(super) fn measure() {
    println!("| idle writers | RPCs a second | of these |");
    println!("|---|---|---|");
    for writers in WRITERS {
        let version = Version("4.2");
        let share = Share::new(&format!("idle-{writers}"), version);
        make(&share, writers);
        let mut command = GAMMA.command("zoutbox-relay");
        command.arg("--root").arg(share.on(GAMMA)).args(["--stdout", "--doorbell", "off"]);
        let relay = Running::start(&mut command);
        let found = || relay.errors().matches("found writer").count() >= writers;
        relay.wait_for_within(Duration::from_mins(10), "all are found", found);
        let mount = version.mount(GAMMA);
        settle(&mount);
        let before = Rpcs::of(GAMMA, &mount);
        std::thread::sleep(WATCHED);
        let rpcs = Rpcs::of(GAMMA, &mount).since(&before);
        let seconds = WATCHED.as_secs_f64();
        println!("| {writers} | {:.1} | {} |", super::number(rpcs.others(&[])) / seconds, rpcs.per(seconds));
        relay.stop().succeeded();
        share.remove();
    }
}

/// Waits until nothing was opened for a while: the first look into each writer's segment opens it.
fn settle(mount: &Path) {
    for _ in 0..MOST_SETTLES {
        let before = Rpcs::of(GAMMA, mount);
        std::thread::sleep(SETTLE);
        let rpcs = Rpcs::of(GAMMA, mount).since(&before);
        if rpcs.count("OPEN") + rpcs.count("OPEN_NOATTR") == 0 {
            return;
        }
    }
    panic!("the relay opens files for ever");
}

/// Writers with a record each that is relayed already, made behind NFS and without waiting for the disk.
fn make(share: &Share, writers: usize) {
    lab(&["set", "sync=disabled"]);
    for number in 0..writers {
        let writer = Writer::open(share.on_server(), &format!("idle-{number}"), share.options()).unwrap();
        writer.append(&Record::new("topic", "idle")).unwrap().wait().unwrap();
        writer.close().unwrap();
    }
    let mut once = Command::new(Path::new(PROGRAMS).join("zoutbox-relay"));
    once.arg("--root").arg(share.on_server()).args(["--stdout", "--once"]);
    let relayed = Running::start(&mut once).end(Duration::from_mins(10));
    relayed.succeeded();
    assert_eq!(relayed.lines.len(), writers);
    lab(&["set", "sync=standard"]);
}
