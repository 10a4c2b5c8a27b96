//! What goes into a lane and what comes out of it, and the options that shape it.

use std::time::Duration;

use zoutbox_format::checkpoint::Position;

use crate::window::{Item, Key};

/// What to do with a record that can never be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUndeliverable {
    /// The lane waits and tries again; nothing behind the record is published.
    #[default]
    Halt,
    /// It becomes a dead letter, durably, before the watermark passes it.
    DeadLetter,
}

/// What to do where acknowledged records can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDamage {
    /// The lane waits, and looks again from time to time.
    #[default]
    Halt,
    /// The loss is reported, durably, and the lane goes on behind it.
    Skip,
}

/// How a lane works. Times are durations on the shell's monotonic clock.
#[derive(Debug, Clone)]
pub struct LaneOptions {
    /// How many bytes one read may hold in memory, about.
    pub read_budget: usize,
    /// Reading goes on while less than this many bytes of the log were read and not published yet.
    pub read_ahead: usize,
    /// A checkpoint is due this long after the watermark moved.
    pub checkpoint_interval: Duration,
    /// A checkpoint is due after this many items, even if the interval is not over.
    pub checkpoint_items: u64,
    /// How long to wait before a record that was nacked or returned is tried again, or a read or save that failed.
    pub retry: Duration,
    /// How long to wait before damage is looked at again.
    pub damage_retry: Duration,
    /// The shortest time between two reads that found nothing.
    pub poll_fast: Duration,
    /// The longest time between two reads that found nothing; each one doubles the wait.
    pub poll_slow: Duration,
    /// What to do with a record that can never be delivered.
    pub on_undeliverable: OnUndeliverable,
    /// What to do where acknowledged records can't be read.
    pub on_damage: OnDamage,
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self {
            read_budget: 256 * 1024,
            read_ahead: 1024 * 1024,
            checkpoint_interval: Duration::from_millis(200),
            checkpoint_items: 50_000,
            retry: Duration::from_secs(5),
            damage_retry: Duration::from_secs(30),
            poll_fast: Duration::from_millis(2),
            poll_slow: Duration::from_millis(500),
            on_undeliverable: OnUndeliverable::default(),
            on_damage: OnDamage::default(),
        }
    }
}

/// Why a read gave no more records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadEnd {
    /// There may be more.
    Budget,
    /// There is no more yet.
    CaughtUp,
    /// There is no more yet, and what was read last is held back until this time, so that more can join it.
    Held {
        /// When a read will give it at the latest.
        until: Duration,
    },
    /// What follows are records that were read before. They are read again once everything in front of them is settled.
    Repeats,
    /// Acknowledged records can't be read.
    Damaged,
    /// What follows was written by a newer zoutbox. Never passed, whatever [`OnDamage`] says: an update can read it.
    Newer,
}

/// Where a read starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// Behind the read before.
    There,
    /// Anew from this position.
    Position(Position),
    /// Anew from the oldest segment.
    Oldest,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Input<B, R> {
    /// A read ended. One of an older generation is ignored.
    Read {
        /// The generation that [`Output::Read`] named.
        generation: u64,
        /// What was read.
        items: Vec<Item<B>>,
        /// Why not more.
        end: ReadEnd,
    },
    /// A read failed; it is tried again later.
    ReadFailed {
        /// The generation that [`Output::Read`] named.
        generation: u64,
    },
    /// There may be something to read.
    Hint,
    /// The record is confirmed for certain, and was not returned.
    Settled(Key),
    /// The broker did not take the record.
    Nacked(Key),
    /// No queue has the record, or no broker will ever take it. `can_die`: whether a dead letter is an answer to it.
    Returned {
        /// Which record.
        key: Key,
        /// Why.
        reason: R,
        /// Whether it may become a dead letter.
        can_die: bool,
    },
    /// The connection is gone, and with it everything that was not certain.
    Lost,
    /// The dead letter is durable.
    DeadLettered(Key),
    /// The dead letter could not be written.
    DeadLetterFailed(Key),
    /// The report on the damage is durable.
    Quarantined,
    /// The report on the damage could not be written.
    QuarantineFailed,
    /// The checkpoint is durable.
    CheckpointSaved(Position),
    /// The checkpoint could not be saved.
    CheckpointFailed,
    /// Publish and read nothing more; stop when all is certain and saved.
    Stop,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<B, R> {
    /// Read on.
    Read {
        /// Names the reads since a rewind.
        generation: u64,
        /// Where.
        from: ReadFrom,
        /// Pass the damage that the last read stopped at.
        skip_damage: bool,
        /// How many bytes it may hold in memory, about.
        budget: usize,
        /// One record is enough.
        single: bool,
    },
    /// Publish this item.
    Publish(Item<B>),
    /// Write a dead letter, durably.
    DeadLetter {
        /// Which record.
        key: Key,
        /// Its content.
        body: B,
        /// Why.
        reason: R,
    },
    /// Write the report on the damage that the last read stopped at, durably.
    Quarantine,
    /// Save a checkpoint.
    SaveCheckpoint(Position),
    /// The lane waits because of this record; tell an operator.
    Halted {
        /// Which record.
        key: Key,
        /// Why.
        reason: R,
    },
    /// The lane waits because of the damage that the last read stopped at; tell an operator.
    HaltedByDamage,
    /// Everything is certain and saved; no output follows.
    Stopped,
}
