//! Who a byte belongs to: share, writer, epoch, sequence. Nothing else names anything; never an inode, never a time.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::limits::MAX_WRITER_ID;

/// Why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a writer id.
    #[error("'{0}' is not a writer id: 1 to 64 characters, a-z 0-9 . _ -, the first one a letter or digit")]
    Writer(String),
    /// Not a share id.
    #[error("'{0}' is not a share id: 32 hexadecimal digits")]
    Share(String),
    /// Not a record id.
    #[error("'{0}' is not a record id: writer/epoch/sequence")]
    Record(String),
    /// Not a segment id.
    #[error("'{0}' is not a segment id: epoch-sequence")]
    Segment(String),
}

/// The name of a producer of one ordered sequence: `[a-z0-9][a-z0-9._-]{0,63}`.
///
/// A value of this type is always safe as one path component.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriterId(Box<str>);

impl WriterId {
    /// Checks `text` and makes it a writer id.
    ///
    /// # Errors
    /// [`IdentityError::Writer`] with what was given, cut to a printable length.
    pub fn new(text: &str) -> Result<Self, IdentityError> {
        if Self::is_valid(text) { Ok(Self(text.into())) } else { Err(IdentityError::Writer(shown(text))) }
    }

    /// Whether `text` is a writer id: for who has many to check and keeps none.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        let mut characters = text.bytes();
        let first = characters.next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let rest = characters
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'_' | b'-'));
        first && rest && text.len() <= MAX_WRITER_ID
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// So that a map of writers is searched by text without making an id first. Hash and order are those of the text.
impl Borrow<str> for WriterId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriterId({})", self.0)
    }
}

impl FromStr for WriterId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

/// The identity of a share: 16 random bytes, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareId([u8; 16]);

impl ShareId {
    /// A share id from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShareId({self})")
    }
}

impl FromStr for ShareId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.len() == 32 && text.bytes().all(|c| c.is_ascii_hexdigit());
        let value = if plain { u128::from_str_radix(text, 16).ok() } else { None };
        value.map(|v| Self(v.to_be_bytes())).ok_or_else(|| IdentityError::Share(shown(text)))
    }
}

/// A counter with a name of its own, so that an epoch is never taken for a sequence.
macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The first one. Zero stands for "none" in every encoding.
            pub const FIRST: Self = Self(1);

            /// Makes one from its number.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Its number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The one after it. Stays at the last at `u64::MAX`, which no share lives to see.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

counter!(
    /// An incarnation of a writer (or of the relay): each one that opens takes the next.
    Epoch
);
counter!(
    /// The number of a record within its writer: +1 a record, across segments and epochs.
    Sequence
);

/// A record's one identity from the log to the consumer: `writer/epoch/sequence`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// Who appended it.
    pub writer: WriterId,
    /// In which incarnation.
    pub epoch: Epoch,
    /// As which record.
    pub sequence: Sequence,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.writer, self.epoch, self.sequence)
    }
}

impl FromStr for RecordId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.splitn(3, '/');
            let writer = WriterId::new(parts.next()?).ok()?;
            let epoch = Epoch(positive(parts.next()?)?);
            let sequence = Sequence(positive(parts.next()?)?);
            Some(Self { writer, epoch, sequence })
        };
        parse().ok_or_else(|| IdentityError::Record(shown(text)))
    }
}

/// Which segment of a writer: its epoch and the sequence of its first record. Segments are read in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// The epoch all its records carry.
    pub epoch: Epoch,
    /// The sequence of its first record.
    pub first_sequence: Sequence,
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.first_sequence)
    }
}

impl FromStr for SegmentId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (epoch, first) = text.split_once('-')?;
            let first_sequence = Sequence(positive(first)?);
            Some(Self { epoch: Epoch(positive(epoch)?), first_sequence })
        };
        parse().ok_or_else(|| IdentityError::Segment(shown(text)))
    }
}

/// A positive decimal number without sign or leading zeros.
pub(crate) fn positive(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|c| c.is_ascii_digit()) && !text.starts_with('0');
    if canonical { text.parse().ok() } else { None }
}

/// What was given, cut so that a hostile name can't flood a log.
fn shown(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut cut: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_id_is_always_one_safe_path_component() {
        for good in ["a", "0", "orders-1", "a.b_c-d", &"x".repeat(64)] {
            assert_eq!(WriterId::new(good).expect(good).as_str(), good);
        }
        let long = "x".repeat(65);
        for bad in ["", ".", "..", "-a", "_a", "a/b", "a\0b", "A", "é", "a b", "../etc", &long] {
            assert!(WriterId::new(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn a_share_id_reads_back_what_it_shows() {
        let id = ShareId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string().parse::<ShareId>(), Ok(id));
        for bad in ["", "00", "+0010203040506070809a0b0c0d0e0fff", &"g".repeat(32)] {
            assert!(bad.parse::<ShareId>().is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn a_record_id_has_exactly_one_spelling() {
        let id: RecordId = "orders/3/42".parse().expect("valid");
        assert_eq!(id.to_string(), "orders/3/42");
        for bad in ["orders/3", "orders/03/42", "orders/3/+42", "orders/0/1", "o/1/2/3", "/1/2"] {
            assert!(bad.parse::<RecordId>().is_err(), "{bad:?} passed");
        }
    }
}
