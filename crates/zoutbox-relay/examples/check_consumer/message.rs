//! From what lapin delivers to what the resolver takes, and how large it is.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use zoutbox_consumer::{HeaderValue, Message};

/// The message, with the headers that have a type of zoutbox's.
pub(crate) fn message(delivery: &Delivery) -> Message {
    let properties = &delivery.properties;
    let text = |text: &Option<ShortString>| text.as_ref().map(ToString::to_string);
    let header = |(name, value): (&ShortString, &AMQPValue)| {
        let value = match value {
            AMQPValue::LongString(text) => {
                HeaderValue::Text(std::str::from_utf8(text.as_bytes()).ok()?.to_owned())
            }
            AMQPValue::LongLongInt(number) => HeaderValue::Integer(*number),
            _ => return None,
        };
        Some((name.to_string(), value))
    };
    Message {
        topic: delivery.routing_key.to_string(),
        message_id: text(properties.message_id()),
        content_type: text(properties.content_type()),
        timestamp_s: *properties.timestamp(),
        headers: properties.headers().iter().flat_map(FieldTable::inner).filter_map(header).collect(),
        body: delivery.data.clone(),
    }
}

/// How many bytes of AMQP are this message's own: its body, its properties and headers, and its routing key. The frames around them come
/// on top, and so does what the broker keeps for itself.
pub(crate) fn size(delivery: &Delivery) -> u64 {
    let length =
        delivery.data.len() + properties(&delivery.properties) + 1 + delivery.routing_key.as_str().len();
    length as u64
}

/// Those that a relay sets, as AMQP 0-9-1 encodes them: two bytes say which are there.
fn properties(properties: &BasicProperties) -> usize {
    let short = |text: &Option<ShortString>| text.as_ref().map_or(0, |text| 1 + text.as_str().len());
    let table = |table: &FieldTable| 4 + table.inner().iter().map(header).sum::<usize>();
    2 + short(properties.content_type())
        + properties.headers().as_ref().map_or(0, table)
        + usize::from(properties.delivery_mode().is_some())
        + short(properties.message_id())
        + properties.timestamp().map_or(0, |_| 8)
}

/// A name, a type, and a value.
fn header((name, value): (&ShortString, &AMQPValue)) -> usize {
    let value = match value {
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::LongLongInt(_) | AMQPValue::Timestamp(_) => 8,
        // No relay sets others; a broker may.
        _ => 4,
    };
    1 + name.as_str().len() + 1 + value
}
