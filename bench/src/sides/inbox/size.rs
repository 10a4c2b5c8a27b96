//! How much room an inbox takes after very many records, in its database: the rows that it really has there, made by applying the records.
//! Beside it, what a table with a row a message takes.

use std::path::Path;

use anyhow::{Context as _, Result};
use zoutbox_consumer::{Identity, Inbox, PostgresStore, SqliteStore};
use zoutbox_format::{Epoch, RecordId, Sequence, ShareId, WriterId};

use super::{CONSUMER, Record, ensure_all_new, keyed};
use crate::server::Server;
use crate::sides::sqlite;

/// Records that are applied in one transaction: nobody measures the time.
const BATCH: usize = 1000;
/// Writers whose records they are.
const WRITERS: u64 = 4;
/// How often each of them is opened, where that is told.
const EPOCHS: u64 = 5;
/// One of so many records comes late, where some do ...
const LATE: u64 = 1000;
/// ... by so many.
const LATE_BY: u64 = 200;
/// One of so many records never comes, where some do not.
const NEVER: u64 = 100_000;

/// In which order records come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// All, in the order of the log.
    Log,
    /// Writers are opened several times, some records come late, and some never.
    Gaps,
    /// The queue gets every other record of the log.
    EveryOther,
}

/// All of them.
pub(crate) const ORDERS: [Order; 3] = [Order::Log, Order::Gaps, Order::EveryOther];

/// What is there in the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) records: u64,
    /// All states together, without what the database puts around them.
    pub(crate) states: u64,
    /// All that the database has on disk for it.
    pub(crate) stored: u64,
}

/// Applies `records` records to an inbox in a new `SQLite` database in `dir`.
pub(crate) fn sqlite(dir: &Path, order: Order, records: u64) -> Result<Size> {
    let mut inbox = Inbox::open(SqliteStore::open(&dir.join("inbox.db"))?, CONSUMER)?;
    let mut applied = 0;
    apply(order, records, |batch| {
        applied += batch.len() as u64;
        ensure_all_new(inbox.apply_all(batch, |_, _| Ok::<_, rusqlite::Error>(()))?)
    })?;
    let states = "SELECT sum(length(state)) FROM zoutbox_inbox";
    let states: i64 = inbox.store().connection().query_row(states, [], |row| row.get(0))?;
    Ok(Size { records: applied, states: states.try_into()?, stored: file_size(inbox.store().connection())? })
}

/// Writes the ids of `records` messages to a table of a new `SQLite` database in `dir`.
pub(crate) fn sqlite_ids(dir: &Path, records: u64) -> Result<Size> {
    let connection = sqlite::connect(&dir.join("ids.db"))?;
    let ids = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1) \
        INSERT INTO ids SELECT 'orders/1/' || n FROM numbers";
    connection.execute_batch(super::sqlite::IDS)?;
    connection.execute(ids, [records.cast_signed()])?;
    Ok(Size { records, states: 0, stored: file_size(&connection)? })
}

/// The same in `PostgreSQL`.
pub(crate) fn postgres(server: &Server, order: Order, records: u64) -> Result<Size> {
    let config = server.config();
    let connect = move || config.connect(::postgres::NoTls);
    let mut inbox = Inbox::open(PostgresStore::open_with("the bench's database", connect)?, CONSUMER)?;
    let client = inbox.store_mut().client()?;
    client.batch_execute("TRUNCATE zoutbox_inbox")?;
    let mut applied = 0;
    apply(order, records, |batch| {
        applied += batch.len() as u64;
        ensure_all_new(inbox.apply_all(batch, |_, _| Ok::<_, ::postgres::Error>(()))?)
    })?;
    let sizes = "SELECT sum(length(state)), pg_total_relation_size('zoutbox_inbox') FROM zoutbox_inbox";
    let row = inbox.store_mut().client()?.query_one(sizes, &[])?;
    let (states, stored): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Size { records: applied, states: states.try_into()?, stored: stored.try_into()? })
}

/// The same in `PostgreSQL`.
pub(crate) fn postgres_ids(server: &Server, records: u64) -> Result<Size> {
    let mut client = server.connect()?;
    client.batch_execute(super::postgres::IDS)?;
    client.execute(
        "INSERT INTO ids SELECT 'orders/1/' || n FROM generate_series(1, $1::bigint) AS n",
        &[&records.cast_signed()],
    )?;
    let stored: i64 = client.query_one("SELECT pg_total_relation_size('ids')", &[])?.try_get(0)?;
    Ok(Size { records, states: 0, stored: stored.try_into()? })
}

/// The database's file, once everything is in it.
fn file_size(connection: &rusqlite::Connection) -> Result<u64> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    let path = connection.path().context("the database has no file")?;
    Ok(std::fs::metadata(path).context("looking at the database's file")?.len())
}

/// Hands all records to `apply`, in batches of one writer each. The writers take turns.
fn apply(order: Order, records: u64, mut apply: impl FnMut(&[Record]) -> Result<()>) -> Result<()> {
    let share = ShareId::from_bytes([0x5A; 16]);
    let writers: Vec<WriterId> =
        (0..WRITERS).map(|n| format!("orders-{n}").parse()).collect::<Result<_, _>>()?;
    let each = records / WRITERS;
    let mut all: Vec<_> = writers.iter().map(|writer| (writer, order.places(each))).collect();
    loop {
        let mut left = false;
        for (writer, places) in &mut all {
            let record = |(epoch, sequence)| {
                let (epoch, sequence) = (Epoch::new(epoch), Sequence::new(sequence));
                keyed(Identity::new(share, RecordId { writer: (*writer).clone(), epoch, sequence }))
            };
            let batch: Vec<Record> = places.by_ref().take(BATCH).map(record).collect();
            left |= !batch.is_empty();
            apply(&batch)?;
        }
        if !left {
            return Ok(());
        }
    }
}

impl Order {
    /// Epoch and sequence of the records of one writer, about so many, as they come.
    fn places(self, records: u64) -> Box<dyn Iterator<Item = (u64, u64)>> {
        match self {
            Self::Log => Box::new((1..=records).map(|sequence| (1, sequence))),
            Self::EveryOther => Box::new((1..=records).map(|n| (1, 2 * n))),
            Self::Gaps => {
                let epoch = move |sequence: u64| 1 + (sequence - 1) * EPOCHS / records;
                let late = |sequence: u64| sequence % LATE == LATE / 2;
                let come = move |sequence: u64| {
                    let itself = (!late(sequence) && !sequence.is_multiple_of(NEVER)).then_some(sequence);
                    let held = sequence.checked_sub(LATE_BY).filter(|held| late(*held));
                    itself.into_iter().chain(held)
                };
                Box::new((1..=records).flat_map(come).map(move |sequence| (epoch(sequence), sequence)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{NEVER, Order};

    #[test]
    fn with_gaps_every_record_comes_once_but_those_that_never_do() {
        let records = 3 * NEVER;
        let come: Vec<_> = Order::Gaps.places(records).collect();
        let sequences: BTreeSet<u64> = come.iter().map(|(_, sequence)| *sequence).collect();
        assert_eq!(sequences.len(), come.len());
        let missing: Vec<u64> = (1..=records).filter(|sequence| !sequences.contains(sequence)).collect();
        assert_eq!(missing, [NEVER, 2 * NEVER, 3 * NEVER]);
        assert!(!come.is_sorted());
        assert_eq!(come.iter().map(|(epoch, _)| *epoch).max(), Some(5));
    }
}
