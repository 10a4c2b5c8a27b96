//! The segment header: which bytes these are, and where the segment before them ended.
//!
//! ```text
//!   0  8  magic "ZOUTSEG\n"            64  8  previous segment: first sequence
//!   8  2  format version (1)           72  8  previous segment: end offset
//!  10  2  header length (160)          80  8  previous segment: next sequence
//!  12  4  zero                         88  1  writer id: length
//!  16 16  share id                     89 64  writer id, zero padded
//!  32  8  epoch                       153  3  zero
//!  40  8  first sequence              156  4  CRC-32 of bytes 0..156
//!  48  8  created at (ms since 1970)
//!  56  8  previous segment: epoch, 0 if none
//! ```
//!
//! The header's CRC seeds the CRC of every frame behind it, so that a frame of another segment never validates.

use crate::bytes::{all_zero, array, crc32, u16_at, u32_at, u64_at};
use crate::identity::{Epoch, SegmentId, Sequence, ShareId, WriterId};
use crate::limits::MAX_WRITER_ID;
use crate::marker::FORMAT_VERSION;

/// The length of a segment header, in bytes. The first frame starts here.
pub const HEADER_LENGTH: usize = 160;
/// The first bytes of every segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"ZOUTSEG\n";

const CRC_OFFSET: usize = 156;
const HEADER_LENGTH_FIELD: u16 = 160;

/// Why bytes are not a segment header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Fewer bytes than a header. A segment gets its name only after its header is durable, so this is damage.
    #[error("shorter than a segment header")]
    Short,
    /// Something else than a segment.
    #[error("does not start like a segment")]
    Magic,
    /// A newer format.
    #[error("segment format {0}, this zoutbox reads {FORMAT_VERSION}: update it")]
    Newer(u16),
    /// The CRC does not match.
    #[error("header CRC does not match")]
    Crc,
    /// The CRC matches, the content makes no sense: written by a broken program.
    #[error("header field '{0}' makes no sense")]
    Field(&'static str),
}

/// Where the segment before this one ended. What lies behind `end_offset` in it is not part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousSegment {
    /// Which segment it is.
    pub id: SegmentId,
    /// The byte behind its last record.
    pub end_offset: u64,
    /// The sequence behind its last record: always this segment's first sequence.
    pub next_sequence: Sequence,
}

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The share it was written on.
    pub share: ShareId,
    /// Its writer.
    pub writer: WriterId,
    /// Its epoch and first sequence.
    pub id: SegmentId,
    /// When it was made: milliseconds since 1970-01-01 UTC, by the writer's clock. For people, never for order.
    pub created_ms: u64,
    /// The segment before it; `None` for a writer's very first.
    pub previous: Option<PreviousSegment>,
}

/// What every frame CRC of one segment starts from: the CRC of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrcSeed(pub(crate) u32);

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LENGTH] {
        let previous = self.previous.as_ref();
        let number = |field: fn(&PreviousSegment) -> u64| previous.map_or(0, field).to_le_bytes();
        let writer = self.writer.as_str().as_bytes();
        let mut name = [0; MAX_WRITER_ID];
        name.iter_mut().zip(writer).for_each(|(to, from)| *to = *from);
        let parts: [&[u8]; 14] = [
            &SEGMENT_MAGIC,
            &FORMAT_VERSION.to_le_bytes(),
            &HEADER_LENGTH_FIELD.to_le_bytes(),
            &[0; 4],
            self.share.as_bytes(),
            &self.id.epoch.get().to_le_bytes(),
            &self.id.first_sequence.get().to_le_bytes(),
            &self.created_ms.to_le_bytes(),
            &number(|p| p.id.epoch.get()),
            &number(|p| p.id.first_sequence.get()),
            &number(|p| p.end_offset),
            &number(|p| p.next_sequence.get()),
            &[u8::try_from(writer.len()).unwrap_or(u8::MAX)],
            &name,
        ];
        let mut bytes = [0; HEADER_LENGTH];
        let content = parts.iter().flat_map(|part| part.iter());
        bytes.iter_mut().zip(content).for_each(|(to, from)| *to = *from);
        let (covered, crc) = bytes.split_at_mut(CRC_OFFSET);
        crc.copy_from_slice(&crc32(0, &[covered]).to_le_bytes());
        bytes
    }

    /// What the CRC of every frame in this segment starts from.
    #[must_use]
    pub fn crc_seed(&self) -> CrcSeed {
        CrcSeed(u32_at(&self.encode(), CRC_OFFSET).unwrap_or_default())
    }

    /// Reads a header from the first bytes of a segment.
    ///
    /// # Errors
    /// [`HeaderError`]; a newer format is told apart from damage.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header = bytes.first_chunk::<HEADER_LENGTH>().ok_or(HeaderError::Short)?;
        if !header.starts_with(&SEGMENT_MAGIC) {
            return Err(HeaderError::Magic);
        }
        let (covered, crc) = header.split_at(CRC_OFFSET);
        if u32_at(crc, 0) != Some(crc32(0, &[covered])) {
            return Err(HeaderError::Crc);
        }
        match u16_at(covered, 8) {
            Some(FORMAT_VERSION) => Self::decode_fields(covered),
            Some(newer) if newer > FORMAT_VERSION => Err(HeaderError::Newer(newer)),
            _ => Err(HeaderError::Field("format version")),
        }
    }

    fn decode_fields(covered: &[u8]) -> Result<Self, HeaderError> {
        let field = |name| move || HeaderError::Field(name);
        let number = |offset, name| u64_at(covered, offset).ok_or(HeaderError::Field(name));
        let positive = |offset, name| number(offset, name).and_then(|n| some_if(n, n > 0, name));
        some_if((), u16_at(covered, 10) == Some(HEADER_LENGTH_FIELD), "header length")?;
        some_if((), u32_at(covered, 12) == Some(0), "reserved")?;
        let share = ShareId::from_bytes(array(covered, 16).ok_or_else(field("share id"))?);
        let id = SegmentId {
            epoch: Epoch::new(positive(32, "epoch")?),
            first_sequence: Sequence::new(positive(40, "first sequence")?),
        };
        let created_ms = number(48, "created at")?;
        let previous = Self::decode_previous(covered, id)?;
        let length = covered.get(88).copied().map_or(0, usize::from);
        let name = covered.get(89..CRC_OFFSET).ok_or_else(field("writer id"))?;
        let (name, padding) = name.split_at_checked(length).ok_or_else(field("writer id"))?;
        some_if((), all_zero(padding), "writer id padding")?;
        let name = std::str::from_utf8(name).map_err(|_| HeaderError::Field("writer id"))?;
        let writer = WriterId::new(name).map_err(|_| HeaderError::Field("writer id"))?;
        Ok(Self { share, writer, id, created_ms, previous })
    }

    fn decode_previous(covered: &[u8], id: SegmentId) -> Result<Option<PreviousSegment>, HeaderError> {
        let number = |offset| u64_at(covered, offset).ok_or(HeaderError::Field("previous segment"));
        let previous = PreviousSegment {
            id: SegmentId { epoch: Epoch::new(number(56)?), first_sequence: Sequence::new(number(64)?) },
            end_offset: number(72)?,
            next_sequence: Sequence::new(number(80)?),
        };
        if previous.id.epoch.get() == 0 {
            return some_if(None, covered.get(56..88).is_some_and(all_zero), "previous segment");
        }
        let before = previous.id < id && previous.id.first_sequence.get() > 0;
        let whole = u64::try_from(HEADER_LENGTH).is_ok_and(|header| previous.end_offset >= header);
        let joined = previous.next_sequence == id.first_sequence
            && previous.next_sequence >= previous.id.first_sequence;
        some_if(Some(previous), before && whole && joined, "previous segment")
    }
}

fn some_if<T>(value: T, good: bool, field: &'static str) -> Result<T, HeaderError> {
    if good { Ok(value) } else { Err(HeaderError::Field(field)) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn header() -> SegmentHeader {
        SegmentHeader {
            share: ShareId::from_bytes([0xAB; 16]),
            writer: WriterId::new("orders").expect("valid"),
            id: SegmentId { epoch: Epoch::new(2), first_sequence: Sequence::new(42) },
            created_ms: 1_700_000_000_000,
            previous: Some(PreviousSegment {
                id: SegmentId { epoch: Epoch::new(1), first_sequence: Sequence::new(1) },
                end_offset: 4096,
                next_sequence: Sequence::new(42),
            }),
        }
    }

    proptest! {
        #[test]
        fn every_header_reads_back(
            share: [u8; 16], writer in "[a-z0-9][a-z0-9._-]{0,63}", epoch in 2u64.., first in 2u64..,
            created_ms: u64, end_offset in 160u64.., chained: bool,
        ) {
            let previous = chained.then(|| PreviousSegment {
                id: SegmentId { epoch: Epoch::new(epoch - 1), first_sequence: Sequence::new(first - 1) },
                end_offset,
                next_sequence: Sequence::new(first),
            });
            let header = SegmentHeader {
                share: ShareId::from_bytes(share),
                writer: WriterId::new(&writer).expect("valid"),
                id: SegmentId { epoch: Epoch::new(epoch), first_sequence: Sequence::new(first) },
                created_ms,
                previous,
            };
            prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn no_flipped_bit_and_no_truncation_passes_for_a_header() {
        let bytes = header().encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(SegmentHeader::decode(&bytes[..length]), Err(HeaderError::Short));
        }
    }
}
