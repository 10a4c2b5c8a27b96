//! The share goes away behind a relay that has it open: it says what happened, and neither hangs nor spins.

use std::time::Duration;

use libtest_mimic::Trial;
use zoutbox_test_support::Hits;

use super::visibility::relay;
use super::{fault, trial};
use crate::hosts::{ALPHA, Exported, GAMMA, NFS_4_2, Share};
use crate::process::{LONG, Running, finish};
use crate::producer::Producer;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("stale: an idle relay whose share was removed on the server says so, and ends", removed),
        trial(
            "stale: a relay whose export is gone says so, does not spin, and goes on when it is back",
            gone,
        ),
        trial(
            "stale: a relay that can't prove its lease because the share was removed says so, and ends",
            removed_while_busy,
        ),
        trial("stale: a producer and a relay at work say that the export is gone, and end", gone_while_busy),
        trial(
            "stale: nobody takes a mount whose directory was removed for one that has no share",
            own_root_removed,
        ),
        trial("stale: nobody starts on a mount whose export is gone, and the marker is named", nobody_starts),
    ]
}

/// Nothing is left to be saved, so it only looks.
fn removed() {
    let share = Share::new("stale", NFS_4_2);
    let relay = idle(&share);
    std::fs::remove_dir_all(share.on_server()).unwrap();
    let ended = relay.end(LONG);
    println!("{}", ended.errors);
    ended.exited(66);
    let last = ended.errors.lines().last().unwrap_or_default();
    assert!(last.contains(&*share.on(GAMMA).to_string_lossy()) && last.contains("zoutbox.json"), "{last}");
    fault(Hits::Share, "it is removed on the server", "beneath an idle relay")
        .held(1, "the relay said so, and ended");
}

/// A checkpoint is to be saved, for which the lease is proven.
fn removed_while_busy() {
    let share = Share::new("stale-busy", NFS_4_2);
    let producer = Producer::start(ALPHA, &share, "orders", &[], Duration::from_millis(5));
    let relay = relay(GAMMA, &share, &[]);
    relay.wait_for_lines(50);
    std::fs::remove_dir_all(share.on_server()).unwrap();
    let ended = relay.end(LONG);
    println!("{}", ended.errors);
    let said = ended.errors.lines().last().unwrap_or_default();
    match ended.status.code() {
        Some(75) => {
            // It may look while some of the files are removed, and others are not yet.
            let how = ["Stale file handle", "relay/lease was removed"];
            assert!(said.contains("the lease is lost") && how.iter().any(|how| said.contains(how)), "{said}");
        }
        code => assert!(code == Some(66) && said.contains("zoutbox.json"), "{code:?}: {said}"),
    }
    assert!(said.contains(&*share.on(GAMMA).to_string_lossy()), "{said}");
    let producer = producer.end();
    println!("the producer: {} {}", producer.status, producer.errors);
    assert!(!producer.status.success(), "it goes on without a share");
    assert!(producer.errors.contains("Stale file handle"), "{}", producer.errors);
    fault(Hits::Share, "it is removed on the server", "beneath a producer and a relay at work")
        .held(1, "both said so, and ended");
}

fn gone() {
    let share = Share::new("moved", NFS_4_2);
    let relay = idle(&share);
    let gone = Exported::gone();
    relay.wait_for("it says that the share can't be used", || {
        let errors = relay.errors();
        let named = |line: &str| {
            line.contains(&*share.on(GAMMA).to_string_lossy())
                && line.contains("the server exports it no more")
        };
        errors.lines().any(named)
    });
    let (before, lines) = (relay.cpu(), relay.errors().lines().count());
    std::thread::sleep(Duration::from_secs(10));
    let used = relay.cpu().saturating_sub(before);
    println!("in 10 s without an export: {used:?} of CPU\n{}", relay.errors());
    assert!(used < Duration::from_secs(5), "it spins: {used:?} of CPU in 10 s");
    assert!(relay.errors().lines().count() < lines + 10, "it repeats itself: {}", relay.errors());
    drop(gone);
    let told = relay.count();
    let producer = Producer::start(ALPHA, &share, "payments", &[], Duration::from_millis(20));
    producer.running.wait_for_lines(20);
    let acked = producer.finish();
    relay.wait_for_lines(told + acked.len());
    relay.stop().succeeded();
    fault(Hits::Share, "it is exported no more", "beneath an idle relay, for 10 s, and then again").held(
        1,
        format!("told once; {:.1} s of CPU time in 10 s; it went on when it was back", used.as_secs_f64()),
    );
    share.remove();
}

/// Records are under way, and a checkpoint is to be saved.
fn gone_while_busy() {
    let share = Share::new("moved-busy", NFS_4_2);
    let producer = Producer::start(ALPHA, &share, "orders", &[], Duration::from_millis(5));
    let relay = relay(GAMMA, &share, &[]);
    relay.wait_for_lines(50);
    let gone = Exported::gone();
    let producer = producer.end();
    println!("the producer: {} {}", producer.status, producer.errors);
    let relay = relay.end(LONG);
    println!("the relay: {} {}", relay.status, relay.errors);
    drop(gone);
    assert!(!producer.status.success(), "it goes on without a share");
    relay.exited(75);
    assert!(relay.errors.contains("the lease is lost"), "{}", relay.errors);
    for (host, ended) in [(ALPHA, producer), (GAMMA, relay)] {
        assert!(ended.errors.contains(&*share.on(host).to_string_lossy()), "{}", ended.errors);
        assert!(ended.errors.contains("the server exports it no more"), "{}", ended.errors);
    }
    share.remove();
    fault(Hits::Share, "it is exported no more", "beneath a producer and a relay at work")
        .held(1, "both said so, and ended");
}

/// The share is the very directory that is mounted, so that each call on the mount is stale.
fn own_root_removed() {
    let share = Share::new("stale-root", NFS_4_2);
    let export = share.on_server();
    let mounted = ALPHA.mount_export(&export.to_string_lossy(), "vers=4.2,hard,proto=tcp,nosharecache");
    let root = &mounted.path;
    let start = |program: &str, arguments: &[&str]| {
        finish(ALPHA.command(program).args(arguments).arg("--root").arg(root))
    };
    start("zoutbox", &["status", "--patience", "60"]).succeeded();
    std::fs::remove_dir_all(&export).unwrap();
    for (program, arguments) in [
        ("zoutbox", &["append", "--writer", "orders"][..]),
        ("zoutbox", &["doctor"]),
        ("zoutbox-relay", &["--stdout"]),
    ] {
        let ended = start(program, arguments);
        println!("{}: {}", ended.status, ended.errors);
        ended.exited(66);
        assert!(ended.errors.contains(&*root.to_string_lossy()), "{}", ended.errors);
        assert!(ended.errors.contains("removed or replaced on the server"), "{}", ended.errors);
    }
}

fn nobody_starts() {
    let share = Share::new("stale-start", NFS_4_2);
    let root = share.on(ALPHA);
    let gone = Exported::gone();
    let append =
        finish(ALPHA.command("zoutbox").arg("append").arg("--root").arg(&root).args(["--writer", "orders"]));
    let relay = finish(ALPHA.command("zoutbox-relay").arg("--root").arg(&root).arg("--stdout"));
    let doctor = finish(ALPHA.command("zoutbox").arg("doctor").arg("--root").arg(&root));
    drop(gone);
    for ended in [append, relay, doctor] {
        println!("{}: {}", ended.status, ended.errors);
        assert!(!ended.status.success());
        assert!(ended.errors.contains(&*root.to_string_lossy()), "{}", ended.errors);
        assert!(ended.errors.contains("the server exports it no more"), "{}", ended.errors);
    }
    share.remove();
}

/// A relay that has read what there is, and saved that it has.
fn idle(share: &Share) -> Running {
    let producer = Producer::start(ALPHA, share, "orders", &[], Duration::from_millis(20));
    let relay = relay(GAMMA, share, &[]);
    producer.wait_for_more(20);
    let acked = producer.finish();
    relay.wait_for_lines(acked.len());
    relay.wait_for("all is in its checkpoint", || confirmed(share) == Some(acked.len() as u64));
    relay
}

fn confirmed(share: &Share) -> Option<u64> {
    let status =
        finish(ALPHA.command("zoutbox").arg("status").arg("--json").arg("--root").arg(share.on(ALPHA)));
    let status: serde_json::Value = serde_json::from_str(&status.lines.first()?.1).unwrap();
    status.pointer("/writers/0/confirmed").and_then(serde_json::Value::as_u64)
}
