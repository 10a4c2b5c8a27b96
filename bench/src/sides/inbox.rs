//! Applying records: the effect of each, one row in a table, in a transaction of a database. Three ways, in two databases:
//!
//! | way | what the transaction does |
//! |---|---|
//! | [`Way::Effect`] | the effect, and nothing against duplicates |
//! | [`Way::Ids`] | what is usually done against them: the message's id goes to a table of its own, and then the effect |
//! | [`Way::Inbox`] | `Inbox::apply`: the writer's row is read, the effect, the row is written |
//!
//! One connection, records in the order of the log, one a transaction; or [`MANY`], as a message brings them that points to many
//! (`Inbox::apply_all`).

mod postgres;
pub(crate) mod size;
mod sqlite;

pub(crate) use self::postgres::PostgresApply;
pub(crate) use self::sqlite::SqliteApply;

use anyhow::{Context as _, Result, ensure};
use zoutbox_consumer::{Applied, Identity, OrderKey, Unkeyed};
use zoutbox_format::{Epoch, RecordId, Sequence, ShareId};

/// The consumer's name, in the inbox.
pub(crate) const CONSUMER: &str = "bench";
/// The writer of all records.
const WRITER: &str = "bench";
/// How many records a transaction applies that applies many.
pub(crate) const MANY: u64 = 100;

/// What is done against duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Effect,
    Ids,
    Inbox,
}

/// All sides of one database: way, and whether many records share a transaction.
pub(crate) const SIDES: [(Way, bool); 6] = [
    (Way::Effect, false),
    (Way::Ids, false),
    (Way::Inbox, false),
    (Way::Effect, true),
    (Way::Ids, true),
    (Way::Inbox, true),
];

/// A record, and what it would wait for: nothing, as it has no key.
type Record = (Identity, OrderKey);

/// The records as they come: one after the other.
#[derive(Debug)]
struct Incoming(Identity);

impl Incoming {
    fn new() -> Result<Self> {
        let writer = WRITER.parse().context("the writer's id")?;
        let record = RecordId { writer, epoch: Epoch::new(1), sequence: Sequence::new(0) };
        Ok(Self(Identity::new(ShareId::from_bytes([0x5A; 16]), record)))
    }

    fn next(&mut self) -> Identity {
        self.0.record.sequence = self.0.record.sequence.next();
        self.0.clone()
    }

    fn next_many(&mut self) -> Vec<Record> {
        (0..MANY).map(|_| self.next()).map(keyed).collect()
    }
}

fn keyed(identity: Identity) -> Record {
    let key = OrderKey::of(None, &identity.record, Unkeyed::Independent);
    (identity, key)
}

/// Every record of a measurement is new.
fn ensure_new<T>(applied: &Applied<T>) -> Result<()> {
    ensure!(matches!(applied, Applied::Now(_)), "a new record counts as applied before");
    Ok(())
}

/// The same of many, none of which has to be looked at alone.
fn ensure_all_new<T>(applied: Option<Vec<Applied<T>>>) -> Result<()> {
    applied.context("the inbox wants to see records alone")?.iter().try_for_each(ensure_new)
}
