//! The share is full, read-only, somebody else's, or not there.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use zoutbox_test_support::Hits;

use super::visibility::relay;
use super::{fault, trial};
use crate::hosts::{ALPHA, BETA, GAMMA, NFS_4_2, Share, lab};
use crate::process::{LONG, finish};
use crate::producer::{Acked, Producer};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "limits: at the quota appends are refused by name, and go on when the relay has reclaimed",
            quota,
        ),
        trial("limits: a read-only export is named, and nothing hangs", read_only),
        trial("limits: a mount point without the share is refused, and nothing is written there", unmounted),
    ]
}

/// A quota that goes when this is dropped: whatever fails, the others need room.
struct Narrow;

impl Drop for Narrow {
    fn drop(&mut self) {
        lab(&["set", "quota=none"]);
    }
}

/// Room for little more than what the dataset holds now.
fn narrow() -> Narrow {
    let used = std::process::Command::new("zfs")
        .args(["get", "-Hpo", "value", "used", "tank/outbox"])
        .output()
        .unwrap();
    let used: u64 = String::from_utf8_lossy(&used.stdout).trim().parse().unwrap();
    lab(&["set", &format!("quota={}", used + (24 << 20))]);
    Narrow
}

fn quota() {
    let share = Share::new("quota", NFS_4_2);
    let acked = finish(&mut incompressible(&share, "orders", 200, "block"));
    acked.succeeded();
    let first = relay(GAMMA, &share, &[]);
    let ballast = share.on_server().join("relay/ballast");
    first.wait_for("it has its ballast", || {
        std::fs::metadata(&ballast).is_ok_and(|ballast| ballast.len() == 1 << 20)
    });
    first.wait_for_lines(acked.lines.len());
    first.stop().succeeded();
    let narrow = narrow();
    let refused = finish(&mut incompressible(&share, "orders", 100_000, "fail"));
    println!("refused: {}", refused.errors.trim());
    refused.exited(75);
    assert!(!refused.lines.is_empty(), "nothing fitted at all");

    let mut append = BETA.command("zoutbox");
    let newcomer = finish(append.arg("append").arg("--root").arg(share.on(BETA)).args(["--writer", "new"]));
    println!("a new writer: {}", newcomer.errors.trim());
    newcomer.exited(75);

    let relay = relay(GAMMA, &share, &["--retention", "0s"]);
    relay.wait_for_lines(refused.lines.len());
    let payments = appends_again(&share);
    let acked = refused.lines.len() + payments.len();
    relay.wait_for_lines(acked);
    println!("{acked} records went out of a full share; the relay said: {}", relay.errors());
    relay.stop().succeeded();
    fault(Hits::Share, "the quota is reached", "a ZFS quota of 24 MiB more than is used").held(
        1,
        format!(
            "appends refused by name, then {acked} records relayed, segments removed, and appends went on"
        ),
    );
    drop(narrow);
    share.remove();
}

/// As soon as the server has given the room back, appends go on.
fn appends_again(share: &Share) -> Acked {
    let start = Instant::now();
    loop {
        // The whole quota is less than what is kept free by default.
        let options = ["--min-free-space", "0", "--when-full", "fail"];
        let mut producer = Producer::start(BETA, share, "payments", &options, Duration::from_millis(20));
        while producer.running.count() < 50 && !producer.running.has_ended() {
            assert!(start.elapsed() < 2 * LONG, "no room: {}", producer.running.errors());
            std::thread::sleep(Duration::from_millis(50));
        }
        if producer.running.count() >= 50 {
            return producer.finish();
        }
        let ended = producer.end();
        ended.exited(75);
        assert!(start.elapsed() < LONG, "no room again: {}", ended.errors);
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Lines that no compression makes small.
fn incompressible(share: &Share, writer: &str, lines: usize, when_full: &str) -> std::process::Command {
    let zoutbox = "/lab/zoutbox append --acks --segment-size 1MiB --min-free-space 0";
    let root = share.on(ALPHA).display().to_string();
    let script = format!(
        "head -c {} /dev/urandom | base64 -w 4096 | {zoutbox} --root {root} --writer {writer} --when-full {when_full}",
        lines * 3072
    );
    let mut command = std::process::Command::new("lab");
    command.args(["on", "alpha", "bash", "-c", &script]);
    command
}

fn read_only() {
    let share = Share::new("read-only", NFS_4_2);
    lab(&["export", "ro"]);
    let writer = append(&share);
    let relay = finish(
        GAMMA.command("zoutbox-relay").arg("--root").arg(share.on(GAMMA)).args(["--stdout", "--once"]),
    );
    lab(&["export"]);
    for ended in [writer, relay] {
        println!("{}: {}", ended.status, ended.errors.trim());
        assert!(!ended.status.success());
        assert!(ended.errors.contains("Read-only file system"), "{}", ended.errors);
        assert!(ended.errors.contains("read-only-4.2"), "it does not name the path: {}", ended.errors);
    }
    append(&share).succeeded();
    share.remove();
    fault(Hits::Share, "the export is read-only", "under a writer and a relay that start")
        .held(1, "both named path and reason, nothing hung; writable again, they went on");
}

fn append(share: &Share) -> crate::process::Ended {
    finish(
        ALPHA
            .command("zoutbox")
            .arg("append")
            .arg("--root")
            .arg(share.on(ALPHA))
            .args(["--writer", "orders"]),
    )
}

fn unmounted() {
    let point = std::path::Path::new("/mnt/nothing-mounted");
    std::fs::create_dir_all(point).unwrap();
    let mut append = ALPHA.command("zoutbox");
    append.arg("append").arg("--root").arg(point).args(["--writer", "orders"]);
    finish(&mut append).exited(66);
    finish(GAMMA.command("zoutbox-relay").arg("--root").arg(point).arg("--stdout")).exited(66);
    assert_eq!(std::fs::read_dir(point).unwrap().count(), 0, "something was written");
    fault(Hits::Share, "it is not mounted", "an empty mount point")
        .held(2, "refused; nothing was written there");
}
