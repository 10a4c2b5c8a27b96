//! In `SQLite`: the transactions of all three ways begin `IMMEDIATE`.
//!
//! Syncs: a write-ahead log with `synchronous=FULL`, as the inbox sets it and as the other ways set it here; each apply is one
//! `fdatasync`, counted with `strace -f -e fdatasync`.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use zoutbox_consumer::{Applied, Identity, Inbox, SqliteStore};

use super::{CONSUMER, Incoming, Way};
use crate::side::AppendSide;
use crate::sides::sqlite;

const EFFECTS: &str =
    "CREATE TABLE effects (id INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, payload BLOB NOT NULL)";
const IDS: &str = "CREATE TABLE ids (id TEXT PRIMARY KEY) WITHOUT ROWID";

/// The `SQLite` sides.
pub(crate) struct SqliteApply {
    way: Way,
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
    pub(crate) fn new(way: Way) -> Self {
        Self { way, open: Mutex::new(None) }
    }
}

impl AppendSide for SqliteApply {
    fn name(&self) -> &'static str {
        match self.way {
            Way::Effect => "sqlite-effect",
            Way::Ids => "sqlite-ids",
            Way::Inbox => "sqlite-inbox",
        }
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
        let identity = incoming.next();
        match database {
            Database::Plain(connection) => plain(connection, identity, payload, self.way == Way::Ids),
            Database::Inbox(inbox) => match inbox.apply(identity, |tx| effect(tx, identity, payload))? {
                Applied::Now(()) => Ok(()),
                Applied::Duplicate => bail!("{identity} counts as applied before"),
            },
        }
    }

    fn close(&mut self) -> Result<()> {
        *self.open.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}

fn plain(connection: &mut Connection, identity: &Identity, payload: &[u8], ids: bool) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if ids {
        let mut insert = transaction.prepare_cached("INSERT INTO ids VALUES (?1) ON CONFLICT DO NOTHING")?;
        let new = insert.execute([identity.record.to_string()])?;
        ensure!(new == 1, "{identity} was there before");
    }
    effect(&transaction, identity, payload)?;
    transaction.commit().context("committing")
}

fn effect(transaction: &Transaction<'_>, identity: &Identity, payload: &[u8]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached("INSERT INTO effects (sequence, payload) VALUES (?1, ?2)")?;
    insert.execute((identity.record.sequence.get().cast_signed(), payload)).map(drop)
}
