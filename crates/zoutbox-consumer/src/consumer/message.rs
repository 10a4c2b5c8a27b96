//! Messages as lapin has them, to and fro.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use zoutbox_format::pointer::POINTER_CONTENT_TYPE;
use zoutbox_format::{Pointer, RecordId, SegmentId, message};

use crate::message::{HeaderValue, Message};
use crate::resolver::Resolved;

/// Why it was set aside.
pub(super) const REASON: &str = "zoutbox-parked-reason";
/// The routing key that it came with first.
pub(super) const TOPIC: &str = "zoutbox-parked-topic";
/// Headers by which a broker would send copies elsewhere.
const COPIES: [&str; 2] = ["CC", "BCC"];
/// A reason has to fit into a frame with the other headers.
const MOST_REASON: usize = 512;
/// Beyond that a frame (131,072 bytes unless the broker wants less) may have no room for our notes and the other properties.
const MOST_HEADERS: usize = 120_000;
const PERSISTENT: u8 = 2;

/// A message that came, and how to answer it.
#[derive(Debug)]
pub(super) struct Delivered {
    /// Its number, of all that came.
    pub(super) number: u64,
    /// The connection that it came by.
    pub(super) link: u64,
    /// Its number there.
    pub(super) tag: u64,
    pub(super) routing_key: String,
    pub(super) properties: BasicProperties,
    pub(super) body: Vec<u8>,
}

/// What is published, whole.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) properties: BasicProperties,
    pub(super) body: Vec<u8>,
}

impl Delivered {
    /// Which record it says that it brings. Nobody has checked that.
    pub(super) fn record(&self) -> Option<RecordId> {
        self.properties.message_id().as_ref()?.as_str().parse().ok()
    }

    /// Its pointer, if it is one to the records that it says.
    pub(super) fn pointer(&self) -> Option<Pointer> {
        let says_so = self.properties.content_type().as_ref()?.as_str() == POINTER_CONTENT_TYPE;
        let pointer = says_so.then(|| Pointer::decode(&self.body).ok()).flatten()?;
        (Some(pointer.first()) == self.record()).then_some(pointer)
    }

    /// The segment that its pointer says.
    pub(super) fn segment(&self) -> Option<SegmentId> {
        self.pointer().map(|pointer| pointer.segment)
    }

    /// What it is called in messages to people.
    pub(super) fn name(&self) -> String {
        match self.properties.message_id() {
            Some(id) => one_line(id.as_str(), 160),
            None => "a message without an id".to_owned(),
        }
    }

    pub(super) fn message(&self) -> Message {
        let properties = &self.properties;
        let text = |text: &Option<ShortString>| text.as_ref().map(ToString::to_string);
        let mut message = Message {
            topic: self.routing_key.clone(),
            message_id: text(properties.message_id()),
            content_type: text(properties.content_type()),
            timestamp_s: *properties.timestamp(),
            body: self.body.clone(),
            ..Message::default()
        };
        let headers = properties.headers().iter().flat_map(FieldTable::inner);
        for (name, value) in headers {
            if let Some(value) = header(value) {
                message.headers.insert(name.to_string(), value);
            }
        }
        if let Some(HeaderValue::Text(topic)) = message.headers.get(TOPIC) {
            message.topic.clone_from(topic);
        }
        message
    }

    /// The message as it is, to be set aside.
    pub(super) fn whole(&self, reason: &str) -> Outgoing {
        let headers = self.properties.headers().clone().unwrap_or_default();
        // What was set aside before keeps the topic that it had.
        let topic = match headers.inner().get(TOPIC) {
            Some(AMQPValue::LongString(topic)) => String::from_utf8_lossy(topic.as_bytes()).into_owned(),
            _ => self.routing_key.clone(),
        };
        let properties = noted(&self.properties, headers, reason, &topic);
        Outgoing { properties, body: self.body.clone() }
    }

    /// One record of those that it brought, to be set aside: as a message of its own, if it brought more.
    pub(super) fn single(&self, record: &Resolved<'_>, of: usize, reason: &str) -> Outgoing {
        let Some(pointer) = record.pointer.as_ref().filter(|_| of > 1) else { return self.whole(reason) };
        let id = &record.identity.record;
        let mut table = FieldTable::default();
        for (name, value) in &record.headers {
            // The format's limits keep names below 256 bytes.
            if let Ok(name) = ShortString::try_new(*name) {
                table.insert(name, text(value));
            }
        }
        table.insert(message::SHARE.into(), text(&record.identity.share.to_string()));
        table.insert(message::WRITER.into(), text(id.writer.as_str()));
        table.insert(message::EPOCH.into(), integer(id.epoch.get()));
        table.insert(message::SEQUENCE.into(), integer(id.sequence.get()));
        table.insert(message::TIMESTAMP_MS.into(), integer(record.timestamp_ms));
        table.insert(message::POINTER.into(), integer(1));
        for (name, value) in [(message::KEY, record.key), (message::ID, record.id)] {
            if let Some(value) = value {
                table.insert(name.into(), text(value));
            }
        }
        let mut properties = BasicProperties::default()
            .with_content_type(POINTER_CONTENT_TYPE.into())
            .with_timestamp(record.timestamp_ms / 1000);
        if let Ok(id) = ShortString::try_new(id.to_string()) {
            properties = properties.with_message_id(id);
        }
        Outgoing { properties: noted(&properties, table, reason, record.topic), body: pointer.encode() }
    }

    /// The message as it is, to be brought back. Why it was set aside stays on it, for people.
    pub(super) fn again(&self) -> Outgoing {
        let headers = self.properties.headers().clone().unwrap_or_default();
        Outgoing { properties: durable(&self.properties, &headers), body: self.body.clone() }
    }
}

/// With our notes, if they fit: properties are one frame, and one that is too large ends the connection. No relay publishes
/// headers that leave no room; what somebody else did is then set aside as it is.
fn noted(
    properties: &BasicProperties,
    mut headers: FieldTable,
    reason: &str,
    topic: &str,
) -> BasicProperties {
    if size(&headers) > MOST_HEADERS {
        return durable(properties, &headers);
    }
    headers.insert(REASON.into(), text(&one_line(reason, MOST_REASON)));
    headers.insert(TOPIC.into(), text(topic));
    durable(properties, &headers)
}

/// Without what could make the broker refuse it, send it elsewhere, or forget it: a user's id, copies, a time to live.
fn durable(properties: &BasicProperties, headers: &FieldTable) -> BasicProperties {
    let mut own = headers.inner().clone();
    own.retain(|name, _| !COPIES.contains(&name.as_str()));
    let headers = FieldTable::from(own);
    let mut kept = BasicProperties::default().with_headers(headers).with_delivery_mode(PERSISTENT);
    if let Some(value) = properties.content_type() {
        kept = kept.with_content_type(value.clone());
    }
    if let Some(value) = properties.content_encoding() {
        kept = kept.with_content_encoding(value.clone());
    }
    if let Some(value) = properties.priority() {
        kept = kept.with_priority(*value);
    }
    if let Some(value) = properties.correlation_id() {
        kept = kept.with_correlation_id(value.clone());
    }
    if let Some(value) = properties.reply_to() {
        kept = kept.with_reply_to(value.clone());
    }
    if let Some(value) = properties.message_id() {
        kept = kept.with_message_id(value.clone());
    }
    if let Some(value) = properties.timestamp() {
        kept = kept.with_timestamp(*value);
    }
    if let Some(value) = properties.kind() {
        kept = kept.with_type(value.clone());
    }
    if let Some(value) = properties.app_id() {
        kept = kept.with_app_id(value.clone());
    }
    kept
}

/// At most so many bytes of a frame.
fn size(headers: &FieldTable) -> usize {
    headers.inner().iter().map(|(name, value)| 1 + name.as_str().len() + size_of_value(value)).sum()
}

fn size_of_value(value: &AMQPValue) -> usize {
    const SIMPLE: usize = 10;
    match value {
        AMQPValue::LongString(text) => SIMPLE + text.as_bytes().len(),
        AMQPValue::ShortString(text) => SIMPLE + text.as_str().len(),
        AMQPValue::ByteArray(bytes) => SIMPLE + bytes.as_slice().len(),
        AMQPValue::FieldArray(values) => SIMPLE + values.as_slice().iter().map(size_of_value).sum::<usize>(),
        AMQPValue::FieldTable(table) => SIMPLE + size(table),
        _ => SIMPLE,
    }
}

fn header(value: &AMQPValue) -> Option<HeaderValue> {
    Some(match value {
        AMQPValue::LongString(text) => HeaderValue::Text(String::from_utf8(text.as_bytes().to_vec()).ok()?),
        AMQPValue::ShortString(text) => HeaderValue::Text(text.to_string()),
        AMQPValue::ShortShortInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::ShortShortUInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::ShortInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::ShortUInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::LongInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::LongUInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::LongLongInt(number) => HeaderValue::Integer(*number),
        _ => return None,
    })
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}

fn integer(number: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX))
}

/// A text from elsewhere as one line of at most `most` bytes, for headers, rows and logs.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let mut line = String::with_capacity(text.len().min(most));
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let space = usize::from(!line.is_empty());
        for (index, c) in word.chars().enumerate() {
            let before = if index == 0 { space } else { 0 };
            if line.len() + before + c.len_utf8() > most {
                return line;
            }
            if before == 1 {
                line.push(' ');
            }
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_and_bounded() {
        assert_eq!(one_line("  a\n\tb\u{0}c  d ", 100), "a b c d");
        assert_eq!(one_line("ab cd", 3), "ab");
        assert_eq!(one_line("aé", 2), "a");
        assert_eq!(one_line(&"x".repeat(10_000), 512).len(), 512);
    }

    #[test]
    fn what_is_set_aside_is_sent_nowhere_else_and_never_forgotten() {
        let mut headers = FieldTable::default();
        headers.insert("CC".into(), text("elsewhere"));
        headers.insert("own".into(), text("x"));
        let properties = BasicProperties::default()
            .with_expiration("1".into())
            .with_user_id("somebody".into())
            .with_delivery_mode(1)
            .with_app_id("app".into())
            .with_headers(headers);
        let (routing_key, body) = ("topic".to_owned(), b"body".to_vec());
        let delivered = Delivered { number: 1, link: 1, tag: 1, routing_key, properties, body };
        let first = delivered.whole("why\nthat");
        let headers = first.properties.headers().clone().unwrap_or_default();
        assert_eq!(headers.inner().get("CC"), None);
        assert_eq!(headers.inner().get("own"), Some(&text("x")));
        assert_eq!(headers.inner().get(REASON), Some(&text("why that")));
        assert_eq!((first.properties.expiration(), first.properties.user_id()), (&None, &None));
        assert_eq!(*first.properties.delivery_mode(), Some(PERSISTENT));
        assert_eq!(first.properties.app_id().as_ref().map(ShortString::as_str), Some("app"));

        let properties = first.properties;
        let back = Delivered { routing_key: "queue".into(), properties, ..delivered };
        assert_eq!(back.message().topic, "topic");
        let second = back.whole("again").properties.headers().clone().unwrap_or_default();
        assert_eq!(second.inner().get(TOPIC), Some(&text("topic")), "the first topic, not the queue");
    }
}
