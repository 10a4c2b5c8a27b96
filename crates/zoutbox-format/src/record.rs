//! The record: an application message, and its `MessagePack` encoding.
//!
//! A record is an array of seven: topic (str), key (str or nil), id (str or nil), timestamp (uint, ms since 1970),
//! content type (str or nil), headers (map of str to str), payload (bin).

mod decode;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_bytes::Bytes;

use crate::limits::{
    MAX_CONTENT_TYPE, MAX_HEADER_BYTES, MAX_HEADER_NAME, MAX_HEADERS, MAX_ID, MAX_KEY, MAX_PAYLOAD,
    MAX_TOPIC, RESERVED_HEADER_PREFIX,
};
use crate::payload::{CRC_HEADER, PATH_HEADER, PayloadError, PayloadReference, SIZE_HEADER};

/// Why a record can't be appended, or bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A field is longer than the format allows.
    #[error("{field} is {length} bytes long, the limit is {limit}")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A header name that only zoutbox may set.
    #[error("header '{0}' is reserved: names that start with '{RESERVED_HEADER_PREFIX}' belong to zoutbox")]
    ReservedHeader(String),
    /// A header name that is empty or stands twice.
    #[error("header name '{0}' is empty or stands twice")]
    HeaderName(String),
    /// The headers that name a large payload do not, or the record has a payload of its own besides.
    #[error("not a reference to a large payload: {0}")]
    Reference(&'static str),
    /// The bytes are no record.
    #[error("not a record: {0}")]
    Malformed(String),
}

/// A record that borrows its fields, as it is decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub struct RecordRef<'a> {
    /// Where it goes: the AMQP routing key.
    pub topic: &'a str,
    /// What it is about, for consumers that keep order per key.
    pub key: Option<&'a str>,
    /// The application's own id.
    pub id: Option<&'a str>,
    /// When it happened: milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: u64,
    /// The payload's media type.
    pub content_type: Option<&'a str>,
    /// The application's headers, in its order.
    #[cfg_attr(test, serde(borrow))]
    pub headers: Headers<'a>,
    payload: &'a Bytes,
}

impl<'a> RecordRef<'a> {
    /// The application's bytes.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Where the application's bytes lie, if they are in a file of their own; [`RecordRef::payload`] is then empty.
    #[must_use]
    pub fn large_payload(&self) -> Option<PayloadReference> {
        // Whoever made this value has checked it.
        self.reference().and_then(Result::ok).flatten()
    }

    /// Decodes a data frame's body.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] for anything that is not exactly one record, [`RecordError::TooLong`] for one
    /// beyond the limits, [`RecordError::Reference`] for one that names a large payload, and does it wrong.
    pub fn decode(body: &'a [u8]) -> Result<Self, RecordError> {
        let record = decode::decode(body)?;
        record.check()?;
        Ok(record)
    }

    /// Encodes the record into a data frame's body, which is appended to `out`.
    ///
    /// # Errors
    /// When a field is beyond its limit or a header name is not allowed; `out` is then unchanged.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        if let Some((name, _)) = self.headers.0.iter().find(|(name, _)| is_reserved(name)) {
            return Err(RecordError::ReservedHeader((*name).into()));
        }
        self.write(out)
    }

    /// As [`RecordRef::encode`], for a record whose bytes lie in a file of their own.
    ///
    /// # Errors
    /// As [`RecordRef::encode`]; [`RecordError::Reference`] when the record has a payload as well.
    pub fn encode_with(&self, large: &PayloadReference, out: &mut Vec<u8>) -> Result<(), RecordError> {
        if let Some((name, _)) = self.headers.0.iter().find(|(name, _)| is_reserved(name)) {
            return Err(RecordError::ReservedHeader((*name).into()));
        }
        let reference = large.headers();
        let mut named = self.clone();
        named.headers.0.extend(reference.iter().map(|(name, value)| (*name, value.as_str())));
        named.write(out)
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        self.check()?;
        out.reserve(self.payload.len() + self.topic.len() + 64);
        rmp_serde::encode::write(out, self).map_err(|e| RecordError::Malformed(e.to_string()))
    }

    fn check(&self) -> Result<(), RecordError> {
        within("payload", self.payload.len(), MAX_PAYLOAD)?;
        within("topic", self.topic.len(), MAX_TOPIC)?;
        within("key", self.key.map_or(0, str::len), MAX_KEY)?;
        within("id", self.id.map_or(0, str::len), MAX_ID)?;
        within("content type", self.content_type.map_or(0, str::len), MAX_CONTENT_TYPE)?;
        self.headers.check()?;
        match self.reference() {
            Some(Err(_) | Ok(None)) => {
                Err(RecordError::Reference("its three headers are not all there and sound"))
            }
            Some(Ok(Some(_))) if !self.payload.is_empty() => {
                Err(RecordError::Reference("the record has a payload of its own as well"))
            }
            _ => Ok(()),
        }
    }

    /// What the headers say of a large payload; without a reserved one, as most records are, there is nothing to look up.
    fn reference(&self) -> Option<Result<Option<PayloadReference>, PayloadError>> {
        let names_one = self.headers.0.iter().any(|(name, _)| is_reserved(name));
        names_one.then(|| PayloadReference::from_headers(|name| self.headers.get(name)))
    }
}

/// Headers in the application's order. No name stands twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers<'a>(pub Vec<(&'a str, &'a str)>);

fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_HEADER_PREFIX)
}

impl<'a> Headers<'a> {
    /// The value of the header `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }

    fn check(&self) -> Result<(), RecordError> {
        within("number of headers", self.0.len(), MAX_HEADERS)?;
        let bytes = self.0.iter().map(|(name, value)| name.len() + value.len()).sum();
        within("headers together", bytes, MAX_HEADER_BYTES)?;
        for (name, _) in &self.0 {
            within("header name", name.len(), MAX_HEADER_NAME)?;
            if is_reserved(name) && ![PATH_HEADER, SIZE_HEADER, CRC_HEADER].contains(name) {
                return Err(RecordError::ReservedHeader((*name).into()));
            }
        }
        let bad = self.0.iter().map(|(name, _)| *name).find(|name| name.is_empty()).or_else(|| self.twice());
        bad.map_or(Ok(()), |name| Err(RecordError::HeaderName(name.into())))
    }

    /// A name that stands twice. Few are compared each with each; of many, which could take long, a sorted list is made.
    fn twice(&self) -> Option<&'a str> {
        const FEW: usize = 8;
        let names = self.0.iter().map(|(name, _)| *name);
        if self.0.len() <= FEW {
            return names
                .clone()
                .enumerate()
                .find(|(at, name)| names.clone().take(*at).any(|n| n == *name))
                .map(|(_, name)| name);
        }
        let mut sorted: Vec<&str> = names.collect();
        sorted.sort_unstable();
        sorted.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first().copied())
    }
}

fn within(field: &'static str, length: usize, limit: usize) -> Result<(), RecordError> {
    if length <= limit { Ok(()) } else { Err(RecordError::TooLong { field, length, limit }) }
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A record as a producer hands it over.
///
/// ```
/// use zoutbox_format::Record;
///
/// let record = Record::new("orders.created", br#"{"order": 17}"#)
///     .key("customer-4")
///     .content_type("application/json")
///     .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
/// assert_eq!(record.topic, "orders.created");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Where it goes: the AMQP routing key, at most 255 bytes.
    pub topic: String,
    /// What it is about, at most 255 bytes.
    pub key: Option<String>,
    /// The application's own id, at most 255 bytes.
    pub id: Option<String>,
    /// When it happened, in milliseconds since 1970-01-01 UTC; the writer fills in the time of the append if `None`.
    pub timestamp_ms: Option<u64>,
    /// The payload's media type, at most 255 bytes.
    pub content_type: Option<String>,
    /// Headers for the consumer: at most 256, at most 64 KiB together.
    pub headers: Vec<(String, String)>,
    /// The bytes, at most 16 MiB.
    pub payload: Vec<u8>,
}

impl Record {
    /// A record for `topic` with `payload`.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), ..Self::default() }
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the application's id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the time, in milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn timestamp_ms(mut self, timestamp_ms: u64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// Sets the content type.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The record as it is encoded, with `now_ms` as its time if it has none of its own.
    #[must_use]
    pub fn borrowed(&self, now_ms: u64) -> RecordRef<'_> {
        RecordRef {
            topic: &self.topic,
            key: self.key.as_deref(),
            id: self.id.as_deref(),
            timestamp_ms: self.timestamp_ms.unwrap_or(now_ms),
            content_type: self.content_type.as_deref(),
            headers: Headers(self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect()),
            payload: Bytes::new(&self.payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::PayloadName;
    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_record_reads_back(
            topic in ".{0,40}", key in option::of(".{0,40}"), id in option::of(".{0,40}"),
            timestamp_ms: u64, content_type in option::of(".{0,40}"),
            headers in btree_map("[a-y]{1,20}", ".{0,40}", 0..20), payload in vec(any::<u8>(), 0..400),
        ) {
            let record = Record {
                topic, key, id, timestamp_ms: Some(timestamp_ms), content_type,
                headers: headers.into_iter().collect(), payload,
            };
            let mut body = Vec::new();
            record.borrowed(0).encode(&mut body).expect("within the limits");
            prop_assert_eq!(RecordRef::decode(&body), Ok(record.borrowed(0)));
            for length in 0..body.len() {
                prop_assert!(RecordRef::decode(&body[..length]).is_err());
            }
            body.push(0);
            prop_assert!(RecordRef::decode(&body).is_err());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(body in vec(any::<u8>(), 0..200)) {
            drop(RecordRef::decode(&body));
        }
    }

    #[test]
    fn only_zoutbox_names_a_large_payload_and_only_instead_of_a_payload() {
        let name = PayloadName::parse("payloads/orders/2023/11/14/22/a").expect("valid");
        let large = PayloadReference { name, size: 7, crc: 9 };
        let record = Record::new("t", "").header("mine", "1");
        let mut body = Vec::new();
        record.borrowed(1).encode_with(&large, &mut body).expect("valid");
        let decoded = RecordRef::decode(&body).expect("valid");
        assert_eq!(decoded.large_payload(), Some(large.clone()));
        assert_eq!((decoded.headers.get("mine"), decoded.payload().len()), (Some("1"), 0));
        let refused = Record::new("t", "x").borrowed(1).encode_with(&large, &mut Vec::new());
        assert!(matches!(refused, Err(RecordError::Reference(_))));
        for (name, value) in large.headers() {
            let forged = Record::new("t", "").header(name, value);
            let refused = forged.borrowed(1).encode(&mut Vec::new());
            assert!(matches!(refused, Err(RecordError::ReservedHeader(_))), "{name}");
            let (at, length) = (body.windows(name.len()).position(|w| w == name.as_bytes()), name.len());
            let mut other = body.clone();
            other[at.expect("there") + length - 1] ^= 1;
            assert!(RecordRef::decode(&other).is_err(), "{name}");
        }
        assert_eq!(RecordRef::decode(&plain()).expect("valid").large_payload(), None);
    }

    fn plain() -> Vec<u8> {
        let mut body = Vec::new();
        Record::new("t", "x").borrowed(1).encode(&mut body).expect("valid");
        body
    }

    #[test]
    fn a_payload_is_binary_and_never_an_array_of_integers() {
        let mut body = Vec::new();
        Record::new("t", vec![0xFF; 200]).borrowed(1).encode(&mut body).expect("valid");
        assert_eq!(body[body.len() - 202..body.len() - 200], [0xC4, 200], "bin 8 of 200 bytes");
    }

    #[test]
    fn a_field_over_its_limit_is_refused_by_name() {
        let refused = |record: Record| record.borrowed(0).encode(&mut Vec::new()).expect_err("too long");
        let long = "x".repeat(256);
        let cases = [
            (Record::new(long.clone(), ""), "topic"),
            (Record::new("t", "").key(long.clone()), "key"),
            (Record::new("t", "").id(long.clone()), "id"),
            (Record::new("t", "").content_type(long.clone()), "content type"),
            (Record::new("t", "").header(long, ""), "header name"),
            (Record::new("t", "").header("h", "x".repeat(65536)), "headers together"),
            (Record::new("t", vec![0; MAX_PAYLOAD + 1]), "payload"),
        ];
        for (record, name) in cases {
            assert!(matches!(refused(record), RecordError::TooLong { field, .. } if field == name), "{name}");
        }
        let many = (0..257).fold(Record::new("t", ""), |r, i| r.header(format!("h{i}"), ""));
        assert!(matches!(refused(many), RecordError::TooLong { .. }));
        assert!(matches!(
            refused(Record::new("t", "").header("zoutbox-seq", "1")),
            RecordError::ReservedHeader(_)
        ));
        for others in [0, 1, 7, 8, 100] {
            let several =
                (0..others).fold(Record::new("t", "").header("a", "1"), |r, i| r.header(format!("h{i}"), ""));
            assert!(several.borrowed(0).encode(&mut Vec::new()).is_ok());
            assert_eq!(refused(several.header("a", "2")), RecordError::HeaderName("a".into()));
        }
        assert!(matches!(refused(Record::new("t", "").header("", "1")), RecordError::HeaderName(_)));
    }
}
