//! A writer's log once, from front to back: what there is now, and every damage in it.
//!
//! A [`Tail`] follows a live log, so it gives bytes that are no frame some seconds to become one before it looks for damage. Who
//! looks once can't wait: here the tail's clock runs ahead, so that it looks at once. Should that show damage at the end of a live
//! segment, the real time is waited for, once, and then it is looked at again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use zoutbox_format::checkpoint::Position;
use zoutbox_format::header::HEADER_LENGTH;
use zoutbox_format::{SegmentId, Sequence, WriterId};
use zoutbox_reader::{
    Damage, DamageReason, LogRecord, ReaderError, Stop, StoredCheckpoint, Tail, checkpoint, segments,
};
use zoutbox_storage::{Clock, Share, System};

/// How many bytes of bodies are held at a time, besides one record that is larger.
const BUDGET: usize = 1024 * 1024;
/// Longer than a commit is ever visible in parts only.
const PATIENCE: Duration = Duration::from_secs(6);

/// What a pass meets.
#[derive(Debug)]
pub(crate) enum Met {
    Records(Vec<LogRecord>),
    Damage(Damage),
}

/// One pass over one writer's log.
#[derive(Debug)]
pub(crate) struct Pass {
    system: System,
    share: Share,
    writer: WriterId,
    tail: Tail,
    /// Damage that was met behind the records that were given out last.
    found: VecDeque<Damage>,
    waited: bool,
}

impl Pass {
    pub(crate) fn new(system: &System, share: &Share, writer: &WriterId, from: Option<Position>) -> Self {
        let (system, share, writer) = (system.clone(), share.clone(), writer.clone());
        let tail = hasty(&system, &share, &writer, from);
        Self { system, share, writer, tail, found: VecDeque::new(), waited: false }
    }

    /// A pass that starts with the segment in which `sequence` lies, if it is there; records before it may come, too.
    pub(crate) fn from_sequence(
        system: &System,
        share: &Share,
        writer: &WriterId,
        sequence: Sequence,
    ) -> Result<Self, ReaderError> {
        let names = segments(system, share, writer)?;
        let segment = names.iter().rev().map(|name| name.id).find(|id| id.first_sequence <= sequence);
        Ok(Self::new(system, share, writer, segment.map(start_of)))
    }

    /// The next records or damage; `None` at the end of the log.
    pub(crate) fn next(&mut self) -> Result<Option<Met>, ReaderError> {
        if let Some(damage) = self.found.pop_front() {
            return Ok(Some(Met::Damage(damage)));
        }
        // The second look at the end is the one that tells a torn tail from damage.
        let mut looks = 0;
        loop {
            let batch = self.tail.read(BUDGET)?;
            if let Stop::Damaged(damage) = &batch.stop {
                self.judge(damage)?;
            }
            match batch.stop {
                _ if !batch.records.is_empty() => return Ok(Some(Met::Records(batch.records))),
                Stop::Damaged(_) => {
                    if let Some(damage) = self.found.pop_front() {
                        return Ok(Some(Met::Damage(damage)));
                    }
                }
                Stop::CaughtUp if looks > 0 => return Ok(None),
                Stop::CaughtUp => looks += 1,
                Stop::Budget | Stop::Repeats { .. } => {}
            }
        }
    }

    /// Goes on behind damage, and keeps it if it is real.
    fn judge(&mut self, damage: &Damage) -> Result<(), ReaderError> {
        if self.is_reclaimed(damage)? {
            self.tail.skip_damage();
        } else if self.may_be_half_visible(damage)? {
            self.waited = true;
            self.system.clock.sleep(PATIENCE);
            self.tail = hasty(&self.system, &self.share, &self.writer, self.tail.position());
        } else {
            self.tail.skip_damage();
            self.found.push_back(damage.clone());
        }
        Ok(())
    }

    /// Whether the missing segments are confirmed: then the relay has removed them since this pass began.
    fn is_reclaimed(&self, damage: &Damage) -> Result<bool, ReaderError> {
        if damage.reason != DamageReason::Missing {
            return Ok(false);
        }
        let confirmed = match checkpoint(&self.system, &self.share, &self.writer)? {
            StoredCheckpoint::Found(checkpoint) => Some(checkpoint.position.next_sequence),
            StoredCheckpoint::None | StoredCheckpoint::Damaged { .. } => None,
        };
        Ok(damage.lost_until.is_some() && damage.lost_until <= confirmed)
    }

    /// Whether it lies where a live writer's commit may not be wholly visible yet.
    fn may_be_half_visible(&self, damage: &Damage) -> Result<bool, ReaderError> {
        let newest = segments(&self.system, &self.share, &self.writer)?.last().copied();
        let live = newest.is_some_and(|name| name.id == damage.segment && !name.sealed);
        Ok(live && !self.waited)
    }
}

/// The place in front of a segment's first record.
pub(crate) fn start_of(segment: SegmentId) -> Position {
    Position { segment, offset: HEADER_LENGTH as u64, next_sequence: segment.first_sequence }
}

/// A tail whose clock runs ahead.
fn hasty(system: &System, share: &Share, writer: &WriterId, from: Option<Position>) -> Tail {
    let clock = Arc::new(AheadClock { real: system.clock.clone(), asked: AtomicU32::new(0) });
    Tail::new(System { clock, ..system.clone() }, share.clone(), writer.clone(), from)
}

/// A clock on which time passes whenever somebody looks at it.
#[derive(Debug)]
struct AheadClock {
    real: Arc<dyn Clock>,
    asked: AtomicU32,
}

impl Clock for AheadClock {
    fn now_ms(&self) -> u64 {
        self.real.now_ms()
    }

    fn monotonic(&self) -> Duration {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        self.real.monotonic().saturating_add(PATIENCE.saturating_mul(asked))
    }

    fn sleep(&self, duration: Duration) {
        self.real.sleep(duration);
    }
}
