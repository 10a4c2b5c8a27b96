//! Databases that are locked, away, damaged; handlers that panic; options that can't be.

use std::sync::Arc;
use std::time::Duration;

use zoutbox_consumer::{
    ConsumerAmqp, ConsumerError, ConsumerOptions, ErrorKind, HandlerError, Inbox, Options,
};
use zoutbox_test_support::{Fault, Hits, wait_until};

use crate::queue::{LONG, Queue, header};
use crate::running::{Running, Script, inline, inline_resolver, keyed, names};
use crate::stores::{Failed, Ground, Server, Sqlite};

const fn fault(hits: Hits, fault: &'static str, how: &'static str) -> Fault {
    Fault::new("consumer", hits, fault, how)
}

#[test]
fn a_locked_database_is_waited_for_and_is_never_the_records_fault() {
    let (ground, queue, script) = (Sqlite::new(), Queue::new("locked"), Script::default());
    let inbox = ground.inbox();
    inbox.store().connection().busy_timeout(Duration::from_millis(20)).unwrap();
    let locker = ground.connection();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    queue.publish(&keyed(&["a", "b"]));
    let mut options = queue.options();
    options.tries = 1;
    let handler = script.clone();
    let running = Running::with(options, inline_resolver(), inbox, None, move |resolved, transaction| {
        handler.handle(resolved, |id| {
            transaction.execute("INSERT INTO effects VALUES (?1)", [id])?;
            Ok(())
        })
    });
    wait_until("they are in hand", LONG, || queue.count_of(&queue.name) == 0);
    std::thread::sleep(Duration::from_secs(1));
    assert!(running.is_running());
    assert_eq!(script.applied(), names([]));
    locker.execute_batch("COMMIT").unwrap();
    script.wait_for_applied(2);
    queue.settles_at(0, 0);
    let summary = running.stop();
    assert_eq!((summary.applied, summary.parked), (2, 0));
    fault(Hits::Database, "locked by somebody else", "SQLite, for more than a second")
        .held(1, "waited for; all applied, none parked");
}

#[test]
fn a_database_that_drops_its_connections_costs_nothing() {
    let (ground, queue, script) = (Arc::new(Server::new()), Queue::new("dropped"), Script::default());
    let mut options = queue.options();
    options.tries = 1;
    let running = Running::start(&ground, options, inline_resolver(), &script);
    for round in 0..4 {
        let messages: Vec<_> =
            (round * 50 + 1..=round * 50 + 50).map(|n| inline(&format!("orders/1/{n}"), Some("a"))).collect();
        queue.publish(&messages);
        let drop_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        ground.client().execute(drop_all, &[]).unwrap();
    }
    wait_until("all are applied or parked", LONG, || {
        ground.effects().len() + queue.count_of(&format!("{}.parked", queue.name)) as usize >= 200
    });
    running.stop();
    // An effect whose statement failed is the handler's error, and it was told to try once: such a record is parked, and comes back.
    script.obey_no_more();
    let running = Running::start(&ground, queue.options(), inline_resolver(), &script);
    // A queue is empty also while the consumer holds what was in it, so what counts is the effects. What it was just setting aside while
    // we unparked is parked after that.
    wait_until("all are applied", LONG, || {
        queue.unpark();
        ground.effects().len() >= 200
    });
    queue.settles_at(0, 0);
    running.stop();
    let mut expected = names(1..=200);
    expected.sort();
    assert_eq!(ground.effects(), expected);
    fault(Hits::Database, "drops its connections", "pg_terminate_backend on all of them, under load")
        .held(4, format!("{} records, each with its effect once", expected.len()));
}

#[test]
fn a_damaged_inbox_ends_the_consumer_and_acknowledges_nothing() {
    let (ground, queue, script) = (Arc::new(Sqlite::new()), Queue::new("damaged"), Script::default());
    queue.publish(&keyed(&["a"]));
    let running = Running::start(&ground, queue.options(), inline_resolver(), &script);
    script.wait_for_applied(1);
    queue.settles_at(0, 0);
    running.stop();
    ground.connection().execute_batch("UPDATE zoutbox_inbox SET state = x'00'").unwrap();
    queue.publish(&[inline("orders/1/2", None)]);
    let error = Running::start(&ground, queue.options(), inline_resolver(), &script).end().unwrap_err();
    assert!(matches!(error, ConsumerError::Inbox(_)), "{error}");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    queue.settles_at(1, 0);
    assert_eq!(script.applied(), names([1]));
    fault(Hits::Database, "the inbox's state is damaged", "overwritten by hand")
        .held(1, "the consumer ended, and acknowledged nothing");
}

#[test]
fn an_inbox_of_a_newer_zoutbox_ends_the_consumer_and_acknowledges_nothing() {
    let (ground, queue) = (Sqlite::new(), Queue::new("newer"));
    queue.publish(&keyed(&["a"]));
    let inbox = ground.inbox();
    // Somebody updated another consumer of this database while this one ran: what it asks for is not there any more.
    ground.connection().execute_batch("ALTER TABLE zoutbox_inbox RENAME COLUMN state TO state2").unwrap();
    let running = Running::with(queue.options(), inline_resolver(), inbox, None, |_, _| Ok(()));
    assert_eq!(running.end().unwrap_err().kind(), ErrorKind::Fatal);
    queue.settles_at(1, 0);
    fault(Hits::Database, "the inbox is of a newer zoutbox", "a column renamed beneath a consumer")
        .held(1, "the consumer ended, and acknowledged nothing");
}

#[test]
fn what_the_inbox_has_forgotten_is_parked() {
    let (ground, queue) = (Sqlite::new(), Queue::new("forgotten"));
    let inbox = Inbox::open_with(ground.store(), "tests", Options { most_runs: 1 }).unwrap();
    queue.publish(
        &["orders/1/1", "orders/1/5", "orders/1/9", "orders/1/3", "orders/1/10"]
            .map(|id| inline(id, Some("a"))),
    );
    let running = Running::with(queue.options(), inline_resolver(), inbox, None, |resolved, transaction| {
        let id = resolved.identity.record.to_string();
        let done = transaction.execute("INSERT INTO effects VALUES (?1)", [id]);
        done.map(|_| ()).map_err(|error| HandlerError::Retry(Failed(error.to_string())))
    });
    wait_until("all are applied or parked", LONG, || ground.effects().len() == 4);
    queue.settles_at(0, 1);
    let summary = running.stop();
    assert_eq!((summary.applied, summary.parked), (4, 1));
    assert_eq!(ground.inbox().parked().unwrap(), [], "nobody knows whether anything has to wait for it");
    let reason = header(&queue.take_parked()[0], "zoutbox-parked-reason");
    assert!(reason.contains("not remembered any more"), "{reason}");
}

#[test]
fn a_handler_that_panics_ends_the_consumer_and_acknowledges_nothing() {
    let (ground, queue) = (Sqlite::new(), Queue::new("panics"));
    queue.publish(&keyed(&["a"]));
    let running = Running::with(queue.options(), inline_resolver(), ground.inbox(), None, |_, _| {
        panic!("as this test wants it");
    });
    let error = running.end().unwrap_err();
    assert!(matches!(error, ConsumerError::Thread(_)), "{error}");
    queue.settles_at(1, 0);
    assert_eq!(ground.effects(), names([]));
    fault(Hits::Consumer, "its handler panics", "at a record")
        .held(1, "the consumer ended, and acknowledged nothing");
}

#[test]
fn options_that_can_not_be_are_refused_and_the_database_is_closed_well() {
    let server = Server::new();
    let queue = |change: fn(&mut ConsumerOptions)| {
        let mut options = ConsumerOptions::new(ConsumerAmqp::new("amqp://127.0.0.1"), "queue");
        change(&mut options);
        options
    };
    let all: [fn(&mut ConsumerOptions); 4] = [
        |options| options.prefetch = 0,
        |options| options.queue.clear(),
        |options| options.queue = "q".repeat(250),
        |options| options.amqp.url = "http://somewhere".into(),
    ];
    for change in all {
        let running = Running::with(queue(change), inline_resolver(), server.inbox(), None, |_, _| Ok(()));
        let error = running.end().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}

#[test]
fn credentials_are_never_shown() {
    let options = ConsumerOptions::new(ConsumerAmqp::new("amqp://user:secret@127.0.0.1"), "queue");
    assert!(!format!("{options:?}").contains("secret"));
}
