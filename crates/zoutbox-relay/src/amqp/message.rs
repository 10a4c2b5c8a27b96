//! A record as an AMQP message.
//!
//! | AMQP | from the record |
//! |---|---|
//! | routing key | topic |
//! | `message_id` | `writer/epoch/sequence` |
//! | `delivery_mode` | 2 (persistent) |
//! | `content_type` | content type |
//! | `timestamp` | timestamp, in whole seconds (AMQP 0-9-1 has no finer) |
//! | headers | the record's headers as long strings, and: |
//! | `zoutbox-writer` | writer id, long string |
//! | `zoutbox-epoch`, `zoutbox-seq` | epoch, sequence: 64-bit integers |
//! | `zoutbox-timestamp-ms` | timestamp in milliseconds, 64-bit integer |
//! | `zoutbox-key`, `zoutbox-id` | key and the application's id, if the record has them, long strings |

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use zoutbox_format::record::Headers;
use zoutbox_format::{RecordId, RecordRef};

use crate::publisher::{Outgoing, Undeliverable};

pub(super) struct Message {
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) payload: Bytes,
}

impl Message {
    pub(super) fn new(outgoing: &Outgoing) -> Result<Self, Undeliverable> {
        let record = RecordRef::decode(&outgoing.body)
            .map_err(|error| Undeliverable::Undecodable(error.to_string()))?;
        let mut properties = BasicProperties::default()
            .with_message_id(short(outgoing.id.to_string())?)
            .with_delivery_mode(2)
            .with_timestamp(record.timestamp_ms / 1000)
            .with_headers(headers(&outgoing.id, &record)?);
        if let Some(content_type) = record.content_type {
            properties = properties.with_content_type(short(content_type)?);
        }
        let payload = outgoing.body.slice_ref(record.payload());
        Ok(Self { routing_key: short(record.topic)?, properties, payload })
    }
}

fn headers(id: &RecordId, record: &RecordRef<'_>) -> Result<FieldTable, Undeliverable> {
    let mut table = FieldTable::default();
    let Headers(own) = &record.headers;
    for (name, value) in own {
        table.insert(short(*name)?, text(value));
    }
    table.insert("zoutbox-writer".into(), text(id.writer.as_str()));
    table.insert("zoutbox-epoch".into(), integer(id.epoch.get()));
    table.insert("zoutbox-seq".into(), integer(id.sequence.get()));
    table.insert("zoutbox-timestamp-ms".into(), integer(record.timestamp_ms));
    if let Some(key) = record.key {
        table.insert("zoutbox-key".into(), text(key));
    }
    if let Some(application_id) = record.id {
        table.insert("zoutbox-id".into(), text(application_id));
    }
    Ok(table)
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
    use super::*;
    use zoutbox_format::Record;

    #[test]
    fn a_record_becomes_a_message_as_documented() {
        let record =
            Record::new("orders.created", vec![0, 159, 146]).key("c-4").id("app-1").header("trace", "x");
        let mut body = Vec::new();
        record.borrowed(1_700_000_000_123).encode(&mut body).expect("valid");
        let id: RecordId = "orders/3/42".parse().expect("valid");
        let message = Message::new(&Outgoing { id, body: body.into() }).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(message.routing_key.as_str(), "orders.created");
        assert_eq!(&message.payload[..], [0, 159, 146]);
        let properties = &message.properties;
        assert_eq!(properties.message_id().as_ref().map(ShortString::as_str), Some("orders/3/42"));
        assert_eq!((*properties.delivery_mode(), *properties.timestamp()), (Some(2), Some(1_700_000_000)));
        assert_eq!(*properties.content_type(), None);
        let headers = properties.headers().clone().unwrap_or_default();
        let headers: Vec<_> = headers.inner().iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        assert_eq!(
            headers,
            [
                ("trace", text("x")),
                ("zoutbox-epoch", integer(3)),
                ("zoutbox-id", text("app-1")),
                ("zoutbox-key", text("c-4")),
                ("zoutbox-seq", integer(42)),
                ("zoutbox-timestamp-ms", integer(1_700_000_000_123)),
                ("zoutbox-writer", text("orders")),
            ]
        );
    }

    #[test]
    fn a_body_that_is_no_record_is_undeliverable() {
        let id: RecordId = "orders/3/42".parse().expect("valid");
        let message = Message::new(&Outgoing { id, body: Bytes::from_static(b"\xC1") });
        assert!(matches!(message, Err(Undeliverable::Undecodable(_))));
    }
}
