//! Inline messages: their identity is checked, and everything of the record comes through.

use zoutbox_consumer::{ErrorKind, HeaderValue, Message, Resolver};
use zoutbox_format::{Record, ShareId};

use crate::ground::{assert_refused, ground, owned, sorted, varied};

fn text(text: &str) -> HeaderValue {
    HeaderValue::Text(text.to_owned())
}

fn set(message: &Message, name: &str, value: HeaderValue) -> Message {
    let mut message = message.clone();
    message.headers.insert(name.to_owned(), value);
    message
}

fn without(message: &Message, name: &str) -> Message {
    let mut message = message.clone();
    message.headers.remove(name).unwrap();
    message
}

#[test]
fn everything_of_a_record_comes_through() {
    let ground = ground();
    for (index, record) in varied(8).into_iter().enumerate() {
        let id = format!("orders/3/{}", index + 1);
        let records = ground.resolve(&ground.inline(&id, &record)).unwrap();
        assert_eq!(records.get(0).unwrap().identity.share, ground.share);
        assert!(records.get(0).unwrap().pointer.is_none());
        assert_eq!(owned(&records), [(id, sorted(record))]);
    }
}

#[test]
fn headers_of_zoutbox_and_of_other_types_are_not_the_applications() {
    let ground = ground();
    let message = ground.inline("orders/3/42", &Record::new("t", "x").timestamp_ms(1).header("mine", "1"));
    let message = set(&message, "x-delivery-count", HeaderValue::Integer(2));
    let message = set(&message, "zoutbox-later", text("what a later relay may add"));
    let message = set(&message, "x-first-death-queue", text("orders"));
    let records = ground.resolve(&message).unwrap();
    let expected = vec![("mine", "1"), ("x-first-death-queue", "orders")];
    assert_eq!(records.get(0).unwrap().headers, expected);
}

#[test]
fn a_message_that_does_not_say_which_record_it_is_of_is_refused_by_name() {
    let ground = ground();
    let good = ground.inline("orders/3/42", &Record::new("t", "x").timestamp_ms(1));
    for name in ["zoutbox-writer", "zoutbox-epoch", "zoutbox-seq"] {
        assert_refused(&ground.refused(&without(&good, name)), ErrorKind::Invalid, name);
    }
    let cases = [
        ("zoutbox-writer", text("../orders")),
        ("zoutbox-writer", text("ORDERS\u{1b}[31m")),
        ("zoutbox-writer", HeaderValue::Integer(3)),
        ("zoutbox-epoch", text("3")),
        ("zoutbox-epoch", HeaderValue::Integer(0)),
        ("zoutbox-epoch", HeaderValue::Integer(-3)),
        ("zoutbox-seq", HeaderValue::Integer(i64::MIN)),
        ("zoutbox-share", text("not a share")),
        ("zoutbox-share", HeaderValue::Integer(1)),
        ("zoutbox-key", HeaderValue::Integer(1)),
        ("zoutbox-id", HeaderValue::Integer(1)),
        ("zoutbox-timestamp-ms", HeaderValue::Integer(-1)),
        ("zoutbox-timestamp-ms", text("1")),
    ];
    for (name, value) in cases {
        let error = ground.refused(&set(&good, name, value));
        assert_refused(&error, ErrorKind::Invalid, name);
        assert!(!error.to_string().contains('\u{1b}'), "a terminal is not for strangers: {error:?}");
    }
}

#[test]
fn headers_and_message_id_must_say_the_same() {
    let ground = ground();
    let good = ground.inline("orders/3/42", &Record::new("t", "x").timestamp_ms(1));
    for (name, value) in [
        ("zoutbox-writer", text("other")),
        ("zoutbox-epoch", HeaderValue::Integer(4)),
        ("zoutbox-seq", HeaderValue::Integer(41)),
    ] {
        assert_refused(&ground.refused(&set(&good, name, value)), ErrorKind::Invalid, "message_id");
    }
    for id in [None, Some("orders/3/43"), Some("orders/3"), Some(""), Some("orders/3/042")] {
        let message = Message { message_id: id.map(str::to_owned), ..good.clone() };
        assert_refused(&ground.refused(&message), ErrorKind::Invalid, "message_id");
    }
}

#[test]
fn a_message_of_another_share_is_refused_and_one_that_names_none_is_of_this_one() {
    let ground = ground();
    let good = ground.inline("orders/3/42", &Record::new("t", "x").timestamp_ms(1));
    let other = ShareId::from_bytes([0xAB; 16]);
    let foreign = set(&good, "zoutbox-share", text(&other.to_string()));
    assert_refused(&ground.refused(&foreign), ErrorKind::Invalid, &other.to_string());
    let nameless = without(&good, "zoutbox-share");
    let share = |resolver: &mut Resolver, message: &Message| {
        resolver.resolve(message.clone()).map(|records| records.get(0).unwrap().identity.share)
    };
    assert_eq!(share(&mut ground.resolver(), &nameless).unwrap(), ground.share);
    assert_eq!(share(&mut Resolver::inline_only(Some(other)), &nameless).unwrap(), other);
    assert!(share(&mut Resolver::inline_only(Some(other)), &good).is_err());
    assert_eq!(share(&mut Resolver::inline_only(None), &good).unwrap(), ground.share);
    assert_eq!(share(&mut Resolver::inline_only(None), &foreign).unwrap(), other);
    let error = share(&mut Resolver::inline_only(None), &nameless).unwrap_err();
    assert_refused(&error, ErrorKind::Invalid, "zoutbox-share");
}

#[test]
fn the_time_comes_from_the_property_where_the_header_is_missing() {
    let ground = ground();
    let good = ground.inline("orders/3/42", &Record::new("t", "x").timestamp_ms(1_700_000_000_123));
    let time =
        |message: &Message| ground.resolve(message).map(|records| records.get(0).unwrap().timestamp_ms);
    assert_eq!(time(&good).unwrap(), 1_700_000_000_123);
    let less = without(&good, "zoutbox-timestamp-ms");
    assert_eq!(time(&less).unwrap(), 1_700_000_000_000);
    let endless = Message { timestamp_s: Some(u64::MAX), ..less.clone() };
    assert_eq!(time(&endless).unwrap(), u64::MAX);
    let none = Message { timestamp_s: None, ..less };
    assert_refused(&time(&none).unwrap_err(), ErrorKind::Invalid, "zoutbox-timestamp-ms");
}

#[test]
fn a_payload_is_never_taken_for_a_pointer_nor_a_pointer_for_a_payload() {
    let ground = ground();
    let good = ground.inline("orders/3/42", &Record::new("t", "x").timestamp_ms(1));
    let kind = Some("application/vnd.zoutbox.pointer".to_owned());
    let no_header = Message { content_type: kind.clone(), ..good.clone() };
    assert_refused(&ground.refused(&no_header), ErrorKind::Invalid, "zoutbox-pointer is missing");
    let no_type = set(&good, "zoutbox-pointer", HeaderValue::Integer(1));
    assert_refused(&ground.refused(&no_type), ErrorKind::Invalid, "content type");
    for count in [0, -1, i64::MAX] {
        let counted = set(&no_header, "zoutbox-pointer", HeaderValue::Integer(count));
        assert_refused(&ground.refused(&counted), ErrorKind::Invalid, &count.to_string());
    }
    let no_pointer = set(&no_header, "zoutbox-pointer", HeaderValue::Integer(1));
    assert_refused(&ground.refused(&no_pointer), ErrorKind::Invalid, "not a pointer");
}
