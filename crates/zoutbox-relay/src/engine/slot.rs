//! A lane and what the shell keeps for it: what reads for it, and what that read stopped at.

use zoutbox_format::checkpoint::Position;
use zoutbox_format::{RecordId, WriterId};
use zoutbox_reader::Damage;
use zoutbox_relay_core::{Key, Lane, LaneOptions};

use super::source::{ReadOrder, Source};
use super::waits::{Halt, Nack, Wait};
use crate::publisher::{Content, Undeliverable};
use crate::upkeep::Upkeep;

/// Who reads: with the slot, or away on a thread. There is never more than one for a lane.
pub(super) enum Reader {
    Here(Option<Box<Source>>),
    /// `then`: what was asked for meanwhile.
    Away {
        then: Option<ReadOrder>,
    },
}

pub(super) struct Slot {
    pub(super) writer: WriterId,
    pub(super) lane: Lane<Content, Undeliverable>,
    pub(super) reader: Reader,
    pub(super) damage: Option<Damage>,
    /// What the lane halted at last: at most one record, and one damage.
    pub(super) halts: Vec<Halt>,
    /// What the broker did not take last.
    pub(super) nack: Option<Nack>,
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
            nack: None,
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
