//! States in an SQLite database, beside the tables of the effects.
//!
//! ```text
//!   zoutbox_inbox_schema   version
//!   zoutbox_inbox          consumer, share, writer → state
//!   zoutbox_inbox_parked   consumer, share, writer, order key, epoch, sequence → segment, reason, when
//! ```
//!
//! The version has a table of its own, not `PRAGMA user_version`: the database is the application's, and tools that migrate its tables keep
//! their count there.
//!
//! Every transaction begins `IMMEDIATE`: it is the database's only writer before it reads the state, so two processes can't both find that a
//! record is new. `synchronous=FULL`: with a write-ahead log the default of many builds, `NORMAL`, may lose the last transactions when power
//! fails, after their messages were acknowledged.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};
use zoutbox_storage::ErrorKind;

use super::error::SCHEMA_VERSION;
use super::parked::{head, signed};
use super::{ApplyError, Head, InboxError, Opened, Park, Parked, Row, Saved, Store, Work};

/// How long to wait for another transaction to end.
const BUSY: Duration = Duration::from_secs(30);
/// What a database in memory is called.
const NAMELESS: &str = "an SQLite database";

const SCHEMA: &str = "
    CREATE TABLE zoutbox_inbox_schema (version INTEGER NOT NULL) STRICT;
    CREATE TABLE zoutbox_inbox (
        consumer TEXT NOT NULL,
        share BLOB NOT NULL,
        writer TEXT NOT NULL,
        state BLOB NOT NULL,
        PRIMARY KEY (consumer, share, writer)
    ) STRICT, WITHOUT ROWID;";
/// Of the same version: who does not know it never looks at it, so it is added to databases that were made before there was parking.
const PARKED_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS zoutbox_inbox_parked (
        consumer TEXT NOT NULL,
        share BLOB NOT NULL,
        writer TEXT NOT NULL,
        key BLOB NOT NULL,
        epoch INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        segment INTEGER,
        reason TEXT NOT NULL,
        parked_ms INTEGER NOT NULL,
        PRIMARY KEY (consumer, share, writer, key, epoch, sequence)
    ) STRICT, WITHOUT ROWID;";
const TABLES: &str = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' \
    AND name IN ('zoutbox_inbox_schema', 'zoutbox_inbox')";
const HAS_PARKED_TABLE: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema \
    WHERE type = 'table' AND name = 'zoutbox_inbox_parked')";
const ANY_PARKED: &str = "SELECT EXISTS (SELECT 1 FROM zoutbox_inbox_parked \
    WHERE consumer = ?1 AND share = ?2 AND writer = ?3)";
const HEAD: &str = "SELECT epoch, sequence, segment FROM zoutbox_inbox_parked \
    WHERE consumer = ?1 AND share = ?2 AND writer = ?3 AND key = ?4 ORDER BY epoch, sequence LIMIT 1";
const PARK: &str = "INSERT INTO zoutbox_inbox_parked \
    (consumer, share, writer, key, epoch, sequence, segment, reason, parked_ms) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";
const UNPARK: &str = "DELETE FROM zoutbox_inbox_parked \
    WHERE consumer = ?1 AND share = ?2 AND writer = ?3 AND key = ?4 AND epoch = ?5 AND sequence = ?6";
const PARKED: &str = "SELECT share, writer, epoch, sequence, segment, reason, parked_ms \
    FROM zoutbox_inbox_parked WHERE consumer = ?1 ORDER BY share, writer, epoch, sequence";
const KNOWN: &str = "SELECT EXISTS (SELECT 1 FROM zoutbox_inbox WHERE consumer = ?1)";
const LOAD: &str = "SELECT state FROM zoutbox_inbox WHERE consumer = ?1 AND share = ?2 AND writer = ?3";
const SAVE: &str = "INSERT INTO zoutbox_inbox (consumer, share, writer, state) VALUES (?1, ?2, ?3, ?4) \
    ON CONFLICT (consumer, share, writer) DO UPDATE SET state = excluded.state";

/// The inbox in an SQLite database: a file on a local disk. The effects' tables are in the same one.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    database: Box<str>,
}

impl SqliteStore {
    /// Opens the database, and makes it and the inbox's tables if they are not there.
    ///
    /// # Errors
    /// A file that is no database, is damaged, locked, read-only, or made by a newer zoutbox: told apart by [`InboxError::kind`].
    pub fn open(path: &Path) -> Result<Self, InboxError> {
        let database = path.display().to_string();
        let connection = Connection::open(path).map_err(|source| InboxError::Sqlite {
            database: database.as_str().into(),
            doing: "open the inbox database",
            source,
        })?;
        Self::prepare(connection, &database)
    }

    /// Takes over a connection that the caller has opened with its own flags, extensions or key. Its journal mode, `synchronous` and busy
    /// timeout are set as the inbox needs them.
    ///
    /// # Errors
    /// Those of [`SqliteStore::open`].
    pub fn from_connection(connection: Connection) -> Result<Self, InboxError> {
        let database = connection.path().filter(|path| !path.is_empty()).unwrap_or(NAMELESS);
        let database = database.to_owned();
        Self::prepare(connection, &database)
    }

    fn prepare(connection: Connection, database: &str) -> Result<Self, InboxError> {
        let mut store = Self { connection, database: database.into() };
        store.configure()?;
        if store.schema()?.is_none() {
            store.create()?;
        }
        match store.schema()? {
            Some(version) if version > SCHEMA_VERSION => {
                Err(InboxError::Newer { database: store.database, found: version, known: SCHEMA_VERSION })
            }
            Some(SCHEMA_VERSION) => store.add_what_came_later().map(|()| store),
            _ => Err(store.damaged("the inbox's tables have no version")),
        }
    }

    /// The connection, to make the effects' tables, or to change its busy timeout (30 s).
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    fn configure(&self) -> Result<(), InboxError> {
        let why = |source| self.failed("prepare the inbox database", source);
        self.connection.busy_timeout(BUSY).map_err(why)?;
        // SQLite falls back to reading, and would fail only in the effect.
        if self.connection.is_readonly("main").map_err(why)? {
            return Err(InboxError::ReadOnly { database: self.database.clone() });
        }
        let mode = |pragma| self.connection.query_row(pragma, [], |row| row.get::<_, String>(0));
        // Asked first: setting it takes an exclusive lock, which others in the database would refuse at once.
        if mode("PRAGMA journal_mode").map_err(why)? != "wal" {
            let mode = mode("PRAGMA journal_mode = WAL").map_err(why)?;
            if mode != "wal" {
                return Err(InboxError::NoWriteAheadLog { database: self.database.clone(), mode });
            }
        }
        self.connection.execute_batch("PRAGMA synchronous = FULL").map_err(why)
    }

    /// The version of the inbox's tables, if they are there.
    fn schema(&self) -> Result<Option<i64>, InboxError> {
        let why = |source| self.failed("read the inbox's tables", source);
        let tables: i64 = self.connection.query_row(TABLES, [], |row| row.get(0)).map_err(why)?;
        match tables {
            0 => Ok(None),
            2 => {
                let version = "SELECT version FROM zoutbox_inbox_schema";
                let version = self.connection.query_row(version, [], |row| row.get(0)).optional();
                version
                    .map_err(why)?
                    .map(Some)
                    .ok_or_else(|| self.damaged("the inbox's tables have no version"))
            }
            _ => Err(self.damaged("one of the inbox's two tables is missing")),
        }
    }

    fn create(&mut self) -> Result<(), InboxError> {
        let database = self.database.clone();
        let why = |source| InboxError::Sqlite { database, doing: "make the inbox's tables", source };
        let mut create = || {
            let behavior = TransactionBehavior::Immediate;
            let transaction = self.connection.transaction_with_behavior(behavior)?;
            // Somebody else may have made them since they were looked for.
            if transaction.query_row(TABLES, [], |row| row.get::<_, i64>(0))? == 0 {
                transaction.execute_batch(SCHEMA)?;
                let version = "INSERT INTO zoutbox_inbox_schema VALUES (?1)";
                transaction.execute(version, [SCHEMA_VERSION])?;
            }
            transaction.commit()
        };
        create().map_err(why)
    }

    fn add_what_came_later(&self) -> Result<(), InboxError> {
        let why = |source| self.failed("make the inbox's tables", source);
        // Asked first: making it takes the write lock, for which others in the database would have to wait.
        if !self.connection.query_row(HAS_PARKED_TABLE, [], |row| row.get(0)).map_err(why)? {
            self.connection.execute_batch(PARKED_TABLE).map_err(why)?;
        }
        Ok(())
    }

    fn failed(&self, doing: &'static str, source: rusqlite::Error) -> InboxError {
        InboxError::Sqlite { database: self.database.clone(), doing, source }
    }

    fn damaged(&self, what: &'static str) -> InboxError {
        InboxError::Damaged { database: self.database.clone(), what }
    }
}

impl Store for SqliteStore {
    type Transaction<'a> = Transaction<'a>;

    fn opened(&mut self, consumer: &str) -> Result<Opened, InboxError> {
        let known = self.connection.query_row(KNOWN, [consumer], |row| row.get(0));
        let known: bool = known.map_err(|source| self.failed("read the inbox", source))?;
        Ok(if known { Opened::Existing } else { Opened::Empty })
    }

    const ROLLS_BACK: bool = true;

    fn ended(transaction: &Transaction<'_>) -> Option<InboxError> {
        let database = || transaction.path().filter(|path| !path.is_empty()).unwrap_or(NAMELESS).into();
        transaction.is_autocommit().then(|| InboxError::TransactionEnded { database: database() })
    }

    fn parked(&mut self, consumer: &str) -> Result<Vec<Parked>, InboxError> {
        let mut all = Vec::new();
        let mut read = || {
            let mut statement = self.connection.prepare_cached(PARKED)?;
            let mut rows = statement.query([consumer])?;
            while let Some(row) = rows.next()? {
                let (share, writer): (Vec<u8>, String) = (row.get(0)?, row.get(1)?);
                let place = (row.get(2)?, row.get(3)?, row.get(4)?);
                all.push(Parked::from_row((&share, &writer), place, (row.get(5)?, row.get(6)?)));
            }
            Ok(())
        };
        read().map_err(|source| self.failed("read what is parked", source))?;
        let all: Option<Vec<Parked>> = all.into_iter().collect();
        all.ok_or_else(|| self.damaged("a row of what is parked is not what was written"))
    }

    fn transact<'k, T, E>(
        &mut self,
        row: &Row<'_>,
        keys: &[&'k [u8]],
        work: impl FnOnce(Saved, &mut Transaction<'_>) -> Result<Work<'k, T>, ApplyError<E>>,
    ) -> Result<Option<T>, ApplyError<E>> {
        let database = &self.database;
        let failed = |doing| move |source| InboxError::Sqlite { database: database.clone(), doing, source };
        let mut transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed("begin a transaction"))?;
        let key = (row.consumer, row.share.as_bytes(), row.writer.as_str());
        let state = load(&transaction, key).map_err(failed("read the inbox"))?;
        let heads = heads(&transaction, key, keys).map_err(failed("read what is parked"))?;
        let Some(heads) = heads else {
            let what = "a row of what is parked is not what was written";
            return Err(InboxError::Damaged { database: database.clone(), what }.into());
        };
        // Every way out from here that does not commit drops the transaction, which rolls it back.
        let work = work(Saved { state, heads }, &mut transaction)?;
        // A full disk, for one, makes SQLite roll back by itself. If the effect passed over that, the mark would stand alone.
        if !matches!(work, Work::Nothing) && transaction.is_autocommit() {
            return Err(InboxError::TransactionEnded { database: database.clone() }.into());
        }
        let value = match work {
            Work::Nothing => return Ok(None),
            Work::Save { state, unpark: parked, value } => {
                save(&transaction, key, &state).map_err(failed("mark the record as applied"))?;
                if let Some(parked) = parked {
                    unpark(&transaction, key, parked)
                        .map_err(failed("note that it is not parked any more"))?;
                }
                value
            }
            Work::Park { park: parked, value } => {
                let new =
                    park(&transaction, key, &parked).map_err(failed("note that the record is parked"))?;
                if new == 0 {
                    return Ok(None);
                }
                value
            }
        };
        transaction.commit().map_err(failed("commit"))?;
        Ok(Some(value))
    }
}

type Key<'a> = (&'a str, &'a [u8; 16], &'a str);

fn load(transaction: &Transaction<'_>, key: Key<'_>) -> rusqlite::Result<Option<Vec<u8>>> {
    transaction.prepare_cached(LOAD)?.query_row(key, |row| row.get(0)).optional()
}

fn save(
    transaction: &Transaction<'_>,
    (consumer, share, writer): Key<'_>,
    state: &[u8],
) -> rusqlite::Result<usize> {
    transaction.prepare_cached(SAVE)?.execute((consumer, share, writer, state))
}

/// The lowest parked record of each order key; nothing at all if a row makes no sense.
fn heads(
    transaction: &Transaction<'_>,
    key: Key<'_>,
    keys: &[&[u8]],
) -> rusqlite::Result<Option<Vec<Option<Head>>>> {
    let (consumer, share, writer) = key;
    if keys.is_empty() || !transaction.prepare_cached(ANY_PARKED)?.query_row(key, |row| row.get(0))? {
        return Ok(Some(vec![None; keys.len()]));
    }
    let mut statement = transaction.prepare_cached(HEAD)?;
    let mut heads = Vec::with_capacity(keys.len());
    for of in keys {
        let columns = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let found = statement.query_row((consumer, share, writer, of), columns).optional()?;
        let Some(found) = found.map_or(Some(None), |found| head(found).map(Some)) else { return Ok(None) };
        heads.push(found);
    }
    Ok(Some(heads))
}

fn park(
    transaction: &Transaction<'_>,
    (consumer, share, writer): Key<'_>,
    Park { key, head, reason, parked_ms }: &Park<'_>,
) -> rusqlite::Result<usize> {
    let (epoch, sequence) = (signed(head.epoch), signed(head.sequence));
    let (segment, parked_ms) = (head.segment.map(signed), signed(*parked_ms));
    let row = (consumer, share, writer, key, epoch, sequence, segment, reason, parked_ms);
    transaction.prepare_cached(PARK)?.execute(row)
}

fn unpark(
    transaction: &Transaction<'_>,
    (consumer, share, writer): Key<'_>,
    (key, head): (&[u8], Head),
) -> rusqlite::Result<usize> {
    let (epoch, sequence) = (signed(head.epoch), signed(head.sequence));
    transaction.prepare_cached(UNPARK)?.execute((consumer, share, writer, key, epoch, sequence))
}

/// What a caller can do about it.
pub(crate) fn kind(error: &rusqlite::Error) -> ErrorKind {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted
            | ErrorCode::FileLockingProtocolFailed,
        ) => ErrorKind::Retry,
        Some(ErrorCode::DiskFull) => ErrorKind::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Corrupt,
        Some(ErrorCode::CannotOpen) => ErrorKind::Missing,
        _ => ErrorKind::Fatal,
    }
}
