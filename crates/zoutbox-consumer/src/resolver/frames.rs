//! The bytes that a pointer led to, taken apart: pure. Their CRC was compared before; here they have to be exactly the records that the
//! pointer says.
//!
//! ```text
//!   starts   0        s1           s2
//!            ├ frame ─┼─── frame ──┼─ frame ─┤    no gap, nothing behind the last, each sequence the next one
//! ```

use zoutbox_format::frame::{FRAME_HEADER_LENGTH, Parsed, parse};
use zoutbox_format::header::CrcSeed;
use zoutbox_format::{
    Frame, FrameKind, InvalidFrame, Pointer, RecordError, RecordId, RecordRef, Sequence, WriterId,
};

use super::error::FrameFault;

/// Why bytes are not the records that a pointer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// At this offset of the bytes there is something else than the frame that follows.
    Frame(u32, FrameFault),
    /// The so many'th frame, from 0, holds no record.
    Record(usize, RecordError),
}

/// Checks every frame and every record, and notes where the frames start.
pub(super) fn take_apart(
    bytes: &[u8],
    pointer: &Pointer,
    seed: CrcSeed,
    starts: &mut Vec<u32>,
) -> Result<(), Rejected> {
    starts.clear();
    let mut rest = bytes;
    let mut at = 0;
    let mut expected = pointer.sequence;
    for _ in 0..pointer.count {
        let frame = following(rest, seed, expected).map_err(|fault| Rejected::Frame(at, fault))?;
        check_record(frame.body, &pointer.writer).map_err(|error| Rejected::Record(starts.len(), error))?;
        starts.push(at);
        at = at.saturating_add(u32::try_from(frame.length()).unwrap_or(u32::MAX));
        rest = rest.get(frame.length()..).unwrap_or_default();
        expected = expected.next();
    }
    if rest.is_empty() { Ok(()) } else { Err(Rejected::Frame(at, FrameFault::Longer)) }
}

/// The frame that `bytes` start with, if it is the one of this record.
fn following(bytes: &[u8], seed: CrcSeed, expected: Sequence) -> Result<Frame<'_>, FrameFault> {
    match parse(bytes, seed) {
        Parsed::Frame(frame) if frame.kind == FrameKind::Seal => Err(FrameFault::Seal),
        Parsed::Frame(frame) if frame.sequence == expected => Ok(frame),
        Parsed::Frame(Frame { sequence: found, .. }) => {
            Err(FrameFault::Invalid(InvalidFrame::Sequence { expected, found }))
        }
        Parsed::Unwritten | Parsed::Partial { .. } => Err(FrameFault::Ends(expected)),
        Parsed::Invalid(invalid) => Err(FrameFault::Invalid(invalid)),
    }
}

fn check_record(body: &[u8], writer: &WriterId) -> Result<(), RecordError> {
    match RecordRef::decode(body)?.large_payload() {
        Some(large) if large.name.writer() != writer => {
            Err(RecordError::Reference("it is one of another writer"))
        }
        _ => Ok(()),
    }
}

/// One frame of bytes that were taken apart.
pub(super) struct Piece<'a> {
    pub(super) start: u32,
    pub(super) frame: &'a [u8],
}

impl<'a> Piece<'a> {
    pub(super) fn of(bytes: &'a [u8], starts: &[u32], index: usize) -> Option<Self> {
        let start = *starts.get(index)?;
        let end = starts.get(index + 1).map_or(Some(bytes.len()), |end| usize::try_from(*end).ok())?;
        Some(Self { start, frame: bytes.get(usize::try_from(start).ok()?..end)? })
    }

    /// It was decoded before, so this does not fail.
    pub(super) fn record(&self) -> Option<RecordRef<'a>> {
        RecordRef::decode(self.frame.get(FRAME_HEADER_LENGTH..)?).ok()
    }

    /// A pointer to this one record.
    pub(super) fn pointer(&self, whole: &Pointer, sequence: Sequence) -> Pointer {
        Pointer {
            offset: whole.offset.saturating_add(u64::from(self.start)),
            length: u32::try_from(self.frame.len()).unwrap_or(u32::MAX),
            sequence,
            count: 1,
            crc: crc32fast::hash(self.frame),
            ..whole.clone()
        }
    }
}

/// The identity of the record at `index` of those that a pointer leads to.
pub(super) fn record_id(pointer: &Pointer, index: usize) -> RecordId {
    let sequence = pointer.sequence.get().saturating_add(index as u64);
    RecordId {
        writer: pointer.writer.clone(),
        epoch: pointer.segment.epoch,
        sequence: Sequence::new(sequence),
    }
}
