//! Records that no queue takes, among many that one does, on queues that confirm one by one and many at once.

use std::collections::BTreeMap;

use zoutbox_format::Record;
use zoutbox_format::layout::dead_letter_name;
use zoutbox_test_support::{Broker, Hits, wait_until};

use crate::support::{Consumer, LONG, Producer, Queue, Relay, World, fault, first_unequal};

/// Every so often one that goes nowhere; sometimes several in a row, and the very last one.
fn mixed(numbers: std::ops::RangeInclusive<usize>) -> impl Iterator<Item = Record> {
    numbers.map(|number| {
        let lost = number % 7 == 3 || number % 50 < 4 || number % 1000 == 0;
        Record::new(if lost { "lost.x" } else { "kept.x" }, format!("number {number}"))
    })
}

fn ids(producer: &Producer, topic: &str) -> Vec<String> {
    let of_topic = producer.appended.iter().filter(|(_, record)| record.topic == topic);
    of_topic.map(|(id, _)| id.to_string()).collect()
}

#[test]
fn each_unroutable_record_and_no_other_becomes_a_dead_letter() {
    for kind in ["quorum", "classic"] {
        let world = World::new();
        let queue = Queue::of_kind(Broker::shared(), &format!("dead-{kind}"), kind, &["kept.#"]);
        let (mut orders, mut sound) = (world.writer("orders"), world.writer("sound"));
        orders.append(mixed(1..=3000));
        sound.append((0..3000).map(|number| Record::new("kept.y", number.to_string())));
        let consumer = Consumer::start(&queue);
        let relay = Relay::start(world.root(), queue.with(&["--on-undeliverable", "dead-letter"]));
        orders.append(mixed(3001..=5000));
        world.wait_until_confirmed(&orders);
        world.wait_until_confirmed(&sound);
        relay.stop();
        queue.mark();
        consumer.ids_before_the_mark();

        let (kept, lost) = (ids(&orders, "kept.x"), ids(&orders, "lost.x"));
        assert!(lost.len() > 500 && kept.len() > 3000, "{} lost, {} kept", lost.len(), kept.len());
        assert_eq!(first_unequal(&consumer.first_deliveries("orders"), &kept), None, "{kind}");
        assert_eq!(
            first_unequal(&consumer.first_deliveries("sound"), &ids(&sound, "kept.y")),
            None,
            "{kind}"
        );
        let letters: BTreeMap<_, _> = world.dead("orders").into_iter().collect();
        let names = orders.appended.iter().filter(|(_, record)| record.topic == "lost.x");
        let names: Vec<_> = names.map(|(id, _)| dead_letter_name(id.epoch, id.sequence)).collect();
        let found: Vec<_> = letters.keys().cloned().collect();
        assert_eq!(first_unequal(&found, &names), None, "{kind}: dead letters");
        for (letter, id) in letters.values().zip(&lost) {
            assert!(letter["reason"].as_str().unwrap().contains("NO_ROUTE"), "{letter}");
            assert_eq!(letter["record"]["id"].as_str(), Some(id.as_str()));
            assert_eq!(letter["record"]["topic"], "lost.x");
            assert!(letter["record"]["payload"].as_str().unwrap().starts_with("number "), "{letter}");
        }
        assert_eq!(world.dead("sound"), []);
        fault(
            Hits::Broker,
            "no queue takes a record",
            "no binding for its topic, among others; quorum and classic queues; dead letters",
        )
        .held(
            lost.len(),
            format!("a dead letter for each and for no other; {} others delivered in order", kept.len()),
        );
    }
}

#[test]
fn a_lane_halts_in_front_of_an_unroutable_record_until_a_queue_takes_it_and_the_others_flow() {
    for kind in ["quorum", "classic"] {
        let world = World::new();
        let queue = Queue::of_kind(Broker::shared(), &format!("halt-{kind}"), kind, &["kept.#"]);
        let (mut orders, mut sound) = (world.writer("orders"), world.writer("sound"));
        orders.append((0..500).map(|number| Record::new("kept.x", number.to_string())));
        orders.append(mixed(1..=2000));
        let halts_at = orders.appended.iter().find(|(_, record)| record.topic == "lost.x").unwrap().0.clone();
        sound.append((0..2000).map(|number| Record::new("kept.y", number.to_string())));
        let consumer = Consumer::start(&queue);
        let relay = Relay::start(world.root(), queue.arguments());
        relay.wait_for_log(&format!("writer orders waits at {halts_at}"));
        sound.append((0..500).map(|number| Record::new("kept.y", number.to_string())));
        world.wait_until_confirmed(&sound);
        wait_until("all in front of it is confirmed", LONG, || {
            world.confirmed("orders") == halts_at.sequence.get()
        });
        relay.stop();
        assert_eq!(world.confirmed("orders"), halts_at.sequence.get(), "the checkpoint passed it: {kind}");

        let relay = Relay::start(world.root(), queue.arguments());
        relay.wait_for_log(&format!("writer orders waits at {halts_at}"));
        assert_eq!(world.confirmed("orders"), halts_at.sequence.get(), "the checkpoint passed it: {kind}");
        queue.bind(&["lost.#"]);
        world.wait_until_confirmed(&orders);
        relay.stop();
        queue.mark();
        consumer.ids_before_the_mark();
        consumer.wait_for(
            &[&orders, &sound].map(|p| p.appended.iter()).into_iter().flatten().collect::<Vec<_>>(),
        );
        assert_eq!(world.dead("orders"), []);
        // What was in flight behind it had been delivered before it; from where the lane halted, all comes once more and in order.
        let all: Vec<_> = orders.appended.iter().map(|(id, _)| id.to_string()).collect();
        assert_eq!(first_unequal(&consumer.last_deliveries("orders"), &all), None, "{kind}: order");
        fault(
            Hits::Broker,
            "no queue takes a record",
            "no binding for its topic, among others; quorum and classic queues; the lane halts",
        )
        .held(
            1,
            format!(
                "the checkpoint stayed right in front of it, also over a restart; then {} delivered in order",
                all.len()
            ),
        );
    }
}

#[test]
fn a_record_is_not_passed_before_its_dead_letter_is_written() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "no-letter", &["kept.#"]));
    let mut orders = world.writer("orders");
    orders.append((10..=12).map(|number| Record::new("kept.x", format!("number {number}"))));
    orders.append([Record::new("lost.x", "number 13"), Record::new("kept.x", "number 14")]);
    let directory = world.share.layout.dead(&orders.id);
    std::fs::write(&directory, "in the way").unwrap();
    let letters = queue.with(&["--on-undeliverable", "dead-letter"]);
    let relay = Relay::start(world.root(), letters.as_slice());
    relay.wait_for_log(&directory.display().to_string());
    relay.stop();
    assert_eq!(world.confirmed("orders"), 4, "the checkpoint is not right in front of it");
    std::fs::remove_file(&directory).unwrap();
    let relay = Relay::start(world.root(), letters.as_slice());
    world.wait_until_confirmed(&orders);
    relay.stop();
    let dead = world.dead("orders").into_iter().map(|(_, letter)| letter["record"]["payload"].clone());
    assert_eq!(dead.collect::<Vec<_>>(), ["number 13"]);
}
