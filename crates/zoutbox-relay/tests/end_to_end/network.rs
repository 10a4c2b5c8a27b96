//! The network between relay and broker is cut, silent, half closed, slow, long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use zoutbox_test_support::{Broker, Hits, wait_until};

use crate::support::{Consumer, Direction, LONG, Proxy, Queue, Raise, Relay, Way, World, fault};
use crate::waits::of_relay;

/// A share, a queue, and the way to it that the relay goes.
fn ground(test: &str, query: &str) -> (World, Queue, Proxy, Queue) {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), test, &["#"]));
    let proxy = Proxy::to(Broker::shared().port());
    let led = proxy.leads_to(&queue, query);
    (world, queue, proxy, led)
}

#[track_caller]
fn wait_until_told(world: &World, what: &str) {
    let said = || of_relay(world).iter().any(|wait| wait.contains(what));
    wait_until(&format!("status tells '{what}'"), LONG, said);
}

#[test]
fn a_connection_that_is_cut_again_and_again_costs_what_was_not_certain_each_time() {
    const CUTS: usize = 8;
    const WINDOW: usize = 300;
    let (world, queue, proxy, led) = ground("cut", "");
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let relay = Relay::start(world.root(), led.with(&["--window", &WINDOW.to_string()]));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                orders.append_many(100);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let _end = Raise(&over);
        for cut in 0..CUTS {
            relay.wait_for_log_times("connected to the broker", cut + 1);
            consumer.wait_for_count(consumer.count() + 500);
            proxy.cut();
            relay.wait_for_log_times("lost the connection to the broker", cut + 1);
        }
    });
    consumer.wait_for_all_in_order(&[&orders]);
    world.wait_until_confirmed(&orders);
    let log = relay.stop().log;
    queue.mark();
    let came = consumer.ids_before_the_mark().len();
    let again = came - orders.appended.len();
    println!("{CUTS} cuts, {} records, {again} came again, window {WINDOW}", orders.appended.len());
    // A message whose confirm has come is certain once all in front of it are: of those there may be three windows more.
    assert!(again <= CUTS * 4 * WINDOW, "more came again than was uncertain: {again}\n{log}");
    fault(Hits::Network, "the connection to the broker is cut", "by a proxy, under load").held(
        CUTS,
        format!(
            "{} records delivered in order; {again} came again, window {WINDOW}: never more than was uncertain",
            orders.appended.len()
        ),
    );
}

#[test]
fn a_silent_network_is_noticed_with_records_in_flight_and_told_until_it_speaks() {
    // Without heartbeats, so that only the confirms that don't come can tell.
    let (world, queue, proxy, led) = ground("silent", "?heartbeat=0");
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let relay = Relay::start(world.root(), led.with(&["--window", "100", "--confirm-timeout", "10s"]));
    orders.append_many(500);
    consumer.wait_for_all_in_order(&[&orders]);
    world.wait_until_confirmed(&orders);

    proxy.set_both(Way::Silent);
    orders.append_many(500);
    relay.wait_for_log("no confirm for");
    wait_until_told(&world, "the broker is not connected");
    // What is silent answers nobody who connects, either.
    relay.wait_for_log("waiting for the broker at");
    wait_until_told(&world, "no answer in 10 s");
    let waits = of_relay(&world);
    assert_eq!(waits.len(), 1, "one line: {waits:?}");
    proxy.set_both(Way::Open);
    consumer.wait_for_all_in_order(&[&orders]);
    world.wait_until_confirmed(&orders);
    wait_until("status tells nothing any more", LONG, || of_relay(&world).is_empty());
    relay.stop();
    queue.mark();
    // What the network held came late, and once more.
    let again = consumer.ids_before_the_mark().len() - orders.appended.len();
    println!("silent: {again} came again, window 100");
    assert!(again <= 100, "{again}");
    fault(Hits::Network, "both directions to the broker fall silent", "by a proxy that holds everything, with records in flight").held(
        1,
        format!(
            "noticed by the confirm timeout and told in one line; {} records delivered in order, {again} came again",
            orders.appended.len()
        ),
    );
}

#[test]
fn a_silent_network_is_noticed_with_nothing_in_flight() {
    let (world, queue, proxy, led) = ground("idle", "?heartbeat=1");
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let relay = Relay::start(world.root(), led.arguments());
    orders.append_many(10);
    world.wait_until_confirmed(&orders);
    proxy.set_both(Way::Silent);
    relay.wait_for_log("lost the connection to the broker");
    wait_until_told(&world, "the broker is not connected");
    proxy.set_both(Way::Open);
    orders.append_many(10);
    consumer.wait_for_all_in_order(&[&orders]);
    world.wait_until_confirmed(&orders);
    relay.stop();
    assert_eq!(consumer.count(), 20, "something came again");
    fault(
        Hits::Network,
        "both directions to the broker fall silent",
        "by a proxy that holds everything, with nothing in flight",
    )
    .held(1, "noticed by heartbeats; all delivered, none came again");
}

#[test]
fn a_confirm_that_is_held_up_in_one_direction_holds_the_relay_at_its_window() {
    let (world, queue, proxy, led) = ground("deaf", "?heartbeat=0");
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let relay = Relay::start(world.root(), led.with(&["--window", "100", "--confirm-timeout", "15s"]));
    orders.append_many(100);
    world.wait_until_confirmed(&orders);
    proxy.set(Direction::ToRelay, Way::Silent);
    orders.append_many(500);
    consumer.wait_for_count(200);
    relay.wait_for_log("no confirm for");
    assert_eq!(consumer.count(), 200, "more was published than the window holds");
    assert_eq!(world.confirmed("orders"), 101, "a checkpoint passed what nobody confirmed");
    proxy.set(Direction::ToRelay, Way::Open);
    consumer.wait_for_all_in_order(&[&orders]);
    world.wait_until_confirmed(&orders);
    relay.stop();
    queue.mark();
    assert_eq!(consumer.ids_before_the_mark().len(), 600 + 100, "not just what was in flight came again");
    fault(Hits::Network, "no confirm comes through", "by a proxy that holds one direction").held(
        1,
        "the relay stopped at its window; no checkpoint passed what was not confirmed; just the window came again",
    );
}

#[test]
fn a_connection_that_is_closed_in_either_direction_is_replaced() {
    let (world, queue, proxy, led) = ground("half-closed", "");
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let relay = Relay::start(world.root(), led.with(&["--confirm-timeout", "2s"]));
    for (before, direction) in [Direction::ToRelay, Direction::ToBroker].into_iter().enumerate() {
        relay.wait_for_log_times("connected to the broker", before + 1);
        orders.append_many(500);
        world.wait_until_confirmed(&orders);
        proxy.close(direction);
        orders.append_many(500);
        relay.wait_for_log_times("lost the connection to the broker", before + 1);
        consumer.wait_for_all_in_order(&[&orders]);
        world.wait_until_confirmed(&orders);
    }
    relay.stop();
    fault(Hits::Network, "one direction to the broker is closed", "by a proxy, each in turn").held(
        2,
        format!("another connection each time; {} records delivered in order", orders.appended.len()),
    );
}

#[test]
fn a_network_that_is_slow_or_long_takes_its_time_and_costs_nothing_else() {
    let (world, queue, proxy, led) = ground("slow", "");
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let relay = Relay::start(world.root(), led.arguments());
    for way in [Way::Slow(200_000), Way::Long(Duration::from_millis(150)), Way::Open] {
        proxy.set_both(way);
        orders.append_many(1000);
        let since = Instant::now();
        consumer.wait_for_all_in_order(&[&orders]);
        world.wait_until_confirmed(&orders);
        println!("{way:?}: 1000 records in {:?}", since.elapsed());
    }
    let log = relay.stop().log;
    assert!(!log.contains("lost the connection"), "{log}");
    assert_eq!(consumer.count(), 3000, "something came again");
    fault(Hits::Network, "slow, or far", "200 kB/s, or 150 ms each way, by a proxy")
        .held(2, format!("no connection was lost; {} records delivered, none came again", consumer.count()));
}
