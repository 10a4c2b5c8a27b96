//! What reads for a lane: the tail, and what groups its records into messages. Both move on together, and a lane that goes back gets
//! new ones.
//!
//! ```text
//!   Tail ── shows each record where it lies ──▶ Runs ─┬─ inline: its body is copied ─▶ Item
//!                                                     └─ run: only where it lies ────▶ Item
//! ```

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use zoutbox_format::WriterId;
use zoutbox_format::checkpoint::Position;
use zoutbox_reader::{Damage, FoundRecord, ReaderError, Stop, Tail};
use zoutbox_relay_core::{Grouped, Item, Key, Lying, ReadEnd, ReadFrom, Run, RunOptions, Runs};
use zoutbox_storage::{Share, System};

use crate::publisher::Content;

/// How many bytes of the log one read goes over at most, however few of them it has to hold: a stop, and other lanes, wait for it.
const SPAN: usize = 4 * 1024 * 1024;

/// A read that the lane asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadOrder {
    pub(super) generation: u64,
    pub(super) from: ReadFrom,
    pub(super) skip_damage: bool,
    pub(super) budget: usize,
    pub(super) single: bool,
}

/// What one read gave a lane.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) items: Vec<Item<Content>>,
    pub(super) end: ReadEnd,
    /// The damage that it ended at.
    pub(super) damage: Option<Damage>,
}

/// Reads one writer's log, and groups what it reads.
#[derive(Debug)]
pub(super) struct Source {
    tail: Tail,
    runs: Runs,
}

impl Source {
    /// One that starts at a checkpoint's position, or at the oldest segment.
    pub(super) fn new(
        system: &System,
        share: &Share,
        writer: &WriterId,
        from: Option<Position>,
        options: &RunOptions,
    ) -> Self {
        let mut tail = Tail::new(system.clone(), share.clone(), writer.clone(), from);
        if !options.rules.are_all_inline() {
            // A message that carries its record can't come to nothing; a pointer can.
            tail = tail.repeat_rewritten();
        }
        Self { tail, runs: Runs::new(options.clone()) }
    }

    /// Reads on; on a thread that may block. `now` is when it begins.
    ///
    /// # Errors
    /// When the share can't be read; nothing is lost, and it can be asked again.
    pub(super) fn read(&mut self, order: &ReadOrder, now: Duration) -> Result<Gathered, ReaderError> {
        if order.skip_damage {
            self.tail.skip_damage();
        }
        let Self { tail, runs } = self;
        let (mut gathering, mut span) = (Gathering::default(), 0_usize);
        let stop = tail.read_each(|found| {
            span = span.saturating_add(found.frame.len());
            runs.push(lying(&found), now, &mut |grouped| gathering.take(grouped));
            let goes_on = !order.single && span < SPAN && gathering.held < order.budget;
            if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let out = &mut |grouped: Grouped<'_>| gathering.take(grouped);
        if order.single {
            runs.finish(out);
        }
        let (end, damage) = match stop {
            Stop::Budget => (ReadEnd::Budget, None),
            Stop::CaughtUp => match runs.caught_up(now, out) {
                None => (ReadEnd::CaughtUp, None),
                Some(until) => (ReadEnd::Held { until }, None),
            },
            Stop::Repeats { from } => {
                runs.finish_before(from, out);
                (ReadEnd::Repeats, None)
            }
            Stop::Damaged(damage) => {
                runs.finish(out);
                let newer = damage.reason.is_newer_format();
                (if newer { ReadEnd::Newer } else { ReadEnd::Damaged }, Some(damage))
            }
        };
        Ok(Gathered { items: gathering.items(), end, damage })
    }
}

fn lying<'a>(found: &FoundRecord<'a>) -> Lying<'a> {
    let FoundRecord { epoch, sequence, commit_index, after, offset, frame, body } = *found;
    Lying { key: Key { epoch, sequence }, commit_index, offset, after, frame, body }
}

/// Items in the making: the bodies of all records in one buffer.
#[derive(Default)]
struct Gathering {
    bodies: Vec<u8>,
    parts: Vec<Part>,
    /// How many bytes all of it holds in memory.
    held: usize,
}

enum Part {
    Record {
        key: Key,
        after: Position,
        span: usize,
        /// Where its body lies in the buffer.
        body: Range<usize>,
    },
    Run(Run),
}

impl Gathering {
    fn take(&mut self, grouped: Grouped<'_>) {
        self.parts.push(match grouped {
            Grouped::Record(Lying { key, after, frame, body, .. }) => {
                let start = self.bodies.len();
                self.bodies.extend_from_slice(body);
                self.held += body.len();
                Part::Record { key, after, span: frame.len(), body: start..self.bodies.len() }
            }
            Grouped::Run(run) => {
                self.held += run.held();
                Part::Run(run)
            }
        });
    }

    fn items(self) -> Vec<Item<Content>> {
        let bodies = Bytes::from(self.bodies);
        let item = |part| match part {
            Part::Record { key, after, span, body } => {
                let body = bodies.slice(body);
                Item { key, size: body.len(), span, after, body: Content::Record(body) }
            }
            Part::Run(run) => Item {
                key: run.first,
                size: run.held(),
                span: usize::try_from(run.length).unwrap_or(usize::MAX),
                after: run.after,
                body: Content::Run(Arc::new(run)),
            },
        };
        self.parts.into_iter().map(item).collect()
    }
}

#[cfg(test)]
mod tests;
