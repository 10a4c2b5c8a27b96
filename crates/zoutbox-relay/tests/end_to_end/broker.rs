//! The broker dies, stops, blocks, and is not there yet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use zoutbox_test_support::{Broker, Hits};

use crate::support::{Consumer, Queue, Raise, Relay, TroubledBroker, World, fault};

#[test]
fn a_broker_that_is_killed_or_stopped_and_comes_back_costs_nothing() {
    let broker = TroubledBroker::get();
    let (world, queue) = (World::new(), Queue::new(&broker, "restarted", &["#"]));
    let (mut orders, mut payments) = (world.writer("orders"), world.writer("payments"));
    payments.append_many(4000);
    let consumer = Consumer::start(&queue);
    let relay = Relay::start(world.root(), queue.with(&["--window", "500"]));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                orders.append_many(20);
                thread::sleep(Duration::from_millis(10));
            }
        });
        // In this order: RabbitMQ 3.10 does not bring back a quorum queue that was declared right before the kill.
        let harms = [Broker::stop, Broker::kill];
        let _end = Raise(&over);
        for (before, harm) in harms.into_iter().enumerate() {
            // The queue may hold enough for the consumer before the relay is back, which would then lose nothing.
            relay.wait_for_log_times("connected to the broker", before + 1);
            consumer.wait_for_count(consumer.count() + 500);
            harm(&broker);
            relay.wait_for_log_times("lost the connection to the broker", before + 1);
            broker.start_again();
        }
        consumer.wait_for_count(consumer.count() + 500);
    });
    consumer.wait_for_all_in_order(&[&orders, &payments]);
    world.wait_until_confirmed(&orders);
    world.wait_until_confirmed(&payments);
    relay.stop();
    let held = format!("{} records delivered in order", orders.appended.len() + payments.appended.len());
    for (what, how) in
        [("stopped in good order", "by rabbitmqctl, under load"), ("killed (SIGKILL)", "under load")]
    {
        fault(Hits::Broker, what, how).held(1, &held);
    }
}

#[test]
fn a_memory_alarm_pauses_the_relay_and_a_stop_during_it_loses_nothing() {
    let broker = TroubledBroker::get();
    let (world, queue) = (World::new(), Queue::new(&broker, "blocked", &["#"]));
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let relay = Relay::start(world.root(), queue.arguments());
    orders.append_many(1000);
    consumer.wait_for_all_in_order(&[&orders]);

    broker.block();
    orders.append_many(6000);
    relay.wait_for_log("the broker blocks publishers");
    assert!(world.confirmed("orders") < orders.next_sequence());
    broker.unblock();
    consumer.wait_for_all_in_order(&[&orders]);
    relay.wait_for_log("takes records again");

    broker.block();
    orders.append_many(6000);
    relay.wait_for_log_times("the broker blocks publishers", 2);
    let ended = relay.terminate();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(world.confirmed("orders") < orders.next_sequence(), "what is blocked counts as confirmed");
    broker.unblock();
    let relay = Relay::start(world.root(), queue.arguments());
    consumer.wait_for_all_in_order(&[&orders]);
    world.wait_until_confirmed(&orders);
    relay.stop();
    fault(
        Hits::Broker,
        "a memory alarm",
        "the limit set to nothing, under load; the relay stopped during one",
    )
    .held(
        2,
        format!("{} records delivered in order, nothing blocked counted as confirmed", orders.appended.len()),
    );
}

#[test]
fn a_broker_that_is_not_there_at_the_start_is_waited_for() {
    let broker = TroubledBroker::get();
    let (world, queue) = (World::new(), Queue::new(&broker, "away", &["#"]));
    let mut orders = world.writer("orders");
    orders.append_many(100);
    broker.stop();
    let relay = Relay::start(world.root(), queue.arguments());
    relay.wait_for_log(&format!("waiting for the broker at amqp://127.0.0.1:{}", broker.port()));
    // A stop needs no broker either.
    relay.stop();
    let relay = Relay::start(world.root(), queue.arguments());
    relay.wait_for_log("waiting for the broker");
    broker.start_again();
    let consumer = Consumer::start(&queue);
    consumer.wait_for_all_in_order(&[&orders]);
    world.wait_until_confirmed(&orders);
    relay.stop();
    fault(Hits::Broker, "not there when the relay starts", "stopped before")
        .held(2, format!("waited for, and a stop obeyed; then {} records delivered", orders.appended.len()));
}
