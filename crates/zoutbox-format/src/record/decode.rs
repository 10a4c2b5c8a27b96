//! Takes a record's body apart. By hand, because every reader does it for every record, and a general `MessagePack` decoder takes several
//! times as long; the tests hold this one against such a one.
//!
//! Nothing is allocated but the list of headers, if there are any, and no length is believed before the bytes are there.

use serde_bytes::Bytes;

use super::{Headers, MAX_HEADERS, RecordError, RecordRef};

/// What is left of the body.
struct Rest<'a>(&'a [u8]);

/// What is wrong: which field, and what it should be.
type Wrong = (&'static str, &'static str);

pub(super) fn decode(body: &[u8]) -> Result<RecordRef<'_>, RecordError> {
    fields(body).map_err(|(field, wanted)| RecordError::Malformed(format!("{field} is not {wanted}")))
}

fn fields(body: &[u8]) -> Result<RecordRef<'_>, Wrong> {
    let mut rest = Rest(body);
    rest.array_of_seven().ok_or(("it", "an array of seven"))?;
    let record = RecordRef {
        topic: rest.text().ok_or(("topic", "a text"))?,
        key: rest.text_or_nil().ok_or(("key", "a text or nil"))?,
        id: rest.text_or_nil().ok_or(("id", "a text or nil"))?,
        timestamp_ms: rest.number().ok_or(("timestamp", "an unsigned integer"))?,
        content_type: rest.text_or_nil().ok_or(("content type", "a text or nil"))?,
        headers: rest.headers().ok_or(("headers", "a map of at most 256 texts to texts"))?,
        payload: rest.bytes().ok_or(("payload", "binary"))?,
    };
    if rest.0.is_empty() { Ok(record) } else { Err(("payload", "the last of it")) }
}

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn tag(&mut self) -> Option<u8> {
        let (tag, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*tag)
    }

    /// A big-endian number of `width` bytes, at most 8.
    fn wide(&mut self, width: usize) -> Option<u64> {
        let bytes = self.take(width)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, width: usize) -> Option<usize> {
        self.wide(width).and_then(|length| usize::try_from(length).ok())
    }

    fn array_of_seven(&mut self) -> Option<()> {
        let length = match self.tag()? {
            tag @ 0x90..=0x9F => usize::from(tag & 0x0F),
            0xDC => self.length(2)?,
            0xDD => self.length(4)?,
            _ => return None,
        };
        (length == 7).then_some(())
    }

    fn text(&mut self) -> Option<&'a str> {
        let tag = self.tag()?;
        self.text_of(tag)
    }

    #[expect(clippy::option_option, reason = "nil is a value; the outer one says that it is neither")]
    fn text_or_nil(&mut self) -> Option<Option<&'a str>> {
        match self.tag()? {
            0xC0 => Some(None),
            tag => self.text_of(tag).map(Some),
        }
    }

    fn text_of(&mut self, tag: u8) -> Option<&'a str> {
        let length = match tag {
            0xA0..=0xBF => usize::from(tag & 0x1F),
            0xD9 => self.length(1)?,
            0xDA => self.length(2)?,
            0xDB => self.length(4)?,
            _ => return None,
        };
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        match self.tag()? {
            tag @ 0..=0x7F => Some(u64::from(tag)),
            0xCC => self.wide(1),
            0xCD => self.wide(2),
            0xCE => self.wide(4),
            0xCF => self.wide(8),
            _ => None,
        }
    }

    fn headers(&mut self) -> Option<Headers<'a>> {
        let count = match self.tag()? {
            tag @ 0x80..=0x8F => usize::from(tag & 0x0F),
            0xDE => self.length(2)?,
            0xDF => self.length(4)?,
            _ => return None,
        };
        if count > MAX_HEADERS {
            return None;
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            headers.push((self.text()?, self.text()?));
        }
        Some(Headers(headers))
    }

    fn bytes(&mut self) -> Option<&'a Bytes> {
        let length = match self.tag()? {
            0xC4 => self.length(1)?,
            0xC5 => self.length(2)?,
            0xC6 => self.length(4)?,
            _ => return None,
        };
        self.take(length).map(Bytes::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use proptest::prelude::*;
    use serde::Deserializer;
    use serde::de::{MapAccess, Visitor};
    use std::fmt;

    /// The general decoder.
    fn oracle(body: &[u8]) -> Option<RecordRef<'_>> {
        let record: RecordRef<'_> = rmp_serde::from_slice(body).ok()?;
        (record.payload.as_ptr_range().end == body.as_ptr_range().end).then_some(record)
    }

    /// Without which the general decoder would not borrow the headers.
    impl<'de: 'a, 'a> serde::Deserialize<'de> for Headers<'a> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Entries;
            impl<'de> Visitor<'de> for Entries {
                type Value = Headers<'de>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, "a map of at most {MAX_HEADERS} headers")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                    let mut headers = Vec::new();
                    while let Some(entry) = map.next_entry()? {
                        if headers.len() == MAX_HEADERS {
                            return Err(serde::de::Error::custom("too many headers"));
                        }
                        headers.push(entry);
                    }
                    Ok(Headers(headers))
                }
            }
            deserializer.deserialize_map(Entries)
        }
    }

    fn sample() -> Vec<u8> {
        let record = Record::new("orders.created", vec![0, 159, 146])
            .key("")
            .id("n")
            .content_type("text/plain")
            .header("a", "b")
            .header("traceparent", "x".repeat(40));
        let mut body = Vec::new();
        record.borrowed(1_700_000_000_000).encode(&mut body).expect("valid");
        body
    }

    #[test]
    fn every_width_of_a_length_is_read() {
        let widths = [0, 1, 15, 16, 31, 32, 200, 255, 256, 65_535, 65_536, 100_000];
        for length in widths {
            let text = "x".repeat(length.min(255));
            let headers = (0..length.min(256)).map(|i| (i.to_string() + "h", String::new())).collect();
            let record = Record { headers, ..Record::new(text.clone(), vec![7; length]).key(text) };
            for timestamp_ms in widths.map(|width| (width * width) as u64).into_iter().chain([u64::MAX]) {
                let mut body = Vec::new();
                record.borrowed(timestamp_ms).encode(&mut body).expect("valid");
                assert_eq!(decode(&body), Ok(record.borrowed(timestamp_ms)));
                assert_eq!(decode(&body).ok(), oracle(&body));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |at: usize, byte| {
            let mut body = sample();
            body[at] = byte;
            decode(&body).expect_err("damaged").to_string()
        };
        assert!(error(0, 0x96).contains("an array of seven"), "{}", error(0, 0x96));
        assert!(error(1, 0xC0).contains("topic is not a text"), "{}", error(1, 0xC0));
        assert!(error(16, 0x01).contains("key is not a text or nil"), "{}", error(16, 0x01));
    }

    proptest! {
        #[test]
        fn it_reads_nothing_else_than_a_general_decoder_does(
            changes in prop::collection::vec((0_usize..140, any::<u8>()), 0..4), cut in 0_usize..140,
        ) {
            let mut body = sample();
            for (at, byte) in changes {
                if let Some(place) = body.get_mut(at) {
                    *place = byte;
                }
            }
            for body in [&body[..], &body[..cut.min(body.len())]] {
                if let Ok(record) = decode(body) {
                    prop_assert_eq!(Some(record), oracle(body));
                }
            }
        }
    }
}
