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
use zoutbox_test_support::{Broker, Hits, wait_until};

use crate::support::{Consumer, LONG, Producer, Queue, Raise, Relay, World, fault, first_unequal};

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
    let (over, paused) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if !paused.load(Ordering::Relaxed) {
                    orders.append_many(10);
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        let _end = Raise(&over);
        let cluster = Cluster { world: &world, queue: &queue, nodes: &nodes, paused: &paused };
        cluster.one_after_the_other();
        cluster.a_majority();
    });
    world.wait_until_confirmed(&orders);
    wait_until("status tells nothing any more", LONG, || told(&world).is_empty());
    let log = relay.stop().log;
    println!("{log}");
    let connections = log.matches("connected to the broker").count();
    compare(&queue, &orders, connections + nodes.len() + 2);
}

struct Cluster<'a> {
    world: &'a World,
    queue: &'a Queue,
    nodes: &'a [Broker; 3],
    /// Nothing is appended meanwhile.
    paused: &'a AtomicBool,
}

impl Cluster<'_> {
    /// Each of them dies once, and comes back; the relay is connected to it each time.
    fn one_after_the_other(&self) {
        for node in self.nodes {
            self.flows();
            let since = Instant::now();
            node.kill();
            self.flows();
            println!("a node killed, records confirmed again after {:?}", since.elapsed());
            self.bring_back(node);
        }
    }

    /// The queue's leader dies with another node. That one comes back, and the queue has a leader again; but it is not the one that the
    /// relay's channel asks for, which stays dead.
    fn a_majority(&self) {
        let leader = self.queue.leader(self.nodes);
        let (dies, comes_back) = (&self.nodes[leader], &self.nodes[(leader + 1) % self.nodes.len()]);
        comes_back.kill();
        self.flows();
        dies.kill();
        wait_until("status tells what is waited for", LONG, || !told(self.world).is_empty());
        println!("two nodes killed: {:?}", told(self.world));
        self.start_again(comes_back);
        let since = Instant::now();
        self.flows();
        println!("one of them back, records confirmed again after {:?}", since.elapsed());
        self.bring_back(dies);
    }

    /// Waits until more is confirmed than was when it was asked.
    fn flows(&self) {
        let from = self.world.confirmed("orders");
        wait_until("records are confirmed", LONG, || self.world.confirmed("orders") > from + 50);
    }

    fn bring_back(&self, node: &Broker) {
        self.start_again(node);
        self.queue.wait_until_replicated(self.nodes);
    }

    /// It takes long on a busy machine; what would be appended meanwhile says nothing.
    fn start_again(&self, node: &Broker) {
        self.paused.store(true, Ordering::Relaxed);
        node.start_again();
        self.paused.store(false, Ordering::Relaxed);
    }
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
    // A queue without a leader refuses some records and may have taken later ones, which come again behind them; and of what a lost
    // connection left with it, it may take copies later than records that were published after that.
    let own: Vec<_> = orders.appended.iter().map(|(id, _)| id.to_string()).collect();
    let taken = consumer.taken_in_order("orders", &own);
    assert_eq!(taken.len(), own.len(), "behind {:?} the next one never comes", taken.last());
    let late = first_unequal(&consumer.last_deliveries("orders"), &own).is_some();
    println!("copies came behind later records: {late}");
    queue.mark();
    let again = consumer.ids_before_the_mark().len() - everything.len();
    assert!(again <= uncertain * 4 * WINDOW, "more came again than was uncertain: {again}");
    fault(
        Hits::Broker,
        "a node of a cluster is killed",
        "SIGKILL of each of three in turn, then of two at once, with a quorum queue, under load",
    )
    .held(5, format!("{} records delivered in order, {again} came again", everything.len()));
}
