//! What a relay must know of every record that it only points to: that it is one, where it goes, and since when it is there. A
//! hundred nanoseconds a record matter there, and decoding takes more.
//!
//! Only one verdict counts, that of [`RecordRef::decode`]. The quick look here says yes where that would, without building anything,
//! and asks it in every other case.

use crate::limits::{
    MAX_CONTENT_TYPE, MAX_HEADER_BYTES, MAX_HEADER_NAME, MAX_ID, MAX_KEY, MAX_PAYLOAD, MAX_TOPIC,
    RESERVED_HEADER_PREFIX,
};
use crate::record::{RecordError, RecordRef};

/// The most headers that a quick look looks at.
const FEW_HEADERS: usize = 8;

/// What every record says, and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline<'a> {
    /// Where it goes.
    pub topic: &'a str,
    /// When it happened: milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: u64,
}

impl<'a> Outline<'a> {
    /// Looks at a data frame's body.
    ///
    /// # Errors
    /// Exactly where [`RecordRef::decode`] has one.
    pub fn of(body: &'a [u8]) -> Result<Self, RecordError> {
        if let Some(outline) = quick(body) {
            return Ok(outline);
        }
        let RecordRef { topic, timestamp_ms, .. } = RecordRef::decode(body)?;
        Ok(Self { topic, timestamp_ms })
    }
}

/// `None` where it takes more than a look to tell.
fn quick(body: &[u8]) -> Option<Outline<'_>> {
    let mut rest = Rest(body);
    (rest.byte()? == 0x97).then_some(())?;
    let topic = rest.text(MAX_TOPIC)?;
    rest.optional(MAX_KEY)?;
    rest.optional(MAX_ID)?;
    let timestamp_ms = rest.number()?;
    rest.optional(MAX_CONTENT_TYPE)?;
    rest.headers()?;
    rest.payload()?;
    Some(Outline { topic, timestamp_ms })
}

/// What was not looked at yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// A number in this many bytes, the most significant first.
    fn big_endian(&mut self, count: usize) -> Option<u64> {
        let bytes = self.bytes(count)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, count: usize) -> Option<usize> {
        usize::try_from(self.big_endian(count)?).ok()
    }

    fn text(&mut self, limit: usize) -> Option<&'a str> {
        let first = self.byte()?;
        self.text_after(first, limit)
    }

    fn text_after(&mut self, first: u8, limit: usize) -> Option<&'a str> {
        let length = match first {
            0xA0..=0xBF => usize::from(first & 0x1F),
            0xD9 => self.length(1)?,
            0xDA => self.length(2)?,
            _ => return None,
        };
        (length <= limit).then_some(())?;
        std::str::from_utf8(self.bytes(length)?).ok()
    }

    fn optional(&mut self, limit: usize) -> Option<()> {
        match self.byte()? {
            0xC0 => Some(()),
            first => self.text_after(first, limit).map(drop),
        }
    }

    fn number(&mut self) -> Option<u64> {
        match self.byte()? {
            small @ 0..0x80 => Some(u64::from(small)),
            0xCC => self.big_endian(1),
            0xCD => self.big_endian(2),
            0xCE => self.big_endian(4),
            0xCF => self.big_endian(8),
            _ => None,
        }
    }

    fn headers(&mut self) -> Option<()> {
        let count = usize::from(self.byte()?.checked_sub(0x80)?);
        (count <= FEW_HEADERS).then_some(())?;
        let mut names = [""; FEW_HEADERS];
        let mut room = MAX_HEADER_BYTES;
        for index in 0..count {
            let name = self.text(MAX_HEADER_NAME)?;
            let earlier = names.get(..index)?;
            if name.is_empty() || name.starts_with(RESERVED_HEADER_PREFIX) || earlier.contains(&name) {
                return None;
            }
            *names.get_mut(index)? = name;
            room = room.checked_sub(name.len())?;
            room = room.checked_sub(self.text(room)?.len())?;
        }
        Some(())
    }

    /// The last field: it ends where everything ends.
    fn payload(&mut self) -> Option<()> {
        let length = match self.byte()? {
            0xC4 => self.length(1)?,
            0xC5 => self.length(2)?,
            0xC6 => self.length(4)?,
            _ => return None,
        };
        (length == self.0.len() && length <= MAX_PAYLOAD).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    fn encoded(record: &Record) -> Vec<u8> {
        let mut body = Vec::new();
        record.borrowed(7).encode(&mut body).expect("within the limits");
        body
    }

    /// As the decoder sees it.
    fn decoded(body: &[u8]) -> Result<Outline<'_>, RecordError> {
        RecordRef::decode(body)
            .map(|record| Outline { topic: record.topic, timestamp_ms: record.timestamp_ms })
    }

    prop_compose! {
        fn records()(
            topic in ".{0,90}", key in option::of(".{0,40}"), id in option::of(".{0,40}"),
            timestamp_ms in prop_oneof![0..200_u64, any::<u64>()], content_type in option::of(".{0,40}"),
            headers in prop::collection::btree_map("[a-z]{1,40}", ".{0,300}", 0..12), payload in vec(any::<u8>(), 0..400),
        ) -> Record {
            let headers = headers.into_iter().collect();
            Record { topic, key, id, timestamp_ms: Some(timestamp_ms), content_type, headers, payload }
        }
    }

    proptest! {
        #[test]
        fn a_look_sees_what_the_decoder_sees_of_every_record_and_of_every_one_that_was_spoilt(
            record in records(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3), cut in 0..3_usize,
        ) {
            let mut body = encoded(&record);
            prop_assert_eq!(Outline::of(&body), decoded(&body));
            prop_assert_eq!(quick(&body).is_some(), record.headers.len() <= FEW_HEADERS);
            for (at, byte) in changes {
                let at = at.index(body.len().min(60));
                body[at] = byte;
            }
            body.truncate(body.len() - cut.min(body.len()));
            prop_assert_eq!(Outline::of(&body), decoded(&body));
            if let Some(outline) = quick(&body) {
                prop_assert_eq!(Ok(outline), decoded(&body));
            }
        }

        #[test]
        fn no_bytes_make_a_look_panic(body in vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Outline::of(&body), decoded(&body));
        }
    }

    #[test]
    fn headers_that_are_none_are_seen() {
        // One array of seven with these headers, by hand: an encoder would refuse.
        let with = |headers: &[u8]| [b"\x97\xA1t\xC0\xC0\x01\xC0".as_slice(), headers, b"\xC4\x00"].concat();
        assert!(Outline::of(&with(b"\x81\xA1a\xA0")).is_ok());
        for bad in [
            b"\x82\xA1a\xA0\xA1a\xA0".as_slice(),
            b"\x81\xA0\xA1a",
            b"\x81\xAAzoutbox-me\xA0",
            b"\x81\xA1a\xC0",
            b"\x82\xA1a\xA0",
        ] {
            assert!(Outline::of(&with(bad)).is_err(), "{bad:?}");
        }
    }
}
