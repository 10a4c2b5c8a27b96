//! In `SQLite`: the transactions of all three ways begin `IMMEDIATE`.
//!
//! Syncs: a write-ahead log with `synchronous=FULL`, as the inbox sets it and as the other ways set it here; each apply is one
//! `fdatasync`, counted with `strace -f -e fdatasync`.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use zoutbox_consumer::{Identity, Inbox, SqliteStore};

use super::{CONSUMER, Incoming, MANY, Way, ensure_all_new, ensure_new};
use crate::side::AppendSide;
use crate::sides::sqlite;

const EFFECTS: &str =
    "CREATE TABLE effects (id INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, payload BLOB NOT NULL)";
pub(super) const IDS: &str = "CREATE TABLE ids (id TEXT PRIMARY KEY) WITHOUT ROWID";

/// The `SQLite` sides.
pub(crate) struct SqliteApply {
    way: Way,
    many: bool,
    open: Mutex<Option<Open>>,
}

struct Open {
    incoming: Incoming,
    database: Database,
}

enum Database {
    Plain(Connection),
    Inbox(Box<Inbox<SqliteStore>>),
}

impl SqliteApply {
    pub(crate) fn new(way: Way, many: bool) -> Self {
        Self { way, many, open: Mutex::new(None) }
    }
}

impl AppendSide for SqliteApply {
    fn name(&self) -> &'static str {
        match (self.way, self.many) {
            (Way::Effect, false) => "sqlite-effect",
            (Way::Ids, false) => "sqlite-ids",
            (Way::Inbox, false) => "sqlite-inbox",
            (Way::Effect, true) => "sqlite-effect-100",
            (Way::Ids, true) => "sqlite-ids-100",
            (Way::Inbox, true) => "sqlite-inbox-100",
        }
    }

    fn records_per_append(&self) -> u64 {
        if self.many { MANY } else { 1 }
    }

    fn open(&mut self, dir: &Path, _callers: usize) -> Result<()> {
        let path = dir.join("effects.db");
        let database = if self.way == Way::Inbox {
            let inbox = Inbox::open(SqliteStore::open(&path)?, CONSUMER)?;
            inbox.store().connection().execute_batch(EFFECTS)?;
            Database::Inbox(Box::new(inbox))
        } else {
            let connection = sqlite::connect(&path)?;
            connection.execute_batch(&format!("{EFFECTS}; {IDS}"))?;
            Database::Plain(connection)
        };
        *self.open.get_mut().unwrap_or_else(PoisonError::into_inner) =
            Some(Open { incoming: Incoming::new()?, database });
        Ok(())
    }

    fn append(&self, _caller: usize, payload: &[u8]) -> Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Open { incoming, database } = open.as_mut().context("not open")?;
        match database {
            Database::Plain(connection) => {
                let records = (0..self.records_per_append()).map(|_| incoming.next());
                plain(connection, records, payload, self.way == Way::Ids)
            }
            Database::Inbox(inbox) if self.many => {
                let records = incoming.next_many();
                ensure_all_new(inbox.apply_all(&records, |index, transaction| {
                    records.get(index).map_or(Ok(()), |(identity, _)| effect(transaction, identity, payload))
                })?)
            }
            Database::Inbox(inbox) => {
                let identity = incoming.next();
                ensure_new(&inbox.apply(&identity, |transaction| effect(transaction, &identity, payload))?)
            }
        }
    }

    fn close(&mut self) -> Result<()> {
        *self.open.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}

fn plain(
    connection: &mut Connection,
    records: impl Iterator<Item = Identity>,
    payload: &[u8],
    ids: bool,
) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for identity in records {
        if ids {
            let insert = "INSERT INTO ids VALUES (?1) ON CONFLICT DO NOTHING";
            let new = transaction.prepare_cached(insert)?.execute([identity.record.to_string()])?;
            ensure!(new == 1, "{identity} was there before");
        }
        effect(&transaction, &identity, payload)?;
    }
    transaction.commit().context("committing")
}

fn effect(transaction: &Transaction<'_>, identity: &Identity, payload: &[u8]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached("INSERT INTO effects (sequence, payload) VALUES (?1, ?2)")?;
    insert.execute((identity.record.sequence.get().cast_signed(), payload)).map(drop)
}
