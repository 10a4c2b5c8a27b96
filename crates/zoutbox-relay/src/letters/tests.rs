#![expect(clippy::disallowed_methods, reason = "tests lay and damage files directly")]

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use zoutbox_format::checkpoint::Position;
use zoutbox_format::{PayloadReference, Record, RecordId};
use zoutbox_relay_core::{Key, Run};

use super::*;
use crate::ground::Ground;
use crate::keep::dead_letter;
use crate::publisher::Content;

fn look(ground: &Ground, letters: &mut Letters) {
    letters.look(&ground.system, &ground.share, &ground.writer).unwrap();
}

fn segment(epoch: u64, first: u64) -> SegmentId {
    SegmentId { epoch: Epoch::new(epoch), first_sequence: Sequence::new(first) }
}

/// As the relay writes one for a record.
fn letter_of(ground: &Ground, sequence: u64, body: Vec<u8>) {
    let id =
        RecordId { writer: ground.writer.clone(), epoch: Epoch::FIRST, sequence: Sequence::new(sequence) };
    let content = Content::Record(Bytes::from(body));
    dead_letter(&ground.system, &ground.share, &id, &content, "no queue").unwrap();
}

#[test]
fn a_letter_of_the_relay_for_a_run_holds_the_segment_that_it_points_into() {
    for ground in Ground::all() {
        let first = Key { epoch: Epoch::new(3), sequence: Sequence::new(9) };
        let after = Position { segment: segment(3, 8), offset: 900, next_sequence: Sequence::new(11) };
        let run = Run {
            first,
            segment: segment(3, 8),
            offset: 200,
            length: 700,
            count: 2,
            crc: 5,
            after,
            topic: "t".into(),
            timestamp_ms: 1,
            head: None,
        };
        let id = RecordId { writer: ground.writer.clone(), epoch: first.epoch, sequence: first.sequence };
        let content = Content::Run(Arc::new(run));
        dead_letter(&ground.system, &ground.share, &id, &content, "no queue").unwrap();
        let mut letters = Letters::default();
        look(&ground, &mut letters);
        let mut expected = Need::nothing();
        expected.hold(segment(3, 8));
        assert_eq!((letters.are_known(), letters.need()), (true, expected));
    }
}

#[test]
fn a_letter_of_the_relay_holds_the_payload_that_its_record_names_and_nothing_else() {
    for ground in Ground::all() {
        let mut body = Vec::new();
        let large = PayloadReference { name: ground.name("a"), size: 5, crc: 7 };
        Record::new("t", "").borrowed(1).encode_with(&large, &mut body).unwrap();
        letter_of(&ground, 1, body);
        let mut plain = Vec::new();
        Record::new("t", vec![0; 3_000_000]).borrowed(1).encode(&mut plain).unwrap();
        letter_of(&ground, 2, plain);
        letter_of(&ground, 3, b"no record".to_vec());
        let mut letters = Letters::default();
        look(&ground, &mut letters);
        assert!(letters.are_known() && letters.need() == Need::nothing());
        assert!(letters.hold(&ground.name("a")) && !letters.hold(&ground.name("b")));
    }
}

#[test]
fn a_letter_with_a_pointer_holds_its_segment_until_it_is_taken_away() {
    for ground in Ground::all() {
        let path = ground.letter_into(segment(3, 8));
        let mut letters = Letters::default();
        look(&ground, &mut letters);
        let mut expected = Need::nothing();
        expected.hold(segment(3, 8));
        assert_eq!((letters.are_known(), letters.need()), (true, expected));
        fs::remove_file(path).unwrap();
        look(&ground, &mut letters);
        assert_eq!(letters.need(), Need::nothing());
    }
}

#[test]
fn each_letter_is_read_once() {
    for ground in Ground::all() {
        for sequence in 1..=20 {
            ground.letter(sequence, &json!({ "record": { "topic": "t" } }));
        }
        let mut letters = Letters::default();
        look(&ground, &mut letters);
        ground.disk.calls();
        look(&ground, &mut letters);
        assert_eq!(ground.disk.calls(), 1, "more than the listing");
    }
}

#[test]
fn what_can_not_be_understood_holds_everything_and_names_the_letter() {
    let pointer = |writer: &str, epoch: u64, first: u64| json!({ "pointer": { "writer": writer, "epoch": epoch, "segment_first": first } });
    let headers = json!({ "zoutbox-payload-path": "../../etc/passwd" });
    for content in [
        json!({}),
        json!({ "record": null }),
        json!([]),
        json!("x"),
        json!({ "record": 7 }),
        json!({ "pointer": {} }),
        json!({ "record": { "headers": headers } }),
        pointer("payments", 1, 1),
        pointer("orders", 0, 1),
        pointer("orders", 1, 0),
    ] {
        let ground = Ground::quick();
        let path = ground.letter(9, &content);
        let mut letters = Letters::default();
        look(&ground, &mut letters);
        assert!(!letters.are_known() && letters.need().is_everything(), "{content}");
        let trouble = letters.trouble().unwrap_or_default();
        assert!(trouble.contains(path.to_str().unwrap()), "{content}: {trouble}");
        // It is mended.
        ground.letter(9, &pointer("orders", 1, 1));
        look(&ground, &mut letters);
        assert!(letters.are_known() && letters.trouble().is_none(), "{content}");
    }
}

#[test]
fn cut_letters_and_what_is_no_file_hold_everything_and_other_names_nothing() {
    for ground in Ground::all() {
        let directory = ground.share.layout.dead(&ground.writer);
        fs::create_dir_all(&directory).unwrap();
        for name in ["damage-1-1-160.json", "README", "x.json", "1-2.json", "a.tmp"] {
            fs::write(directory.join(name), "?").unwrap();
        }
        let mut letters = Letters::default();
        look(&ground, &mut letters);
        assert!(letters.are_known());
        let name = zoutbox_format::layout::dead_letter_name(Epoch::FIRST, Sequence::FIRST);
        fs::create_dir(directory.join(&name)).unwrap();
        look(&ground, &mut letters);
        assert!(letters.need().is_everything() && letters.trouble().is_some());
        fs::remove_dir(directory.join(&name)).unwrap();
        let whole = pointer_text();
        for length in 0..whole.len() {
            fs::write(directory.join(&name), &whole[..length]).unwrap();
            look(&ground, &mut letters);
            assert!(letters.need().is_everything(), "{length}");
        }
        fs::write(directory.join(&name), whole).unwrap();
        look(&ground, &mut letters);
        assert_eq!(letters.need().lowest(), Some(segment(1, 1)));
    }
}

fn pointer_text() -> String {
    json!({ "pointer": { "writer": "orders", "epoch": 1, "segment_first": 1 } }).to_string()
}

#[test]
fn so_many_letters_that_they_are_read_in_parts_hold_everything_until_all_are_read() {
    let ground = Ground::quick();
    let count = READ_AT_ONCE as u64 + 10;
    (1..=count).for_each(|sequence| drop(ground.letter(sequence, &json!({ "record": {} }))));
    let mut letters = Letters::default();
    look(&ground, &mut letters);
    assert!(!letters.are_known() && letters.need().is_everything() && letters.trouble().is_none());
    look(&ground, &mut letters);
    assert!(letters.are_known() && letters.need() == Need::nothing());
}
