//! A broker that dies, refuses, or has no such queue yet.

use std::sync::Arc;
use std::time::Duration;

use zoutbox_consumer::{ConsumerError, ErrorKind};
use zoutbox_test_support::{Broker, Fault, Hits, wait_until};

use crate::queue::{LONG, Queue};
use crate::running::{Order, Running, Script, inline, inline_resolver, keyed, names};
use crate::stores::{Ground, Sqlite};

#[test]
fn a_broker_that_is_killed_and_comes_back_costs_nothing() {
    let broker = Broker::start();
    let (ground, queue, script) = (Arc::new(Sqlite::new()), Queue::on(&broker, "killed"), Script::default());
    let messages = |range: std::ops::RangeInclusive<usize>| -> Vec<_> {
        range.map(|n| inline(&format!("orders/1/{n}"), Some(["a", "b", "c"][n % 3]))).collect()
    };
    script.order("orders/1/100", Order::Poison);
    queue.publish(&messages(1..=400));
    let running = Running::start(&ground, queue.options(), inline_resolver(), &script);
    script.wait_for_applied(50);
    wait_until("the queues are known for good", LONG, || broker.has_written_down("killed.parked"));
    broker.kill();
    broker.start_again();
    queue.publish(&messages(401..=500));
    // Of the key of 100, those behind it.
    wait_until("all are applied or parked", LONG, || {
        ground.effects().len() + queue.count_of("killed.parked") as usize >= 500
    });
    broker.stop();
    broker.start_again();
    script.obey_no_more();
    assert!(queue.unpark() > 0);
    // The broker may have given out again in another order what it had given out; then what is behind comes back first, and is parked again.
    wait_until("all are applied", LONG, || {
        queue.unpark();
        ground.effects().len() >= 500
    });
    queue.settles_at(0, 0);
    running.stop();
    let mut expected = names(1..=500);
    expected.sort();
    assert_eq!(ground.effects(), expected);
    assert_eq!(ground.inbox().parked().unwrap(), []);
    Fault::new(
        "consumer",
        Hits::Broker,
        "killed, and stopped, beneath a consumer",
        "SIGKILL and rabbitmqctl, with a parked record in between",
    )
    .held(2, format!("{} records, each with its effect once", expected.len()));
}

#[test]
fn a_queue_that_is_not_there_is_waited_for() {
    let (ground, script) = (Arc::new(Sqlite::new()), Script::default());
    let queue = Queue { url: Broker::shared().url().to_owned(), name: "later".to_owned() };
    let running = Running::start(&ground, queue.options(), inline_resolver(), &script);
    std::thread::sleep(Duration::from_millis(500));
    assert!(running.is_running());
    let queue = Queue::new("later");
    queue.publish(&keyed(&["a"]));
    script.wait_for_applied(1);
    // And one that is removed and made again.
    queue.delete("later");
    std::thread::sleep(Duration::from_millis(500));
    let queue = Queue::new("later");
    queue.publish(&[inline("orders/1/2", None)]);
    script.wait_for_applied(2);
    running.stop();
    Fault::new(
        "consumer",
        Hits::Broker,
        "the consumer's queue is not there, or deleted",
        "before it starts, and while it runs",
    )
    .held(2, "waited for; then all applied");
}

#[test]
fn a_broker_that_refuses_at_the_start_ends_the_consumer() {
    let (ground, script) = (Arc::new(Sqlite::new()), Script::default());
    let queue = Queue::new("refused");
    let mut options = queue.options();
    options.amqp.url = options.amqp.url.replace("guest:guest", "guest:wrong");
    let error = Running::start(&ground, options, inline_resolver(), &script).end().unwrap_err();
    assert!(matches!(error, ConsumerError::Refused { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Fatal);
    assert!(!error.to_string().contains("wrong"), "{error}");
}

#[test]
fn a_stop_without_a_broker_is_obeyed() {
    let (ground, script) = (Arc::new(Sqlite::new()), Script::default());
    let queue = Queue { url: "amqp://127.0.0.1:1".to_owned(), name: "nowhere".to_owned() };
    let running = Running::start(&ground, queue.options(), inline_resolver(), &script);
    std::thread::sleep(Duration::from_millis(300));
    assert!(running.is_running());
    assert_eq!(running.stop().applied, 0);
}
