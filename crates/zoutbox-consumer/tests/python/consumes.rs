//! Every kind of message is consumed, once, whatever is delivered twice and whoever is killed.

use std::fs;
use std::process::Command;
use std::time::Duration;

use zoutbox_consumer::{HeaderValue, Message};
use zoutbox_format::{Hour, PayloadName, PayloadReference, Progress, Record};
use zoutbox_test_support::{binary, wait_until};

use crate::bus::Bus;
use crate::ground::{Ground, TIME, carry, ground, point_at, segment_id, varied, writer_id};
use crate::program::{Consumer, Received, page};

/// What the consumer notes of a record; of an inline one the topic is the routing key, which is the queue here.
fn noted(id: String, topic: &str, record: &Record) -> Received {
    let header = |(name, value): &(String, String)| format!("\"{name}\": \"{value}\"");
    let headers: Vec<_> = record.headers.iter().map(header).collect();
    let headers = format!("{{{}}}", headers.join(", "));
    (id, topic.to_owned(), record.key.clone(), headers, record.payload.clone())
}

/// A large payload of its writer, the record that names it, and the whole as it should be seen.
fn large(ground: &Ground, id: &str, length: usize) -> (PayloadReference, Record, Record) {
    let payload: Vec<u8> = (0..=250).cycle().take(length).collect();
    let name = PayloadName::new(writer_id("orders"), Hour::of(TIME), id).unwrap();
    let path = ground.layout.payload(&name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, &payload).unwrap();
    let reference = PayloadReference { name, size: length as u64, crc: crc32fast::hash(&payload) };
    let record = Record::new("topic.large", "").key("k").header("mine", "1").timestamp_ms(TIME);
    let whole = Record { payload, ..record.clone() };
    (reference, record, whole)
}

#[test]
fn inline_pointers_batches_and_large_payloads_are_consumed_once_each() {
    let (ground, bus) = (ground(), Bus::new("each-kind"));
    let mut expected = Vec::new();
    let mut publish = |message: &Message, records: Vec<Received>| {
        bus.publish(message);
        bus.publish(message);
        expected.extend(records);
    };
    // Inline, of another epoch.
    let record = varied(4).remove(2);
    let mut sorted = record.clone();
    sorted.headers.sort();
    publish(&ground.inline("orders/9/1", &record), vec![noted("orders/9/1".into(), &bus.queue, &sorted)]);
    // What the real writer wrote: one by one, and many at once, which also says again what was said before.
    let records = varied(40);
    let path = ground.append("orders", &records);
    for (index, record) in records.iter().enumerate().take(3) {
        let noted = noted(format!("orders/1/{}", index + 1), &record.topic, record);
        publish(&carry(&point_at(&path, index..index + 1)), vec![noted]);
    }
    let rest = records.iter().enumerate().skip(3);
    let rest = rest.map(|(index, record)| noted(format!("orders/1/{}", index + 1), &record.topic, record));
    publish(&carry(&point_at(&path, 1..40)), rest.collect());
    // Large ones, by pointer and inline; one has no bytes at all.
    for (epoch, length) in [(5, 3_000_000), (6, 0)] {
        let (reference, record, whole) = large(&ground, &format!("big-{epoch}"), length);
        let draft = ground.draft("orders", epoch, 1).large(&record, &reference).seal();
        ground.lay(&draft, true);
        let id = format!("orders/{epoch}/1");
        publish(&carry(&draft.pointer(0..1)), vec![noted(id, "topic.large", &whole)]);
        let id = format!("orders/{epoch}/2");
        let mut inline = ground.inline(&id, &record);
        let headers = reference.headers().map(|(name, value)| (name.to_owned(), HeaderValue::Text(value)));
        inline.headers.extend(headers);
        publish(&inline, vec![noted(id, &bus.queue, &whole)]);
    }
    let mut consumer = Consumer::start(&ground, &bus, "python");
    consumer.has(expected.len());
    consumer.is_done(&bus);
    assert_eq!(consumer.received(), expected);
    assert_eq!(bus.parked(), []);
}

/// Nothing made by hand: the real writer appends, and the real relay publishes each topic as it is told to.
#[test]
fn what_the_real_relay_publishes_is_consumed_once_each_whatever_the_mode() {
    let (ground, bus) = (ground(), Bus::over("queue-real-relay".to_owned()));
    let writer = ground.writer("orders");
    let record = |index: usize| {
        let topic = ["a.inline", "b.pointer", "c.batch"][index / 100 % 3];
        Record::new(topic, format!("payload {index}"))
            .key("k")
            .header("h", index.to_string())
            .timestamp_ms(TIME)
    };
    let mut records: Vec<_> = (0..900).map(record).collect();
    let mut tickets: Vec<_> = records.iter().map(|record| writer.append(record).unwrap()).collect();
    for topic in ["a.inline", "b.pointer", "c.batch"] {
        let empty = Record::new(topic, "").key("k").timestamp_ms(TIME);
        let payload: Vec<u8> = (0..=250).cycle().take(1_500_000).collect();
        tickets.push(writer.append_payload(&empty, &*payload).unwrap());
        records.push(Record { payload, ..empty });
    }
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    writer.close().unwrap();
    let relayed = Command::new(binary("zoutbox-relay"))
        .arg("--root")
        .arg(&*ground.root)
        .args(["--amqp", Bus::url(), "--exchange", "real-relay", "--declare-exchange", "topic"])
        .args(["--declare-queue", &bus.queue, "--once"])
        .args(["--publish", "a.#=inline", "--publish", "b.#=pointer", "--publish", "c.#=pointer-batch"])
        .output()
        .unwrap();
    assert!(relayed.status.success(), "{}", String::from_utf8_lossy(&relayed.stderr));
    let messages = bus.ready();
    assert!((606..=640).contains(&messages), "{messages}: 602, and few for the 301 in batches");
    let mut consumer = Consumer::start(&ground, &bus, "python");
    consumer.has(records.len());
    consumer.is_done(&bus);
    let id = |index: usize| format!("orders/1/{}", index + 1);
    let expected: Vec<_> =
        records.iter().enumerate().map(|(index, record)| noted(id(index), &record.topic, record)).collect();
    assert_eq!(consumer.received(), expected);
    assert_eq!(bus.parked(), []);
}

#[test]
fn who_is_killed_again_and_again_still_applies_each_record_once() {
    let (ground, bus) = (ground(), Bus::new("killed"));
    let records: Vec<_> =
        (0..600).map(|index| Record::new("t", index.to_string()).timestamp_ms(TIME)).collect();
    let path = ground.append("orders", &records);
    // A third for each of the first lives: however late the kills come, there is something to do for three lives.
    let mut messages = (0..600).step_by(3);
    let mut kills = 0;
    let received = loop {
        for start in messages.by_ref().take(67) {
            bus.publish(&carry(&point_at(&path, start..start + 3)));
        }
        let mut consumer = Consumer::start(&ground, &bus, "python");
        let before = consumer.received().len();
        if before >= 400 {
            consumer.has(600);
            consumer.is_done(&bus);
            break consumer.received();
        }
        consumer.has(before + 30);
        consumer.kill();
        kills += 1;
    };
    assert!(kills >= 2, "killed {kills} times only");
    let payloads: Vec<_> = received.into_iter().map(|(_, _, _, _, payload)| payload).collect();
    let appended: Vec<_> = records.into_iter().map(|record| record.payload).collect();
    assert_eq!(payloads, appended);
}

#[test]
fn what_the_mount_does_not_show_yet_is_waited_for_in_order() {
    let (ground, bus) = (ground(), Bus::new("not-yet"));
    let records = varied(4);
    let draft = ground.draft("orders", 1, 1).records(&records);
    for index in 0..4 {
        bus.publish(&carry(&draft.pointer(index..index + 1)));
    }
    let mut consumer = Consumer::start(&ground, &bus, "python");
    // No writer, no segment, a header alone, half of the records, all of them.
    let mut shown = draft.clone();
    fs::create_dir_all(ground.layout.writer(&writer_id("orders"))).unwrap();
    for (length, records) in [(100, 0), (160, 0), (draft.offsets[2] + 5, 2), (draft.bytes.len(), 4)] {
        shown.bytes = draft.bytes[..length].to_vec();
        shown.bytes.resize(draft.bytes.len() + 100, 0);
        ground.lay(&shown, false);
        consumer.has(records);
        assert_eq!(consumer.received().len(), records);
    }
    consumer.is_done(&bus);
    let ids: Vec<_> = consumer.received().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(ids, ["orders/1/1", "orders/1/2", "orders/1/3", "orders/1/4"]);
    assert_eq!(bus.parked(), []);
}

#[test]
fn the_relay_can_read_how_far_it_is() {
    let (ground, bus) = (ground(), Bus::new("progress"));
    let drafts = [1, 3, 5].map(|first| ground.draft("orders", 1, first).records(&varied(2)).seal());
    for draft in &drafts[..2] {
        ground.lay(draft, true);
        bus.publish(&carry(&draft.pointer(0..2)));
    }
    // Forged: it must not make the relay believe that everything was passed.
    let mut forged = drafts[0].pointer(0..1);
    forged.segment = segment_id(1, 1 << 60);
    forged.sequence = forged.segment.first_sequence;
    ground.lay(&ground.draft("orders", 2, 1 << 60).records(&varied(1)).seal(), true);
    bus.publish(&carry(&forged));
    // Not there yet, so open.
    bus.publish(&carry(&ground.draft("orders", 3, 1).records(&varied(1)).pointer(0..1)));
    let mut consumer = Consumer::start(&ground, &bus, "python");
    let read = || {
        let bytes = fs::read(ground.layout.consumer(&writer_id("python"))).ok()?;
        let progress = Progress::decode(&bytes).expect("what FORMAT.md says");
        progress.writers.get(&writer_id("orders")).cloned().map(|place| (progress, place))
    };
    wait_until("it says what is open", Duration::from_mins(1), || {
        consumer.is_alive();
        read().is_some_and(|(_, place)| place.open == Some(segment_id(3, 1)))
    });
    let (progress, place) = read().unwrap();
    assert_eq!(
        (progress.share, progress.group, progress.interval_ms),
        (ground.share, writer_id("python"), 5000)
    );
    assert_eq!(place.passed, Some(segment_id(1, 3)));
    assert_eq!(place.parked, [segment_id(1, 1 << 60)]);
    let left = fs::read_dir(ground.layout.consumers()).unwrap().count();
    assert_eq!(left, 1, "its temporary files");
}

#[test]
fn what_does_not_come_in_time_is_given_back_and_comes_again() {
    let (ground, bus) = (ground(), Bus::new("given-back"));
    let draft = ground.draft("orders", 1, 1).records(&varied(1));
    bus.publish(&carry(&draft.pointer(0..1)));
    let page = page();
    let impatient = page.replace("PATIENCE = 30.0", "PATIENCE = 0.5");
    assert_ne!(page, impatient);
    let mut consumer = Consumer::start_program(&impatient, &ground, &bus, "python");
    wait_until("it was given back twice", Duration::from_mins(1), || {
        consumer.is_alive();
        consumer.log().matches("orders/1/1: given back").count() >= 2
    });
    ground.lay(&draft, false);
    consumer.has(1);
    consumer.is_done(&bus);
    assert_eq!(bus.parked(), []);
}
