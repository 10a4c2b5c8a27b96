//! A cluster of three nodes, of which one after the other dies, and then two at once.
//!
//! ```text
//!   producer ──▶ share ──▶ relay ──▶ the node that it knows next ──▶ quorum queue: a leader, two followers
//!                                     killed, again and again         no leader for a moment; none while two are dead
//! ```

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use zoutbox_format::waits::Waits;
use zoutbox_test_support::{Broker, wait_until};

use crate::support::{Consumer, LONG, Producer, Queue, Raise, Relay, World, first_unequal};

const WINDOW: usize = 500;

#[test]
fn nodes_of_a_cluster_that_die_cost_what_was_not_certain_and_nothing_else() {
    let since = Instant::now();
    let nodes = Broker::start_cluster();
    println!("three nodes after {:?}", since.elapsed());
    let (world, queue) = (World::new(), Queue::new(&nodes[0], "clustered", &["#"]));
    queue.wait_until_replicated(&nodes);
    queue.wait_until_written_down(&nodes);
    let urls = nodes.each_ref().map(Broker::url).join(",");
    let mut orders = world.writer("orders");
    let window = WINDOW.to_string();
    let relay = Relay::start(
        world.root(),
        ["--amqp", &urls, "--exchange", &queue.exchange, "--window", &window, "--confirm-timeout", "20s"],
    );
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                orders.append_many(10);
                thread::sleep(Duration::from_millis(100));
            }
        });
        let _end = Raise(&over);
        one_after_the_other(&world, &queue, &nodes);
        a_majority(&world, &queue, &nodes);
    });
    world.wait_until_confirmed(&orders);
    wait_until("status tells nothing any more", LONG, || told(&world).is_empty());
    let log = relay.stop().log;
    println!("{log}");
    let connections = log.matches("connected to the broker").count();
    compare(&queue, &orders, connections + nodes.len() + 2);
}

/// Each of them dies once, and comes back; the relay is connected to it each time.
fn one_after_the_other(world: &World, queue: &Queue, nodes: &[Broker; 3]) {
    for node in nodes {
        flows(world);
        let since = Instant::now();
        node.kill();
        flows(world);
        println!("a node killed, records confirmed again after {:?}", since.elapsed());
        node.start_again();
        queue.wait_until_replicated(nodes);
    }
}

/// The queue's leader dies with another node. That one comes back, and the queue has a leader again; but it is not the one that the relay's
/// channel asks for, which stays dead.
fn a_majority(world: &World, queue: &Queue, nodes: &[Broker; 3]) {
    let leader = queue.leader(nodes);
    let (dies, comes_back) = (&nodes[leader], &nodes[(leader + 1) % nodes.len()]);
    comes_back.kill();
    flows(world);
    dies.kill();
    wait_until("status tells what is waited for", LONG, || !told(world).is_empty());
    println!("two nodes killed: {:?}", told(world));
    comes_back.start_again();
    let since = Instant::now();
    flows(world);
    println!("one of them back, records confirmed again after {:?}", since.elapsed());
    dies.start_again();
    queue.wait_until_replicated(nodes);
}

/// Waits until more is confirmed than was when it was asked.
fn flows(world: &World) {
    let from = world.confirmed("orders");
    wait_until("records are confirmed", LONG, || world.confirmed("orders") > from + 20);
}

/// What it waits for, as `zoutbox status` tells it: a line for the relay, and one for the lane, at most.
fn told(world: &World) -> Vec<String> {
    let bytes = fs::read(world.share.layout.waits()).unwrap_or_default();
    let waits = Waits::decode(&bytes).map(|waits| waits.waits).unwrap_or_default();
    for of in [true, false] {
        let lines = waits.iter().filter(|wait| wait.writer.is_some() == of).count();
        assert!(lines <= 1, "more than one line: {waits:?}");
    }
    waits.into_iter().map(|wait| wait.what).collect()
}

fn compare(queue: &Queue, orders: &Producer, uncertain: usize) {
    let consumer = Consumer::start(queue);
    let everything: Vec<_> = orders.appended.iter().collect();
    consumer.wait_for(&everything);
    // A queue without a leader refuses some records and may have taken later ones: those come again behind them.
    let own: Vec<_> = orders.appended.iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(first_unequal(&consumer.last_deliveries("orders"), &own), None, "order");
    queue.mark();
    let again = consumer.ids_before_the_mark().len() - everything.len();
    println!("{} records, {again} came again, window {WINDOW}", everything.len());
    assert!(again <= uncertain * 4 * WINDOW, "more came again than was uncertain: {again}");
}
