//! What one read gives: records, sharing one buffer, and why there are no more.

use std::ops::Range;

use bytes::Bytes;
use zoutbox_format::checkpoint::Position;
use zoutbox_format::{Epoch, Sequence};

use crate::damage::Damage;

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

/// Why a batch ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The budget is used up: read again at once.
    Budget,
    /// Nothing more is there yet.
    CaughtUp,
    /// Acknowledged records can't be read. Reading again stops here again, until [`crate::Tail::skip_damage`].
    Damaged(Damage),
}

/// A batch in the making: all bodies in one buffer.
#[derive(Default)]
pub(crate) struct Assembly {
    pub(crate) bytes: Vec<u8>,
    pub(crate) parts: Vec<Part>,
}

pub(crate) struct Part {
    pub(crate) epoch: Epoch,
    pub(crate) sequence: Sequence,
    pub(crate) after: Position,
    pub(crate) offset: u64,
    /// Where its body lies in the buffer.
    pub(crate) body: Range<usize>,
}

impl Assembly {
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
