//! A message as any AMQP client got it: what the resolver needs of it, and nothing of the client.

use std::collections::BTreeMap;

/// The value of a header, of the AMQP types that zoutbox uses. Headers of other types are left out by whoever makes a [`Message`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// A long or short string that is UTF-8.
    Text(String),
    /// An integer of any width.
    Integer(i64),
}

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The routing key.
    pub topic: String,
    /// The property `message_id`.
    pub message_id: Option<String>,
    /// The property `content_type`.
    pub content_type: Option<String>,
    /// The property `timestamp`, in seconds since 1970-01-01 UTC.
    pub timestamp_s: Option<u64>,
    /// The headers.
    pub headers: BTreeMap<String, HeaderValue>,
    /// The body.
    pub body: Vec<u8>,
}
