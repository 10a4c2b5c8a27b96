//! What only a server can do: go away, come back, refuse, and leave it open whether it committed.

use std::time::Duration;

use postgres::{Client, Config, NoTls};
use zoutbox_consumer::{Applied, ApplyError, ErrorKind, Inbox, InboxError, PostgresStore};
use zoutbox_test_support::{Postgres, wait_until};

use crate::ground::{Failed, Ground, Server, record};
use crate::proxy::cutting_commits;

fn refused(result: Result<Applied<()>, ApplyError<Failed>>) -> InboxError {
    match result {
        Err(ApplyError::Inbox(error)) => error,
        other => panic!("not refused by the inbox: {other:?}"),
    }
}

#[test]
fn a_server_killed_in_the_middle_of_an_apply_loses_nothing_and_doubles_nothing() {
    let server = Postgres::start();
    let ground = Server::on(&server);
    let mut inbox = ground.inbox();
    assert_eq!(
        inbox.apply(&record("orders/1/1"), |tx| ground.effect(tx, "orders/1/1")).unwrap(),
        Applied::Now(())
    );
    let error = refused(inbox.apply(&record("orders/1/2"), |tx| {
        ground.effect(tx, "orders/1/2")?;
        server.kill();
        Ok(())
    }));
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    let error = refused(inbox.apply(&record("orders/1/2"), |_| Ok(())));
    assert_eq!(error.kind(), ErrorKind::Retry, "while it is away: {error}");
    server.start_again();
    let (mut one, mut two) = (None, None);
    wait_until("the inbox has found its server again", Duration::from_mins(1), || {
        one = inbox.apply(&record("orders/1/1"), |tx| ground.effect(tx, "orders/1/1")).ok();
        two = inbox.apply(&record("orders/1/2"), |tx| ground.effect(tx, "orders/1/2")).ok();
        one.is_some() && two.is_some()
    });
    assert_eq!((one, two), (Some(Applied::Duplicate), Some(Applied::Now(()))));
    assert_eq!(ground.effects(), ["orders/1/1", "orders/1/2"]);
}

#[test]
fn a_commit_whose_answer_is_lost_is_unknown_and_applying_again_finds_out() {
    let ground = Server::new();
    drop(ground.store());
    let direct: Config = ground.url.parse().unwrap();
    let port = cutting_commits(direct.get_ports()[0]);
    let name = direct.get_dbname().unwrap();
    let mut inbox = Inbox::open(
        PostgresStore::open(&format!("postgres://zoutbox@127.0.0.1:{port}/{name}")).unwrap(),
        "tests",
    )
    .unwrap();
    let error = refused(inbox.apply(&record("orders/1/1"), |tx| ground.effect(tx, "orders/1/1")));
    assert!(matches!(error, InboxError::CommitUnknown { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Retry);
    wait_until("the server has committed", Duration::from_mins(1), || ground.effects().len() == 1);
    let again = inbox.apply(&record("orders/1/1"), |tx| ground.effect(tx, "orders/1/1")).unwrap();
    assert_eq!(again, Applied::Duplicate);
    assert_eq!(ground.effects(), ["orders/1/1"]);
}

#[test]
fn an_effect_that_ends_its_transaction_is_told_and_not_marked() {
    let ground = Server::new();
    let mut inbox = ground.inbox();
    for end in ["ROLLBACK", "COMMIT", "COMMIT; BEGIN"] {
        let error = refused(inbox.apply(&record("orders/1/1"), |tx| Ok(tx.batch_execute(end)?)));
        assert!(matches!(error, InboxError::TransactionEnded { .. }), "{end}: {error}");
        assert_eq!(error.kind(), ErrorKind::Unknown);
    }
    let applied = inbox.apply(&record("orders/1/1"), |tx| ground.effect(tx, "orders/1/1")).unwrap();
    assert_eq!(applied, Applied::Now(()));
}

#[test]
fn an_effect_that_passes_over_a_failed_statement_is_not_marked() {
    let ground = Server::new();
    let mut inbox = ground.inbox();
    let failed = refused(inbox.apply(&record("orders/1/1"), |tx| {
        ground.effect(tx, "orders/1/1")?;
        drop(tx.execute("SELECT 1/0", &[]));
        Ok(())
    }));
    assert!(failed.to_string().contains("aborted"), "{failed}");
    assert!(ground.effects().is_empty());
    assert_eq!(inbox.apply(&record("orders/1/1"), |_| Ok::<_, Failed>(())).unwrap(), Applied::Now(()));
}

#[test]
fn a_lock_that_does_not_come_free_is_an_error_to_retry() {
    let ground = Server::new();
    let mut inbox = ground.inbox();
    assert_eq!(inbox.apply(&record("orders/1/1"), |_| Ok::<_, Failed>(())).unwrap(), Applied::Now(()));
    let mut other = ground.client();
    let mut holding = other.transaction().unwrap();
    holding.execute("SELECT state FROM zoutbox_inbox FOR UPDATE", &[]).unwrap();
    inbox.store_mut().client().unwrap().batch_execute("SET lock_timeout = '100ms'").unwrap();
    let error = refused(inbox.apply(&record("orders/1/2"), |_| panic!("it ran without the lock")));
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    holding.rollback().unwrap();
    assert_eq!(inbox.apply(&record("orders/1/2"), |_| Ok::<_, Failed>(())).unwrap(), Applied::Now(()));
}

#[test]
fn an_acknowledged_transaction_is_durable_whatever_the_database_defaults_to() {
    let ground = Server::new();
    let alter = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); \
        EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''serializable''', current_database()); END $$";
    ground.client().batch_execute(alter).unwrap();
    let mut inbox = ground.inbox();
    let settings = |tx: &mut postgres::Transaction<'_>| -> Result<(String, String), Failed> {
        let shown = "SELECT current_setting('synchronous_commit'), current_setting('transaction_isolation')";
        let row = tx.query_one(shown, &[])?;
        Ok((row.get(0), row.get(1)))
    };
    let shown = inbox.apply(&record("orders/1/1"), settings).unwrap();
    assert_eq!(shown, Applied::Now(("on".to_owned(), "read committed".to_owned())));
}

#[test]
fn a_database_from_before_there_was_parking_keeps_what_it_remembers() {
    let ground = Server::new();
    let apply = |inbox: &mut Inbox<PostgresStore>| {
        inbox.apply(&record("orders/1/1"), |tx| ground.effect(tx, "orders/1/1")).unwrap()
    };
    assert_eq!(apply(&mut ground.inbox()), Applied::Now(()));
    ground.client().batch_execute("DROP TABLE zoutbox_inbox_parked").unwrap();
    let mut inbox = ground.inbox();
    assert_eq!(apply(&mut inbox), Applied::Duplicate);
    assert_eq!(inbox.parked().unwrap(), []);
}

#[test]
fn what_is_wrong_with_a_database_is_told_apart() {
    let ground = Server::new();
    drop(ground.inbox());
    let open = |url: &str| PostgresStore::open(url).err().unwrap();

    let missing = open(&Postgres::shared().url_of("no_such_database"));
    assert_eq!(missing.kind(), ErrorKind::Missing, "{missing}");
    let away = open("postgres://zoutbox@127.0.0.1:1/test");
    assert_eq!(away.kind(), ErrorKind::Retry, "{away}");
    let nonsense = open("postgres://[");
    assert_eq!(nonsense.kind(), ErrorKind::Fatal, "{nonsense}");

    ground.client().batch_execute("UPDATE zoutbox_inbox_schema SET version = 2").unwrap();
    let newer = open(&ground.url);
    assert!(matches!(newer, InboxError::Newer { found: 2, known: 1, .. }), "{newer}");
    ground.client().batch_execute("DELETE FROM zoutbox_inbox_schema").unwrap();
    assert_eq!(open(&ground.url).kind(), ErrorKind::Corrupt);
    ground.client().batch_execute("DROP TABLE zoutbox_inbox_schema").unwrap();
    assert_eq!(open(&ground.url).kind(), ErrorKind::Corrupt);
}

#[test]
fn whatever_is_wrong_with_a_url_its_password_is_not_told() {
    const SECRET: &str = "s3cret-passw0rd";
    let server = Postgres::shared().url().replace("postgres://zoutbox", "postgres://zoutbox:PW");
    let nobody = Postgres::shared().url().replace("postgres://zoutbox", "postgres://no-such-user:PW");
    assert!(nobody.contains("PW"), "{nobody}");
    for url in [
        "postgres://me:PW@127.0.0.1:1/test",
        "postgres://me:PW@127.0.0.1:port/test",
        "postgres://me:PW@127.0.0.1:99999/test",
        "postgres://me:PW@no-such-host.invalid/test",
        "postgres://me:PW@[",
        "postgres://me:%zzPW@host/test",
        "postgres://me:a/PW@host/test",
        "postgres://me@host/test?password=PW&no_such_setting=1",
        "postgres://me:PW@host/test?connect_timeout=PW",
        "host=127.0.0.1 port=1 user=me password=PW",
        "host=127.0.0.1 port=PW user=me password=PW",
        "password='PW",
        "password=PW no_such_setting=1",
        "PW",
        &nobody,
        &format!("{server}_no_such_database"),
    ] {
        let url = url.replace("PW", SECRET);
        let error = PostgresStore::open(&url).err().unwrap_or_else(|| panic!("{url} was opened"));
        let mut told = vec![format!("{error} {error:?}")];
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            told.push(format!("{error} {error:?}"));
            source = error.source();
        }
        assert!(!told.iter().any(|told| told.contains(SECRET)), "{url}: the password shows: {told:?}");
    }
}

#[test]
fn a_wrong_password_is_told_as_such_and_not_shown_and_the_right_one_goes_on_where_it_was() {
    const RIGHT: &str = "r1ght-passw0rd";
    const WRONG: &str = "wr0ng-passw0rd";
    let server = Postgres::start();
    let ground = Server::on(&server);
    let mut operator = ground.client();
    let mut set = |password: &str| {
        operator.batch_execute(&format!("ALTER ROLE zoutbox PASSWORD '{password}'")).unwrap();
    };
    set(RIGHT);
    let with =
        |password: &str| ground.url.replace("postgres://zoutbox", &format!("postgres://zoutbox:{password}"));
    std::fs::write(server.directory().join("data/pg_hba.conf"), "host all all 127.0.0.1/32 scram-sha-256\n")
        .unwrap();
    ground.client().batch_execute("SELECT pg_reload_conf()").unwrap();
    wait_until("the server wants a password", Duration::from_mins(1), || {
        PostgresStore::open(&ground.url).is_err()
    });
    let refuses = |error: &InboxError| {
        assert_eq!(error.kind(), ErrorKind::Fatal, "{error}");
        let told = format!("{error} {error:?}");
        assert!(told.contains("password authentication failed for user \"zoutbox\" (28P01)"), "{told}");
        assert!(!told.contains(RIGHT) && !told.contains(WRONG), "the password shows: {told}");
    };
    refuses(&PostgresStore::open(&with(WRONG)).err().unwrap());

    // One that works, until its connection breaks and the password is another.
    let mut inbox = Inbox::open(PostgresStore::open(&with(RIGHT)).unwrap(), "tests").unwrap();
    assert_eq!(inbox.apply(&record("orders/1/1"), |_| Ok::<_, Failed>(())).unwrap(), Applied::Now(()));
    set(WRONG);
    let end = "SELECT pg_terminate_backend(pg_backend_pid())";
    drop(inbox.store_mut().client().unwrap().batch_execute(end));
    let mut apply = || refused(inbox.apply(&record("orders/1/2"), |_| panic!("it ran without a database")));
    // The first one may find that the connection is gone, and make none yet.
    let first = apply();
    refuses(&if first.kind() == ErrorKind::Retry { apply() } else { first });
    set(RIGHT);
    assert_eq!(inbox.apply(&record("orders/1/1"), |_| Ok::<_, Failed>(())).unwrap(), Applied::Duplicate);
    assert_eq!(inbox.apply(&record("orders/1/2"), |_| Ok::<_, Failed>(())).unwrap(), Applied::Now(()));
}

#[test]
fn a_damaged_state_is_refused_and_concerns_no_other_writer() {
    let ground = Server::new();
    let mut inbox = ground.inbox();
    for id in ["orders/1/1", "returns/1/1"] {
        assert_eq!(inbox.apply(&record(id), |_| Ok::<_, Failed>(())).unwrap(), Applied::Now(()));
    }
    let swap = "UPDATE zoutbox_inbox SET state = (SELECT state FROM zoutbox_inbox WHERE writer = 'returns') \
        WHERE writer = 'orders'";
    Client::connect(&ground.url, NoTls).unwrap().batch_execute(swap).unwrap();
    let error = refused(inbox.apply(&record("orders/1/2"), |_| panic!("it ran on another writer's state")));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("writer 'orders'"), "{error}");
    assert_eq!(inbox.apply(&record("returns/1/1"), |_| Ok::<_, Failed>(())).unwrap(), Applied::Duplicate);
}

#[test]
fn a_server_that_only_reads_is_told_as_such() {
    let ground = Server::new();
    let mut inbox = ground.inbox();
    let error = inbox.apply(&record("orders/1/1"), |tx| {
        tx.batch_execute("SET TRANSACTION READ ONLY")?;
        ground.effect(tx, "orders/1/1")
    });
    assert!(matches!(error, Err(ApplyError::Effect(_))), "{error:?}");
    let error = refused(inbox.apply(&record("orders/1/1"), |tx| {
        tx.batch_execute("SET TRANSACTION READ ONLY")?;
        Ok(())
    }));
    assert_eq!(error.kind(), ErrorKind::Fatal, "{error}");
    assert!(error.to_string().contains("read-only"), "{error}");
}
