//! A producer's host is cut off while it holds its writer's lock.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use zoutbox_test_support::Hits;

use super::visibility::relay;
use super::{fault, trial};
use crate::hosts::{ALPHA, BETA, GAMMA, NFS_4_2, Share};
use crate::process::LONG;
use crate::producer::{Producer, assert_all_there, log};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("takeover: another host goes on where a producer was killed", killed),
        trial(
            "takeover: a producer that was cut off and taken over acknowledges nothing more, and says why",
            cut_off,
        ),
        trial("takeover: a producer that is cut off holds up nobody else's records", others_go_on),
    ]
}

fn killed() {
    let share = Share::new("killed", NFS_4_2);
    let mut first = Producer::start(ALPHA, &share, "orders", &[], Duration::from_millis(5));
    first.running.wait_for_lines(50);
    first.running.kill();
    let mut acked = first.acked();
    acked.extend(taken_over(&share).finish());
    assert_all_there(&acked, &log(GAMMA, &share, "orders"));
    share.remove();
    fault(Hits::Writer, "killed; another host goes on", "SIGKILL; the lock is the server's to give away")
        .held(1, format!("{} acknowledged records, all there", acked.len()));
}

fn cut_off() {
    let share = Share::new("cut-off", NFS_4_2);
    let mut first = Producer::start(ALPHA, &share, "orders", &[], Duration::from_millis(20));
    first.running.wait_for_lines(50);
    let cut = ALPHA.cut();
    let since = Instant::now();
    let second = taken_over(&share);
    println!("taken over {:?} after the cut", since.elapsed());
    second.wait_for_more(20);
    assert!(!first.running.has_ended(), "it can't know yet: {}", first.running.errors());
    let at_the_heal = first.running.count();
    cut.heal();
    let healed = Instant::now();
    first.wait_until_it_ends_by_itself();
    let before = first.acked();
    let ended = first.end();
    assert_eq!(
        (before.len(), ended.lines.len()),
        (at_the_heal, at_the_heal),
        "it acknowledged more when it was back"
    );
    println!("ended {:?} after the link was back: {}", healed.elapsed(), ended.errors.trim());
    // Whether the record it was writing is there it can't know; that it was taken over it can.
    ended.exited(74);
    assert!(
        ended.errors.contains("was taken over by another process"),
        "it does not say why: {}",
        ended.errors
    );
    let mut acked = before;
    acked.extend(second.finish());
    assert_all_there(&acked, &log(GAMMA, &share, "orders"));
    fault(Hits::Network, "a producer's host is cut off from the server, and taken over", "link down until another host has the lock, then up").held(
        1,
        format!("the first one acknowledged nothing more and ended, saying why; {} acknowledged records, all there", acked.len()),
    );
    share.remove();
}

/// A producer of the same writer on another host, as soon as the server lets it.
fn taken_over(share: &Share) -> Producer {
    let start = Instant::now();
    loop {
        let mut producer = Producer::start(BETA, share, "orders", &[], Duration::from_millis(20));
        while producer.running.count() == 0 && !producer.running.has_ended() {
            std::thread::sleep(Duration::from_millis(50));
        }
        if producer.running.count() > 0 {
            return producer;
        }
        let ended = producer.end();
        ended.exited(75);
        assert!(start.elapsed() < LONG, "never taken over: {}", ended.errors);
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn others_go_on() {
    let share = Share::new("others", NFS_4_2);
    let relay = relay(GAMMA, &share, &[]);
    let pause = Duration::from_millis(20);
    let producers = [(ALPHA, "orders"), (BETA, "payments")]
        .map(|(host, writer)| Producer::start(host, &share, writer, &[], pause));
    for producer in &producers {
        producer.running.wait_for_lines(50);
    }
    let relayed = |writer: &str| {
        let id = format!("\"id\":\"{writer}/");
        relay.lines().iter().filter(|(_, line)| line.contains(&id)).count()
    };
    let cut = ALPHA.cut();
    let since = Instant::now();
    // Longer than the lease, for which a call on the cut-off host's files may hang.
    let mut longest = (Duration::ZERO, relayed("payments"), Instant::now());
    while since.elapsed() < Duration::from_secs(20) {
        let now = relayed("payments");
        if now > longest.1 {
            longest = (longest.0.max(longest.2.elapsed()), now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    println!(
        "the longest the relay printed nothing of the other writer: {:?}",
        longest.0.max(longest.2.elapsed())
    );
    assert!(longest.0.max(longest.2.elapsed()) < Duration::from_secs(8), "as long as the lease");
    cut.heal();
    let [mut orders, payments] = producers;
    // A server may keep the locks of a host that was away as long as nobody else wants them; then it goes on.
    let before = orders.running.count();
    zoutbox_test_support::wait_until("it goes on or ends", LONG, || {
        orders.running.count() > before + 20 || orders.running.has_ended()
    });
    let lost_its_lock = orders.running.has_ended();
    println!("the producer that was cut off {}", if lost_its_lock { "ended" } else { "went on" });
    let prefix = orders.acked();
    let acked = if lost_its_lock {
        let ended = orders.end();
        assert!(ended.errors.contains("lost its lock"), "{}", ended.errors);
        prefix
    } else {
        orders.finish()
    };
    let acked = [("orders", acked), ("payments", payments.finish())];
    for (writer, acked) in acked {
        relay.wait_for("everything is relayed", || relayed(writer) >= acked.len());
        assert_all_there(&acked, &log(GAMMA, &share, writer));
    }
    relay.stop().succeeded();
    fault(Hits::Network, "a producer's host is cut off from the server", "link down for 20 s, the lease is 10 s").held(
        1,
        format!(
            "the relay printed nothing of the other writer for at most {:.1} s; all acknowledged records of both relayed",
            longest.0.max(longest.2.elapsed()).as_secs_f64()
        ),
    );
    share.remove();
}
