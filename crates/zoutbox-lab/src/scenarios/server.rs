//! The file server goes away and comes back while records are appended.

use std::time::Duration;

use libtest_mimic::Trial;
use zoutbox_test_support::Hits;

use super::visibility::relay;
use super::{fault, trial};
use crate::hosts::{ALPHA, Away, BETA, GAMMA, NFS_4_2, Share};
use crate::process::finish;
use crate::producer::{Producer, assert_all_relayed, assert_all_there, log};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("server: appends outlive a server that stops and starts", || {
            outlives("restart", "the server stops and starts", Away::server);
        }),
        trial("server: appends outlive a pool that is exported and imported", || {
            outlives("pool", "the pool is exported and imported", Away::pool);
        }),
        trial(
            "server: segments that are reclaimed under readers of another host trouble none of them",
            reclaimed,
        ),
    ]
}

fn outlives(name: &str, told: &'static str, go_away: fn() -> Away) {
    let share = Share::new(name, NFS_4_2);
    let relay = relay(GAMMA, &share, &[]);
    let producers = [(ALPHA, "orders"), (BETA, "payments")]
        .map(|(host, writer)| Producer::start(host, &share, writer, &[], Duration::from_millis(20)));
    for producer in &producers {
        producer.wait_for_more(50);
    }
    let away = go_away();
    std::thread::sleep(Duration::from_secs(3));
    let during: Vec<_> = producers.iter().map(|producer| producer.running.count()).collect();
    std::thread::sleep(Duration::from_secs(1));
    for (producer, before) in producers.iter().zip(&during) {
        assert_eq!(producer.running.count(), *before, "acknowledged without a server");
    }
    away.come_back();
    for producer in &producers {
        producer.wait_for_more(50);
    }
    for (producer, writer) in producers.into_iter().zip(["orders", "payments"]) {
        let acked = producer.finish();
        assert_all_there(&acked, &log(GAMMA, &share, writer));
        relay.wait_for("the relay has read everything", || {
            relay.lines().iter().any(|(_, line)| line.contains(&format!("\"{}\"", acked.last().unwrap().0)))
        });
        let lines: Vec<_> = relay.lines().into_iter().map(|(_, line)| line).collect();
        assert_all_relayed(&acked, &lines);
    }
    fault(Hits::Share, told, "under two hosts' appends and a third one's relay, for some seconds")
        .held(1, "nothing acknowledged meanwhile; afterwards all acknowledged records there and relayed");
    relay.stop().succeeded();
    share.remove();
}

/// The relay removes at once what is confirmed, while another host reads all of it over and over.
fn reclaimed() {
    let share = Share::new("reclaim", NFS_4_2);
    let producer =
        Producer::start(ALPHA, &share, "orders", &["--segment-size", "64KiB"], Duration::from_millis(1));
    producer.running.wait_for_lines(1);
    let relay = relay(GAMMA, &share, &["--retention", "0s"]);
    let mut reads = 0;
    while removed(&relay.errors()) < 20 {
        for verb in [&["cat"][..], &["status", "--patience", "60"]] {
            finish(BETA.command("zoutbox").args(verb).arg("--root").arg(share.on(BETA))).succeeded();
        }
        reads += 1;
    }
    let acked = producer.finish();
    relay.wait_for_lines(acked.len());
    let lines: Vec<_> = relay.lines().into_iter().map(|(_, line)| line).collect();
    assert_all_relayed(&acked, &lines);
    println!("{} segments removed under {reads} readings of all of them", removed(&relay.errors()));
    relay.stop().succeeded();
    share.remove();
}

/// As the relay's report says.
fn removed(report: &str) -> u64 {
    let count = |line: &str| line.split("segments removed ").nth(1)?.split(',').next()?.parse().ok();
    report.lines().rev().find_map(count).unwrap_or(0)
}
