//! What is forged, damaged or gone is set aside with its reason, and the next message is consumed.

use std::fs;
use std::os::unix::fs::symlink;

use zoutbox_consumer::{HeaderValue, Message, Pointer};
use zoutbox_format::{PayloadName, PayloadReference, Record, ShareId};

use crate::bus::Bus;
use crate::ground::{Draft, Ground, TIME, carry, ground, segment_id, varied, writer_id};
use crate::program::Consumer;

/// Publishes each, and a sound one behind it; returns why each was set aside.
fn set_aside(test: &str, ground: &Ground, messages: &[Message]) -> Vec<String> {
    let bus = Bus::new(test);
    let last = ground.inline("last/1/1", &Record::new("t", "x").timestamp_ms(TIME));
    for message in messages.iter().chain([&last]) {
        bus.publish(message);
    }
    let mut consumer = Consumer::start(ground, &bus, "python");
    consumer.has(1);
    consumer.is_done(&bus);
    let received: Vec<_> = consumer.received().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(received, ["last/1/1"], "{}", consumer.log());
    let (ids, reasons): (Vec<_>, Vec<_>) = bus.parked().into_iter().unzip();
    let published: Vec<_> =
        messages.iter().map(|message| message.message_id.clone().unwrap_or_default()).collect();
    assert_eq!(ids, published, "{}", consumer.log());
    reasons
}

/// Each is set aside for its reason.
fn assert_set_aside(test: &str, ground: &Ground, cases: Vec<(Message, &str)>) {
    let (messages, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let reasons = set_aside(test, ground, &messages);
    for ((reason, expected), message) in reasons.iter().zip(expected).zip(&messages) {
        assert!(reason.contains(expected), "{reason}, not {expected}: {message:?}");
    }
}

fn sealed(ground: &Ground, writer: &str) -> Draft {
    let draft = ground.draft(writer, 1, 1).records(&varied(5)).seal();
    ground.lay(&draft, true);
    draft
}

fn with(message: &Message, name: &str, value: HeaderValue) -> Message {
    let mut message = message.clone();
    message.headers.insert(name.to_owned(), value);
    message
}

#[test]
fn messages_that_no_relay_published() {
    let ground = ground();
    let text = |text: &str| HeaderValue::Text(text.to_owned());
    let inline = ground.inline("orders/1/1", &Record::new("t", "x").timestamp_ms(TIME));
    let pointed = carry(&sealed(&ground, "orders").pointer(0..2));
    let other = ShareId::from_bytes([9; 16]);
    let cases = vec![
        (Message { body: b"hello".to_vec(), ..Message::default() }, "no writer's id"),
        (with(&inline, "zoutbox-writer", text("../../etc")), "no writer's id"),
        (with(&inline, "zoutbox-seq", HeaderValue::Integer(0)), "no epoch or sequence"),
        (with(&inline, "zoutbox-seq", text("1")), "no epoch or sequence"),
        (with(&inline, "zoutbox-seq", HeaderValue::Integer(2)), "do not agree"),
        (with(&inline, "zoutbox-share", text(&other.to_string())), "and this is"),
        (with(&inline, "zoutbox-pointer", HeaderValue::Integer(1)), "neither"),
        (with(&pointed, "zoutbox-pointer", HeaderValue::Integer(1)), "do not agree"),
        (with(&pointed, "zoutbox-pointer", text("2")), "do not agree"),
        (Message { body: Vec::new(), ..pointed.clone() }, "no pointer"),
        (Message { body: pointed.body[..pointed.body.len() - 1].to_vec(), ..pointed.clone() }, "no pointer"),
        (Message { body: vec![0xFF; 100], ..pointed.clone() }, "no pointer"),
        (Message { body: vec![0; 201], ..pointed }, "no pointer"),
    ];
    assert_set_aside("no-relay", &ground, cases);
}

#[test]
fn pointers_that_are_forged() {
    let ground = ground();
    let draft = sealed(&ground, "orders");
    let good = draft.pointer(1..3);
    let with_crc = |pointer: Pointer| {
        let start = usize::try_from(pointer.offset).unwrap();
        let bytes = &draft.bytes[start..start + pointer.length as usize];
        carry(&Pointer { crc: crc32fast::hash(bytes), ..pointer })
    };
    let mut newer = carry(&good);
    newer.body[1] = 2;
    let foreign = Pointer { share: ShareId::from_bytes([9; 16]), ..good.clone() };
    let cases = vec![
        (Message { body: foreign.encode(), ..carry(&good) }, "do not agree"),
        (newer, "version 2"),
        (carry(&Pointer { length: u32::MAX, ..good.clone() }), "can't be"),
        (carry(&Pointer { offset: u64::MAX, ..good.clone() }), "can't be"),
        (carry(&Pointer { crc: 1, ..good.clone() }), "without these bytes"),
        (carry(&Pointer { offset: 1 << 40, ..good.clone() }), "without these bytes"),
        (with_crc(Pointer { offset: good.offset + 1, ..good.clone() }), "no frame"),
        (with_crc(Pointer { count: 1, ..good.clone() }), "more bytes"),
        (with_crc(Pointer { count: 3, ..good.clone() }), "no frame"),
        (with_crc(Pointer { length: good.length - 1, ..good.clone() }), "another frame"),
        (with_crc(Pointer { sequence: good.sequence.next(), ..good.clone() }), "another frame"),
    ];
    assert_set_aside("forged", &ground, cases);
}

#[test]
fn traps_on_the_share_and_what_is_gone() {
    let ground = ground();
    // A segment that is a link to a sound one, one that is a FIFO, a directory that is a link, another writer's segment.
    let draft = ground.draft("linked", 1, 1).records(&varied(2)).seal();
    let path = ground.lay(&draft, true);
    fs::rename(&path, ground.root.join("away")).unwrap();
    symlink(ground.root.join("away"), &path).unwrap();
    let fifo = ground.draft("fifo", 1, 1).records(&varied(2)).seal();
    let path = ground.lay(&fifo, true);
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let sideways = sealed(&ground, "sideways");
    let directory = ground.layout.writer(&writer_id("sideways"));
    fs::rename(&directory, ground.root.join("aside")).unwrap();
    symlink(ground.root.join("aside"), &directory).unwrap();
    let stolen = sealed(&ground, "other");
    let mut copied = stolen.clone();
    copied.header.writer = writer_id("thief");
    ground.lay(&copied, true);
    let mut damaged = ground.draft("damaged", 1, 1).records(&varied(2)).seal();
    damaged.bytes[20] ^= 1;
    ground.lay(&damaged, true);
    let gone = ground.draft("gone", 1, 1).records(&varied(2)).seal();
    ground.lay(&ground.draft("gone", 1, 3).records(&varied(1)), false);
    let cases = vec![
        (carry(&draft.pointer(0..1)), "a link, or no file"),
        (carry(&fifo.pointer(0..1)), "not a file"),
        (carry(&sideways.pointer(0..1)), "a link, or no file"),
        (carry(&Pointer { writer: writer_id("thief"), ..stolen.pointer(0..1) }), "another segment"),
        (carry(&damaged.pointer(0..1)), "a damaged segment"),
        (carry(&gone.pointer(0..1)), "its segment was removed"),
    ];
    assert_set_aside("traps", &ground, cases);
}

/// The commit failed, so nobody was told that it is durable; its writer went on in a later segment.
#[test]
fn what_leads_to_a_commit_that_failed_holds_up_nothing_behind_it() {
    let ground = ground();
    let failed = ground.draft("orders", 1, 1).records(&varied(3));
    let mut kept = failed.clone();
    kept.bytes.truncate(failed.offsets[2] + 5);
    ground.lay(&kept, false);
    ground.lay(&ground.draft("orders", 1, 3).records(&varied(1)), false);
    let cases = vec![
        (carry(&failed.pointer(2..3)), "has ended, without these bytes"),
        (carry(&failed.pointer(1..3)), "has ended, without these bytes"),
    ];
    assert_set_aside("failed-commit", &ground, cases);
}

#[test]
fn large_payloads_that_are_not_what_their_records_say() {
    let ground = ground();
    let name = |id: &str| PayloadName::parse(&format!("payloads/orders/2023/11/14/22/{id}")).unwrap();
    let directory = ground.layout.payload(&name("x")).parent().unwrap().to_owned();
    fs::create_dir_all(&directory).unwrap();
    for (id, bytes) in [("changed", "hellO"), ("short", "hell"), ("long", "hello!"), ("sound", "hello")] {
        fs::write(directory.join(id), bytes).unwrap();
    }
    symlink(directory.join("sound"), directory.join("link")).unwrap();
    let mut epoch = 0;
    let mut pointed = |name: PayloadName| {
        epoch += 1;
        let reference = PayloadReference { name, size: 5, crc: crc32fast::hash(b"hello") };
        let draft = ground.draft("orders", epoch, 1).large(&Record::new("t", ""), &reference).seal();
        ground.lay(&draft, true);
        carry(&draft.pointer(0..1))
    };
    let others = PayloadName::parse("payloads/other/2023/11/14/22/sound").unwrap();
    let mut cases: Vec<_> =
        ["changed", "short", "long"].map(|id| (pointed(name(id)), "is not what its record says")).into();
    cases.push((pointed(name("link")), "a link, or no file"));
    cases.push((pointed(others), "of this record's writer"));
    let gone = pointed(name("gone"));
    let segment = zoutbox_format::layout::SegmentName::sealed(segment_id(epoch, 1)).file_name();
    let later = ground.draft("orders", epoch + 1, 1).records(&varied(1)).seal();
    ground.lay(&later, true);
    // Inline, since without its segment no pointer leads to the record.
    fs::remove_file(ground.layout.writer(&writer_id("orders")).join(segment)).unwrap();
    let inline = |path: &str, size: &str| {
        let mut message =
            ground.inline(gone.message_id.as_ref().unwrap(), &Record::new("t", "").timestamp_ms(TIME));
        for (what, value) in [("path", path), ("size", size), ("crc", "00000000")] {
            message.headers.insert(format!("zoutbox-payload-{what}"), HeaderValue::Text(value.to_owned()));
        }
        message
    };
    cases.push((inline("payloads/orders/2023/11/14/22/gone", "5"), "its payload was removed"));
    cases.push((inline("../../../../../../etc/passwd", "5"), "no large payload"));
    cases.push((inline("payloads/orders/2023/11/14/22/..", "5"), "no large payload"));
    cases.push((inline("payloads/orders/2023/11/14/22/sound", "1e9"), "no size or CRC"));
    assert_set_aside("large", &ground, cases);
}
