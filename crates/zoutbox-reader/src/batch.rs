//! What one read gives: records, where they lie or gathered in one buffer, and why there are no more.

use std::ops::Range;

use bytes::Bytes;
use zoutbox_format::checkpoint::Position;
use zoutbox_format::{Epoch, Sequence};

use crate::damage::Damage;

/// A record where it was found: for whoever looks at it and needs no copy.
#[derive(Debug, Clone, Copy)]
pub struct FoundRecord<'a> {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its sequence.
    pub sequence: Sequence,
    /// How many records of the same commit lie before it. With 0, everything before it in its segment had been durable.
    pub commit_index: u32,
    /// The segment it lies in, and the place in front of the record that follows.
    pub after: Position,
    /// Where its frame starts, in bytes.
    pub offset: u64,
    /// Its whole frame: what a pointer leads to.
    pub frame: &'a [u8],
    /// Its encoding, within the frame: see [`zoutbox_format::RecordRef::decode`].
    pub body: &'a [u8],
}

/// A record as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its sequence.
    pub sequence: Sequence,
    /// The segment it lies in, and the place in front of the record that follows: what a checkpoint says once this record and all
    /// before it are confirmed.
    pub after: Position,
    /// Where its frame starts, in bytes.
    pub offset: u64,
    /// Its encoding: see [`zoutbox_format::RecordRef::decode`].
    pub body: Bytes,
}

/// What [`crate::Tail::read`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Records, in order.
    pub records: Vec<LogRecord>,
    /// Why there are no more.
    pub stop: Stop,
}

/// Why a read ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Whoever reads has enough: read again at once.
    Budget,
    /// Nothing more is there yet.
    CaughtUp,
    /// What follows are records that were given out before, from this sequence on: see [`crate::Tail::repeat_rewritten`]. The next
    /// read gives them out.
    Repeats {
        /// The first sequence that comes again.
        from: Sequence,
    },
    /// Acknowledged records can't be read. Reading again stops here again, until [`crate::Tail::skip_damage`].
    Damaged(Damage),
}

/// A batch in the making: all bodies in one buffer.
#[derive(Default)]
pub(crate) struct Assembly {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

struct Part {
    epoch: Epoch,
    sequence: Sequence,
    after: Position,
    offset: u64,
    /// Where its body lies in the buffer.
    body: Range<usize>,
}

impl Assembly {
    /// Takes a record, and tells how many bytes of bodies there are now.
    pub(crate) fn push(&mut self, record: &FoundRecord<'_>) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(record.body);
        let FoundRecord { epoch, sequence, after, offset, .. } = *record;
        self.parts.push(Part { epoch, sequence, after, offset, body: start..self.bytes.len() });
        self.bytes.len()
    }

    pub(crate) fn finish(self, stop: Stop) -> Batch {
        let bytes = Bytes::from(self.bytes);
        let record = |part: Part| LogRecord {
            epoch: part.epoch,
            sequence: part.sequence,
            after: part.after,
            offset: part.offset,
            body: bytes.slice(part.body),
        };
        Batch { records: self.parts.into_iter().map(record).collect(), stop }
    }
}
