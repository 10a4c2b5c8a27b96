//! How far a consumer is with each writer, from what becomes of deliveries. Pure: no I/O, no clock.
//!
//! ```text
//!   delivered ──▶ held ── acked ────▶ passed: the highest segment of what was resolved
//!                   │
//!                   ├── lost (the connection), given back ──▶ missing: it comes again, here or elsewhere, nobody knows when
//!                   ▼
//!                 open: the lowest segment of what is held or missing
//! ```
//!
//! # Turns
//!
//! What is acknowledged tells nothing of writers whose records go to other queues, nor whether what is missing has come again. A turn of
//! the queue does. A queue gives out in the order in which it took in, and what comes back to it goes in front, or, in some
//! brokers, to its end. So:
//!
//! ```text
//!   1  read the relay's checkpoints: all in front of them is confirmed, so it is in the queue, or was
//!   2  ask how many messages wait there: n, with d delivered so far
//!   3  all up to delivery d + n are settled ─▶ all of 1 has come by, and so has what was missing when 2 was asked
//! ```
//!
//! An idle queue has n = 0 and is through at once; since a broker that is in trouble may say 0 of a queue that is not empty, it is asked once
//! more, one interval later. Where others consume the same queue they get some of the n, so this takes longer, and what they hold they
//! say in files of their own, which takes them one interval: that long a turn lasts at least.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zoutbox_format::{Epoch, Place, Progress, SegmentId, Sequence, WriterId};

/// Below every segment there can be.
const FIRST: SegmentId = SegmentId { epoch: Epoch::FIRST, first_sequence: Sequence::FIRST };

/// The last segment of each writer that the relay has confirmed something of.
pub(super) type Confirmed = BTreeMap<WriterId, SegmentId>;

/// A count of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) waiting: u64,
    /// The number of the last delivery in front of it.
    pub(super) delivered: u64,
}

#[derive(Debug)]
pub(super) struct Tracker {
    interval: Duration,
    /// So long a broker may take to notice that a connection is gone, and to take back what was sent there.
    settle: Duration,
    /// The start. Until the queue has turned since then, an earlier life may have been sent what it did not live to say.
    origin: Option<Duration>,
    held: BTreeMap<u64, Held>,
    writers: BTreeMap<WriterId, Track>,
    turn: Option<Turn>,
}

#[derive(Debug)]
struct Held {
    writer: WriterId,
    segment: Option<SegmentId>,
    /// What it says of itself turned out to be wrong.
    refused: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Track {
    passed: Option<SegmentId>,
    missing: Option<Missing>,
    /// How many records of each segment are parked.
    parked: BTreeMap<SegmentId, usize>,
    /// What was parked at the end of an earlier life, until it is known what is parked now.
    parked_before: BTreeSet<SegmentId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Missing {
    lowest: SegmentId,
    /// Since when it is all of that.
    since: Duration,
}

#[derive(Debug)]
struct Turn {
    confirmed: Confirmed,
    /// The number of the last delivery that belongs to it.
    due: u64,
    counted: Duration,
    /// Nothing waited.
    idle: bool,
}

impl Tracker {
    pub(super) const fn new(interval: Duration, settle: Duration, now: Duration) -> Self {
        let origin = Some(now);
        Self { interval, settle, origin, held: BTreeMap::new(), writers: BTreeMap::new(), turn: None }
    }

    /// What an earlier life said last. All that it needed then may be missing now: it can have died before it said what it was sent.
    pub(super) fn inherit(&mut self, progress: Progress) {
        for (writer, place) in progress.writers {
            let needed = place.open.or(place.passed).unwrap_or(FIRST);
            let missing = self.origin.map(|since| Missing { lowest: needed, since });
            let parked_before = place.parked.into_iter().collect();
            let track = Track { passed: place.passed, missing, parked: BTreeMap::new(), parked_before };
            self.writers.insert(writer, track);
        }
    }

    pub(super) fn delivered(&mut self, delivery: u64, writer: &WriterId, segment: Option<SegmentId>) {
        self.held.insert(delivery, Held { writer: writer.clone(), segment, refused: false });
    }

    pub(super) fn refused(&mut self, delivery: u64) {
        if let Some(held) = self.held.get_mut(&delivery) {
            held.refused = true;
        }
    }

    pub(super) fn acked(&mut self, delivery: u64) {
        // Where an inline message lies is not known, and a turn tells as much.
        let Some(Held { writer, segment: Some(segment), refused: false }) = self.held.remove(&delivery)
        else {
            return;
        };
        let track = self.track(writer);
        track.passed = track.passed.max(Some(segment));
    }

    fn track(&mut self, writer: WriterId) -> &mut Track {
        let origin = self.origin;
        self.writers.entry(writer).or_insert_with(|| Track::new(origin))
    }

    pub(super) fn returned(&mut self, delivery: u64, now: Duration) {
        if let Some(held) = self.held.remove(&delivery) {
            self.misses(held, now);
        }
    }

    /// The connection is gone. A turn that was under way counted what it will never see.
    pub(super) fn lost(&mut self, now: Duration) {
        self.turn = None;
        for held in std::mem::take(&mut self.held).into_values() {
            self.misses(held, now);
        }
    }

    fn misses(&mut self, held: Held, now: Duration) {
        let track = self.track(held.writer);
        // An inline message may name a large payload, which goes with the segment of its record. That is none of those that were passed,
        // since a writer's messages are settled in order.
        let segment = held.segment.or(track.passed).unwrap_or(FIRST);
        let lowest = track.missing.map_or(segment, |before| before.lowest.min(segment));
        track.missing = Some(Missing { lowest, since: now });
    }

    pub(super) fn parked(&mut self, writer: &WriterId, segment: Option<SegmentId>) {
        if let Some(segment) = segment {
            let parked = &mut self.track(writer.clone()).parked;
            let count = parked.entry(segment).or_default();
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn unparked(&mut self, writer: &WriterId, segment: Option<SegmentId>) {
        let (Some(segment), Some(track)) = (segment, self.writers.get_mut(writer)) else { return };
        let Some(count) = track.parked.get_mut(&segment) else { return };
        *count = count.saturating_sub(1);
        track.parked.retain(|_, count| *count > 0);
    }

    /// All that is parked has been told.
    pub(super) fn started(&mut self) {
        self.writers.values_mut().for_each(|track| track.parked_before.clear());
    }

    /// Whether a turn is under way.
    pub(super) const fn is_turning(&self) -> bool {
        self.turn.is_some()
    }

    /// A turn begins: these were read before the queue was counted.
    pub(super) fn turn(&mut self, confirmed: Confirmed, count: Count, now: Duration) {
        let due = count.delivered.saturating_add(count.waiting);
        self.turn = Some(Turn { confirmed, due, counted: now, idle: count.waiting == 0 });
    }

    /// The queue was counted again.
    pub(super) fn counted(&mut self, count: Count, now: Duration) {
        let Some(turn) = self.turn.take() else { return };
        let through = count.delivered >= turn.due && self.held.range(..=turn.due).next().is_none();
        if !through || now.saturating_sub(turn.counted) < self.interval {
            self.turn = Some(turn);
        } else if turn.idle && (count.waiting > 0 || !self.held.is_empty()) {
            // So it may not have been idle; but what was confirmed then still is.
            self.turn(turn.confirmed, count, now);
        } else {
            self.through(turn);
        }
    }

    fn through(&mut self, turn: Turn) {
        for (writer, segment) in turn.confirmed {
            let track = self.track(writer);
            track.passed = track.passed.max(Some(segment));
        }
        let settle = self.settle;
        // What came back to the queue after it was counted may still be there.
        let late = |since: Duration| since.saturating_add(settle) > turn.counted;
        for track in self.writers.values_mut() {
            track.missing = track.missing.filter(|missing| late(missing.since));
        }
        self.origin = self.origin.filter(|since| late(*since));
        self.writers.retain(|_, track| *track != Track::default());
    }

    /// How far it is with each writer.
    pub(super) fn places(&self) -> BTreeMap<WriterId, Place> {
        let mut places: BTreeMap<WriterId, Place> =
            self.writers.iter().map(|(writer, track)| (writer.clone(), track.place())).collect();
        for held in self.held.values() {
            let Some(segment) = held.segment else { continue };
            let place = places.entry(held.writer.clone()).or_insert_with(|| Track::new(self.origin).place());
            place.open = place.open.into_iter().chain([segment]).min();
        }
        places
    }
}

impl Track {
    /// Of a writer that nothing is known of.
    fn new(origin: Option<Duration>) -> Self {
        Self { missing: origin.map(|since| Missing { lowest: FIRST, since }), ..Self::default() }
    }

    fn place(&self) -> Place {
        let parked: BTreeSet<SegmentId> = self.parked.keys().chain(&self.parked_before).copied().collect();
        Place {
            passed: self.passed,
            open: self.missing.map(|missing| missing.lowest),
            parked: parked.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests;
