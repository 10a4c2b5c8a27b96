//! Whatever comes: no panic, and never more than was asked for.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use zoutbox_consumer::{HeaderValue, Message, Pointer, Resolver};
use zoutbox_format::Sequence;

use crate::ground::{carry, ground, named, owned, varied};

fn value() -> impl Strategy<Value = HeaderValue> {
    prop_oneof![
        ".{0,40}".prop_map(HeaderValue::Text),
        any::<i64>().prop_map(HeaderValue::Integer),
        (-2_i64..5).prop_map(HeaderValue::Integer),
    ]
}

fn name() -> impl Strategy<Value = String> {
    const OURS: &[&str] = &[
        "share",
        "writer",
        "epoch",
        "seq",
        "timestamp-ms",
        "key",
        "id",
        "pointer",
        "payload-path",
        "payload-size",
    ];
    prop_oneof![prop::sample::select(OURS).prop_map(|name| format!("zoutbox-{name}")), "[a-z-]{0,20}",]
}

fn message() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![Just("application/vnd.zoutbox.pointer".to_owned()), ".{0,20}"];
    let id = prop_oneof!["[a-z]{1,5}/[0-9]{1,3}/[0-9]{1,3}", ".{0,20}"];
    (
        ".{0,20}",
        option::of(id),
        option::of(kind),
        option::of(any::<u64>()),
        btree_map(name(), value(), 0..9),
        vec(any::<u8>(), 0..220),
    )
        .prop_map(|(topic, message_id, content_type, timestamp_s, headers, body)| Message {
            topic,
            message_id,
            content_type,
            timestamp_s,
            headers,
            body,
        })
}

proptest! {
    #[test]
    fn no_message_makes_the_resolver_panic(messages in vec(message(), 1..20)) {
        let ground = ground();
        let mut resolvers = [ground.resolver(), Resolver::inline_only(None)];
        for message in messages {
            for resolver in &mut resolvers {
                if let Ok(records) = resolver.resolve(message.clone()) {
                    prop_assert_eq!(records.iter().count(), records.len());
                }
            }
        }
    }

    /// The pointer's own CRC is right, whatever it leads to; so only the frames can tell.
    #[test]
    fn forged_pointers_into_damaged_segments_give_right_records_or_none(
        offset in 100_u64..900, length in 0_u32..900, count in 0_u32..7, sequence in 1_u64..8,
        aligned in any::<(prop::sample::Index, prop::sample::Index)>(), align: bool,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3), sealed: bool,
    ) {
        let ground = ground();
        let records = varied(6);
        let draft = ground.draft("orders", 1, 1).records(&records).seal();
        let mut damaged = draft.clone();
        for (at, byte) in changes {
            let at = 160 + at.index(draft.bytes.len() - 160);
            damaged.bytes[at] = byte;
        }
        ground.lay(&damaged, sealed);
        let (start, end) = (aligned.0.index(6), aligned.1.index(6));
        let mut pointer = if align && start <= end { draft.pointer(start..end + 1) } else {
            Pointer { offset, length, count, sequence: Sequence::new(sequence), ..draft.pointer(0..1) }
        };
        let from = usize::try_from(pointer.offset).unwrap();
        if let Some(bytes) = damaged.bytes.get(from..from + pointer.length as usize) {
            pointer.crc = crc32fast::hash(bytes);
        }
        if let Ok(found) = ground.resolve(&carry(&pointer)) {
            let first = usize::try_from(pointer.sequence.get()).unwrap();
            let end = first - 1 + pointer.count as usize;
            prop_assert_eq!(owned(&found), named("orders", first, &records[first - 1..end]));
        }
    }

    #[test]
    fn an_inline_message_comes_through_whatever_its_texts_are(
        topic in ".{0,40}", key in option::of(".{0,40}"), body in vec(any::<u8>(), 0..100),
        headers in btree_map("[a-y]{1,10}", ".{0,20}", 0..5),
    ) {
        let ground = ground();
        let record = zoutbox_format::Record {
            topic, key, payload: body, timestamp_ms: Some(5),
            headers: headers.clone().into_iter().collect::<BTreeMap<_, _>>().into_iter().collect(),
            ..zoutbox_format::Record::default()
        };
        let found = ground.resolve(&ground.inline("orders/1/1", &record)).unwrap();
        prop_assert_eq!(owned(&found), named("orders", 1, &[record]));
    }
}
