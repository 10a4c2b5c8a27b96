//! Consumers that registered: how `zoutbox status` shows them, and `zoutbox forget`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use zoutbox_format::{Epoch, Place, Progress, SegmentId, Sequence, WriterId};
use zoutbox_storage::System;

use crate::support::{Share, json};

const HOUR: Duration = Duration::from_hours(1);

fn id(text: &str) -> WriterId {
    WriterId::new(text).expect("valid")
}

fn segment(epoch: u64, first: u64) -> SegmentId {
    SegmentId { epoch: Epoch::new(epoch), first_sequence: Sequence::new(first) }
}

/// Registers a consumer of the group `billing`, that wrote its file some time ago and may be silent for an hour.
fn register(share: &Share, name: &str, ago: Duration, writers: &[(&str, Place)]) {
    register_every(100, share, name, ago, writers);
}

fn register_every(interval_ms: u64, share: &Share, name: &str, ago: Duration, writers: &[(&str, Place)]) {
    let progress = Progress {
        share: share.id(),
        group: id("billing"),
        updated_ms: System::real().clock.now_ms() - u64::try_from(ago.as_millis()).expect("short"),
        interval_ms,
        limit_ms: 3_600_000,
        writers: writers.iter().map(|(writer, place)| (id(writer), place.clone())).collect(),
    };
    std::fs::create_dir_all(share.path("consumers")).expect("a share");
    std::fs::write(share.path("consumers").join(name), progress.encode()).expect("a share");
}

fn status(share: &Share) -> Value {
    json(&share.run("status", &["--json"]).good())
}

fn names(share: &Share) -> Vec<String> {
    let consumers = status(share)["consumers"].clone();
    let names = consumers.as_array().expect("an array").iter().map(|consumer| consumer["name"].as_str());
    names.map(|name| name.expect("a name").to_owned()).collect()
}

#[test]
fn status_shows_who_registered_and_what_is_needed_of_each_writer() {
    for share in Share::all() {
        share.append("orders", "x\n");
        share.append("payments", "x\n");
        let without = status(&share);
        assert_eq!(
            (&without["consumers"], &without["writers"][0]["needed"]),
            (&Value::Array(vec![]), &Value::Null)
        );

        let parked = vec![segment(1, 1)];
        let open = Place { open: Some(segment(3, 4)), parked, ..Place::default() };
        let passed = Place { passed: Some(segment(5, 9)), ..Place::default() };
        register(&share, "b-1", Duration::from_secs(30), &[("orders", open), ("quiet", Place::default())]);
        register(&share, "b-2", Duration::ZERO, &[("orders", passed)]);
        register(&share, "gone", 2 * HOUR, &[]);
        let status = status(&share);
        let (first, gone) = (&status["consumers"][0], &status["consumers"][2]);
        assert_eq!(
            (&first["name"], &first["group"], &first["vanished"]),
            (&"b-1".into(), &"billing".into(), &false.into())
        );
        assert!(
            first["silent_ms"].as_u64().is_some_and(|silent| (30_000..90_000).contains(&silent)),
            "{first}"
        );
        assert_eq!(first["limit_ms"], 3_600_000);
        assert_eq!(
            (&first["holds"][0]["writer"], &first["holds"][0]["from"]),
            (&"orders".into(), &"3-4".into())
        );
        assert_eq!(first["holds"][0]["parked"], Value::from(vec!["1-1"]));
        assert_eq!(
            (&first["holds"][1]["writer"], &first["holds"][1]["from"]),
            (&"quiet".into(), &Value::Null)
        );
        assert_eq!((&gone["name"], &gone["vanished"]), (&"gone".into(), &true.into()));
        assert_eq!(gone["holds"], Value::Array(vec![]));
        let (orders, payments) = (&status["writers"][0]["needed"], &status["writers"][1]["needed"]);
        assert_eq!((&orders["from"], &orders["parked"]), (&"3-4".into(), &Value::from(vec!["1-1"])));
        assert_eq!((&payments["from"], &payments["parked"]), (&Value::Null, &Value::Array(vec![])));

        let table = share.run("status", &[]).good();
        let lines: Vec<_> = table.lines().filter(|line| line.starts_with("consumer: ")).collect();
        let rest = "all of every writer that it has not met";
        assert!(lines[0].starts_with("consumer: b-1 of billing, 3"), "{table}");
        assert!(
            lines[0].ends_with(&format!("needs: orders from 3-4 on and 1-1; quiet everything; {rest}")),
            "{table}"
        );
        assert!(lines[1].ends_with(&format!("needs: orders from 5-9 on; {rest}")), "{table}");
        let vanished =
            "consumer: gone of billing: vanished, holds nothing: silent for 2 h, its limit is 60 min";
        assert_eq!((lines[2], lines.len()), (vanished, 3), "{table}");
    }
}

#[test]
fn a_registration_that_can_not_be_understood_is_shown_as_what_keeps_everything() {
    for share in Share::all() {
        share.append("orders", "x\n");
        std::fs::create_dir_all(share.path("consumers")).expect("a share");
        std::fs::write(share.path("consumers/b-1"), "{\"format\":7}").expect("a share");
        std::fs::write(share.path("consumers/b-1.0123.tmp"), "half").expect("a share");
        let status = status(&share);
        let consumer = &status["consumers"][0];
        assert_eq!((&consumer["name"], &consumer["group"]), (&"b-1".into(), &Value::Null));
        assert!(
            consumer["problem"].as_str().is_some_and(|problem| problem.contains("version 7")),
            "{consumer}"
        );
        assert_eq!(status["consumers"].as_array().map(Vec::len), Some(1));
        assert!(
            status["writers"][0]["needed"].is_object() && status["writers"][0]["needed"]["from"].is_null()
        );
        let table = share.run("status", &[]).good();
        let line = table.lines().find(|line| line.starts_with("consumer: b-1: everything is kept"));
        assert!(line.is_some_and(|line| line.contains("version 7")), "{table}");
    }
}

#[test]
fn a_consumer_that_vanished_is_forgotten_and_one_that_did_not_is_not() {
    for share in Share::all() {
        let complaint = share.run("forget", &["b-1"]).complaint(66);
        assert!(complaint.contains("consumers/b-1"), "{complaint}");
        register(&share, "b-1", 2 * HOUR, &[]);
        register(&share, "b-2", HOUR / 2, &[]);
        assert!(share.run("forget", &["b-2"]).complaint(75).contains("its limit is 3600 s"));
        assert_eq!(names(&share), ["b-1", "b-2"]);
        assert_eq!(
            share.run("forget", &["b-1"]).good(),
            "forgot consumer b-1: nothing is kept for it any more\n"
        );
        assert_eq!(names(&share), ["b-2"]);
        share.run("forget", &["--force", "b-2"]).good();
        assert_eq!(names(&share), Vec::<String>::new());
        for bad in ["../orders", "B-1", ""] {
            share.run("forget", &[bad]).complaint(64);
        }
    }
}

#[test]
fn a_consumer_that_writes_while_it_is_watched_is_not_forgotten() {
    for share in Share::all() {
        let register = |seconds| {
            let ago = 2 * HOUR + Duration::from_secs(seconds);
            register_every(5000, &share, "b-1", ago, &[]);
        };
        register(0);
        let mut running = share.command("forget", &["b-1"]).spawn().expect("the program");
        // Its clock is wrong, but it lives.
        let path = share.path("consumers/b-1");
        let mut seconds = 0;
        while running.try_wait().expect("asked").is_none() {
            std::thread::sleep(Duration::from_millis(100));
            seconds += 1;
            register(seconds);
        }
        let code = running.wait_with_output().expect("the program").status.code();
        assert_eq!((code, path.exists()), (Some(75), true));
    }
}

#[test]
fn what_can_not_be_understood_is_only_forgotten_by_force() {
    for share in Share::all() {
        std::fs::create_dir_all(share.path("consumers")).expect("a share");
        std::fs::write(share.path("consumers/b-1"), "nonsense").expect("a share");
        assert!(share.run("forget", &["b-1"]).complaint(75).contains("nobody knows what it says"));
        let mut slow = Progress {
            share: share.id(),
            group: id("billing"),
            updated_ms: 1,
            interval_ms: 3_600_000,
            limit_ms: 1,
            writers: BTreeMap::new(),
        };
        std::fs::write(share.path("consumers/slow"), slow.encode()).expect("a share");
        assert!(share.run("forget", &["slow"]).complaint(75).contains("watched for 7200 s"));
        slow.interval_ms = u64::MAX;
        std::fs::write(share.path("consumers/slow"), slow.encode()).expect("a share");
        share.run("forget", &["slow"]).complaint(75);
        for name in ["b-1", "slow"] {
            share.run("forget", &["--force", name]).good();
        }
        assert_eq!(names(&share), Vec::<String>::new());
    }
}
