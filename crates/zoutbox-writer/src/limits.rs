//! Backpressure in bytes: what may still be appended. Pure; what is on the share is looked at elsewhere.

use std::collections::VecDeque;

use zoutbox_format::SegmentId;
use zoutbox_format::checkpoint::Position;
use zoutbox_format::header::HEADER_LENGTH;

use crate::error::{Limit, WriterError};
use crate::options::Options;

/// What one look at the share told.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    /// Bytes free, if the limit on them is in use.
    pub(crate) available: Option<u64>,
    /// The relay's checkpoint, if the limit on unconfirmed bytes is in use and there is a sound one.
    pub(crate) confirmed: Option<Position>,
}

/// The three limits, and where they stand.
#[derive(Debug)]
pub(crate) struct Limits {
    memory: u64,
    unconfirmed_limit: Option<u64>,
    min_free_space: u64,
    /// Free space at the last look; nothing is held against a share that was never looked at.
    available: u64,
    /// Bytes of frames by segment, from the oldest that has unconfirmed ones.
    segments: VecDeque<Span>,
    unconfirmed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    id: SegmentId,
    from: u64,
    to: u64,
}

impl Limits {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            memory: options.memory_limit,
            unconfirmed_limit: options.unconfirmed_limit,
            min_free_space: options.min_free_space,
            available: u64::MAX,
            segments: VecDeque::new(),
            unconfirmed: 0,
        }
    }

    /// Whether a record that takes `bytes` may be queued while `waiting` bytes are not durable yet.
    pub(crate) fn admit(&self, bytes: u64, waiting: u64) -> Result<(), WriterError> {
        if self.available < self.min_free_space {
            return Err(full(Limit::FreeSpace, self.available, self.min_free_space));
        }
        if let Some(limit) = self.unconfirmed_limit {
            exceeds(Limit::Unconfirmed, self.unconfirmed.saturating_add(waiting), bytes, limit)?;
        }
        exceeds(Limit::Memory, waiting, bytes, self.memory)
    }

    /// Whether a look at the share could matter soon.
    pub(crate) fn near(&self, waiting: u64) -> bool {
        let unconfirmed = self.unconfirmed.saturating_add(waiting);
        self.available < self.min_free_space.saturating_mul(2)
            || self.unconfirmed_limit.is_some_and(|limit| unconfirmed > limit / 2)
    }

    /// A segment's frames now end at `end`.
    pub(crate) fn written(&mut self, id: SegmentId, end: u64) {
        if self.unconfirmed_limit.is_none() {
            return;
        }
        if let Some(span) = self.segments.back_mut().filter(|span| span.id == id) {
            self.unconfirmed = self.unconfirmed.saturating_add(end.saturating_sub(span.to));
            span.to = end.max(span.to);
        } else {
            let from = (HEADER_LENGTH as u64).min(end);
            self.unconfirmed = self.unconfirmed.saturating_add(end - from);
            self.segments.push_back(Span { id, from, to: end });
        }
    }

    /// Takes in what a look at the share told.
    pub(crate) fn looked(&mut self, look: Look) {
        self.available = look.available.unwrap_or(u64::MAX);
        let Some(position) = look.confirmed else { return };
        while let Some(span) = self.segments.front_mut() {
            let from = match span.id.cmp(&position.segment) {
                std::cmp::Ordering::Less => span.to,
                std::cmp::Ordering::Equal => position.offset.clamp(span.from, span.to),
                std::cmp::Ordering::Greater => return,
            };
            self.unconfirmed = self.unconfirmed.saturating_sub(from - span.from);
            span.from = from;
            if span.id == position.segment || self.segments.len() == 1 {
                return;
            }
            self.segments.pop_front();
        }
    }
}

/// A single record larger than the limit is let in when nothing else counts against it: else it could never be.
fn exceeds(limit: Limit, used: u64, bytes: u64, allowed: u64) -> Result<(), WriterError> {
    if used == 0 || used.saturating_add(bytes) <= allowed {
        return Ok(());
    }
    Err(full(limit, used, allowed))
}

fn full(limit: Limit, used: u64, allowed: u64) -> WriterError {
    WriterError::Full { limit, used, allowed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zoutbox_format::{Epoch, Sequence};

    fn id(epoch: u64, first: u64) -> SegmentId {
        SegmentId { epoch: Epoch::new(epoch), first_sequence: Sequence::new(first) }
    }

    fn confirmed(segment: SegmentId, offset: u64) -> Look {
        let position = Position { segment, offset, next_sequence: Sequence::new(1) };
        Look { available: None, confirmed: Some(position) }
    }

    #[test]
    fn unconfirmed_bytes_are_those_behind_the_checkpoint() {
        let options = Options { unconfirmed_limit: Some(1000), ..Options::default() };
        let mut limits = Limits::new(&options);
        limits.written(id(1, 1), 160 + 400);
        limits.written(id(1, 1), 160 + 500);
        limits.written(id(2, 9), 160 + 300);
        assert_eq!(limits.unconfirmed, 800);
        assert!(limits.admit(200, 0).is_ok());
        let error = limits.admit(201, 0).expect_err("over the limit");
        assert!(matches!(error, WriterError::Full { limit: Limit::Unconfirmed, used: 800, allowed: 1000 }));
        assert!(limits.admit(100, 101).is_err(), "what waits counts too");
        limits.looked(confirmed(id(1, 1), 160 + 100));
        assert_eq!(limits.unconfirmed, 700);
        limits.looked(confirmed(id(1, 1), 160 + 100));
        assert_eq!(limits.unconfirmed, 700, "the same checkpoint confirms nothing twice");
        limits.looked(confirmed(id(2, 9), 160 + 300));
        assert_eq!(limits.unconfirmed, 0);
        assert!(limits.admit(u64::MAX, 0).is_ok(), "a single larger record can be appended at all");
        limits.written(id(2, 9), 160 + 310);
        assert_eq!(limits.unconfirmed, 10);
    }

    #[test]
    fn little_free_space_refuses_everything_until_there_is_more() {
        let mut limits = Limits::new(&Options { min_free_space: 100, ..Options::default() });
        assert!(limits.admit(1, 0).is_ok());
        limits.looked(Look { available: Some(99), confirmed: None });
        assert!(limits.near(0));
        let error = limits.admit(1, 0).expect_err("too little");
        assert!(matches!(error, WriterError::Full { limit: Limit::FreeSpace, used: 99, allowed: 100 }));
        limits.looked(Look { available: Some(100), confirmed: None });
        assert!(limits.admit(1, 0).is_ok());
    }

    #[test]
    fn memory_is_counted_in_bytes_and_a_lone_large_record_passes() {
        let limits = Limits::new(&Options { memory_limit: 100, ..Options::default() });
        assert!(limits.admit(500, 0).is_ok());
        assert!(limits.admit(50, 50).is_ok());
        assert!(matches!(limits.admit(51, 50), Err(WriterError::Full { limit: Limit::Memory, .. })));
    }
}
