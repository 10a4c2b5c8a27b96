//! A bit of a message is flipped, each one in turn: it never leads to other records than the right ones.

use std::collections::BTreeMap;

use zoutbox_consumer::{HeaderValue, Message, Resolver};
use zoutbox_test_support::{Fault, Hits};

use crate::ground::{Ground, carry, ground, named, owned, varied};

/// All that differ from `text` in one bit and are texts as well.
fn flipped(text: &str) -> Vec<String> {
    let flip = |bit: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        String::from_utf8(bytes).ok()
    };
    (0..text.len() * 8).filter_map(flip).collect()
}

fn each_header(message: &Message) -> Vec<Message> {
    let mut all = Vec::new();
    for (name, value) in &message.headers {
        let mut with = |name: &String, value: HeaderValue| {
            let mut headers: BTreeMap<_, _> = message.headers.clone();
            headers.insert(name.clone(), value);
            all.push(Message { headers, ..message.clone() });
        };
        match value {
            HeaderValue::Text(text) => {
                for text in flipped(text) {
                    with(name, HeaderValue::Text(text));
                }
            }
            HeaderValue::Integer(number) => {
                (0..64).for_each(|bit| with(name, HeaderValue::Integer(number ^ (1 << bit))));
            }
        }
        for other in flipped(name) {
            let mut headers = message.headers.clone();
            let value = headers.remove(name).unwrap();
            headers.insert(other, value);
            all.push(Message { headers, ..message.clone() });
        }
    }
    all
}

/// Records of the same content lie wherever a flipped bit may lead: other writers, epochs, segments.
fn twins(ground: &Ground) {
    let records = varied(6);
    let writers = flipped("orders");
    for writer in writers.iter().filter(|name| name.parse::<zoutbox_format::WriterId>().is_ok()) {
        ground.lay(&ground.draft(writer, 1, 1).records(&records).seal(), true);
    }
    for (epoch, first) in [(1, 1), (3, 1), (1, 3), (1, 5), (5, 1), (9, 1)] {
        ground.lay(&ground.draft("orders", epoch, first).records(&records).seal(), true);
    }
}

#[test]
fn no_flipped_bit_leads_to_other_records() {
    let ground = ground();
    twins(&ground);
    let records = varied(6);
    let draft = ground.draft("orders", 1, 1).records(&records);
    let message = carry(&draft.pointer(2..4));
    let right = named("orders", 3, &records[2..4]);
    let mut resolver = ground.resolver();
    assert_eq!(owned(&resolver.resolve(message.clone()).unwrap()), right);

    let mut all = each_header(&message);
    for bit in 0..message.body.len() * 8 {
        let mut body = message.body.clone();
        body[bit / 8] ^= 1 << (bit % 8);
        all.push(Message { body, ..message.clone() });
    }
    let with_id = |id| Message { message_id: Some(id), ..message.clone() };
    all.extend(flipped(message.message_id.as_ref().unwrap()).into_iter().map(with_id));
    let with_type = |kind| Message { content_type: Some(kind), ..message.clone() };
    all.extend(flipped(message.content_type.as_ref().unwrap()).into_iter().map(with_type));
    all.extend(flipped(&message.topic).into_iter().map(|topic| Message { topic, ..message.clone() }));

    let (mut refused, mut harmless) = (0, 0);
    for flipped in all {
        match resolve(&mut resolver, &flipped) {
            None => refused += 1,
            Some(found) => {
                assert_eq!(found, right, "{flipped:?}");
                harmless += 1;
            }
        }
    }
    // What is flipped in what only describes the message does no harm; most of it does.
    assert!(refused > 1000 && harmless > 100, "{refused} refused, {harmless} harmless");
    Fault::new(
        "resolver",
        Hits::Bytes,
        "a flipped bit in a message",
        "every bit in turn, with records of the same content wherever it may lead",
    )
    .held(refused + harmless, format!("{refused} refused, {harmless} harmless, none led to other records"));
}

fn resolve(resolver: &mut Resolver, message: &Message) -> Option<Vec<(String, zoutbox_format::Record)>> {
    resolver.resolve(message.clone()).ok().map(|records| owned(&records))
}

#[test]
fn no_flipped_bit_of_the_segment_leads_to_other_records() {
    let ground = ground();
    let records = varied(3);
    let draft = ground.draft("orders", 1, 1).records(&records).seal();
    let message = carry(&draft.pointer(0..3));
    let right = named("orders", 1, &records);
    let mut passed = 0;
    for bit in 0..draft.bytes.len() * 8 {
        let mut flipped = draft.clone();
        flipped.bytes[bit / 8] ^= 1 << (bit % 8);
        ground.lay(&flipped, true);
        if let Some(found) = resolve(&mut ground.resolver(), &message) {
            assert_eq!(found, right, "bit {bit}");
            passed += 1;
        }
    }
    assert_eq!(passed, 44 * 8, "the seal is nobody's record, everything else is noticed");
    Fault::new(
        "resolver",
        Hits::Disk,
        "a flipped bit in a segment that a message leads to",
        "every bit in turn",
    )
    .held(draft.bytes.len() * 8, "noticed, or nobody's record; none led to other records");
}
