//! Applying a record: its effect, one row in a table, in one transaction of one database. Three ways, in two databases:
//!
//! | way | what the transaction does |
//! |---|---|
//! | [`Way::Effect`] | the effect, and nothing against duplicates |
//! | [`Way::Ids`] | what is usually done against them: the message's id goes to a table of its own, and then the effect |
//! | [`Way::Inbox`] | `Inbox::apply`: the writer's row is read, the effect, the row is written |
//!
//! One connection, one record at a time, in the order of the log.

mod postgres;
mod sqlite;

pub(crate) use self::postgres::PostgresApply;
pub(crate) use self::sqlite::SqliteApply;

use anyhow::{Context as _, Result};
use zoutbox_consumer::Identity;
use zoutbox_format::{Epoch, RecordId, Sequence, ShareId};

/// The consumer's name, in the inbox.
pub(crate) const CONSUMER: &str = "bench";
/// The writer of all records.
const WRITER: &str = "bench";

/// What is done against duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Effect,
    Ids,
    Inbox,
}

/// The records as they come: one after the other.
#[derive(Debug)]
struct Incoming(Identity);

impl Incoming {
    fn new() -> Result<Self> {
        let writer = WRITER.parse().context("the writer's id")?;
        let record = RecordId { writer, epoch: Epoch::new(1), sequence: Sequence::new(0) };
        Ok(Self(Identity::new(ShareId::from_bytes([0x5A; 16]), record)))
    }

    fn next(&mut self) -> &Identity {
        self.0.record.sequence = self.0.record.sequence.next();
        &self.0
    }
}
