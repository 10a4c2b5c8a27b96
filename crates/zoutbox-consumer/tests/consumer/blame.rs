//! What is not the record's fault is not counted against it, and what may have been committed is not run again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::FieldTable;
use zoutbox_consumer::{HandlerError, Observer};
use zoutbox_format::{Record, SegmentId, WriterId};
use zoutbox_test_support::{Broker, wait_until};

use crate::queue::{LONG, Queue, header, text};
use crate::running::{Order, Running, Script, inline, inline_resolver, keyed, names};
use crate::share;
use crate::stores::{Failed, Ground, Sqlite};

#[test]
fn a_record_is_not_parked_for_a_database_that_gets_full_in_its_effect() {
    let (ground, queue) = (Sqlite::new(), Queue::new("full"));
    queue.publish(&keyed(&["a", "a"]));
    let (room, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (there_is, count) = (Arc::clone(&room), Arc::clone(&refused));
    let mut options = queue.options();
    options.tries = 1;
    let running =
        Running::with(options, inline_resolver(), ground.inbox(), None, move |resolved, transaction| {
            // The smallest there can be is what there is.
            let pages = if there_is.load(Ordering::SeqCst) { 1_000_000 } else { 1 };
            transaction.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
            let id = resolved.identity.record.to_string();
            let written = transaction
                .execute("INSERT INTO effects VALUES (?1)", [&id])
                .and_then(|_| transaction.execute("INSERT INTO effects SELECT hex(zeroblob(200000))", []))
                .and_then(|_| transaction.execute("DELETE FROM effects WHERE length(id) > 1000", []));
            if written.is_err() {
                count.fetch_add(1, Ordering::SeqCst);
            }
            written?;
            Ok(())
        });
    wait_until("the database was full several times", LONG, || refused.load(Ordering::SeqCst) >= 4);
    queue.settles_at(0, 0);
    assert_eq!(ground.effects(), names([]));
    room.store(true, Ordering::SeqCst);
    wait_until("both are applied", LONG, || ground.effects().len() == 2);
    let summary = running.stop();
    assert_eq!((summary.applied, summary.parked), (2, 0));
    queue.settles_at(0, 0);
}

/// An effect that commits takes those before it in the batch with it, and nothing is marked.
#[test]
fn a_batch_whose_transaction_was_committed_within_is_not_run_again() {
    let (ground, share, queue) = (Sqlite::new(), share::ground(), Queue::new("committed"));
    let records: Vec<Record> = share::varied(5).into_iter().map(|record| record.key("same")).collect();
    let path = share.append("orders", &records);
    queue.publish(&[share::carry(&share::point_at(&path, 0..5))]);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let called = Arc::clone(&calls);
    let running = Running::with(
        queue.options(),
        share.resolver(),
        ground.inbox(),
        None,
        move |resolved, transaction| {
            let id = resolved.identity.record.to_string();
            called.lock().unwrap().push(id.clone());
            transaction.execute("INSERT INTO effects VALUES (?1)", [&id])?;
            if id == "orders/1/2" {
                transaction.execute_batch("COMMIT")?;
            }
            Ok(())
        },
    );
    queue.settles_at(0, 5);
    running.stop();
    assert_eq!(*calls.lock().unwrap(), names([1, 2]));
    assert_eq!(ground.effects(), names([1, 2]), "committed by the effect, once");
    let parked = queue.take_parked();
    for (message, said) in
        parked.iter().zip(["ended the transaction", "ended the transaction", "behind", "behind"])
    {
        let reason = header(message, "zoutbox-parked-reason");
        assert!(reason.contains(said), "{reason}");
    }
}

#[test]
fn headers_that_leave_no_room_for_a_reason_are_parked_as_they_came_and_others_go_on() {
    let (ground, queue, script) = (Arc::new(Sqlite::new()), Queue::new("roomless"), Script::default());
    let mut headers = FieldTable::default();
    headers.insert("a".into(), text(&"x".repeat(130_000)));
    let properties = BasicProperties::default().with_headers(headers);
    queue.publish_raw(vec![("foreign".to_owned(), properties, b"body".to_vec())]);
    queue.publish(&[inline("orders/1/1", None)]);
    let running = Running::start(&ground, queue.options(), inline_resolver(), &script);
    script.wait_for_applied(1);
    queue.settles_at(0, 1);
    running.stop();
    let parked = queue.take_parked().remove(0);
    assert!(parked.data == b"body" && header(&parked, "a").len() == 130_000);
    let kept = parked.properties.headers().clone().unwrap_or_default();
    assert!(!kept.inner().contains_key("zoutbox-parked-reason"));
}

/// Counts the connections that are lost.
struct Losses(Arc<AtomicUsize>);

impl Observer for Losses {
    fn delivered(&mut self, _: u64, _: &WriterId, _: Option<SegmentId>) {}
    fn acked(&mut self, _: u64) {}
    fn parked(&mut self, _: &WriterId, _: Option<SegmentId>) {}
    fn unparked(&mut self, _: &WriterId, _: Option<SegmentId>) {}
    fn tick(&mut self, _: Option<bool>) {}

    fn lost(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_broker_that_takes_nothing_costs_neither_the_connection_nor_a_stop() {
    let broker = Broker::start();
    let (ground, queue, script) = (Arc::new(Sqlite::new()), Queue::on(&broker, "alarm"), Script::default());
    script.order("orders/1/2", Order::Poison);
    queue.publish(&keyed(&["a", "b", "c"]));
    broker.block();
    let losses = Arc::new(AtomicUsize::new(0));
    let start = || {
        let observer: Box<dyn Observer + Send> = Box::new(Losses(Arc::clone(&losses)));
        Running::observed(&ground, queue.options(), inline_resolver(), &script, Some(observer))
    };
    let running = start();
    wait_until("the second is to be parked", LONG, || script.calls_for("orders/1/2") == 1);
    // Longer than a confirm is waited for.
    std::thread::sleep(Duration::from_secs(35));
    assert_eq!(losses.load(Ordering::SeqCst), 0);
    assert!(running.is_running());
    assert!(!running.stop().finished, "what is being published has no end yet");
    let running = start();
    broker.unblock();
    script.wait_for_applied(2);
    wait_until("the second is parked", LONG, || queue.count_of("alarm.parked") > 0);
    running.stop();
    assert_eq!((script.applied(), ground.effects()), (names([1, 3]), names([1, 3])));
    assert_eq!(losses.load(Ordering::SeqCst), 0);
}

#[test]
fn an_error_of_the_handlers_own_is_one_that_the_database_did_not_cause() {
    fn kind(error: impl Into<HandlerError<Failed>>) -> &'static str {
        match error.into() {
            HandlerError::Retry(_) => "retry",
            HandlerError::Poison(_) => "poison",
            HandlerError::Trouble(_) => "trouble",
        }
    }
    let ground = Sqlite::new();
    let one = ground.connection();
    one.execute_batch("CREATE TABLE positive (n INTEGER CHECK (n > 0)) STRICT; BEGIN IMMEDIATE").unwrap();
    assert_eq!(kind(one.execute("INSERT INTO positive VALUES (-1)", []).unwrap_err()), "retry");
    assert_eq!(kind(one.execute("INSERT INTO nowhere VALUES (1)", []).unwrap_err()), "retry");
    let other = ground.connection();
    other.busy_timeout(Duration::from_millis(1)).unwrap();
    assert_eq!(kind(other.execute("INSERT INTO positive VALUES (1)", []).unwrap_err()), "trouble");
}
