//! Records that stay where they are, and messages that say where: each pointer is followed on the share, as whoever gets it would.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lapin::message::Delivery;
use serde_json::{Value, json};
use zoutbox_format::frame::encode_data;
use zoutbox_format::layout::{SegmentName, dead_letter_name};
use zoutbox_format::{Epoch, Pointer, PreviousSegment, Record, SegmentHeader, SegmentId, Sequence, WriterId};
use zoutbox_test_support::{Broker, Hits, test_roots, wait_until};
use zoutbox_writer::Options;

use crate::support::{
    Consumer, Followed, LONG, Producer, Queue, Raise, Relay, TroubledBroker, World, fault, first_unequal,
    follow,
};

const RULES: &[&str] = &["--publish", "*.batch.#=pointer-batch", "--publish", "*.pointer=pointer"];

/// Waits until everything is confirmed and delivered, and follows all that came. Once a test: it marks the end of the queue.
#[track_caller]
fn everything(world: &World, queue: &Queue, consumer: &Consumer, producers: &[&Producer]) -> Vec<Followed> {
    for producer in producers {
        world.wait_until_confirmed(producer);
    }
    queue.mark();
    let came = consumer.ids_before_the_mark().len();
    let follow = |delivery: &Delivery| {
        follow(&world.share, delivery).unwrap_or_else(|error| panic!("{delivery:?}: {error}"))
    };
    consumer.look(|deliveries| deliveries.iter().take(came).map(follow).collect())
}

/// The records of one writer that came, in order, duplicates included.
fn ids(followed: &[Followed], writer: &WriterId) -> Vec<String> {
    let all = followed.iter().flat_map(|message| &message.records);
    all.filter(|(id, _)| id.writer == *writer).map(|(id, _)| id.to_string()).collect()
}

fn appended(producer: &Producer) -> Vec<String> {
    producer.appended.iter().map(|(id, _)| id.to_string()).collect()
}

/// That every record of these came exactly once, in order, and as it was appended.
#[track_caller]
fn assert_each_once(followed: &[Followed], producers: &[&Producer]) {
    for producer in producers {
        assert_eq!(
            first_unequal(&ids(followed, &producer.id), &appended(producer)),
            None,
            "each once and in order"
        );
    }
    assert_as_appended(followed, producers);
}

/// That every record of these came, and the first copies in order, but for those that a broken connection between broker and consumer
/// brought out of it: see [`Consumer::wait_for_all_in_order`].
#[track_caller]
fn assert_each_and_first_in_order(followed: &[Followed], producers: &[&Producer]) {
    let (mut seen, mut misplaced) = (HashSet::new(), HashSet::new());
    for message in followed {
        for (id, _) in &message.records {
            if seen.insert(id.to_string()) && message.redelivered {
                misplaced.insert(id.to_string());
            }
        }
    }
    for producer in producers {
        let mut once = HashSet::new();
        let mut came = ids(followed, &producer.id);
        came.retain(|id| once.insert(id.clone()));
        let own = appended(producer);
        assert_eq!(
            came.iter().collect::<HashSet<_>>(),
            own.iter().collect::<HashSet<_>>(),
            "each at least once"
        );
        let [mut came, mut own] = [came, own];
        for ids in [&mut came, &mut own] {
            ids.retain(|id| !misplaced.contains(id));
        }
        assert_eq!(first_unequal(&came, &own), None, "first copies in order");
    }
    assert_as_appended(followed, producers);
}

fn assert_as_appended(followed: &[Followed], producers: &[&Producer]) {
    let all = producers.iter().flat_map(|producer| &producer.appended);
    let all: BTreeMap<String, &Record> = all.map(|(id, record)| (id.to_string(), record)).collect();
    for (id, came) in followed.iter().flat_map(|message| &message.records) {
        let record = all.get(&id.to_string()).unwrap_or_else(|| panic!("{id} was never appended"));
        // A table of headers has no order of its own.
        let sorted = |record: &Record| {
            let mut headers = record.headers.clone();
            headers.sort();
            Record { headers, timestamp_ms: record.timestamp_ms.or(came.timestamp_ms), ..record.clone() }
        };
        assert!(
            sorted(came) == sorted(record),
            "{id} is not as it was appended: {:.300}",
            format!("{came:?}")
        );
    }
}

fn pointers(followed: &[Followed]) -> impl Iterator<Item = (&Followed, &Pointer)> {
    followed.iter().filter_map(|message| Some((message, message.pointer.as_ref()?)))
}

/// Runs of all three kinds, and every kind of field and payload.
fn various(number: usize) -> Record {
    let topic = match number % 100 {
        0..60 => "orders.batch",
        60..80 => "orders.batch.deeper",
        80..90 => "orders.pointer",
        _ => "orders.inline",
    };
    let record = Record::new(topic, format!("{number}: Grüße, 価格"));
    match number % 7 {
        0 => record.content_type("text/plain").key(format!("customer-{number}")),
        1 => record.header("traceparent", "00-4bf9").header("empty", "").header("ünïcode", "✓"),
        2 => record.timestamp_ms(1_700_000_000_999).id(format!("application-{number}")),
        3 if number.is_multiple_of(5) => {
            Record::new(topic, (0..=255).cycle().take(300_000).collect::<Vec<u8>>())
        }
        4 => Record::new(topic, ""),
        _ => record.timestamp_ms(0).header("x".repeat(255), "y".repeat(1000)),
    }
}

#[test]
fn each_topic_is_published_as_its_rule_says_and_every_record_comes_once() {
    for root in test_roots() {
        let queue = Queue::new(Broker::shared(), &format!("modes-{}", root.label()), &["#"]);
        let world = World::on(root);
        let small = Options { segment_size: 1 << 20, ..Options::default() };
        let (mut orders, mut payments) = (world.writer_with("orders", small), world.writer("payments"));
        orders.append((0..700).map(various));
        payments.append((0..3000).map(|number| Record::new("payments.batch", format!("{number}"))));
        let relay = Relay::start(world.root(), queue.with(RULES));
        let consumer = Consumer::start(&queue);
        orders.append((700..1400).map(various));
        orders.reopen();
        orders.append((1400..2000).map(various));
        let followed = everything(&world, &queue, &consumer, &[&orders, &payments]);
        assert_each_once(&followed, &[&orders, &payments]);
        assert!(world.segments("orders").len() > 3, "rotation is part of this");
        for message in &followed {
            let count = message.pointer.as_ref().map(|pointer| pointer.count);
            match message.topic.as_str() {
                "orders.inline" => assert_eq!(count, None, "{message:?}"),
                "orders.pointer" => {
                    assert_eq!(count, Some(1), "{message:?}");
                    let (_, record) = &message.records[0];
                    let mut headers = record.headers.clone();
                    headers.sort();
                    assert_eq!(message.head, (record.key.clone(), record.id.clone(), headers));
                }
                _ => {
                    assert!(count.is_some(), "{message:?}");
                    assert_eq!(message.head, (None, None, vec![]), "a batch says nothing of its records");
                }
            }
            assert!(message.pointer.is_none() || message.body.len() < 200);
        }
        let batches = pointers(&followed).filter(|(message, _)| message.topic == "payments.batch");
        let most = batches.map(|(_, pointer)| pointer.count).max();
        assert!(most.is_some_and(|most| most > 100), "nothing was put together: {most:?}");
        let log = relay.stop().log;
        assert!(log.contains("published 5000 in "), "records are counted, and messages: {log}");
    }
}

#[test]
fn a_batch_spans_no_topic_no_segment_and_no_bound() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "bounds", &["#"]));
    let small = Options { segment_size: 64 * 1024, ..Options::default() };
    let mut orders = world.writer_with("orders", small);
    // Now and then a larger record than a batch may be, and another topic after every hundred.
    let payload = |number: usize| vec![b'x'; if number.is_multiple_of(97) { 6000 } else { 20 + number % 80 }];
    orders.append(
        (0..3000).map(|number| Record::new(format!("orders.batch.{}", number / 100 % 3), payload(number))),
    );
    let bounds = ["--batch-records", "30", "--batch-bytes", "4KiB", "--batch-linger", "0ms"];
    let relay = Relay::start(world.root(), queue.with(&[RULES, &bounds].concat()));
    let consumer = Consumer::start(&queue);
    let followed = everything(&world, &queue, &consumer, &[&orders]);
    relay.stop();
    // Following them has shown that a pointer never leads out of its segment, nor to another topic.
    assert_each_once(&followed, &[&orders]);
    assert!(world.segments("orders").len() > 3);
    for (message, pointer) in pointers(&followed) {
        assert!(pointer.count <= 30 && (pointer.length <= 4096 || pointer.count == 1), "{message:?}");
    }
    let large = pointers(&followed).filter(|(_, pointer)| pointer.length > 4096).count();
    assert_eq!(large, 31, "a record larger than the bound comes by itself");
    assert!(followed.len() < 400, "{} messages", followed.len());
}

#[test]
fn a_relay_that_is_killed_again_and_again_loses_no_batch_and_keeps_the_order() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "batch-killed", &["#"]));
    let (mut orders, mut payments) = (world.writer("orders"), world.writer("payments"));
    let consumer = Consumer::start(&queue);
    let slow = [
        "--publish",
        "#=pointer-batch",
        "--batch-records",
        "20",
        "--window",
        "10",
        "--checkpoint-interval",
        "5ms",
    ];
    let mut in_the_middle = 0;
    for _ in 0..5 {
        orders.append_many(3000);
        payments.append_many(3000);
        let before = world.confirmed("orders");
        let relay = Relay::start(world.root(), queue.with(&slow));
        wait_until("a checkpoint is saved", LONG, || world.confirmed("orders") > before);
        assert_eq!(relay.kill().code, None);
        in_the_middle += usize::from(world.confirmed("orders") < orders.next_sequence());
    }
    assert!(in_the_middle > 0, "no kill came in the middle: this shows nothing");
    let relay = Relay::start(world.root(), queue.with(&["--publish", "#=pointer-batch"]));
    let followed = everything(&world, &queue, &consumer, &[&orders, &payments]);
    relay.stop();
    assert_each_and_first_in_order(&followed, &[&orders, &payments]);
    fault(Hits::Relay, "killed while it publishes batches", "SIGKILL, once a checkpoint is saved").held(
        5,
        format!(
            "{in_the_middle} of the kills in the middle; each of {} records led to, in order",
            orders.appended.len() + payments.appended.len()
        ),
    );
}

#[test]
fn a_broker_that_is_killed_and_comes_back_costs_no_batch() {
    let broker = TroubledBroker::get();
    let (world, queue) = (World::new(), Queue::new(&broker, "batch-restarted", &["#"]));
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let batches = ["--publish", "#=pointer-batch", "--batch-records", "7", "--window", "20"];
    let relay = Relay::start(world.root(), queue.with(&batches));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                orders.append_many(20);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let _end = Raise(&over);
        for (before, harm) in [Broker::stop, Broker::kill].into_iter().enumerate() {
            relay.wait_for_log_times("connected to the broker", before + 1);
            consumer.wait_for_count(consumer.count() + 50);
            harm(&broker);
            relay.wait_for_log_times("lost the connection to the broker", before + 1);
            broker.start_again();
        }
        consumer.wait_for_count(consumer.count() + 50);
    });
    let followed = everything(&world, &queue, &consumer, &[&orders]);
    relay.stop();
    assert_each_and_first_in_order(&followed, &[&orders]);
    fault(Hits::Broker, "stopped and killed while it takes batches", "under load")
        .held(2, format!("each of {} records led to, in order", orders.appended.len()));
}

/// Some that a queue takes, a run that none takes, and some more.
fn with_lost_ones(world: &World) -> Producer {
    let mut orders = world.writer("orders");
    orders.append((0..50).map(|number| Record::new("kept.x", number.to_string())));
    orders.append((0..30).map(|number| Record::new("lost.x", number.to_string())));
    orders.append((0..50).map(|number| Record::new("kept.x", number.to_string())));
    orders.close();
    orders
}

/// The pointer that a dead letter holds.
fn pointer_of(member: &Value) -> Pointer {
    let number = |name: &str| member[name].as_u64().unwrap_or_else(|| panic!("{name}: {member}"));
    let small = |name: &str| u32::try_from(number(name)).unwrap();
    let first_sequence = Sequence::new(number("segment_first"));
    assert_eq!(member.as_object().unwrap().len(), 9, "{member}");
    Pointer {
        share: member["share"].as_str().unwrap().parse().unwrap(),
        writer: WriterId::new(member["writer"].as_str().unwrap()).unwrap(),
        segment: SegmentId { epoch: Epoch::new(number("epoch")), first_sequence },
        offset: number("offset"),
        length: small("length"),
        sequence: Sequence::new(number("sequence")),
        count: small("count"),
        crc: small("crc"),
    }
}

#[test]
fn a_batch_that_no_queue_takes_becomes_one_dead_letter_that_leads_to_its_records() {
    for (mode, letters) in [("pointer-batch", 1_u32), ("pointer", 30)] {
        let (world, queue) =
            (World::new(), Queue::new(Broker::shared(), &format!("dead-{mode}"), &["kept.#"]));
        let orders = with_lost_ones(&world);
        let consumer = Consumer::start(&queue);
        let rule = format!("#={mode}");
        let options = ["--publish", &rule, "--on-undeliverable", "dead-letter"];
        let relay = Relay::start(world.root(), queue.with(&options));
        let followed = everything(&world, &queue, &consumer, &[&orders]);
        let log = relay.stop().log;
        assert!(log.contains(if letters == 1 { "dead 30 in 1 messages" } else { "dead 30," }), "{log}");
        let kept = orders.appended.iter().filter(|(_, record)| record.topic == "kept.x");
        let kept: Vec<_> = kept.map(|(id, _)| id.to_string()).collect();
        assert_eq!(first_unequal(&ids(&followed, &orders.id), &kept), None);
        let dead = world.dead("orders");
        assert_eq!(dead.len(), letters as usize, "{dead:?}");
        let (name, letter) = &dead[0];
        assert_eq!(*name, dead_letter_name(Epoch::FIRST, Sequence::new(51)));
        assert!(letter["reason"].as_str().unwrap().contains("NO_ROUTE"), "{letter}");
        assert_eq!((&letter["topic"], &letter["record"]), (&"lost.x".into(), &json!(null)));
        let pointer = pointer_of(&letter["pointer"]);
        assert_eq!((pointer.first().to_string(), pointer.count), ("orders/1/51".into(), 30 / letters));
        let segment = fs::read(
            world.directory("orders").join(SegmentName { id: pointer.segment, sealed: true }.file_name()),
        )
        .unwrap();
        let from = usize::try_from(pointer.offset).unwrap();
        assert!(pointer.matches(&segment[from..from + pointer.length as usize]), "{letter}");
    }
}

#[test]
fn a_lane_halts_in_front_of_a_batch_that_no_queue_takes_until_one_does() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "halt-batch", &["kept.#"]));
    let orders = with_lost_ones(&world);
    let consumer = Consumer::start(&queue);
    let batches = ["--publish", "#=pointer-batch"];
    let relay = Relay::start(world.root(), queue.with(&batches));
    relay.wait_for_log("writer orders waits at orders/1/51");
    wait_until("all in front of it is confirmed", LONG, || world.confirmed("orders") == 51);
    relay.stop();
    assert_eq!(world.confirmed("orders"), 51, "the checkpoint passed it");
    let relay = Relay::start(world.root(), queue.with(&batches));
    relay.wait_for_log("writer orders waits at orders/1/51");
    queue.bind(&["lost.#"]);
    let followed = everything(&world, &queue, &consumer, &[&orders]);
    relay.stop();
    // What was published behind it had come before it; from where the lane halted, all comes once more and in order.
    let mut seen = HashSet::new();
    let mut last = ids(&followed, &orders.id);
    last.reverse();
    last.retain(|id| seen.insert(id.clone()));
    last.reverse();
    assert_eq!(first_unequal(&last, &appended(&orders)), None, "order");
    assert_as_appended(&followed, &[&orders]);
}

#[test]
fn what_lingers_is_collected_and_a_stop_neither_publishes_nor_loses_it() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "lingers", &["#"]));
    let mut orders = world.writer("orders");
    let consumer = Consumer::start(&queue);
    let for_hours = ["--publish", "#=pointer-batch", "--batch-records", "30", "--batch-linger", "2h"];
    let relay = Relay::start(world.root(), queue.with(&for_hours));
    // One commit each.
    (0..30).for_each(|_| orders.append_many(1));
    consumer.wait_for_count(1);
    orders.append_many(1);
    wait_until("what came is confirmed", LONG, || world.confirmed("orders") == 30);
    relay.stop();
    assert_eq!(
        (consumer.count(), world.confirmed("orders")),
        (1, 30),
        "the last of a commit is not known to be durable"
    );

    let relay =
        Relay::start(world.root(), queue.with(&["--publish", "#=pointer-batch", "--batch-linger", "50ms"]));
    let followed = everything(&world, &queue, &consumer, &[&orders]);
    relay.stop();
    assert_each_once(&followed, &[&orders]);
    let counts: Vec<_> = pointers(&followed).map(|(_, pointer)| pointer.count).collect();
    assert_eq!(counts, [29, 1, 1]);
}

#[test]
fn once_publishes_everything_that_lingers_and_an_orderly_restart_nothing_again() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "once-batch", &["#"]));
    let (mut orders, mut payments) = (world.writer("orders"), world.writer("payments"));
    orders.append_many(2500);
    payments.append_many(1);
    let consumer = Consumer::start(&queue);
    let batches = ["--publish", "#=pointer-batch", "--batch-linger", "500ms"];
    let once = || Relay::start(world.root(), queue.with(&[&batches[..], &["--once"]].concat())).wait();
    assert_eq!(once().code, Some(0));
    assert_eq!((world.confirmed("orders"), world.confirmed("payments")), (2501, 2));
    payments.append_many(3);
    let relay = Relay::start(world.root(), queue.with(&batches));
    world.wait_until_confirmed(&payments);
    relay.stop();
    assert_eq!(once().code, Some(0));
    let followed = everything(&world, &queue, &consumer, &[&orders, &payments]);
    assert_each_once(&followed, &[&orders, &payments]);
}

/// A segment in the making, laid by hand.
struct Draft {
    header: SegmentHeader,
    bytes: Vec<u8>,
    next: u64,
}

impl Draft {
    fn new(world: &World, first: u64, previous: Option<PreviousSegment>) -> Self {
        let id = SegmentId { epoch: Epoch::FIRST, first_sequence: Sequence::new(first) };
        let writer = WriterId::new("orders").unwrap();
        let header = SegmentHeader { share: world.share.id, writer, id, created_ms: 0, previous };
        Self { bytes: header.encode().to_vec(), header, next: first }
    }

    fn commit(&mut self, count: u32) -> &mut Self {
        for index in 0..count {
            let mut body = Vec::new();
            Record::new("t", format!("number {}", self.next)).borrowed(7).encode(&mut body).unwrap();
            encode_data(&mut self.bytes, self.header.crc_seed(), Sequence::new(self.next), index, &body);
            self.next += 1;
        }
        self
    }

    fn end(&self) -> PreviousSegment {
        let (end_offset, next_sequence) = (self.bytes.len() as u64, Sequence::new(self.next));
        PreviousSegment { id: self.header.id, end_offset, next_sequence }
    }

    fn lay(&self, world: &World) {
        fs::create_dir_all(world.directory("orders")).unwrap();
        let name = SegmentName { id: self.header.id, sealed: false }.file_name();
        fs::write(world.directory("orders").join(name), &self.bytes).unwrap();
    }
}

#[test]
fn what_a_writer_wrote_again_after_a_failed_sync_is_pointed_to_where_it_is_now() {
    for restarted in [false, true] {
        let (world, queue) =
            (World::new(), Queue::new(Broker::shared(), &format!("rewritten-{restarted}"), &["#"]));
        let mut first = Draft::new(&world, 1, None);
        let durable = first.commit(3).end();
        first.commit(2).lay(&world);
        let consumer = Consumer::start(&queue);
        let batches = ["--publish", "#=pointer-batch"];
        let mut relay = Some(Relay::start(world.root(), queue.with(&batches)));
        wait_until("all that is visible is confirmed", LONG, || world.confirmed("orders") == 6);
        if restarted {
            relay.take().unwrap().stop();
        }
        // The sync of the second commit fails, and what it had written is gone.
        first.bytes.truncate(usize::try_from(durable.end_offset).unwrap());
        first.lay(&world);
        Draft::new(&world, 4, Some(durable)).commit(2).commit(2).lay(&world);
        let relay = relay.unwrap_or_else(|| Relay::start(world.root(), queue.with(&batches)));
        wait_until("the rest is confirmed", LONG, || world.confirmed("orders") == 8);
        relay.stop();
        queue.mark();
        let came = consumer.ids_before_the_mark().len();
        let (led, nowhere): (Vec<_>, Vec<_>) = consumer.look(|deliveries| {
            let came = deliveries.iter().take(came);
            came.map(|delivery| follow(&world.share, delivery)).partition(Result::is_ok)
        });
        assert_eq!(nowhere.len(), 1, "{nowhere:?}");
        let led: Vec<_> = led.into_iter().flatten().collect();
        let came = ids(&led, &WriterId::new("orders").unwrap());
        let all: Vec<_> = (1..=7).map(|sequence| format!("orders/1/{sequence}")).collect();
        assert_eq!(came, all, "restarted: {restarted}");
    }
    fault(
        Hits::Disk,
        "a sync fails after the relay has pointed to what it covered",
        "the segment cut, and written again in another",
    )
    .held(2, "pointed to again where it is now; one pointer led nowhere, to nothing that was acknowledged");
}

#[test]
fn pointers_to_standard_output_are_refused() {
    let world = World::new();
    world.writer("orders").append_many(1);
    let ended = Relay::start(world.root(), ["--stdout", "--publish", "#=pointer"]).wait();
    assert_eq!(ended.code, Some(64), "{ended:#?}");
    assert!(ended.message().contains("--publish") && ended.message().contains("--stdout"), "{ended:#?}");
    assert_eq!((ended.output.len(), world.confirmed("orders")), (0, 1));
}
