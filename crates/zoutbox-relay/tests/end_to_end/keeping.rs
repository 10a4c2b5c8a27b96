//! What is kept though its time is over, because somebody still needs it; and large payloads, which go with what names them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use zoutbox_format::layout::{SegmentName, dead_letter_name};
use zoutbox_format::{Hour, PayloadName, Place, Progress, SegmentId, WriterId};
use zoutbox_storage::{System, replace};
use zoutbox_test_support::{Hits, binary, wait_until};

use crate::support::{LONG, Relay, World, fault, list, name};
use draft::Draft;

#[path = "../../src/ground/draft.rs"]
mod draft;

const AT_ONCE: [&str; 3] = ["--stdout", "--retention", "0s"];

fn writer(id: &str) -> WriterId {
    WriterId::new(id).unwrap()
}

fn id_of(path: &Path) -> SegmentId {
    SegmentName::parse(&name(path)).unwrap().id
}

impl World {
    /// As many segments as that, each with a record, and all published already.
    fn published(&self, id: &str, segments: usize) -> Vec<SegmentId> {
        for _ in 0..segments {
            let mut producer = self.writer(id);
            producer.append_many(1);
            producer.close();
        }
        self.segments(id).iter().map(|path| id_of(path)).collect()
    }

    fn ids(&self, id: &str) -> Vec<SegmentId> {
        self.segments(id).iter().map(|path| id_of(path)).collect()
    }

    fn archived(&self, id: &str) -> Vec<String> {
        list(&self.share.layout.archive(&writer(id))).iter().map(|path| name(path)).collect()
    }

    /// A consumer of `orders` and `payments`, at the same place with both; and when it wrote that, in the past.
    fn register(&self, consumer: &str, group: &str, [orders, payments]: [Place; 2], ago: Duration) {
        let progress = Progress {
            share: self.share.id,
            group: writer(group),
            updated_ms: System::real().clock.now_ms() - u64::try_from(ago.as_millis()).unwrap(),
            interval_ms: 100,
            limit_ms: 3_600_000,
            writers: BTreeMap::from([(writer("orders"), orders), (writer("payments"), payments)]),
        };
        fs::create_dir_all(self.share.layout.consumers()).unwrap();
        let path = self.share.layout.consumer(&writer(consumer));
        replace::replace(&System::real(), &path, &progress.encode()).unwrap();
    }

    fn status(&self) -> Value {
        let arguments = ["status", "--json", "--patience", "60", "--root"];
        let output = Command::new(binary("zoutbox")).args(arguments).arg(self.root()).output();
        serde_json::from_slice(&output.unwrap().stdout).unwrap()
    }
}

fn passed(segment: SegmentId) -> Place {
    Place { passed: Some(segment), ..Place::default() }
}

fn open(segment: SegmentId) -> Place {
    Place { open: Some(segment), ..Place::default() }
}

/// Waits until exactly these segments of `orders` are left. Those of `payments`, of which nobody needs any but the newest, show that a
/// removal has gone by.
#[track_caller]
fn wait_until_left(world: &World, payments: usize, orders: &[SegmentId]) {
    wait_until("the other writer's are removed", LONG, || world.segments("payments").len() == payments);
    wait_until(&format!("these are left: {orders:?}"), LONG, || world.ids("orders") == orders);
}

#[test]
fn a_registered_consumer_that_is_behind_holds_what_it_needs_until_it_has_passed_it() {
    let world = World::new();
    let (orders, payments) = (world.published("orders", 4), world.published("payments", 3));
    let newest = passed(payments[2]);
    let now = Duration::ZERO;
    world.register("b-1", "billing", [open(orders[1]), newest.clone()], now);
    let relay = Relay::start(world.root(), AT_ONCE);
    wait_until_left(&world, 1, &orders[1..]);
    // Another of the same group is ahead: what is open with the first one is still held.
    world.register("b-2", "billing", [passed(orders[3]), newest.clone()], now);
    let more = world.published("payments", 2);
    world.register("b-1", "billing", [open(orders[1]), passed(more[more.len() - 1])], now);
    wait_until_left(&world, 1, &orders[1..]);
    // It acknowledges: the group is where the one ahead is.
    world.register("b-1", "billing", [passed(orders[2]), passed(more[more.len() - 1])], now);
    wait_until_left(&world, 1, &orders[3..]);
    let log = relay.stop().log;
    assert!(log.contains("consumer b-1 has registered") && !log.contains("vanished"), "{log}");
    fault(Hits::Consumer, "is far behind", "its file on the share says so, with a retention of nothing")
        .held(3, "what it needs was kept until it had passed it");
}

#[test]
fn another_group_is_held_for_on_its_own() {
    let world = World::new();
    let (orders, payments) = (world.published("orders", 4), world.published("payments", 2));
    let newest = || passed(payments[1]);
    world.register("b-1", "billing", [passed(orders[3]), newest()], Duration::ZERO);
    world.register("s-1", "shipping", [passed(orders[2]), newest()], Duration::ZERO);
    let relay = Relay::start(world.root(), AT_ONCE);
    wait_until_left(&world, 1, &orders[2..]);
    relay.stop();
}

#[test]
fn a_vanished_consumer_holds_nothing_any_more_and_that_is_told_once() {
    let world = World::new();
    let orders = world.published("orders", 3);
    let silent = Duration::from_hours(2);
    world.register("b-1", "billing", [Place::default(), Place::default()], silent);
    let relay = Relay::start(world.root(), AT_ONCE);
    relay.wait_for_log(
        "consumer b-1 of group billing has vanished (silent for 2 h): it holds nothing any more",
    );
    wait_until("nothing is held", LONG, || world.ids("orders") == orders[2..]);
    wait_until("status shows it", LONG, || {
        let waits = world.status()["relay"]["waits"].to_string();
        waits.contains("consumer b-1 of group billing has vanished")
    });
    // It is looked at again and again, and told once.
    let more = world.published("orders", 2);
    wait_until("looked at again", LONG, || world.ids("orders") == more[more.len() - 1..]);
    let log = relay.stop().log;
    assert_eq!(log.matches("has vanished").count(), 1, "{log}");
    fault(Hits::Consumer, "vanishes", "its file on the share is older than its limit")
        .held(1, "told once; it holds nothing any more");
}

#[test]
fn a_parked_message_holds_its_segment_and_none_behind_it() {
    let world = World::new();
    let (orders, payments) = (world.published("orders", 4), world.published("payments", 2));
    let newest = || passed(payments[1]);
    let parked = |segment| Place { parked: vec![segment], ..passed(orders[3]) };
    world.register("b-1", "billing", [parked(orders[1]), newest()], Duration::ZERO);
    let relay = Relay::start(world.root(), AT_ONCE);
    wait_until_left(&world, 1, &orders[3..]);
    let kept = SegmentName::sealed(orders[1]).file_name();
    let mark = zoutbox_format::layout::held_name(orders[1]);
    assert_eq!(world.archived("orders"), [mark, kept]);
    world.register("b-1", "billing", [passed(orders[3]), newest()], Duration::ZERO);
    wait_until("it is let go", LONG, || world.archived("orders").is_empty());
    relay.stop();
}

#[test]
fn a_dead_letter_with_a_pointer_holds_its_segment_until_a_person_takes_it_away() {
    let world = World::new();
    let orders = world.published("orders", 3);
    let (epoch, first) = (orders[0].epoch, orders[0].first_sequence);
    let pointer = json!({
        "share": world.share.id.to_string(), "writer": "orders", "epoch": epoch.get(), "segment_first": first.get(),
        "offset": 160, "length": 80, "sequence": first.get(), "count": 1, "crc": 1,
    });
    let directory = world.share.layout.dead(&writer("orders"));
    fs::create_dir_all(&directory).unwrap();
    let letter = directory.join(dead_letter_name(epoch, first));
    fs::write(&letter, json!({ "reason": "?", "dead_since_ms": 1, "pointer": pointer }).to_string()).unwrap();
    let relay = Relay::start(world.root(), AT_ONCE);
    wait_until("the others go", LONG, || world.ids("orders") == orders[2..]);
    assert!(world.archived("orders").contains(&SegmentName::sealed(orders[0]).file_name()));
    fs::remove_file(letter).unwrap();
    wait_until("it goes too", LONG, || world.archived("orders").is_empty());
    relay.stop();
}

#[test]
fn what_can_not_be_understood_holds_everything_until_somebody_takes_it_away() {
    let world = World::new();
    let orders = world.published("orders", 3);
    fs::create_dir_all(world.share.layout.consumers()).unwrap();
    let path = world.share.layout.consumers().join("b-1");
    fs::write(&path, "{\"format\":2}").unwrap();
    let relay = Relay::start(world.root(), AT_ONCE);
    relay.wait_for_log("nothing is removed, since nobody knows what consumer b-1 needs");
    let held = |waits: &Value| waits.to_string().contains("nothing is removed");
    wait_until("status shows it", LONG, || held(&world.status()["relay"]["waits"]));
    let mut producer = world.writer("orders");
    producer.append_many(1);
    assert_eq!(world.ids("orders")[..3], orders, "something was removed");
    fs::remove_file(path).unwrap();
    wait_until("the others go", LONG, || world.ids("orders").len() == 1);
    let log = relay.stop().log;
    assert_eq!(log.matches("nothing is removed").count(), 1, "{log}");
    fault(Hits::Consumer, "its file on the share can't be understood", "one of a newer format")
        .held(1, "told once; nothing removed until somebody took it away");
}

#[test]
fn what_pointers_lead_to_is_kept_for_its_own_time() {
    let world = World::new();
    let (orders, arguments) = (world.published("orders", 3), ["--stdout", "--retention", "0s"]);
    let relay = Relay::start(world.root(), arguments.into_iter().chain(["--pointer-retention", "1h"]));
    wait_until("all is confirmed", LONG, || world.confirmed("orders") == 4);
    std::thread::sleep(Duration::from_secs(3));
    relay.stop();
    assert_eq!(world.ids("orders"), orders);
    let relay = Relay::start(world.root(), arguments.into_iter().chain(["--pointer-retention", "1s"]));
    wait_until("the time is over", LONG, || world.ids("orders") == orders[2..]);
    relay.stop();
}

/// Segments made by hand, of records that name these payloads; the last one is not sealed.
fn lay(world: &World, segments: &[&[&str]]) {
    let directory = world.share.layout.writer(&writer("orders"));
    fs::create_dir(&directory).unwrap();
    let mut before = None;
    for (index, payloads) in segments.iter().enumerate() {
        let mut draft = Draft::behind(before.as_ref(), world.share.id, &writer("orders"));
        for id in *payloads {
            draft.append((!id.is_empty()).then(|| payload(id)));
        }
        if index + 1 < segments.len() {
            draft.seal();
        }
        fs::write(directory.join(draft.name()), draft.bytes()).unwrap();
        before = Some(draft);
    }
}

/// Of the year 2023.
fn payload(id: &str) -> PayloadName {
    PayloadName::new(writer("orders"), Hour::of(1_700_000_000_000), id).unwrap()
}

fn put(world: &World, file: &str, ago: Duration) -> PathBuf {
    let path = world.share.layout.payload(&payload("x")).with_file_name(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "x").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::now() - ago).unwrap();
    path
}

fn payloads(world: &World) -> Vec<String> {
    list(world.share.layout.payload(&payload("x")).parent().unwrap()).iter().map(|path| name(path)).collect()
}

#[test]
fn large_payloads_go_with_their_segment_and_stay_when_that_is_archived() {
    for archive in [false, true] {
        let world = World::new();
        lay(&world, &[&["a", "again"], &["b"], &["again", "live"]]);
        for id in ["a", "again", "b", "live"] {
            put(&world, id, Duration::ZERO);
        }
        let arguments = AT_ONCE.into_iter().chain(archive.then_some("--archive"));
        let relay = Relay::start(world.root(), arguments);
        wait_until("one is left", LONG, || world.segments("orders").len() == 1);
        relay.stop();
        let expected: &[&str] = if archive { &["a", "again", "b", "live"] } else { &["again", "live"] };
        assert_eq!(payloads(&world), expected);
        assert_eq!(world.archived("orders").len(), if archive { 2 } else { 0 });
    }
}

#[test]
fn what_nobody_names_is_swept_after_its_grace_and_what_somebody_names_never() {
    let world = World::new();
    lay(&world, &[&["sealed", ""], &["live", "back"]]);
    let (young, old) = (Duration::from_mins(50), Duration::from_mins(70));
    for (file, ago) in [
        ("sealed", old),
        ("live", old),
        ("back.swept", young),
        ("orphan", old),
        ("orphan.swept", young),
        ("young", young),
        ("young.0123.tmp", young),
        ("old.0123.tmp", old),
        ("not ours", old),
    ] {
        put(&world, file, ago);
    }
    let empty = world.share.layout.payloads(&writer("orders")).join("2022/01/02/03");
    fs::create_dir_all(&empty).unwrap();
    let relay = Relay::start(world.root(), ["--stdout", "--sweep-after", "1h"]);
    relay.wait_for_log(
        "writer orders: swept 2 large payloads that no record names, and 1 that were never finished",
    );
    relay.stop();
    assert_eq!(payloads(&world), ["back", "live", "not ours", "sealed", "young", "young.0123.tmp"]);
    assert!(!empty.exists());
    // Another relay, for which even the young ones are old.
    let relay = Relay::start(world.root(), ["--stdout", "--sweep-after", "1m"]);
    relay.wait_for_log(
        "writer orders: swept 1 large payloads that no record names, and 1 that were never finished",
    );
    relay.stop();
    assert_eq!(payloads(&world), ["back", "live", "not ours", "sealed"]);
}
