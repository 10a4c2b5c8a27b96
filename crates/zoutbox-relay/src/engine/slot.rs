//! A lane and what the shell keeps for it: the tail that reads for it, and what that read stopped at.

use zoutbox_format::checkpoint::Position;
use zoutbox_format::{RecordId, WriterId};
use zoutbox_reader::{Batch, Damage, ReaderError, Stop, Tail};
use zoutbox_relay_core::{Input, Item, Key, Lane, LaneOptions, ReadEnd, ReadFrom};
use zoutbox_storage::{Share, System};

use bytes::Bytes;

use super::waits::{Halt, Wait};
use crate::publisher::Undeliverable;
use crate::upkeep::Upkeep;

/// A read that the lane asked for.
pub(super) struct ReadOrder {
    pub(super) generation: u64,
    pub(super) from: ReadFrom,
    pub(super) skip_damage: bool,
    pub(super) budget: usize,
}

/// Who reads: with the slot, or away on a thread. There is never more than one for a lane.
pub(super) enum Reader {
    Here(Option<Box<Tail>>),
    /// `then`: what was asked for meanwhile.
    Away {
        then: Option<ReadOrder>,
    },
}

pub(super) struct Slot {
    pub(super) writer: WriterId,
    pub(super) lane: Lane<Bytes, Undeliverable>,
    pub(super) reader: Reader,
    pub(super) damage: Option<Damage>,
    /// What the lane halted at last: at most one record, and one damage.
    pub(super) halts: Vec<Halt>,
    /// Away while something is removed or swept.
    pub(super) upkeep: Option<Upkeep>,
    /// Why more is kept of it than was asked for.
    pub(super) kept: Vec<Wait>,
    pub(super) stopped: bool,
    /// The last error that was told, so that trying again does not repeat it.
    pub(super) complaint: String,
}

impl Slot {
    pub(super) fn new(writer: WriterId, options: LaneOptions, start: Option<Position>) -> Self {
        Self {
            upkeep: Some(Upkeep::new(writer.clone())),
            kept: Vec::new(),
            writer,
            lane: Lane::new(options, start),
            reader: Reader::Here(None),
            damage: None,
            halts: Vec::new(),
            stopped: false,
            complaint: String::new(),
        }
    }

    pub(super) fn id(&self, key: Key) -> RecordId {
        RecordId { writer: self.writer.clone(), epoch: key.epoch, sequence: key.sequence }
    }

    /// Tells an operator, once.
    pub(super) fn complain(&mut self, complaint: String) {
        if self.complaint != complaint {
            tracing::warn!("writer {}: {complaint}", self.writer);
            self.complaint = complaint;
        }
    }
}

/// Reads; on a thread that may block.
pub(super) fn read(
    system: &System,
    share: &Share,
    writer: &WriterId,
    tail: Option<Box<Tail>>,
    order: &ReadOrder,
) -> (Box<Tail>, Result<Batch, ReaderError>) {
    let anew = |from| Box::new(Tail::new(system.clone(), share.clone(), writer.clone(), from));
    let mut tail = match (order.from, tail) {
        (ReadFrom::There, Some(tail)) => tail,
        (ReadFrom::Position(position), _) => anew(Some(position)),
        (ReadFrom::Oldest | ReadFrom::There, _) => anew(None),
    };
    if order.skip_damage {
        tail.skip_damage();
    }
    let batch = tail.read(order.budget);
    (tail, batch)
}

/// What a batch tells the lane, and the damage it ended at.
pub(super) fn input(generation: u64, batch: Batch) -> (Input<Bytes, Undeliverable>, Option<Damage>) {
    let items = batch.records.into_iter().map(|record| Item {
        key: Key { epoch: record.epoch, sequence: record.sequence },
        size: record.body.len(),
        after: record.after,
        body: record.body,
    });
    let (end, damage) = match batch.stop {
        Stop::Budget => (ReadEnd::Budget, None),
        Stop::CaughtUp => (ReadEnd::CaughtUp, None),
        Stop::Damaged(damage) if damage.reason.is_newer_format() => (ReadEnd::Newer, Some(damage)),
        Stop::Damaged(damage) => (ReadEnd::Damaged, Some(damage)),
    };
    (Input::Read { generation, items: items.collect(), end }, damage)
}
