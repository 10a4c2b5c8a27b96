//! The pointer: the body of a message that says where records lie on the share, instead of carrying them.
//!
//! ```text
//!   message ──▶ share, writer, segment ──▶ the file, whatever its name is by now
//!               offset, length         ──▶ the bytes of `count` whole frames in it
//!               crc                    ──▶ proof that these are the bytes that were meant
//! ```
//!
//! `MessagePack`, an array of ten: version (1), share (bin of 16), writer (str), epoch, the segment's first sequence, offset, length,
//! sequence of the first record, count, CRC-32 of the `length` bytes. It comes from a network: everything in it is checked here
//! against the format's bounds, and what it leads to is checked by who follows it.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use crate::bytes::crc32;
use crate::frame::FRAME_HEADER_LENGTH;
use crate::header::HEADER_LENGTH;
use crate::identity::{Epoch, RecordId, SegmentId, Sequence, ShareId, WriterId};
use crate::limits::MAX_POINTED;

/// The content type of a message whose body is a pointer.
pub const POINTER_CONTENT_TYPE: &str = "application/vnd.zoutbox.pointer";
/// The longest encoding of a pointer, in bytes.
pub const MAX_POINTER_LENGTH: usize = 200;

const VERSION: u64 = 1;
/// The smallest frame of a record: its header, and an array of seven with everything empty or nil.
const SMALLEST_FRAME: u32 = 28 + 9;

/// Why bytes are no pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// Of a newer version.
    #[error("pointer version {0}, this zoutbox reads {VERSION}: update it")]
    Newer(u64),
    /// Not a pointer, or one that can't be.
    #[error("not a pointer")]
    Malformed,
}

/// Where consecutive records of one writer lie, in one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// The share.
    pub share: ShareId,
    /// The writer.
    pub writer: WriterId,
    /// The segment.
    pub segment: SegmentId,
    /// Where the first record's frame starts in it, in bytes.
    pub offset: u64,
    /// How long all their frames are together, in bytes: at most [`MAX_POINTED`].
    pub length: u32,
    /// The first record's sequence; the others follow without a gap.
    pub sequence: Sequence,
    /// How many records, at least 1.
    pub count: u32,
    /// CRC-32 (as of zlib) of the `length` bytes at `offset`.
    pub crc: u32,
}

#[derive(Serialize, Deserialize)]
struct Fields<'a>(u64, ByteArray<16>, &'a str, u64, u64, u64, u32, u64, u32, u32);

impl Pointer {
    /// The message's body: at most [`MAX_POINTER_LENGTH`] bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let fields = Fields(
            VERSION,
            ByteArray::new(*self.share.as_bytes()),
            self.writer.as_str(),
            self.segment.epoch.get(),
            self.segment.first_sequence.get(),
            self.offset,
            self.length,
            self.sequence.get(),
            self.count,
            self.crc,
        );
        // Writing numbers and bytes to memory does not fail.
        rmp_serde::to_vec(&fields).unwrap_or_default()
    }

    /// Reads a message's body.
    ///
    /// # Errors
    /// [`PointerError`]; a newer version is told apart from what is no pointer.
    pub fn decode(bytes: &[u8]) -> Result<Self, PointerError> {
        if bytes.len() > MAX_POINTER_LENGTH {
            return Err(PointerError::Malformed);
        }
        // An array (of any length that a later version may have) that starts with its version.
        if let Some((_, [version @ 2..=0x7F, ..])) =
            bytes.split_first().filter(|(array, _)| matches!(array, 0x91..=0x9F))
        {
            return Err(PointerError::Newer(u64::from(*version)));
        }
        let fields: Fields<'_> = rmp_serde::from_slice(bytes).map_err(|_| PointerError::Malformed)?;
        let pointer = Self::from_fields(&fields).ok_or(PointerError::Malformed)?;
        // One pointer has one encoding, and nothing behind it.
        if pointer.encode() == bytes { Ok(pointer) } else { Err(PointerError::Malformed) }
    }

    fn from_fields(fields: &Fields<'_>) -> Option<Self> {
        let Fields(version, share, writer, epoch, first, offset, length, sequence, count, crc) = fields;
        let pointer = Self {
            share: ShareId::from_bytes(**share),
            writer: WriterId::new(writer).ok()?,
            segment: SegmentId { epoch: Epoch::new(*epoch), first_sequence: Sequence::new(*first) },
            offset: *offset,
            length: *length,
            sequence: Sequence::new(*sequence),
            count: *count,
            crc: *crc,
        };
        let sound = *version == VERSION
            && *epoch > 0
            && *first > 0
            && sequence >= first
            && *offset >= HEADER_LENGTH as u64
            && offset.checked_add(u64::from(*length)).is_some()
            && *length <= MAX_POINTED
            && *count > 0
            && count.checked_mul(SMALLEST_FRAME).is_some_and(|least| least <= *length)
            && sequence.checked_add(u64::from(*count)).is_some();
        sound.then_some(pointer)
    }

    /// The identity of the first record.
    #[must_use]
    pub fn first(&self) -> RecordId {
        RecordId { writer: self.writer.clone(), epoch: self.segment.epoch, sequence: self.sequence }
    }

    /// Whether `bytes` are the ones that are meant.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        usize::try_from(self.length).is_ok_and(|length| length == bytes.len()) && crc(bytes) == self.crc
    }
}

/// The CRC of a pointer to `frames`.
#[must_use]
pub fn crc(frames: &[u8]) -> u32 {
    crc_continued(0, frames)
}

/// The CRC of a pointer to `frames` and to what lies in front of them and has the CRC `before`; 0 if that is nothing.
#[must_use]
pub fn crc_continued(before: u32, frames: &[u8]) -> u32 {
    crc32(before, &[frames])
}

/// The CRC of a pointer to frames with the CRC `first`, and to `length` bytes behind them with the CRC `second`.
#[must_use]
pub fn crc_joined(first: u32, second: u32, length: u32) -> u32 {
    let mut joined = crc32fast::Hasher::new_with_initial(first);
    joined.combine(&crc32fast::Hasher::new_with_initial_len(second, u64::from(length)));
    joined.finalize()
}

const _: () = assert!(FRAME_HEADER_LENGTH == 28 && SMALLEST_FRAME > 28);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use proptest::prelude::*;

    fn sample() -> Pointer {
        Pointer {
            share: ShareId::from_bytes([9; 16]),
            writer: WriterId::new("orders").expect("valid"),
            segment: SegmentId { epoch: Epoch::new(3), first_sequence: Sequence::new(10) },
            offset: 4711,
            length: 2 * 78,
            sequence: Sequence::new(12),
            count: 2,
            crc: 0xDEAD_BEEF,
        }
    }

    #[test]
    fn the_largest_pointer_has_less_than_200_bytes() {
        let largest = Pointer {
            writer: WriterId::new(&"w".repeat(64)).expect("valid"),
            segment: SegmentId { epoch: Epoch::new(u64::MAX), first_sequence: Sequence::new(u64::MAX - 9) },
            offset: u64::MAX - u64::from(MAX_POINTED),
            length: MAX_POINTED,
            sequence: Sequence::new(u64::MAX - 9),
            count: 9,
            crc: u32::MAX,
            ..sample()
        };
        let bytes = largest.encode();
        assert!(bytes.len() < MAX_POINTER_LENGTH, "{}", bytes.len());
        assert_eq!(Pointer::decode(&bytes), Ok(largest));
    }

    #[test]
    fn no_frame_of_a_record_is_smaller_than_the_smallest() {
        let mut body = Vec::new();
        Record::new("", "").borrowed(0).encode(&mut body).expect("valid");
        assert!(body.len() + FRAME_HEADER_LENGTH >= SMALLEST_FRAME as usize, "{}", body.len());
    }

    #[test]
    fn a_pointer_that_can_not_be_is_none() {
        let good = sample();
        assert_eq!(Pointer::decode(&good.encode()), Ok(good.clone()));
        let segment =
            |epoch, first| SegmentId { epoch: Epoch::new(epoch), first_sequence: Sequence::new(first) };
        let bad = [
            Pointer { segment: segment(0, 1), ..good.clone() },
            Pointer { segment: segment(1, 0), ..good.clone() },
            Pointer { segment: segment(3, 13), ..good.clone() },
            Pointer { offset: 159, ..good.clone() },
            Pointer { offset: u64::MAX, ..good.clone() },
            Pointer { length: MAX_POINTED + 1, ..good.clone() },
            Pointer { length: 73, ..good.clone() },
            Pointer { count: 0, ..good.clone() },
            Pointer { count: u32::MAX, ..good.clone() },
            Pointer { sequence: Sequence::new(u64::MAX), ..good.clone() },
        ];
        for pointer in bad {
            assert_eq!(Pointer::decode(&pointer.encode()), Err(PointerError::Malformed), "{pointer:?}");
        }
    }

    #[test]
    fn a_later_version_is_told_apart_whatever_its_length() {
        let mut bytes = good_bytes();
        bytes[1] = 2;
        assert_eq!(Pointer::decode(&bytes), Err(PointerError::Newer(2)));
        assert_eq!(Pointer::decode(&[0x9B, 7, 0]), Err(PointerError::Newer(7)));
    }

    fn good_bytes() -> Vec<u8> {
        sample().encode()
    }

    #[test]
    fn a_cut_or_longer_pointer_is_none() {
        let bytes = good_bytes();
        for length in 0..bytes.len() {
            assert!(Pointer::decode(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Pointer::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn the_crc_of_pieces_is_that_of_the_whole(
            first in prop::collection::vec(any::<u8>(), 0..500), second in prop::collection::vec(any::<u8>(), 0..500),
        ) {
            let whole = crc(&[first.as_slice(), &second].concat());
            prop_assert_eq!(crc_continued(crc(&first), &second), whole);
            prop_assert_eq!(crc_joined(crc(&first), crc(&second), u32::try_from(second.len()).expect("short")), whole);
        }

        #[test]
        fn no_bytes_panic_and_what_decodes_has_one_encoding(
            bytes in prop::collection::vec(any::<u8>(), 0..220), changes in prop::collection::vec((0_usize..60, any::<u8>()), 0..4),
        ) {
            drop(Pointer::decode(&bytes));
            let mut changed = good_bytes();
            for (at, byte) in changes {
                if let Some(place) = changed.get_mut(at) {
                    *place = byte;
                }
            }
            if let Ok(pointer) = Pointer::decode(&changed) {
                prop_assert_eq!(pointer.encode(), changed);
            }
        }
    }
}
