//! What is delivered has its effect once, in order, and is acknowledged afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use zoutbox_test_support::wait_until;

use crate::queue::{LONG, Queue};
use crate::running::{Order, Running, Script, inline_resolver, keyed, names};
use crate::share;
use crate::stores::{Ground, Memory, Server, Sqlite};

fn applied_once<G: Ground + Send + Sync + 'static>(ground: G, queue: &str)
where
    G::S: Send,
{
    let (ground, queue, script) = (Arc::new(ground), Queue::new(queue), Script::default());
    let messages = keyed(&["a", "b", "", "a", "b", ""]);
    let twice: Vec<_> = messages[..4].iter().chain(&messages[1..]).cloned().collect();
    queue.publish(&twice);
    let running = Running::start(&ground, queue.options(), inline_resolver(), &script);
    script.wait_for_applied(6);
    queue.settles_at(0, 0);
    let summary = running.stop();
    assert_eq!((summary.applied, summary.duplicates, summary.parked, summary.finished), (6, 3, 0, true));
    assert_eq!(script.applied(), names(1..=6));
    assert_eq!(ground.effects(), names(1..=6));
    queue.settles_at(0, 0);
}

#[test]
fn each_record_has_its_effect_once_and_in_order_in_memory() {
    applied_once(Memory::default(), "applied-memory");
}

#[test]
fn each_record_has_its_effect_once_and_in_order_in_sqlite() {
    applied_once(Sqlite::new(), "applied-sqlite");
}

#[test]
fn each_record_has_its_effect_once_and_in_order_in_postgres() {
    applied_once(Server::new(), "applied-postgres");
}

#[test]
fn a_batch_is_applied_as_a_whole_whatever_part_of_it_was_applied_before() {
    let (ground, share) = (Arc::new(Sqlite::new()), share::ground());
    let (queue, script) = (Queue::new("batches"), Script::default());
    let path = share.append("orders", &share::varied(9));
    let pointers = [0..3, 2..7, 0..9].map(|range| share::carry(&share::point_at(&path, range)));
    queue.publish(&pointers);
    let running = Running::start(&ground, queue.options(), share.resolver(), &script);
    script.wait_for_applied(9);
    queue.settles_at(0, 0);
    let summary = running.stop();
    assert_eq!((summary.applied, summary.duplicates), (9, 8));
    assert_eq!((script.applied(), ground.effects()), (names(1..=9), names(1..=9)));
}

#[test]
fn a_record_that_is_tried_again_holds_back_everything_behind_it() {
    let (ground, queue, script) = (Arc::new(Sqlite::new()), Queue::new("retry"), Script::default());
    script.order("orders/1/2", Order::Retry(4));
    queue.publish(&keyed(&["a", "b", "c", "d"]));
    let running = Running::start(&ground, queue.options(), inline_resolver(), &script);
    script.wait_for_applied(4);
    assert_eq!(running.stop().applied, 4);
    assert_eq!(script.applied(), names(1..=4));
    assert_eq!(script.calls_for("orders/1/2"), 5);
    queue.settles_at(0, 0);
}

#[test]
fn a_record_that_is_tried_again_out_of_a_batch_takes_nothing_with_it() {
    let (ground, share) = (Arc::new(Server::new()), share::ground());
    let (queue, script) = (Queue::new("retry-batch"), Script::default());
    script.order("orders/1/3", Order::Retry(2));
    let path = share.append("orders", &share::varied(5));
    queue.publish(&[share::carry(&share::point_at(&path, 0..5))]);
    let running = Running::start(&ground, queue.options(), share.resolver(), &script);
    // The first two ran in the transaction that was rolled back, and again.
    script.wait_for_applied(7);
    queue.settles_at(0, 0);
    assert_eq!(running.stop().applied, 5);
    assert_eq!(ground.effects(), names(1..=5));
}

#[test]
fn a_stop_finishes_the_record_in_hand_and_leaves_the_rest_to_the_broker() {
    let (ground, queue) = (Sqlite::new(), Queue::new("stop"));
    let (entered, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    queue.publish(&keyed(&["a"; 20]));
    let inbox = ground.inbox();
    let (inside, goes) = (Arc::clone(&entered), Arc::clone(&go_on));
    let running =
        Running::with(queue.options(), inline_resolver(), inbox, None, move |resolved, transaction| {
            let id = resolved.identity.record.to_string();
            if id == "orders/1/3" {
                inside.store(true, Ordering::SeqCst);
                wait_until("the test lets the handler go on", LONG, || goes.load(Ordering::SeqCst));
            }
            transaction
                .execute("INSERT INTO effects VALUES (?1)", [&id])
                .map_err(|e| zoutbox_consumer::HandlerError::Retry(crate::stores::Failed(e.to_string())))?;
            Ok(())
        });
    wait_until("the third record is in hand", LONG, || entered.load(Ordering::SeqCst));
    running.stop.send(true).unwrap();
    // Time for the shell to hear it, for only then is the fourth record left; and half of the 8 s that it then waits for the third.
    std::thread::sleep(std::time::Duration::from_secs(4));
    go_on.store(true, Ordering::SeqCst);
    let summary = running.end().unwrap();
    assert_eq!((summary.applied, summary.finished), (3, true));
    assert_eq!(ground.effects(), names(1..=3));
    queue.settles_at(17, 0);
}
