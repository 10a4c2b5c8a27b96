//! The frame: a record's envelope.
//!
//! ```text
//!   0  4  magic "ZFRM"
//!   4  1  kind: 1 data, 2 seal (3 prepared, 4 committed, 5 aborted are reserved)
//!   5  3  zero
//!   8  4  body length
//!  12  4  commit index: how many frames of the same commit lie before this one
//!  16  8  sequence
//!  24  4  CRC-32, seeded with the header's CRC, of bytes 0..24 and the body
//!  28  …  body
//! ```
//!
//! The commit index is what tells a torn tail from damage. A writer starts a commit only after the sync of the one
//! before it, so a valid frame at sequence `s` with commit index `i` proves that everything below `s - i` had been
//! durable: see [`crate::scan`].

use crate::bytes::{all_zero, crc32, u32_at, u64_at};
use crate::header::CrcSeed;
use crate::identity::Sequence;
use crate::limits::MAX_BODY;

/// The length of a frame's header, in bytes.
pub const FRAME_HEADER_LENGTH: usize = 28;
/// The first bytes of every frame. Not zero, because zeros mean "not yet written".
pub const FRAME_MAGIC: [u8; 4] = *b"ZFRM";

const CRC_OFFSET: usize = 24;
const SEAL_BODY_LENGTH: usize = 16;
/// The length of a seal frame, in bytes.
pub const SEAL_LENGTH: u64 = (FRAME_HEADER_LENGTH + SEAL_BODY_LENGTH) as u64;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A record.
    Data,
    /// The end of a sealed segment.
    Seal,
}

impl FrameKind {
    const fn code(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Seal => 2,
        }
    }
}

/// A valid frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it carries.
    pub kind: FrameKind,
    /// How many frames of the same commit lie before it.
    pub commit_index: u32,
    /// The record's sequence; for a seal, the sequence behind the last record.
    pub sequence: Sequence,
    /// Its body: a record's bytes, or a seal's.
    pub body: &'a [u8],
    /// All of it, header and body, as it lies in the segment.
    pub bytes: &'a [u8],
}

impl Frame<'_> {
    /// The frame's length on disk, in bytes.
    #[must_use]
    pub const fn length(&self) -> usize {
        FRAME_HEADER_LENGTH + self.body.len()
    }

    /// The sequence with which this frame's commit started: everything before it was durable when this was written.
    #[must_use]
    pub const fn commit_first(&self) -> Sequence {
        Sequence::new(self.sequence.get().saturating_sub(self.commit_index as u64))
    }
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFrame {
    /// Something else than a frame.
    #[error("no frame starts here")]
    Magic,
    /// More than a frame may hold; nothing was allocated for it.
    #[error("body length {0} is over the limit")]
    Length(u32),
    /// The CRC does not match: damaged, half written, or of another segment.
    #[error("frame CRC does not match")]
    Crc,
    /// Valid, but of a kind this zoutbox does not know.
    #[error("frame kind {0} is unknown to this zoutbox")]
    Kind(u8),
    /// Valid, but not the record that follows.
    #[error("sequence {found} where {expected} follows")]
    Sequence {
        /// The one that follows.
        expected: Sequence,
        /// The one that is there.
        found: Sequence,
    },
    /// A valid frame whose body is no record or no seal.
    #[error("frame body is not what its kind says")]
    Body,
}

/// What the bytes at an offset are. Whether "not yet" or "never" the caller must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A valid frame.
    Frame(Frame<'a>),
    /// Nothing or zeros: not yet written.
    Unwritten,
    /// So far a frame, but the bytes end before it does. `needed` bytes from its start decide.
    Partial {
        /// At least this many bytes from the frame's start.
        needed: usize,
    },
    /// No frame.
    Invalid(InvalidFrame),
}

/// Appends a data frame with `body` to `out`.
///
/// # Panics
/// When `body` is longer than [`MAX_BODY`]: records are checked where they are made.
pub fn encode_data(out: &mut Vec<u8>, seed: CrcSeed, sequence: Sequence, commit_index: u32, body: &[u8]) {
    encode(out, seed, FrameKind::Data, sequence, commit_index, body);
}

/// Appends the seal frame that ends a segment: its body holds the record count and the seal's own offset.
pub fn encode_seal(out: &mut Vec<u8>, seed: CrcSeed, next_sequence: Sequence, seal: Seal) {
    let mut body = [0; SEAL_BODY_LENGTH];
    let (records, offset) = body.split_at_mut(8);
    records.copy_from_slice(&seal.records.to_le_bytes());
    offset.copy_from_slice(&seal.offset.to_le_bytes());
    encode(out, seed, FrameKind::Seal, next_sequence, 0, &body);
}

fn encode(
    out: &mut Vec<u8>,
    seed: CrcSeed,
    kind: FrameKind,
    sequence: Sequence,
    commit_index: u32,
    body: &[u8],
) {
    assert!(body.len() <= MAX_BODY, "a frame body of {} bytes is over the limit", body.len());
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut header = [0; CRC_OFFSET];
    let fields: [&[u8]; 6] = [
        &FRAME_MAGIC,
        &[kind.code(), 0, 0, 0],
        &length.to_le_bytes(),
        &commit_index.to_le_bytes(),
        &sequence.get().to_le_bytes(),
        &[],
    ];
    let content = fields.iter().flat_map(|field| field.iter());
    header.iter_mut().zip(content).for_each(|(to, from)| *to = *from);
    let crc = crc32(seed.0, &[&header, body]);
    out.reserve(FRAME_HEADER_LENGTH + body.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(body);
}

/// Tells what `bytes`, from one offset of a segment to wherever the caller's view of it ends, starts with.
#[must_use]
pub fn parse(bytes: &[u8], seed: CrcSeed) -> Parsed<'_> {
    let Some(header) = bytes.first_chunk::<FRAME_HEADER_LENGTH>() else {
        return parse_short(bytes);
    };
    if all_zero(header) {
        return Parsed::Unwritten;
    }
    if !header.starts_with(&FRAME_MAGIC) {
        return Parsed::Invalid(InvalidFrame::Magic);
    }
    let length = u32_at(header, 8).unwrap_or(u32::MAX);
    let body_length = match usize::try_from(length) {
        Ok(body_length) if body_length <= MAX_BODY => body_length,
        _ => return Parsed::Invalid(InvalidFrame::Length(length)),
    };
    let needed = FRAME_HEADER_LENGTH + body_length;
    let Some((bytes, body)) = bytes.get(..needed).zip(bytes.get(FRAME_HEADER_LENGTH..needed)) else {
        return Parsed::Partial { needed };
    };
    let (covered, crc) = header.split_at(CRC_OFFSET);
    if u32_at(crc, 0) != Some(crc32(seed.0, &[covered, body])) {
        return Parsed::Invalid(InvalidFrame::Crc);
    }
    let kind = match header.get(4..8) {
        Some([1, 0, 0, 0]) => FrameKind::Data,
        Some([2, 0, 0, 0]) => FrameKind::Seal,
        _ => return Parsed::Invalid(InvalidFrame::Kind(header.get(4).copied().unwrap_or_default())),
    };
    let commit_index = u32_at(header, 12).unwrap_or_default();
    let sequence = Sequence::new(u64_at(header, 16).unwrap_or_default());
    Parsed::Frame(Frame { kind, commit_index, sequence, body, bytes })
}

fn parse_short(bytes: &[u8]) -> Parsed<'_> {
    let magic = bytes.iter().zip(&FRAME_MAGIC).all(|(found, wanted)| found == wanted);
    if all_zero(bytes) {
        Parsed::Unwritten
    } else if magic {
        Parsed::Partial { needed: FRAME_HEADER_LENGTH }
    } else {
        Parsed::Invalid(InvalidFrame::Magic)
    }
}

/// What a seal frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// How many records the segment holds.
    pub records: u64,
    /// The seal frame's own offset: the end of the records.
    pub offset: u64,
}

impl Seal {
    /// Reads a seal frame's body.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let exact = body.len() == SEAL_BODY_LENGTH;
        let seal = Self { records: u64_at(body, 0)?, offset: u64_at(body, 8)? };
        exact.then_some(seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::tests::header;

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        encode_data(&mut out, header().crc_seed(), Sequence::new(42), 3, b"a body of some length");
        out
    }

    #[test]
    fn a_frame_reads_back() {
        let bytes = sample();
        let Parsed::Frame(frame) = parse(&bytes, header().crc_seed()) else { panic!("no frame") };
        assert_eq!((frame.sequence.get(), frame.commit_index, frame.length()), (42, 3, bytes.len()));
        assert_eq!(frame.commit_first(), Sequence::new(39));
        assert_eq!((frame.body, frame.bytes), (&b"a body of some length"[..], &bytes[..]));
    }

    #[test]
    fn every_truncation_is_partial_and_every_flipped_bit_is_noticed() {
        let bytes = sample();
        let seed = header().crc_seed();
        assert_eq!(parse(&[], seed), Parsed::Unwritten);
        for length in 1..bytes.len() {
            assert!(matches!(parse(&bytes[..length], seed), Parsed::Partial { needed } if needed > length));
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&flipped, seed), Parsed::Frame(_)), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_of_another_segment_never_validates() {
        let mut other = header();
        other.id.epoch = other.id.epoch.next();
        assert_eq!(parse(&sample(), other.crc_seed()), Parsed::Invalid(InvalidFrame::Crc));
    }

    #[test]
    fn zeros_are_unwritten_whatever_their_number() {
        for length in [0, 1, 27, 28, 29, 4096] {
            assert_eq!(parse(&vec![0; length], header().crc_seed()), Parsed::Unwritten);
        }
    }

    #[test]
    fn a_reserved_kind_is_named_and_not_taken_for_damage() {
        let seed = header().crc_seed();
        let mut bytes = sample();
        bytes[4] = 3;
        let crc = crc32(seed.0, &[&bytes[..24], &bytes[28..]]);
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(parse(&bytes, seed), Parsed::Invalid(InvalidFrame::Kind(3)));
    }
}
