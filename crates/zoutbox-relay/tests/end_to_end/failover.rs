//! Several relays on one share: the one that publishes is killed, or sleeps through its lease and wakes up beside another.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use zoutbox_format::layout::SegmentName;
use zoutbox_test_support::{Broker, Hits, wait_until};
use zoutbox_writer::Options;

use crate::support::{Consumer, Direction, LONG, Proxy, Queue, Raise, Relay, Way, World, fault, name};

/// How many messages a relay has in flight at most.
const WINDOW: usize = 200;
/// Longer than a relay trusts a lease that it has not proven.
const SLEEP: Duration = Duration::from_secs(11);

fn window<'a>(queue: &'a Queue, more: &[&'a str]) -> Vec<&'a str> {
    queue.with(&[&["--window", "200"], more].concat())
}

/// Which of these publishes, once one does.
fn active(relays: &[Relay]) -> usize {
    let relaying = |relay: &Relay| relay.log().contains("relaying");
    wait_until("one of the relays has the lease", LONG, || relays.iter().any(relaying));
    assert_eq!(relays.iter().filter(|relay| relaying(relay)).count(), 1, "more than one has it");
    relays.iter().position(relaying).unwrap()
}

/// Watches that a checkpoint never goes back, and never behind what is still there of the log.
fn watch(world: &World, over: &AtomicBool) -> usize {
    let (mut last, mut looks) = (1, 0);
    while !over.load(Ordering::Relaxed) {
        let first = |path: &PathBuf| SegmentName::parse(&name(path)).unwrap().id.first_sequence.get();
        // First what is there, then the checkpoint: it may only be further by then.
        let oldest = world.segments("orders").iter().map(first).min().unwrap_or(1);
        let confirmed = world.confirmed("orders");
        assert!(confirmed >= last, "the checkpoint went back from {last} to {confirmed}");
        assert!(confirmed >= oldest, "reclaimed up to {oldest}, confirmed up to {confirmed}");
        (last, looks) = (confirmed, looks + 1);
        thread::sleep(Duration::from_millis(2));
    }
    looks
}

#[test]
fn of_three_relays_each_that_is_killed_costs_what_it_had_in_flight_and_nothing_else() {
    const KILLS: usize = 5;
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "three", &["#"]));
    let proxy = Proxy::to(Broker::shared().port());
    let led = proxy.leads_to(&queue, "");
    let start =
        || Relay::start(world.root(), window(&led, &["--checkpoint-interval", "20ms", "--retention", "0s"]));
    let options = Options { segment_size: 64 * 1024, ..Options::default() };
    let mut orders = world.writer_with("orders", options);
    let consumer = Consumer::start(&queue);
    let mut relays: Vec<_> = (0..3).map(|_| start()).collect();
    let (over, mut took) = (AtomicBool::new(false), Vec::new());
    thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&world, &over));
        let end = Raise(&over);
        for kill in 0..KILLS {
            orders.append_many(2000);
            world.wait_until_confirmed(&orders);
            // From here on the relay hears no confirm: what it publishes stays in flight.
            proxy.set(Direction::ToRelay, Way::Silent);
            orders.append_many(2 * WINDOW);
            let before = consumer.count();
            consumer.wait_for_count((kill + 1) * 2000 + kill * 3 * WINDOW + WINDOW);
            assert!(consumer.count() >= before);
            let killed = relays.remove(active(&relays));
            let since = Instant::now();
            killed.kill();
            proxy.cut();
            // Before the way is open: then a standby may publish at once.
            let published = consumer.count();
            assert_eq!(published, (kill + 1) * 2000 + kill * 3 * WINDOW + WINDOW, "more than its window");
            proxy.set(Direction::ToRelay, Way::Open);
            consumer.wait_for_count(published + 1);
            took.push(since.elapsed());
            relays.push(start());
            world.wait_until_confirmed(&orders);
        }
        drop(end);
        println!("{} looks at the checkpoint", watching.join().unwrap());
    });
    consumer.wait_for_all_in_order(&[&orders]);
    queue.mark();
    let again = consumer.ids_before_the_mark().len() - orders.appended.len();
    assert_eq!(again, KILLS * WINDOW, "not just what was in flight came again");
    println!(
        "{KILLS} kills, {} records, {again} came again, taken over after {took:?}",
        orders.appended.len()
    );
    for standby in relays {
        standby.stop();
    }
    let took = || took.iter().map(Duration::as_millis);
    fault(Hits::Relay, "the active one of three relays killed", "SIGKILL with a full window in flight, and no confirm heard").held(
        KILLS,
        format!(
            "{} records delivered in order; {again} came again: just what was in flight; no checkpoint went back; taken over in {} to {} ms",
            orders.appended.len(),
            took().min().unwrap(),
            took().max().unwrap()
        ),
    );
}

#[test]
fn a_relay_that_sleeps_through_its_lease_and_wakes_beside_another_publishes_nothing_more() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "zombie", &["#"]));
    let proxy = Proxy::to(Broker::shared().port());
    let led = proxy.leads_to(&queue, "?heartbeat=0");
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let zombie = Relay::start(world.root(), window(&led, &[]));
    orders.append_many(1000);
    world.wait_until_confirmed(&orders);
    let standby = Relay::start(world.root(), window(&queue, &[]));
    standby.wait_for_log("standby");
    // It has a full window in flight, and more to publish once it hears of it.
    proxy.set(Direction::ToRelay, Way::Silent);
    orders.append_many(1000);
    consumer.wait_for_count(1000 + WINDOW);

    zombie.suspend();
    // What a file server does that has not heard of a client for a lease: it forgets its locks. This host's kernel never forgets one of
    // a process that is there, so that there has to be another file.
    fs::remove_file(world.share.layout.lease()).unwrap();
    let since = Instant::now();
    standby.wait_for_log("as epoch 2");
    world.wait_until_confirmed(&orders);
    println!("taken over, and everything confirmed, after {:?}", since.elapsed());
    orders.append_many(500);
    world.wait_until_confirmed(&orders);
    thread::sleep(SLEEP.saturating_sub(since.elapsed()));
    orders.append_many(500);
    proxy.set(Direction::ToRelay, Way::Open);
    zombie.resume();
    let ended = zombie.wait();
    assert_eq!(ended.code, Some(75), "{ended:#?}");
    assert!(ended.message().contains("the lease is lost"), "{ended:#?}");
    consumer.wait_for_all_in_order(&[&orders]);
    world.wait_until_confirmed(&orders);
    standby.stop();
    queue.mark();
    let again = consumer.ids_before_the_mark().len() - orders.appended.len();
    println!("{again} came again, window {WINDOW}");
    assert_eq!(again, WINDOW, "not just what was in flight came again");
    assert_eq!(world.confirmed("orders"), 3001);
    fault(
        Hits::Relay,
        "stands still through its lease, and wakes up beside another relay",
        "SIGSTOP for 11 s, its lease lost meanwhile, then SIGCONT",
    )
    .held(
        1,
        format!(
            "it ended without publishing; {} records delivered in order, {again} came again: what it had had in flight",
            orders.appended.len()
        ),
    );
}

#[test]
fn a_relay_that_sleeps_long_and_still_has_its_lease_goes_on_and_publishes_nothing_twice() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "sleeper", &["#"]));
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let sleeper = Relay::start(world.root(), queue.arguments());
    sleeper.wait_for_log("relaying");
    let standby = Relay::start(world.root(), queue.arguments());
    orders.append_many(1000);
    world.wait_until_confirmed(&orders);
    sleeper.suspend();
    orders.append_many(1000);
    thread::sleep(SLEEP);
    assert!(!standby.log().contains("relaying"), "two relays: {}", standby.log());
    sleeper.resume();
    consumer.wait_for_all_in_order(&[&orders]);
    world.wait_until_confirmed(&orders);
    sleeper.stop();
    standby.wait_for_log("relaying");
    standby.stop();
    assert_eq!(consumer.count(), 2000, "something came again");
    fault(
        Hits::Relay,
        "stands still and keeps its lease",
        "SIGSTOP for 11 s, then SIGCONT; its lock is held meanwhile",
    )
    .held(
        1,
        format!("the standby waited; {} records delivered in order, none came again", orders.appended.len()),
    );
}

/// The library that shows a process another time of day.
fn faketime() -> String {
    let libraries = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut candidates = libraries.map(|path| path.join("faketime/libfaketimeMT.so.1"));
    let found = candidates.find(|path| path.exists());
    found.expect("libfaketimeMT.so.1: install the distribution's package faketime").display().to_string()
}

#[test]
fn a_wall_clock_that_jumps_by_years_moves_neither_the_lease_nor_what_is_kept() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "clocks", &["#"]));
    let (library, times) = (faketime(), world.beside.join("time"));
    let set = |time: &str| {
        // In one step: it is read at every look at the clock.
        let next = times.with_extension("next");
        fs::write(&next, time).unwrap();
        fs::rename(&next, &times).unwrap();
    };
    set("+0");
    let file = times.display().to_string();
    let environment = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_NO_CACHE", "1"),
        // The relay's own pauses go by the monotonic clock, which does not jump.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    let start =
        || Relay::start_with(world.root(), window(&queue, &["--report-interval", "100ms"]), &environment);
    let options = Options { segment_size: 64 * 1024, ..Options::default() };
    let mut orders = world.writer_with("orders", options);
    let consumer = Consumer::start(&queue);
    let first = start();
    first.wait_for_log("relaying");
    let second = start();
    second.wait_for_log("standby");
    for (time, date) in [("@2040-06-15 12:00:00", "2040-06-1"), ("@2001-06-15 12:00:00", "2001-06-1")] {
        orders.append_many(1000);
        world.wait_until_confirmed(&orders);
        set(time);
        orders.append_many(1000);
        world.wait_until_confirmed(&orders);
        // So it did jump.
        wait_until("the log shows the other year", LONG, || first.log().contains(date));
        assert!(!second.log().contains("relaying"), "the lease went over: {}", second.log());
    }
    assert_eq!(consumer.count(), 4000, "something came again");
    assert_eq!(SegmentName::parse(&name(&world.segments("orders")[0])).unwrap().id.first_sequence.get(), 1);
    set("@2040-06-15 12:00:00");
    first.kill();
    orders.append_many(1000);
    consumer.wait_for_all_in_order(&[&orders]);
    world.wait_until_confirmed(&orders);
    second.stop();
    fault(
        Hits::Clock,
        "the wall clock jumps by years",
        "to 2040, to 2001, and to 2040 again, by libfaketime, beneath two relays",
    )
    .held(
        3,
        format!(
            "the lease stayed, nothing was removed early, nothing came again; then a kill, and {} records delivered in order",
            orders.appended.len()
        ),
    );
}
