//! Producers on two hosts, the relay on a third, a real broker behind it.

use std::path::PathBuf;
use std::time::Duration;

use libtest_mimic::Trial;
use zoutbox_test_support::Hits;

use super::{fault, on_every_version};
use crate::hosts::{ALPHA, BETA, GAMMA, Share, Version};
use crate::process::{LONG, Running, finish};
use crate::producer::{Acked, Producer, assert_all_there, log};

const BROKER: &str = "amqp://guest:guest@broker:5672";
const EACH: usize = 400;

pub(super) fn trials() -> Vec<Trial> {
    on_every_version(
        "delivery: producers on two hosts and a relay on a third that is killed lose nothing and keep the order",
        nothing_is_lost,
    )
}

fn nothing_is_lost(version: Version) {
    let share = Share::new("delivery", version);
    let queue = format!("lab-{}", version.0);
    let scratch = PathBuf::from(format!("/tmp/delivery-{}", version.0));
    std::fs::create_dir_all(&scratch).unwrap();
    let (done, journal) = (scratch.join("done"), scratch.join("journal"));

    let mut relay = relay(&share, &queue);
    relay.wait_for_error("connected to the broker");
    let mut consume = GAMMA.command("check_consumer");
    consume.args(["--amqp", BROKER, "--queue", &queue]).arg("--journal").arg(&journal);
    let consumer = Running::start(consume.arg("--done-file").arg(&done));

    let pause = Duration::from_millis(10);
    let producers = [(ALPHA, "orders"), (BETA, "payments")]
        .map(|(host, writer)| (writer, Producer::start(host, &share, writer, &[], pause)));
    for (_, producer) in &producers {
        producer.running.wait_for_lines(EACH / 2);
    }
    relay.kill();
    for (_, producer) in &producers {
        producer.running.wait_for_lines(EACH);
    }
    let relay = self::relay(&share, &queue);
    let acked = producers.map(|(writer, producer)| (writer, producer.finish()));
    for (writer, acked) in &acked {
        assert_all_there(acked, &log(GAMMA, &share, writer));
    }
    write_journal(&journal, &acked);
    std::fs::write(&done, b"").unwrap();
    let found = consumer.end(LONG);
    for (_, line) in &found.lines {
        println!("{line}");
    }
    found.succeeded();
    assert_eq!(found.lines.len(), 2, "both writers were delivered");
    relay.stop().succeeded();
    assert_confirmed(&share, &acked);
    let records: usize = acked.iter().map(|(_, acked)| acked.len()).sum();
    fault(
        Hits::Relay,
        "killed while two other hosts append",
        "SIGKILL, over NFS 4.2, 4.1 and 3, with a real broker",
    )
    .held(1, format!("{records} records delivered in order, none lost"));
    share.remove();
}

fn relay(share: &Share, queue: &str) -> Running {
    let mut command = GAMMA.command("zoutbox-relay");
    command.arg("--root").arg(share.on(GAMMA)).args(share.consent());
    command.args(["--amqp", BROKER, "--declare-queue", queue]);
    command.args(["--exchange", queue, "--declare-exchange", "topic"]);
    Running::start(&mut command)
}

fn write_journal(path: &PathBuf, acked: &[(&str, Acked)]) {
    let lines = acked.iter().flat_map(|(_, acked)| acked).map(|(id, payload)| format!("{id}\t{payload}\n"));
    std::fs::write(path, lines.collect::<String>()).unwrap();
}

/// What the relay confirmed is what another host sees that it confirmed.
fn assert_confirmed(share: &Share, acked: &[(&str, Acked)]) {
    let mut status = ALPHA.command("zoutbox");
    status.args(["status", "--json", "--patience", "60", "--root"]).arg(share.on(ALPHA));
    let status = finish(&mut status);
    status.succeeded();
    let status: serde_json::Value = serde_json::from_str(&status.lines.first().unwrap().1).unwrap();
    let writers = status.get("writers").and_then(serde_json::Value::as_array).unwrap();
    for (writer, acked) in acked {
        let lane = writers.iter().find(|lane| lane.get("writer").is_some_and(|name| name == writer)).unwrap();
        let confirmed = lane.get("confirmed").and_then(serde_json::Value::as_u64).unwrap();
        assert_eq!(usize::try_from(confirmed).unwrap(), acked.len(), "{writer}");
    }
}
