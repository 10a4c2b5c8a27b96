//! The promises, one a file. Each checker sees everything that happens, and says when it is against its promise.

mod altered;
mod checkpoint;
mod delivered;
mod drained;
mod finished;
mod once;
mod order;
mod reclaimed;
mod restart;
mod unknown;

use std::collections::BTreeSet;

use zoutbox_format::SegmentId;
use zoutbox_format::checkpoint::Position;
use zoutbox_relay_core::Key;

use crate::world::Violation;
use crate::world::ledger::{Ledger, Told};

/// Something that happened.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub enum Seen<'a> {
    /// A producer appended a record.
    Appended { writer: &'a str, topic: &'a str, payload: &'a [u8], process: usize },
    /// It was told what became of it.
    Told { writer: &'a str, append: usize, told: Told },
    /// A relay published records; `relay` names the process.
    Published { relay: usize, writer: &'a str, first: Key, count: u32 },
    /// The broker has records in its queue; the content of those that are in the message.
    Accepted { writer: &'a str, first: Key, count: u32, content: Option<(&'a str, &'a [u8])> },
    /// The broker nacked or returned records.
    Refused { writer: &'a str, first: Key, count: u32 },
    /// A dead letter of records is durable.
    Dead { writer: &'a str, first: Key, count: u32 },
    /// A checkpoint is seen.
    Checkpoint { writer: &'a str, position: Position },
    /// A segment left the log. `only_here`: the acknowledged records that are nowhere else; `durable`: what the checkpoint says that would
    /// survive a power cut.
    Removed { writer: &'a str, segment: SegmentId, only_here: &'a [Key], durable: Option<Position> },
    /// A consumer applied a record.
    Applied { writer: &'a str, key: Key, topic: &'a str, payload: &'a [u8] },
    /// A relay ended by itself, since everything was published that was `there` when it began: what was acknowledged and not confirmed.
    Finished { there: &'a [(String, BTreeSet<Key>)] },
    /// The relay was stopped in good order, in the middle of its work.
    Stopped,
    /// The faults have stopped, and nothing is left to do.
    Drained,
    /// The faults have stopped, and something is left all the same.
    Stuck { what: &'a str },
}

impl<'a> Seen<'a> {
    /// Whose record it is about.
    #[must_use]
    pub const fn writer(&self) -> Option<&'a str> {
        match *self {
            Self::Appended { writer, .. }
            | Self::Told { writer, .. }
            | Self::Published { writer, .. }
            | Self::Accepted { writer, .. }
            | Self::Refused { writer, .. }
            | Self::Dead { writer, .. }
            | Self::Checkpoint { writer, .. }
            | Self::Removed { writer, .. }
            | Self::Applied { writer, .. } => Some(writer),
            Self::Finished { .. } | Self::Stopped | Self::Drained | Self::Stuck { .. } => None,
        }
    }
}

/// One promise.
trait Checker: Send {
    /// Its name, which is its file's.
    fn name(&self) -> &'static str;

    /// What is wrong with what is seen. The ledger does not have it yet.
    fn see(&mut self, ledger: &Ledger, seen: &Seen<'_>) -> Result<(), String>;
}

/// All promises.
pub struct Checkers(Vec<Box<dyn Checker>>);

impl Checkers {
    /// All there are.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![
            Box::new(altered::Altered::default()),
            Box::new(unknown::Unknown),
            Box::new(order::Order::default()),
            Box::new(checkpoint::Checkpoint),
            Box::new(reclaimed::Reclaimed),
            Box::new(restart::Restart::default()),
            Box::new(finished::Finished),
            Box::new(once::Once),
            Box::new(delivered::Delivered),
            Box::new(drained::Drained),
        ])
    }

    /// Shows them what happened.
    ///
    /// # Errors
    /// The first promise that it is against.
    pub fn see(&mut self, ledger: &Ledger, seen: &Seen<'_>) -> Result<(), Violation> {
        for checker in &mut self.0 {
            let found = checker.see(ledger, seen);
            found.map_err(|what| Violation { checker: checker.name(), what })?;
        }
        Ok(())
    }
}

/// A record's name, for people.
fn name(writer: &str, key: Key) -> String {
    format!("{writer}/{}/{}", key.epoch, key.sequence)
}
