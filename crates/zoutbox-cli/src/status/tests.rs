//! A share that does not answer. On a local disk no call of this program hangs, so the disk is one whose calls can be held.

use std::sync::Arc;

use serde_json::Value;
use zoutbox_test_support::{TestRoot, test_roots};

use super::*;
use held::HeldDisk;

#[path = "../../../zoutbox-storage/tests/support/held.rs"]
mod held;

const SHORT: Duration = Duration::from_secs(3);

struct World {
    disk: HeldDisk,
    system: System,
    share: Share,
    _root: TestRoot,
}

impl World {
    /// A share on which `orders` and `payments` have appended, and a relay has been.
    fn new() -> Self {
        let root = test_roots().pop().unwrap();
        let disk = HeldDisk::default();
        let system = System { disk: Arc::new(disk.clone()), ..System::real() };
        let (share, _) = Share::init(&system, &root.join("share")).unwrap();
        for id in ["orders", "payments"] {
            let writer =
                zoutbox_writer::Writer::open(share.layout.root(), id, zoutbox_writer::Options::default());
            let writer = writer.unwrap();
            writer.append(&zoutbox_writer::Record::new("t", "x")).unwrap().wait().unwrap();
            writer.close().unwrap();
        }
        let holder = Holder {
            epoch: zoutbox_format::Epoch::new(3),
            next_sequence: None,
            host: "h".into(),
            pid: 7,
            doorbell: None,
        };
        #[expect(clippy::disallowed_methods, reason = "a relay would do it")]
        std::fs::write(share.layout.lease(), holder.encode()).unwrap();
        Self { disk, system, share, _root: root }
    }

    fn look(&self) -> Result<Status, Failure> {
        look(&self.system, self.share.layout.root(), SHORT)
    }

    fn seen(&self) -> (Status, Value, String) {
        let status = self.look().unwrap();
        let json = serde_json::to_value(&status).unwrap();
        let table = table::of(&status, self.system.clock.now_ms() + 10_000);
        (status, json, table)
    }
}

#[test]
fn a_lane_that_does_not_answer_is_shown_as_that_and_the_others_as_always() {
    let world = World::new();
    world.disk.hold("writers/orders/");
    let (status, json, table) = world.seen();
    assert_eq!(world.disk.waiting(), (1, 1), "it hangs still");
    world.disk.let_go();
    assert!(!status.is_complete());
    let (silent, sound) = (&json["writers"][0], &json["writers"][1]);
    assert_eq!((&silent["writer"], &silent["answers"]), (&"orders".into(), &false.into()));
    let numbers = [
        "durable",
        "epoch",
        "confirmed",
        "lag_records",
        "lag_bytes",
        "lag_seconds",
        "segments",
        "segment_bytes",
    ];
    for field in numbers {
        assert_eq!(silent.get(field), Some(&Value::Null), "{field}");
        assert!(sound[field].is_number(), "{field}");
    }
    assert_eq!(silent["waits"][0]["what"], "the share does not answer this host: looking at writer orders");
    assert!(silent["waits"][0]["relay_epoch"].is_null() && silent["waits"][0].get("relay_epoch").is_some());
    assert!(silent["waits"][0]["since_ms"].as_u64() <= Some(world.system.clock.now_ms()));
    assert_eq!(
        (&sound["answers"], &sound["durable"], &sound["waits"]),
        (&true.into(), &1.into(), &Value::Array(vec![]))
    );
    assert_eq!((&json["relay"]["answers"], &json["relay"]["epoch"]), (&true.into(), &3.into()));
    let row: Vec<_> = table.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(row, ["orders", "?", "?", "?", "?", "?", "?", "?"], "{table}");
    let line = "waits: orders: the share does not answer this host: looking at writer orders, for ";
    let seconds = table.lines().find_map(|shown| shown.strip_prefix(line)?.strip_suffix(" s"));
    let seconds: u64 = seconds.unwrap_or_else(|| panic!("{table}")).parse().unwrap();
    // Ten until somebody reads it, and what it was waited for.
    assert!((10 + SHORT.as_secs() - 1..60).contains(&seconds), "{table}");

    let (status, json, table) = world.seen();
    assert!(status.is_complete(), "it answers again: {json}");
    assert!(!table.contains('?') && !table.contains("waits"), "{table}");
}

#[test]
fn a_lease_that_does_not_answer_keeps_no_lane_from_being_shown() {
    let world = World::new();
    world.disk.hold("relay/lease");
    let (status, json, table) = world.seen();
    world.disk.let_go();
    assert!(!status.is_complete());
    let relay = &json["relay"];
    assert_eq!(
        (&relay["answers"], &relay["epoch"], &relay["pid"]),
        (&false.into(), &Value::Null, &Value::Null)
    );
    assert_eq!((&json["writers"][0]["durable"], &json["writers"][1]["durable"]), (&1.into(), &1.into()));
    assert!(table.lines().next().unwrap().ends_with(", relay ?"), "{table}");
    assert!(
        table.contains("waits: relay: the share does not answer this host: looking at the relay's files"),
        "{table}"
    );
}

#[test]
fn consumers_that_do_not_answer_keep_nothing_else_from_being_shown() {
    let world = World::new();
    world.disk.hold("/consumers");
    let (status, json, table) = world.seen();
    world.disk.let_go();
    assert!(!status.is_complete());
    assert_eq!((&json["consumers"], &json["writers"][0]["needed"]), (&Value::Null, &Value::Null));
    assert_eq!((&json["writers"][0]["durable"], &json["relay"]["epoch"]), (&1.into(), &3.into()));
    let note = "note: the share does not answer this host: looking at the consumers";
    assert!(table.lines().any(|line| line == note), "{table}");
}

#[test]
fn a_share_of_which_nothing_answers_is_an_error_to_try_again_later() {
    let world = World::new();
    world.disk.hold("zoutbox.json");
    let failure = world.look().unwrap_err();
    world.disk.let_go();
    assert_eq!(failure.exit, Exit::Temporary);
    let root = world.share.layout.root().display();
    assert_eq!(failure.message, format!("the share does not answer this host: looking at {root}"));
}
