//! The three stores behind one face, each with a place where effects show.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ::postgres::{Client, NoTls};
use rusqlite::Connection;
use zoutbox_consumer::inbox::Store;
use zoutbox_consumer::{Identity, Inbox, MemoryStore, Options, PostgresStore, SqliteStore};
use zoutbox_test_support::{Postgres, TestRoot, test_roots};

pub(crate) const SHARE: &str = "000102030405060708090a0b0c0d0e0f";

/// The record of this identity on the share that most tests use.
pub(crate) fn record(id: &str) -> Identity {
    Identity::new(SHARE.parse().unwrap(), id.parse().unwrap())
}

/// An effect's own error.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

pub(crate) trait Ground {
    type S: Store;

    fn store(&self) -> Self::S;

    /// Adds the record's name to the effects.
    fn effect(&self, transaction: &mut <Self::S as Store>::Transaction<'_>, id: &str) -> Result<(), Failed>;

    /// The effects there are, sorted.
    fn effects(&self) -> Vec<String>;

    fn inbox(&self) -> Inbox<Self::S> {
        self.inbox_with(Options::default())
    }

    fn inbox_with(&self, options: Options) -> Inbox<Self::S> {
        Inbox::open_with(self.store(), "tests", options).unwrap()
    }
}

#[derive(Default)]
pub(crate) struct Memory {
    effects: Arc<Mutex<Vec<String>>>,
}

impl Ground for Memory {
    type S = MemoryStore;

    fn store(&self) -> MemoryStore {
        MemoryStore::new()
    }

    fn effect(&self, (): &mut (), id: &str) -> Result<(), Failed> {
        self.effects.lock().unwrap().push(id.to_owned());
        Ok(())
    }

    fn effects(&self) -> Vec<String> {
        let mut effects = self.effects.lock().unwrap().clone();
        effects.sort();
        effects
    }
}

/// A database file on a disk.
pub(crate) struct Sqlite {
    pub(crate) root: TestRoot,
}

impl Sqlite {
    pub(crate) fn new() -> Self {
        let ground = Self { root: test_roots().into_iter().find(|root| root.label() == "disk").unwrap() };
        let store = ground.store();
        store.connection().execute_batch("CREATE TABLE effects (id TEXT) STRICT").unwrap();
        ground
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.join("inbox.db")
    }

    pub(crate) fn connection(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

impl Ground for Sqlite {
    type S = SqliteStore;

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path()).unwrap()
    }

    fn effect(&self, transaction: &mut rusqlite::Transaction<'_>, id: &str) -> Result<(), Failed> {
        transaction.execute("INSERT INTO effects VALUES (?1)", [id])?;
        Ok(())
    }

    fn effects(&self) -> Vec<String> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT id FROM effects ORDER BY id").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }
}

/// A database of its own on the server that the tests share.
pub(crate) struct Server {
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::on(Postgres::shared())
    }

    pub(crate) fn on(server: &Postgres) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut client = Client::connect(server.url(), NoTls).unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        let ground = Self { url: server.url_of(&name) };
        ground.client().batch_execute("CREATE TABLE effects (id text)").unwrap();
        ground
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.url, NoTls).unwrap()
    }
}

impl Ground for Server {
    type S = PostgresStore;

    fn store(&self) -> PostgresStore {
        PostgresStore::open(&self.url).unwrap()
    }

    fn effect(&self, transaction: &mut ::postgres::Transaction<'_>, id: &str) -> Result<(), Failed> {
        transaction.execute("INSERT INTO effects VALUES ($1)", &[&id])?;
        Ok(())
    }

    fn effects(&self) -> Vec<String> {
        let rows = self.client().query("SELECT id FROM effects ORDER BY id COLLATE \"C\"", &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}
