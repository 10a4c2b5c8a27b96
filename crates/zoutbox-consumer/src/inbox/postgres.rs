//! States in a PostgreSQL database, beside the tables of the effects. The same tables as in SQLite.
//!
//! # Why the blocking client
//!
//! Crate `postgres`, not `tokio-postgres`: the effect is then the same plain closure for every store, and needs no lifetimes across `.await`
//! to borrow its transaction. An async program calls `apply` through `spawn_blocking`, as it must for SQLite. (Called on a thread of a
//! tokio runtime it would panic: the client drives a small runtime of its own.) For more transactions at a time, open more inboxes.
//!
//! # Who waits for whom
//!
//! `SELECT … FOR UPDATE` on the writer's row keeps every other process that applies a record of that writer waiting until this transaction
//! has ended; then it reads the new state. Where there is no row yet, `INSERT … ON CONFLICT DO NOTHING` makes one, for which a second
//! process waits likewise. That needs `READ COMMITTED`, where each statement sees what was committed before it, so the transaction
//! asks for it whatever the database's default is.

use postgres::error::SqlState;
use postgres::{Client, Config, IsolationLevel, NoTls, Transaction};
use std::error::Error as _;
use std::time::Duration;
use zoutbox_storage::ErrorKind;

use super::error::SCHEMA_VERSION;
use super::parked::{head, signed};
use super::{ApplyError, Head, InboxError, Opened, Park, Parked, Row, Saved, Store, Work};

/// A server that can't be reached, or has gone silent, must not hold a consumer for ever.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_mins(1);

/// Where the server, the user or the connection says nothing else: an acknowledged transaction survives a crash, and a lock that does not
/// come free is an error.
const SESSION: &str = "
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
    SELECT set_config('lock_timeout', '30s', false) WHERE current_setting('lock_timeout') = '0';";
/// Fewer of a row's versions go to another page: every apply makes a new one.
const SCHEMA: &str = "
    CREATE TABLE zoutbox_inbox_schema (version bigint NOT NULL);
    CREATE TABLE zoutbox_inbox (
        consumer text NOT NULL,
        share bytea NOT NULL,
        writer text NOT NULL,
        state bytea NOT NULL,
        PRIMARY KEY (consumer, share, writer)
    ) WITH (fillfactor = 50);";
/// Of the same version: who does not know it never looks at it, so it is added to databases that were made before there was parking.
const PARKED_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS zoutbox_inbox_parked (
        consumer text NOT NULL,
        share bytea NOT NULL,
        writer text NOT NULL,
        key bytea NOT NULL,
        epoch bigint NOT NULL,
        sequence bigint NOT NULL,
        segment bigint,
        reason text NOT NULL,
        parked_ms bigint NOT NULL,
        PRIMARY KEY (consumer, share, writer, key, epoch, sequence)
    );";
/// From `pg_class`, since only the use of a table makes a session hear of tables that others have made in the meantime.
const TABLES: &str = "SELECT count(*) FROM pg_catalog.pg_class \
    WHERE oid IN (to_regclass('zoutbox_inbox_schema'), to_regclass('zoutbox_inbox'))";
const HAS_PARKED_TABLE: &str = "SELECT to_regclass('zoutbox_inbox_parked') IS NOT NULL";
/// Two that make tables at once would both find that there are none. The number is `zoutbox` in ASCII.
const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(34464399462920056)";
const KNOWN: &str = "SELECT EXISTS (SELECT 1 FROM zoutbox_inbox WHERE consumer = $1)";
/// With the transaction's number, so that the mark can't be written in another one.
const LOAD: &str = "SELECT state, pg_current_xact_id()::text FROM zoutbox_inbox \
    WHERE consumer = $1 AND share = $2 AND writer = $3 FOR UPDATE";
const FIRST: &str = "INSERT INTO zoutbox_inbox (consumer, share, writer, state) VALUES ($1, $2, $3, '') \
    ON CONFLICT (consumer, share, writer) DO NOTHING";
const SAVE: &str = "UPDATE zoutbox_inbox SET state = $4 \
    WHERE consumer = $1 AND share = $2 AND writer = $3 AND pg_current_xact_id()::text = $5";
/// A statement of its own, behind the one that locks: what is read by one that has waited for a lock is partly from before the wait.
const ANY_PARKED: &str = "SELECT EXISTS (SELECT 1 FROM zoutbox_inbox_parked \
    WHERE consumer = $1 AND share = $2 AND writer = $3)";
const HEADS: &str = "SELECT asked.index, head.epoch, head.sequence, head.segment \
    FROM unnest($4::bytea[]) WITH ORDINALITY AS asked (key, index), \
    LATERAL (SELECT epoch, sequence, segment FROM zoutbox_inbox_parked \
        WHERE consumer = $1 AND share = $2 AND writer = $3 AND key = asked.key \
        ORDER BY epoch, sequence LIMIT 1) AS head";
const PARK: &str = "INSERT INTO zoutbox_inbox_parked \
    (consumer, share, writer, key, epoch, sequence, segment, reason, parked_ms) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
const UNPARK: &str = "DELETE FROM zoutbox_inbox_parked \
    WHERE consumer = $1 AND share = $2 AND writer = $3 AND key = $4 AND epoch = $5 AND sequence = $6";
const PARKED: &str = "SELECT share, writer, epoch, sequence, segment, reason, parked_ms \
    FROM zoutbox_inbox_parked WHERE consumer = $1 ORDER BY share, writer COLLATE \"C\", epoch, sequence";

/// Makes a connection.
type Connect = Box<dyn FnMut() -> Result<Client, postgres::Error> + Send>;

/// The inbox in a PostgreSQL database (13 or later). The effects' tables are in the same one.
///
/// A connection that broke is made anew by the next call.
pub struct PostgresStore {
    connect: Connect,
    session: Option<Session>,
    database: Box<str>,
}

struct Session {
    client: Client,
    load: postgres::Statement,
    save: postgres::Statement,
    any_parked: postgres::Statement,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").field("database", &self.database).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects without TLS, by a URL or by `key=value` pairs, and makes the inbox's tables if they are not there.
    ///
    /// # Errors
    /// A server that can't be reached or refuses, a database made by a newer zoutbox: told apart by [`InboxError::kind`].
    pub fn open(url: &str) -> Result<Self, InboxError> {
        let mut config: Config = url.parse().map_err(|source| InboxError::Postgres {
            database: "a PostgreSQL database".into(),
            doing: "understand its URL",
            source,
        })?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        let database = config.get_dbname().or_else(|| config.get_user()).unwrap_or("default");
        let name = format!("PostgreSQL database '{database}'");
        Self::open_with(&name, move || config.connect(NoTls))
    }

    /// Connects as the caller says, with TLS for instance. `name` is what messages call the database.
    ///
    /// # Errors
    /// Those of [`PostgresStore::open`].
    pub fn open_with(
        name: &str,
        connect: impl FnMut() -> Result<Client, postgres::Error> + Send + 'static,
    ) -> Result<Self, InboxError> {
        let mut store = Self { connect: Box::new(connect), session: None, database: name.into() };
        store.client()?;
        Ok(store)
    }

    /// The connection, to make the effects' tables: a new one if the last one broke.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn client(&mut self) -> Result<&mut Client, InboxError> {
        self.session().map(|session| &mut session.client)
    }

    fn session(&mut self) -> Result<&mut Session, InboxError> {
        // A closed one was useful to nobody; its transaction was rolled back by the server.
        let open = self.session.take().filter(|session| !session.client.is_closed());
        let session = match open {
            Some(session) => session,
            None => self.establish()?,
        };
        Ok(self.session.insert(session))
    }

    fn establish(&mut self) -> Result<Session, InboxError> {
        let database = &self.database;
        let failed = |doing| move |source| InboxError::Postgres { database: database.clone(), doing, source };
        let mut client = (self.connect)().map_err(failed("connect"))?;
        client.batch_execute(SESSION).map_err(failed("prepare the connection"))?;
        let version = schema(&mut client).map_err(failed("read or make the inbox's tables"))?;
        match version {
            Some(SCHEMA_VERSION) => {
                add_what_came_later(&mut client).map_err(failed("make the inbox's tables"))?;
            }
            Some(found) if found > SCHEMA_VERSION => {
                return Err(InboxError::Newer { database: database.clone(), found, known: SCHEMA_VERSION });
            }
            _ => {
                let what = "the inbox's tables are incomplete, or have no version";
                return Err(InboxError::Damaged { database: database.clone(), what });
            }
        }
        let load = client.prepare(LOAD).map_err(failed("read the inbox"))?;
        let save = client.prepare(SAVE).map_err(failed("read the inbox"))?;
        let any_parked = client.prepare(ANY_PARKED).map_err(failed("read what is parked"))?;
        Ok(Session { client, load, save, any_parked })
    }
}

/// The version of the inbox's tables, made if they are not there.
fn schema(client: &mut Client) -> Result<Option<i64>, postgres::Error> {
    let tables: i64 = client.query_one(TABLES, &[])?.try_get(0)?;
    if tables == 0 {
        let mut transaction = client.transaction()?;
        transaction.batch_execute(ONE_AT_A_TIME)?;
        let tables: i64 = transaction.query_one(TABLES, &[])?.try_get(0)?;
        if tables == 0 {
            transaction.batch_execute(SCHEMA)?;
            transaction.execute("INSERT INTO zoutbox_inbox_schema VALUES ($1)", &[&SCHEMA_VERSION])?;
        }
        transaction.commit()?;
    } else if tables == 1 {
        return Ok(None);
    }
    let version = client.query_opt("SELECT version FROM zoutbox_inbox_schema", &[])?;
    version.map(|row| row.try_get(0)).transpose()
}

fn add_what_came_later(client: &mut Client) -> Result<(), postgres::Error> {
    if client.query_one(HAS_PARKED_TABLE, &[])?.try_get(0)? {
        return Ok(());
    }
    let mut transaction = client.transaction()?;
    transaction.batch_execute(ONE_AT_A_TIME)?;
    transaction.batch_execute(PARKED_TABLE)?;
    transaction.commit()
}

impl Store for PostgresStore {
    type Transaction<'a> = Transaction<'a>;

    fn opened(&mut self, consumer: &str) -> Result<Opened, InboxError> {
        let known = self.client()?.query_one(KNOWN, &[&consumer]).and_then(|row| row.try_get(0));
        let known: bool = known.map_err(|source| InboxError::Postgres {
            database: self.database.clone(),
            doing: "read the inbox",
            source,
        })?;
        Ok(if known { Opened::Existing } else { Opened::Empty })
    }

    const ROLLS_BACK: bool = true;

    fn parked(&mut self, consumer: &str) -> Result<Vec<Parked>, InboxError> {
        let database = self.database.clone();
        let rows = self.client()?.query(PARKED, &[&consumer]);
        let parked = |row: &postgres::Row| {
            let (share, writer): (&[u8], &str) = (row.try_get(0)?, row.try_get(1)?);
            let place = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
            Ok(Parked::from_row((share, writer), place, (row.try_get(5)?, row.try_get(6)?)))
        };
        let all: Result<Vec<Option<Parked>>, postgres::Error> =
            rows.and_then(|rows| rows.iter().map(parked).collect());
        let doing = "read what is parked";
        let all = all.map_err(|source| InboxError::Postgres { database: database.clone(), doing, source })?;
        let what = "a row of what is parked is not what was written";
        all.into_iter().collect::<Option<_>>().ok_or(InboxError::Damaged { database, what })
    }

    fn transact<'k, T, E>(
        &mut self,
        row: &Row<'_>,
        keys: &[&'k [u8]],
        work: impl FnOnce(Saved, &mut Transaction<'_>) -> Result<Work<'k, T>, ApplyError<E>>,
    ) -> Result<Option<T>, ApplyError<E>> {
        let name = self.database.clone();
        let database = &name;
        let failed = |doing| move |source| InboxError::Postgres { database: database.clone(), doing, source };
        let Session { client, load, save, any_parked } = self.session()?;
        let mut transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::ReadCommitted)
            .read_only(false)
            .start()
            .map_err(failed("begin a transaction"))?;
        let locked = lock(&mut transaction, load, row).map_err(failed("read the inbox"))?;
        let Some((state, number)) = locked else {
            let what = "a row of the inbox vanished while it was locked";
            return Err(InboxError::Damaged { database: name, what }.into());
        };
        let heads = heads(&mut transaction, any_parked, row, keys).map_err(failed("read what is parked"))?;
        let Some(heads) = heads else {
            let what = "a row of what is parked is not what was written";
            return Err(InboxError::Damaged { database: name, what }.into());
        };
        let state = (!state.is_empty()).then_some(state);
        // Every way out from here that does not commit drops the transaction, which rolls it back.
        let value = match work(Saved { state, heads }, &mut transaction)? {
            Work::Nothing => return Ok(None),
            Work::Save { state, unpark: parked, value } => {
                let (share, writer) = (row.share.as_bytes().as_slice(), row.writer.as_str());
                let saved = transaction
                    .execute(save, &[&row.consumer, &share, &writer, &state, &number])
                    .map_err(failed("mark the record as applied"))?;
                if saved != 1 {
                    return Err(InboxError::TransactionEnded { database: name }.into());
                }
                if let Some(parked) = parked {
                    unpark(&mut transaction, row, parked)
                        .map_err(failed("note that it is not parked any more"))?;
                }
                value
            }
            Work::Park { park: parked, value } => {
                let new =
                    park(&mut transaction, row, &parked).map_err(failed("note that the record is parked"))?;
                if new == 0 {
                    return Ok(None);
                }
                value
            }
        };
        transaction.commit().map_err(|source| uncommitted(name, source))?;
        Ok(Some(value))
    }
}

/// The lowest parked record of each order key; nothing at all if a row makes no sense.
fn heads(
    transaction: &mut Transaction<'_>,
    any_parked: &postgres::Statement,
    row: &Row<'_>,
    keys: &[&[u8]],
) -> Result<Option<Vec<Option<Head>>>, postgres::Error> {
    let (share, writer) = (row.share.as_bytes().as_slice(), row.writer.as_str());
    let mut heads = vec![None; keys.len()];
    if keys.is_empty() || !transaction.query_one(any_parked, &[&row.consumer, &share, &writer])?.try_get(0)? {
        return Ok(Some(heads));
    }
    for found in transaction.query(HEADS, &[&row.consumer, &share, &writer, &keys])? {
        let (index, epoch, sequence, segment): (i64, i64, i64, Option<i64>) =
            (found.try_get(0)?, found.try_get(1)?, found.try_get(2)?, found.try_get(3)?);
        let slot = usize::try_from(index).ok().and_then(|index| heads.get_mut(index.checked_sub(1)?));
        let (Some(slot), Some(found)) = (slot, head((epoch, sequence, segment))) else { return Ok(None) };
        *slot = Some(found);
    }
    Ok(Some(heads))
}

fn park(
    transaction: &mut Transaction<'_>,
    row: &Row<'_>,
    Park { key, head, reason, parked_ms }: &Park<'_>,
) -> Result<u64, postgres::Error> {
    let (share, writer) = (row.share.as_bytes().as_slice(), row.writer.as_str());
    let (epoch, sequence) = (signed(head.epoch), signed(head.sequence));
    let (segment, parked_ms) = (head.segment.map(signed), signed(*parked_ms));
    transaction.execute(
        PARK,
        &[&row.consumer, &share, &writer, key, &epoch, &sequence, &segment, reason, &parked_ms],
    )
}

fn unpark(
    transaction: &mut Transaction<'_>,
    row: &Row<'_>,
    (key, head): (&[u8], Head),
) -> Result<u64, postgres::Error> {
    let (share, writer) = (row.share.as_bytes().as_slice(), row.writer.as_str());
    let (epoch, sequence) = (signed(head.epoch), signed(head.sequence));
    transaction.execute(UNPARK, &[&row.consumer, &share, &writer, &key, &epoch, &sequence])
}

/// Locks the writer's row, and reads its state and the transaction's number. The state is empty when the row is new.
fn lock(
    transaction: &mut Transaction<'_>,
    load: &postgres::Statement,
    row: &Row<'_>,
) -> Result<Option<(Vec<u8>, String)>, postgres::Error> {
    let (share, writer) = (row.share.as_bytes().as_slice(), row.writer.as_str());
    let mut found = transaction.query_opt(load, &[&row.consumer, &share, &writer])?;
    if found.is_none() {
        transaction.execute(FIRST, &[&row.consumer, &share, &writer])?;
        found = transaction.query_opt(load, &[&row.consumer, &share, &writer])?;
    }
    found.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

/// A server that answered has not committed; without an answer, that is not known.
fn uncommitted(database: Box<str>, source: postgres::Error) -> InboxError {
    if source.as_db_error().is_some() {
        InboxError::Postgres { database, doing: "commit", source }
    } else {
        InboxError::CommitUnknown { database, source }
    }
}

/// What the server said; the error itself only says "db error".
pub(super) fn said(error: &postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => format!("{} ({})", said.message(), said.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// What a caller can do about it.
pub(crate) fn kind(error: &postgres::Error) -> ErrorKind {
    let Some(code) = error.code() else {
        // No answer: the way to the server. An answer that can't be read, or a wrong URL, is no such thing.
        let broken = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
        return if error.is_closed() || broken.is_some() { ErrorKind::Retry } else { ErrorKind::Fatal };
    };
    let class = code.code().get(..2).unwrap_or_default();
    match (class, code) {
        ("53", &SqlState::DISK_FULL) => ErrorKind::Full,
        // Connections, rollbacks of the server's choice, its resources, locks that did not come free, its restarts.
        ("08" | "40" | "53" | "55" | "57", _) => ErrorKind::Retry,
        ("XX", _) => ErrorKind::Corrupt,
        ("3D", _) => ErrorKind::Missing,
        _ => ErrorKind::Fatal,
    }
}
