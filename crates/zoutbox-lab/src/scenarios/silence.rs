//! A server that answers nothing.

use std::time::Duration;

use libtest_mimic::Trial;

use super::trial;
use super::visibility::relay;
use crate::hosts::{ALPHA, GAMMA, NFS_4_2, Share, lab};
use crate::producer::Producer;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("silence: a relay whose server answers nothing says so, and ends on SIGTERM", silence)]
}

fn silence() {
    let share = Share::new("silence", NFS_4_2);
    let producer = Producer::start(ALPHA, &share, "orders", &[], Duration::from_millis(20));
    let relay = relay(GAMMA, &share, &[]);
    relay.wait_for_lines(20);
    lab(&["server", "stop"]);
    relay.wait_for_error("the share does not answer");
    let ended = relay.stop();
    println!("ended {:?} after SIGTERM with {}: {}", ended.took, ended.status, ended.errors.trim());
    let in_time = ended.took < Duration::from_secs(20);
    lab(&["server", "start"]);
    assert!(in_time, "SIGTERM took {:?}", ended.took);
    producer.wait_for_more(20);
    let acked = producer.finish();
    let again = self::relay(GAMMA, &share, &[]);
    again.wait_for("the rest is relayed", || {
        again.lines().iter().any(|(_, line)| line.contains(&format!("\"{}\"", acked.last().unwrap().0)))
    });
    again.stop().succeeded();
    share.remove();
}
