//! The tables that the consumers' effects go to. A row says which record it is of; its position says when it was written.

use std::fmt;
use std::path::{Path, PathBuf};

use postgres::{Client, NoTls};
use rusqlite::Connection;

use crate::journal::Checksum;

/// Which kind of database a consumer has its inbox and its effects in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Store {
    Sqlite,
    Postgres,
}

impl Store {
    pub(crate) const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// Of the consumer, of its queue, in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite(PathBuf),
    Postgres(String),
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) writer: String,
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    pub(crate) topic: String,
    pub(crate) checksum: Checksum,
}

impl Effect {
    pub(crate) const fn place(&self) -> (u64, u64) {
        (self.epoch, self.sequence)
    }

    pub(crate) fn record(&self) -> String {
        format!("{}/{}/{}", self.writer, self.epoch, self.sequence)
    }
}

const COLUMNS: &str = "writer, epoch, sequence, topic, crc, length";

/// The columns as databases have numbers.
type Row = (String, i64, i64, String, i64, i64);

impl From<&Effect> for Row {
    fn from(effect: &Effect) -> Self {
        let number = |value: u64| i64::try_from(value).unwrap();
        let Checksum { crc, length } = effect.checksum;
        let (epoch, sequence) = (number(effect.epoch), number(effect.sequence));
        (effect.writer.clone(), epoch, sequence, effect.topic.clone(), i64::from(crc), number(length))
    }
}

impl From<Row> for Effect {
    fn from((writer, epoch, sequence, topic, crc, length): Row) -> Self {
        let number = |value: i64| u64::try_from(value).unwrap();
        let checksum = Checksum { crc: u32::try_from(crc).unwrap(), length: number(length) };
        Self { writer, epoch: number(epoch), sequence: number(sequence), topic, checksum }
    }
}

impl Database {
    pub(crate) const fn store(&self) -> Store {
        match self {
            Self::Sqlite(_) => Store::Sqlite,
            Self::Postgres(_) => Store::Postgres,
        }
    }

    /// As one text, for the environment of a process.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(url) => url.clone(),
        }
    }

    pub(crate) fn from_text(text: &str) -> Self {
        if text.starts_with("postgres://") { Self::Postgres(text.into()) } else { Self::Sqlite(text.into()) }
    }

    /// Makes the table. Nothing in it keeps a record from being there twice: that is the inbox's work.
    pub(crate) fn create(&self) {
        let columns = "writer TEXT, epoch BIGINT, sequence BIGINT, topic TEXT, crc BIGINT, length BIGINT";
        match self {
            Self::Sqlite(path) => open(path)
                .execute_batch(&format!(
                    "CREATE TABLE effects (position INTEGER PRIMARY KEY AUTOINCREMENT, {columns})"
                ))
                .unwrap(),
            Self::Postgres(url) => connect(url)
                .batch_execute(&format!("CREATE TABLE effects (position BIGSERIAL PRIMARY KEY, {columns})"))
                .unwrap(),
        }
    }

    /// All rows, in the order of their positions.
    pub(crate) fn effects(&self) -> Vec<Effect> {
        let select = format!("SELECT {COLUMNS} FROM effects ORDER BY position");
        let rows: Vec<Row> = match self {
            Self::Sqlite(path) => {
                let connection = open(path);
                let mut statement = connection.prepare(&select).unwrap();
                let row = |row: &rusqlite::Row<'_>| row.try_into();
                statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
            }
            Self::Postgres(url) => {
                let rows = connect(url).query(&select, &[]).unwrap();
                let row = |row: &postgres::Row| {
                    (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5))
                };
                rows.iter().map(row).collect()
            }
        };
        rows.into_iter().map(Effect::from).collect()
    }
}

fn open(path: &Path) -> Connection {
    Connection::open(path).unwrap()
}

fn connect(url: &str) -> Client {
    Client::connect(url, NoTls).unwrap()
}

/// The effect, in a transaction of the inbox. Returns its position.
pub(crate) fn insert_sqlite(
    transaction: &rusqlite::Transaction<'_>,
    effect: &Effect,
) -> rusqlite::Result<i64> {
    let mut insert = transaction
        .prepare_cached(&format!("INSERT INTO effects ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"))?;
    insert.insert(Row::from(effect))
}

/// The same.
pub(crate) fn insert_postgres(
    transaction: &mut postgres::Transaction<'_>,
    effect: &Effect,
) -> Result<i64, postgres::Error> {
    let insert =
        format!("INSERT INTO effects ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6) RETURNING position");
    let (writer, epoch, sequence, topic, crc, length) = Row::from(effect);
    let row = transaction.query_one(&insert, &[&writer, &epoch, &sequence, &topic, &crc, &length])?;
    row.try_get(0)
}

#[cfg(test)]
mod tests {
    use zoutbox_test_support::Postgres;

    use super::*;

    fn effect(sequence: u64) -> Effect {
        let checksum = Checksum::of(&sequence.to_le_bytes());
        Effect { writer: "w".into(), epoch: 1, sequence, topic: "t".into(), checksum }
    }

    /// Nothing else would notice a table that refuses, drops or sorts what the test is about.
    #[test]
    fn the_tables_keep_the_order_and_what_is_there_twice() {
        let directory = tempfile::tempdir().unwrap();
        let written = [effect(2), effect(1), effect(2)];
        let sqlite = Database::Sqlite(directory.path().join("effects.db"));
        sqlite.create();
        let mut connection = open(&directory.path().join("effects.db"));
        let transaction = connection.transaction().unwrap();
        let positions = written.each_ref().map(|effect| insert_sqlite(&transaction, effect).unwrap());
        assert_eq!(positions, [1, 2, 3]);
        transaction.commit().unwrap();
        let server = Postgres::start();
        let postgres = Database::Postgres(server.url().to_owned());
        postgres.create();
        let mut client = connect(server.url());
        let mut transaction = client.transaction().unwrap();
        let positions = written.each_ref().map(|effect| insert_postgres(&mut transaction, effect).unwrap());
        assert_eq!(positions, [1, 2, 3]);
        transaction.commit().unwrap();
        for database in [sqlite, postgres] {
            assert_eq!(database.effects(), written, "{}", database.store());
        }
    }
}
