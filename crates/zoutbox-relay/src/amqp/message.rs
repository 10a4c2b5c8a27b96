//! A record, or a pointer to records, as an AMQP message: what FORMAT.md says under "Messages".
//!
//! | AMQP | inline | pointer |
//! |---|---|---|
//! | routing key | topic | the same |
//! | `message_id` | `writer/epoch/sequence` | of the first record |
//! | `delivery_mode` | 2 (persistent) | the same |
//! | `content_type` | the record's | `application/vnd.zoutbox.pointer` |
//! | `timestamp` | timestamp, in whole seconds (AMQP 0-9-1 has no finer) | of the first record |
//! | `zoutbox-share` | share id, long string | the same |
//! | `zoutbox-writer` | writer id, long string | the same |
//! | `zoutbox-epoch`, `zoutbox-seq` | epoch, sequence: 64-bit integers | of the first record |
//! | `zoutbox-timestamp-ms` | timestamp in milliseconds, 64-bit integer | of the first record |
//! | `zoutbox-key`, `zoutbox-id` | key and the application's id, if the record has them, long strings | only of one alone |
//! | other headers | the record's, long strings; those of a large payload too | only of one alone |
//! | `zoutbox-pointer` | | how many records, 64-bit integer |
//! | body | payload | the pointer |

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use zoutbox_format::pointer::POINTER_CONTENT_TYPE;
use zoutbox_format::{RecordRef, message};
use zoutbox_relay_core::Run;

use crate::publisher::{Content, Outgoing, Undeliverable};

pub(super) struct Message {
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) payload: Bytes,
}

impl Message {
    pub(super) fn new(outgoing: &Outgoing) -> Result<Self, Undeliverable> {
        match &outgoing.content {
            Content::Record(body) => Self::inline(outgoing, body),
            Content::Run(run) => Self::pointer(outgoing, run),
        }
    }

    fn inline(outgoing: &Outgoing, body: &Bytes) -> Result<Self, Undeliverable> {
        let record =
            RecordRef::decode(body).map_err(|error| Undeliverable::Undecodable(error.to_string()))?;
        let headers = record.headers.0.iter().copied();
        let headers = own_headers(record.key, record.id, headers)?;
        let properties = properties(outgoing, record.timestamp_ms, record.content_type, headers)?;
        let payload = body.slice_ref(record.payload());
        Ok(Self { routing_key: short(record.topic)?, properties, payload })
    }

    fn pointer(outgoing: &Outgoing, run: &Run) -> Result<Self, Undeliverable> {
        let mut headers = match &run.head {
            Some(head) => {
                let headers = head.headers.iter().map(|(name, value)| (&**name, &**value));
                own_headers(head.key.as_deref(), head.id.as_deref(), headers)?
            }
            None => FieldTable::default(),
        };
        headers.insert(message::POINTER.into(), integer(run.count.into()));
        let properties = properties(outgoing, run.timestamp_ms, Some(POINTER_CONTENT_TYPE), headers)?;
        let pointer = run.pointer(outgoing.share, outgoing.id.writer.clone());
        Ok(Self { routing_key: short(&*run.topic)?, properties, payload: pointer.encode().into() })
    }
}

/// What a record says of itself besides its payload.
fn own_headers<'a>(
    key: Option<&str>,
    application_id: Option<&str>,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<FieldTable, Undeliverable> {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert(short(name)?, text(value));
    }
    if let Some(key) = key {
        table.insert(message::KEY.into(), text(key));
    }
    if let Some(application_id) = application_id {
        table.insert(message::ID.into(), text(application_id));
    }
    Ok(table)
}

/// What every message says.
fn properties(
    outgoing: &Outgoing,
    timestamp_ms: u64,
    content_type: Option<&str>,
    mut headers: FieldTable,
) -> Result<BasicProperties, Undeliverable> {
    let Outgoing { share, id, .. } = outgoing;
    headers.insert(message::SHARE.into(), text(&share.to_string()));
    headers.insert(message::WRITER.into(), text(id.writer.as_str()));
    headers.insert(message::EPOCH.into(), integer(id.epoch.get()));
    headers.insert(message::SEQUENCE.into(), integer(id.sequence.get()));
    headers.insert(message::TIMESTAMP_MS.into(), integer(timestamp_ms));
    let properties = BasicProperties::default()
        .with_message_id(short(id.to_string())?)
        .with_delivery_mode(2)
        .with_timestamp(timestamp_ms / 1000)
        .with_headers(headers);
    Ok(match content_type {
        Some(content_type) => properties.with_content_type(short(content_type)?),
        None => properties,
    })
}

/// The format's limits keep everything below AMQP's 255 bytes; a text that is longer all the same must not panic the relay.
fn short(text: impl Into<String>) -> Result<ShortString, Undeliverable> {
    ShortString::try_new(text).map_err(|error| Undeliverable::Undecodable(error.to_string()))
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}

fn integer(number: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use zoutbox_format::checkpoint::Position;
    use zoutbox_format::{
        Hour, PayloadName, PayloadReference, Pointer, Record, RecordId, SegmentId, Sequence, ShareId,
    };
    use zoutbox_relay_core::{Head, Key};

    fn outgoing(content: Content) -> Outgoing {
        let id: RecordId = "orders/3/42".parse().expect("valid");
        Outgoing { share: ShareId::from_bytes([0xAB; 16]), id, content }
    }

    fn inline(body: Vec<u8>) -> Message {
        Message::new(&outgoing(Content::Record(body.into()))).unwrap_or_else(|error| panic!("{error}"))
    }

    fn run(count: u32, head: Option<Head>) -> Run {
        let id: RecordId = "orders/3/42".parse().expect("valid");
        let segment = SegmentId { epoch: id.epoch, first_sequence: Sequence::new(40) };
        Run {
            first: Key { epoch: id.epoch, sequence: id.sequence },
            segment,
            offset: 4711,
            length: 1000,
            count,
            crc: 0xC0FF_EE00,
            after: Position { segment, offset: 5711, next_sequence: Sequence::new(42 + u64::from(count)) },
            topic: "orders.created".into(),
            timestamp_ms: 1_700_000_000_123,
            head,
        }
    }

    fn headers(message: &Message) -> Vec<(String, AMQPValue)> {
        let headers = message.properties.headers().clone().unwrap_or_default();
        headers.inner().iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
    }

    /// Those of every message, and more.
    fn expected(more: &[(&str, AMQPValue)]) -> Vec<(String, AMQPValue)> {
        let always = [
            ("zoutbox-epoch", integer(3)),
            ("zoutbox-seq", integer(42)),
            ("zoutbox-share", text("abababababababababababababababab")),
            ("zoutbox-timestamp-ms", integer(1_700_000_000_123)),
            ("zoutbox-writer", text("orders")),
        ];
        let all = always.iter().chain(more);
        let mut all: Vec<_> = all.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    #[track_caller]
    fn assert_properties(message: &Message, content_type: Option<&str>) {
        let properties = &message.properties;
        assert_eq!(message.routing_key.as_str(), "orders.created");
        assert_eq!(properties.message_id().as_ref().map(ShortString::as_str), Some("orders/3/42"));
        assert_eq!((*properties.delivery_mode(), *properties.timestamp()), (Some(2), Some(1_700_000_000)));
        assert_eq!(properties.content_type().as_ref().map(ShortString::as_str), content_type);
    }

    #[test]
    fn a_record_becomes_a_message_as_documented() {
        let record =
            Record::new("orders.created", vec![0, 159, 146]).key("c-4").id("app-1").header("trace", "x");
        let mut body = Vec::new();
        record.borrowed(1_700_000_000_123).encode(&mut body).expect("valid");
        let message = inline(body);
        assert_properties(&message, None);
        assert_eq!(&message.payload[..], [0, 159, 146]);
        let more = [("trace", text("x")), ("zoutbox-id", text("app-1")), ("zoutbox-key", text("c-4"))];
        assert_eq!(headers(&message), expected(&more));
    }

    #[test]
    fn a_record_with_a_large_payload_names_it_and_has_no_body() {
        let name = PayloadName::new("orders".parse().expect("valid"), Hour::of(0), "scan").expect("valid");
        let large = PayloadReference { name, size: 5_000_000_000, crc: 0xAB };
        let record = Record::new("orders.created", "").content_type("image/tiff");
        let mut body = Vec::new();
        record.borrowed(1_700_000_000_123).encode_with(&large, &mut body).expect("valid");
        let message = inline(body);
        assert_properties(&message, Some("image/tiff"));
        assert!(message.payload.is_empty());
        let more = [
            ("zoutbox-payload-crc", text("000000ab")),
            ("zoutbox-payload-path", text("payloads/orders/1970/01/01/00/scan")),
            ("zoutbox-payload-size", text("5000000000")),
        ];
        assert_eq!(headers(&message), expected(&more));
    }

    #[test]
    fn a_record_that_is_pointed_to_keeps_its_headers_and_leaves_its_payload_where_it_is() {
        let head = Head {
            key: Some("c-4".into()),
            id: Some("app-1".into()),
            headers: vec![("trace".into(), "x".into())],
        };
        let run = Arc::new(run(1, Some(head)));
        let message =
            Message::new(&outgoing(Content::Run(Arc::clone(&run)))).unwrap_or_else(|error| panic!("{error}"));
        assert_properties(&message, Some("application/vnd.zoutbox.pointer"));
        let more = [
            ("trace", text("x")),
            ("zoutbox-id", text("app-1")),
            ("zoutbox-key", text("c-4")),
            ("zoutbox-pointer", integer(1)),
        ];
        assert_eq!(headers(&message), expected(&more));
        assert!(message.payload.len() < 200);
        let pointer = Pointer::decode(&message.payload).expect("a pointer");
        assert_eq!(
            (pointer.share, pointer.first().to_string()),
            (ShareId::from_bytes([0xAB; 16]), "orders/3/42".into())
        );
        assert_eq!((pointer.offset, pointer.length, pointer.crc), (run.offset, run.length, run.crc));
    }

    #[test]
    fn a_pointer_to_many_says_how_many() {
        let message = Message::new(&outgoing(Content::Run(Arc::new(run(27, None)))));
        let message = message.unwrap_or_else(|error| panic!("{error}"));
        assert_properties(&message, Some("application/vnd.zoutbox.pointer"));
        assert_eq!(headers(&message), expected(&[("zoutbox-pointer", integer(27))]));
        assert_eq!(Pointer::decode(&message.payload).map(|pointer| pointer.count), Ok(27));
    }

    #[test]
    fn a_body_that_is_no_record_is_undeliverable() {
        let message = Message::new(&outgoing(Content::Record(Bytes::from_static(b"\xC1"))));
        assert!(matches!(message, Err(Undeliverable::Undecodable(_))));
    }
}
