//! `SQLite` with an outbox table: a connection a caller, one insert a transaction.
//!
//! Syncs: `journal_mode=WAL` with `synchronous=FULL` syncs the write-ahead log at each commit; both are read back
//! after they were set, and counted with `strace -f -e fdatasync`.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rusqlite::Connection;

use crate::side::AppendSide;

/// Longer than any turn: `SQLite` lets one writer in at a time, the rest poll for their turn without fairness.
const BUSY_TIMEOUT: Duration = Duration::from_mins(1);

const OUTBOX: &str =
    "CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL)";

/// The `SQLite` side.
#[derive(Default)]
pub(crate) struct Sqlite {
    /// By caller. A connection is used by its own caller alone; the lock only shows that to the compiler.
    connections: Vec<Mutex<Connection>>,
}

impl AppendSide for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn open(&mut self, dir: &Path, callers: usize) -> Result<()> {
        let path = dir.join("outbox.db");
        for _ in 0..callers {
            let connection = connect(&path)?;
            connection.execute_batch(OUTBOX)?;
            self.connections.push(Mutex::new(connection));
        }
        Ok(())
    }

    fn append(&self, caller: usize, payload: &[u8]) -> Result<()> {
        let connection = self.connections.get(caller).context("not open")?;
        let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection
            .prepare_cached("INSERT INTO outbox (topic, payload) VALUES (?1, ?2)")
            .and_then(|mut insert| insert.execute(("bench", payload)))
            .context("inserting")?;
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.connections.clear();
        Ok(())
    }
}

/// A connection as an outbox or a consumer of money would have it.
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path).context("opening the database")?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0))?;
    ensure!(mode == "wal", "the journal mode is {mode} in place of wal");
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    let synchronous: i64 = connection.query_row("PRAGMA synchronous", (), |row| row.get(0))?;
    ensure!(synchronous == 2, "synchronous is {synchronous} in place of FULL");
    Ok(connection)
}
