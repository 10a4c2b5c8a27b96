//! The relay dies, stops, and is replaced.

use zoutbox_test_support::{Broker, Hits, wait_until};

use crate::support::{Consumer, LONG, Queue, Relay, World, fault};

#[test]
fn a_relay_that_is_killed_again_and_again_loses_nothing_and_keeps_the_order() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "killed", &["#"]));
    let (mut orders, mut payments) = (world.writer("orders"), world.writer("payments"));
    let consumer = Consumer::start(&queue);
    let mut in_the_middle = 0;
    for _ in 0..5 {
        orders.append_many(3000);
        payments.append_many(3000);
        let before = world.confirmed("orders");
        // A small window: with all of it in flight there is still something left to publish.
        let relay =
            Relay::start(world.root(), queue.with(&["--window", "500", "--checkpoint-interval", "5ms"]));
        wait_until("a checkpoint is saved", LONG, || world.confirmed("orders") > before);
        assert_eq!(relay.kill().code, None);
        let confirmed = world.confirmed("orders");
        in_the_middle += usize::from(confirmed < orders.next_sequence());
    }
    assert!(in_the_middle > 0, "no kill came in the middle: this shows nothing");
    let relay = Relay::start(world.root(), queue.arguments());
    consumer.wait_for_all_in_order(&[&orders, &payments]);
    world.wait_until_confirmed(&orders);
    world.wait_until_confirmed(&payments);
    relay.stop();
    fault(
        Hits::Relay,
        "killed (SIGKILL)",
        "with 3,000 records of each of two writers before it, once a checkpoint is saved",
    )
    .held(
        5,
        format!(
            "{in_the_middle} of the kills in the middle; {} records delivered in order, {} came again",
            orders.appended.len() + payments.appended.len(),
            consumer.count() - orders.appended.len() - payments.appended.len()
        ),
    );
}

#[test]
fn after_an_orderly_stop_nothing_is_published_again() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "stopped", &["#"]));
    let (mut orders, mut payments) = (world.writer("orders"), world.writer("payments"));
    orders.append_many(5000);
    payments.append_many(5000);
    let consumer = Consumer::start(&queue);
    // A checkpoint every hour: what the stop does not save, nobody does.
    let rarely = queue.with(&["--checkpoint-interval", "1h"]);
    let relay = Relay::start(world.root(), rarely.as_slice());
    consumer.wait_for_count(1000);
    relay.stop(); // in the middle, or nearly so
    assert!(world.confirmed("orders") > 1 || world.confirmed("payments") > 1, "nothing was saved");

    let relay = Relay::start(world.root(), rarely.as_slice());
    consumer.wait_for_all_in_order(&[&orders, &payments]);
    relay.stop();
    for producer in [&orders, &payments] {
        assert_eq!(
            world.confirmed(producer.id.as_str()),
            producer.next_sequence(),
            "the checkpoint is at the end"
        );
    }
    let again = Relay::start(world.root(), queue.with(&["--once"])).wait();
    assert_eq!(again.code, Some(0), "{again:#?}");
    queue.mark();
    assert_eq!(consumer.ids_before_the_mark().len(), 10_000, "something was published again");
    fault(Hits::Relay, "stopped in good order (SIGTERM)", "while it publishes")
        .held(2, "10,000 records delivered in order, none came again");
}

#[test]
fn a_standby_waits_and_takes_over_when_the_relay_is_killed() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "standby", &["#"]));
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let first = Relay::start(world.root(), queue.arguments());
    first.wait_for_log("connected to the broker");
    let second = Relay::start(world.root(), queue.arguments());
    second.wait_for_log(&format!("process {}", first.pid()));
    orders.append_many(2000);
    consumer.wait_for_count(100);
    assert!(!second.log().contains("connected"), "two relays publish: {}", second.log());
    first.kill();
    orders.append_many(2000);
    consumer.wait_for_all_in_order(&[&orders]);
    second.wait_for_log("as epoch 2");
    world.wait_until_confirmed(&orders);
    second.stop();
    fault(Hits::Relay, "the active relay killed, with a standby", "SIGKILL while it publishes")
        .held(1, format!("the standby took over; {} records delivered in order", orders.appended.len()));
}

#[test]
fn a_standby_takes_over_from_a_relay_that_stops_and_publishes_nothing_again() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "handover", &["#"]));
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let first = Relay::start(world.root(), queue.arguments());
    first.wait_for_log("connected to the broker");
    let second = Relay::start(world.root(), queue.arguments());
    second.wait_for_log("standby");
    orders.append_many(1000);
    consumer.wait_for_count(100);
    first.stop();
    orders.append_many(1000);
    consumer.wait_for_all_in_order(&[&orders]);
    second.stop();
    assert_eq!(consumer.count(), 2000, "something was published twice");
    assert_eq!(world.confirmed("orders"), 2001);
}

#[test]
fn a_standby_stops_when_told_to() {
    let world = World::new();
    let first = Relay::start(world.root(), ["--stdout"]);
    first.wait_for_log("relaying");
    let second = Relay::start(world.root(), ["--stdout"]);
    second.wait_for_log("standby");
    second.stop();
    first.stop();
}
