//! A server that answers nothing.

use std::time::Duration;

use libtest_mimic::Trial;
use zoutbox_test_support::Hits;

use super::visibility::relay;
use super::{fault, trial};
use crate::hosts::{ALPHA, Away, BETA, GAMMA, NFS_4_2, Share};
use crate::process::{LONG, finish};
use crate::producer::Producer;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial(
        "silence: a relay whose server is away says so, and stops on SIGTERM; status says so, and ends; so does a producer",
        silence,
    )]
}

/// Whoever only begins waits for an answer, not for a sync: it can be ended while the server is away.
fn late_producer_ends(share: &Share) {
    let late = Producer::start(BETA, share, "late", &[], Duration::from_millis(20));
    std::thread::sleep(Duration::from_secs(2));
    late.running.terminate();
    let ended = late.end();
    println!("a producer that began meanwhile ended with {}: {}", ended.status, ended.errors.trim());
    assert!(ended.lines.is_empty() && ended.errors.contains("ending by SIGKILL"), "{}", ended.errors);
}

fn silence() {
    let share = Share::new("silence", NFS_4_2);
    let producer = Producer::start(ALPHA, &share, "orders", &[], Duration::from_millis(20));
    let relay = relay(GAMMA, &share, &[]);
    relay.wait_for_lines(20);
    let away = Away::server();
    relay.wait_for_error("the share does not answer");
    let status =
        finish(BETA.command("zoutbox").args(["status", "--patience", "1", "--root"]).arg(share.on(BETA)));
    println!("status ended with {}: {}", status.status, status.errors.trim());
    status.exited(75);
    assert!(status.errors.contains("the share does not answer this host"), "{}", status.errors);
    late_producer_ends(&share);
    relay.terminate();
    relay.wait_for_error("stopped: published");
    // Linux keeps a process in a sync until the server answers.
    away.come_back();
    let ended = relay.end(LONG);
    println!("ended with {}: {}", ended.status, ended.errors.trim());
    assert!(ended.status.success() || ended.errors.contains("ending by SIGKILL"), "{}", ended.errors);
    producer.wait_for_more(20);
    let acked = producer.finish();
    let again = self::relay(GAMMA, &share, &[]);
    again.wait_for("the rest is relayed", || {
        again.lines().iter().any(|(_, line)| line.contains(&format!("\"{}\"", acked.last().unwrap().0)))
    });
    again.stop().succeeded();
    fault(Hits::Share, "the server answers nothing", "nfsd stopped, until the relay was told to stop").held(
        1,
        format!(
            "told by relay and status; stops obeyed; {} acknowledged records relayed afterwards",
            acked.len()
        ),
    );
    share.remove();
}
