//! Two relays on two hosts: one publishes.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use zoutbox_test_support::Hits;

use super::visibility::relay;
use super::{fault, trial};
use crate::hosts::{ALPHA, BETA, GAMMA, NFS_4_2, Share};
use crate::process::{LONG, Running, finish};
use crate::producer::{Producer, assert_all_relayed};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("standby: it publishes when the relay of another host is killed, and nothing is lost", || {
            takes_over(false);
        }),
        trial("standby: it publishes when the relay's host is cut off, which stops when it is back", || {
            takes_over(true);
        }),
    ]
}

fn takes_over(by_cut: bool) {
    let share = Share::new(if by_cut { "relay-cut" } else { "relay-killed" }, NFS_4_2);
    let producer = Producer::start(ALPHA, &share, "orders", &[], Duration::from_millis(20));
    let mut first = relay(BETA, &share, &[]);
    first.wait_for_lines(50);
    let mut command = GAMMA.command("zoutbox-relay");
    let second = Running::start(command.arg("--root").arg(share.on(GAMMA)).arg("--stdout"));
    second.wait_for_error("standby: waiting for");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(second.count(), 0, "two relays publish");
    let confirmed = confirmed(&share);

    let since = Instant::now();
    let cut = by_cut.then(|| BETA.cut());
    if !by_cut {
        first.kill();
    }
    second.wait_for_lines(50);
    let took = since.elapsed();
    println!("the standby printed {took:?} after the other was gone");
    assert!(self::confirmed(&share) >= confirmed, "a checkpoint went back");
    let mut lines = first.lines();
    if let Some(cut) = cut {
        cut.heal();
        let ended = first.end(LONG);
        ended.exited(75);
        println!(
            "the first relay, when its host was back: {}",
            ended.errors.lines().last().unwrap_or_default()
        );
        lines = ended.lines;
    }
    let acked = producer.finish();
    let last = format!("\"{}\"", acked.last().unwrap().0);
    second.wait_for("the standby has printed everything", || {
        second.lines().iter().any(|(_, l)| l.contains(&last))
    });
    lines.extend(second.lines());
    let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
    assert_all_relayed(&acked, &lines);
    println!("{} records, {} duplicates", acked.len(), lines.len() - acked.len());
    second.stop().succeeded();
    assert_eq!(usize::try_from(self::confirmed(&share)).unwrap(), acked.len());
    let (hits, what, how) = if by_cut {
        (
            Hits::Network,
            "the relay's host is cut off from the server",
            "link down until a standby on another host publishes, then up",
        )
    } else {
        (Hits::Relay, "killed; a standby on another host publishes", "SIGKILL")
    };
    fault(hits, what, how).held(
        1,
        format!(
            "taken over after {:.1} s; {} records relayed, {} of them again; no checkpoint went back",
            took.as_secs_f64(),
            acked.len(),
            lines.len() - acked.len()
        ),
    );
    share.remove();
}

fn confirmed(share: &Share) -> u64 {
    let mut status = ALPHA.command("zoutbox");
    status.args(["status", "--json", "--patience", "60", "--root"]).arg(share.on(ALPHA));
    let status = finish(&mut status);
    status.succeeded();
    let status: serde_json::Value = serde_json::from_str(&status.lines.first().unwrap().1).unwrap();
    status.pointer("/writers/0/confirmed").and_then(serde_json::Value::as_u64).unwrap()
}
