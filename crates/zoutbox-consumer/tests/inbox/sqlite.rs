//! Files that are locked, full, read-only, newer, damaged, lost, or something else.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use zoutbox_consumer::{
    Applied, ApplyError, ErrorKind, Inbox, InboxError, Opened, OrderKey, SqliteStore, Unkeyed,
};

use crate::ground::{Failed, Ground, Sqlite, record};

fn refused(result: Result<Applied<()>, ApplyError<Failed>>) -> InboxError {
    match result {
        Err(ApplyError::Inbox(error)) => error,
        other => panic!("not refused by the inbox: {other:?}"),
    }
}

/// Looks whether its transaction is alive, and changes nothing.
fn nothing(transaction: &mut rusqlite::Transaction<'_>) -> Result<(), Failed> {
    Ok(transaction.execute_batch("SELECT 1")?)
}

#[test]
fn a_locked_database_is_an_error_to_retry_and_then_works() {
    let ground = Sqlite::new();
    let mut inbox = ground.inbox();
    inbox.store().connection().busy_timeout(Duration::from_millis(20)).unwrap();
    let other = ground.connection();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = refused(inbox.apply(&record("orders/1/1"), |_| panic!("it ran without the lock")));
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(error.to_string().contains("inbox.db: can't begin a transaction"), "{error}");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(inbox.apply(&record("orders/1/1"), nothing).unwrap(), Applied::Now(()));
}

#[test]
fn a_full_database_is_told_as_such_marks_nothing_and_works_again_with_room() {
    let ground = Sqlite::new();
    let mut inbox = ground.inbox();
    inbox.store().connection().execute_batch("PRAGMA max_page_count = 8").unwrap();
    let full = (1..10_000).find_map(|writer| {
        let id = format!("writer-{writer}/1/1");
        inbox.apply(&record(&id), nothing).err().map(|error| (id, error))
    });
    let Some((id, ApplyError::Inbox(error))) = full else { panic!("{full:?}") };
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    inbox.store().connection().execute_batch("PRAGMA max_page_count = 1000").unwrap();
    let applied = inbox.apply(&record(&id), |tx| ground.effect(tx, &id)).unwrap();
    assert_eq!(applied, Applied::Now(()));
    assert_eq!(ground.effects(), [id]);
}

#[test]
fn a_read_only_database_is_told_as_such() {
    let ground = Sqlite::new();
    let connection = Connection::open_with_flags(ground.path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let error = SqliteStore::from_connection(connection).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Fatal);
    assert!(matches!(error, InboxError::ReadOnly { .. }), "{error}");
    // Where it turns out later only.
    let mut inbox = ground.inbox();
    inbox.store().connection().execute_batch("PRAGMA query_only = ON").unwrap();
    let error = refused(inbox.apply(&record("orders/1/1"), nothing));
    assert_eq!(error.kind(), ErrorKind::Fatal);
    assert!(error.to_string().contains("readonly"), "{error}");
}

#[test]
fn tables_of_a_newer_zoutbox_or_without_a_version_are_refused_by_name() {
    let ground = Sqlite::new();
    ground.connection().execute_batch("UPDATE zoutbox_inbox_schema SET version = 2").unwrap();
    let error = SqliteStore::open(&ground.path()).err().unwrap();
    assert!(matches!(error, InboxError::Newer { found: 2, known: 1, .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Fatal);
    for damage in ["DELETE FROM zoutbox_inbox_schema", "DROP TABLE zoutbox_inbox_schema"] {
        ground.connection().execute_batch(damage).unwrap();
        assert_eq!(SqliteStore::open(&ground.path()).err().unwrap().kind(), ErrorKind::Corrupt, "{damage}");
    }
}

#[test]
fn a_database_from_before_there_was_parking_keeps_what_it_remembers() {
    let ground = Sqlite::new();
    assert_eq!(ground.inbox().apply(&record("orders/1/1"), nothing).unwrap(), Applied::Now(()));
    ground.connection().execute_batch("DROP TABLE zoutbox_inbox_parked").unwrap();
    let mut inbox = ground.inbox();
    assert_eq!(inbox.apply(&record("orders/1/1"), nothing).unwrap(), Applied::Duplicate);
    assert_eq!(inbox.parked().unwrap(), []);
}

#[test]
fn what_follows_an_effect_that_ends_the_transaction_does_not_run() {
    let ground = Sqlite::new();
    let mut inbox = ground.inbox();
    let of = |id: &str| (record(id), OrderKey::of(None, &record(id).record, Unkeyed::Independent));
    let all: Vec<_> = (1..=4).map(|n| of(&format!("orders/1/{n}"))).collect();
    let mut ran = Vec::new();
    let refused = inbox.apply_all(&all, |index, tx| {
        ran.push(index);
        if index == 1 {
            tx.execute_batch("COMMIT")
        } else {
            tx.execute("INSERT INTO effects VALUES ('x')", []).map(drop)
        }
    });
    let Err(ApplyError::Inbox(error)) = refused else { panic!("{refused:?}") };
    assert!(matches!(error, InboxError::TransactionEnded { .. }), "{error}");
    assert!(error.to_string().contains("inbox.db"), "{error}");
    assert_eq!(ran, [0, 1]);
}

#[test]
fn what_is_no_database_or_a_damaged_one_is_refused_and_left_as_it_is() {
    let ground = Sqlite::new();
    let foreign = ground.root.join("foreign.db");
    let text = "a letter to somebody\n".repeat(1_000);
    fs::write(&foreign, &text).unwrap();
    let error = SqliteStore::open(&foreign).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("not a database"), "{error}");
    assert_eq!(fs::read_to_string(&foreign).unwrap(), text);

    let mut file = fs::OpenOptions::new().write(true).open(ground.path()).unwrap();
    file.seek(SeekFrom::Start(100)).unwrap();
    file.write_all(&[0xFF; 3_000]).unwrap();
    let error = SqliteStore::open(&ground.path()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");

    let nowhere = SqliteStore::open(&ground.root.join("no/such/directory.db")).err().unwrap();
    assert_eq!(nowhere.kind(), ErrorKind::Missing, "{nowhere}");
    let memory = SqliteStore::from_connection(Connection::open_in_memory().unwrap()).err().unwrap();
    assert!(matches!(memory, InboxError::NoWriteAheadLog { .. }), "{memory}");
}

#[test]
fn a_damaged_state_is_refused_and_concerns_no_other_writer() {
    let ground = Sqlite::new();
    let mut inbox = ground.inbox();
    for id in ["orders/1/1", "returns/1/1"] {
        assert_eq!(inbox.apply(&record(id), nothing).unwrap(), Applied::Now(()));
    }
    for damage in ["x'00'", "x''", "(SELECT state FROM zoutbox_inbox WHERE writer = 'returns')"] {
        let damage = format!("UPDATE zoutbox_inbox SET state = {damage} WHERE writer = 'orders'");
        ground.connection().execute_batch(&damage).unwrap();
        let error = refused(inbox.apply(&record("orders/1/2"), |_| panic!("it ran on a damaged state")));
        assert!(matches!(error, InboxError::State { .. }), "{damage}: {error}");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    assert_eq!(inbox.apply(&record("returns/1/1"), nothing).unwrap(), Applied::Duplicate);
}

#[test]
fn a_lost_database_starts_empty_and_says_so() {
    let ground = Sqlite::new();
    let mut inbox = ground.inbox();
    assert_eq!(inbox.apply(&record("orders/1/1"), nothing).unwrap(), Applied::Now(()));
    drop(inbox);
    fs::remove_file(ground.path()).unwrap();
    let mut inbox = ground.inbox();
    assert_eq!(inbox.opened(), Opened::Empty);
    assert_eq!(inbox.apply(&record("orders/1/1"), nothing).unwrap(), Applied::Now(()), "at least once");
}

#[test]
fn an_effect_that_ends_its_transaction_is_told_and_not_marked() {
    let ground = Sqlite::new();
    let mut inbox = ground.inbox();
    for end in ["ROLLBACK", "COMMIT"] {
        let error = refused(inbox.apply(&record("orders/1/1"), |tx| Ok(tx.execute_batch(end)?)));
        assert!(matches!(error, InboxError::TransactionEnded { .. }), "{end}: {error}");
        assert_eq!(error.kind(), ErrorKind::Unknown);
    }
    assert_eq!(inbox.apply(&record("orders/1/1"), nothing).unwrap(), Applied::Now(()));
}

#[test]
fn an_acknowledged_transaction_is_durable_and_the_applications_version_is_its_own() {
    let ground = Sqlite::new();
    ground.connection().execute_batch("PRAGMA user_version = 17").unwrap();
    // As some applications set it.
    let careless = ground.connection();
    careless.execute_batch("PRAGMA synchronous = NORMAL").unwrap();
    let inbox = Inbox::open(SqliteStore::from_connection(careless).unwrap(), "tests").unwrap();
    let pragma = |name: &str| {
        let sql = format!("PRAGMA {name}");
        inbox.store().connection().query_row(&sql, [], |row| row.get::<_, rusqlite::types::Value>(0)).unwrap()
    };
    assert_eq!(pragma("synchronous"), rusqlite::types::Value::Integer(2), "FULL");
    assert_eq!(pragma("journal_mode"), rusqlite::types::Value::Text("wal".into()));
    assert_eq!(pragma("user_version"), rusqlite::types::Value::Integer(17));
}

#[test]
fn ten_thousand_records_of_a_writer_take_the_space_of_one() {
    let ground = Sqlite::new();
    let mut inbox = ground.inbox();
    inbox.store().connection().execute_batch("PRAGMA synchronous = OFF").unwrap();
    for sequence in 1..=10_000 {
        let id = format!("orders/{}/{sequence}", 1 + sequence / 4_000);
        assert_eq!(inbox.apply(&record(&id), nothing).unwrap(), Applied::Now(()));
    }
    let size = "SELECT count(*), sum(length(state)) FROM zoutbox_inbox";
    let size: (u32, u32) =
        ground.connection().query_row(size, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert!(size.0 == 1 && size.1 < 40, "{size:?}");
}
