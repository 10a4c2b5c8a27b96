//! Published segments go, when they may and as the operator said; the newest one never.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use zoutbox_format::Record;
use zoutbox_format::layout::SegmentName;
use zoutbox_test_support::{Broker, wait_until};
use zoutbox_writer::Options;

use crate::support::{Consumer, LONG, Producer, Queue, Relay, World, list, name};

/// A writer with several segments, all sealed.
fn several_segments(world: &World) -> Producer {
    let options = Options { segment_size: 64 * 1024, ..Options::default() };
    let mut orders = world.writer_with("orders", options);
    for _ in 0..8 {
        orders.append((0..4).map(|_| Record::new("t", vec![b'x'; 8 * 1024])));
    }
    orders.close();
    let segments = world.segments("orders");
    let sealed = |path: &PathBuf| SegmentName::parse(&name(path)).unwrap().sealed;
    assert!(segments.len() > 3 && segments.iter().all(sealed), "{segments:?}");
    orders
}

fn contents(paths: Vec<PathBuf>) -> BTreeMap<String, Vec<u8>> {
    paths.into_iter().map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

#[test]
fn confirmed_segments_are_deleted_after_their_retention_but_never_the_newest() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "deleted", &["#"]));
    let mut orders = several_segments(&world);
    let before = world.segments("orders");
    let consumer = Consumer::start(&queue);
    let kept = Relay::start(world.root(), queue.with(&["--once"])).wait();
    assert_eq!((kept.code, world.segments("orders")), (Some(0), before.clone()), "deleted within an hour");

    let now = queue.with(&["--retention", "0s"]);
    let relay = Relay::start(world.root(), now.as_slice());
    wait_until("one is left", LONG, || world.segments("orders").len() == 1);
    assert_eq!(world.segments("orders"), before[before.len() - 1..], "not the newest one was kept");
    // The log goes on behind what was removed, for the writer and for the relay.
    let mut again = world.writer("orders");
    again.append_many(10);
    orders.appended.append(&mut again.appended);
    consumer.wait_for_all_in_order(&[&orders]);
    wait_until("the one before the newest went too", LONG, || world.segments("orders").len() == 1);
    assert_eq!(orders.appended[32].0.to_string(), "orders/2/33");
    relay.stop();
    assert_eq!(list(&world.share.layout.archive(&orders.id)), Vec::<PathBuf>::new());
    assert_eq!(consumer.count(), 42, "something was published again");
}

#[test]
fn confirmed_segments_are_archived_unchanged_when_told_to() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "archived", &["#"]));
    let orders = several_segments(&world);
    let before = contents(world.segments("orders"));
    let relay = Relay::start(world.root(), queue.with(&["--retention", "0s", "--archive"]));
    wait_until("one is left", LONG, || world.segments("orders").len() == 1);
    relay.stop();
    let mut after = contents(list(&world.share.layout.archive(&orders.id)));
    assert_eq!(after.len(), before.len() - 1);
    after.extend(contents(world.segments("orders")));
    assert!(before == after, "{:?} became {:?}", before.keys(), after.keys());
}

#[test]
fn what_is_not_confirmed_is_never_removed() {
    let (world, queue) = (World::new(), Queue::new(Broker::shared(), "unconfirmed", &["other.#"]));
    let orders = several_segments(&world);
    let before = world.segments("orders");
    let mut flows = world.writer_with("flows", Options { segment_size: 64 * 1024, ..Options::default() });
    flows.append((0..32).map(|_| Record::new("other.t", vec![b'x'; 8 * 1024])));
    flows.append((0..32).map(|_| Record::new("other.t", vec![b'x'; 8 * 1024])));
    flows.close();
    let relay = Relay::start(world.root(), queue.with(&["--retention", "0s"]));
    relay.wait_for_log("writer orders waits");
    wait_until("the other writer's are removed", LONG, || world.segments("flows").len() == 1);
    relay.stop();
    assert_eq!((world.segments("orders"), world.confirmed("orders")), (before, 1), "{:?}", orders.id);
}
