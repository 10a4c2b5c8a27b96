//! The process dies, or the power is cut, at every single call that an append of a payload makes.

#![expect(clippy::unwrap_used, reason = "a test that can't do its work fails")]

mod support;

use std::path::Path;

use support::{Generated, ROOT, WRITER, World, log, put, record, small};
use zoutbox_format::Hour;
use zoutbox_format::layout::TEMPORARY_SUFFIX;
use zoutbox_storage::{Clock, Disk};
use zoutbox_test_support::{Fault, Hits};
use zoutbox_writer::{Options, Record, Stepped};

const LENGTH: u64 = 10_000;

/// How it ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The process is killed; what it has done is seen by all others.
    Killed,
    /// The power is cut, and nothing survives that was not synced.
    Cut,
    /// … but for the names.
    CutKeepingNames,
    /// … but for the content.
    CutKeepingContent,
}

/// What is there before.
#[derive(Debug, Clone, Copy)]
enum Before {
    Nothing,
    /// The share has no directory for payloads yet.
    OldShare,
    /// The directory of this hour was used before.
    Hour,
    /// A file that was finished, and a process that died.
    Finished,
}

fn world(before: Before) -> World {
    let world = World::new();
    world.disk.set_mount("40 1 0:50 / /share rw - nfs4 server:/outbox rw,vers=4.2,hard,wsize=4096");
    match before {
        Before::Nothing | Before::Hour => {}
        Before::OldShare => {
            world.disk.remove_dir(&Path::new(ROOT).join("payloads")).unwrap();
            world.disk.sync_everything();
        }
        Before::Finished => world.disk.put(&path(&world), &Generated::bytes(LENGTH)),
    }
    world
}

fn path(world: &World) -> String {
    format!("{ROOT}/payloads/{WRITER}/{}/a", Hour::of(world.clock.now_ms()))
}

fn open(world: &World) -> Stepped {
    let options = Options { payload_threshold: 1000, min_free_space: 0, ..small() };
    world.stepped(options).unwrap()
}

/// Appends and commits; whether it was acknowledged.
fn append(writer: &mut Stepped, record: &Record) -> bool {
    let Ok(ticket) = writer.append_payload(record, Generated::new(LENGTH)) else { return false };
    writer.step();
    matches!(ticket.outcome(), Some(Ok(_)))
}

/// Nothing that could be taken for a payload is less than one, and what records name is there. Returns the finished files.
fn check(world: &World, told: &str) -> Vec<String> {
    let mut finished = world.payloads();
    finished.retain(|name| !name.ends_with(TEMPORARY_SUFFIX));
    for name in &finished {
        let content = world.disk.content(&format!("{ROOT}/payloads/{WRITER}/{name}"));
        assert!(content == Generated::bytes(LENGTH), "{told}: {name} is not whole");
    }
    for reference in log::named(&world.system, Path::new(ROOT), WRITER) {
        let named = reference.name.to_string();
        assert!(
            finished.iter().any(|name| named.ends_with(&format!("/{name}"))),
            "{told}: {named} is not there"
        );
        assert_eq!((reference.size, reference.crc), (LENGTH, crc32fast::hash(&Generated::bytes(LENGTH))));
    }
    finished
}

/// Dies after so many calls; returns false if the append needed no more than that.
fn die_and_try_again(before: Before, end: End, timed: bool, life: usize) -> bool {
    let told = format!("{before:?}, {end:?}, timed {timed}, {life} calls");
    let world = world(before);
    let mut writer = open(&world);
    put(&mut writer, "so that there is a log").unwrap();
    // Of the same bytes, so that it is looked at like the other.
    let others = usize::from(matches!(before, Before::Hour) && append(&mut writer, &record("").id("other")));
    let mut record = record("").id("a");
    record.timestamp_ms = timed.then(|| world.clock.now_ms());
    world.disk.die_after(life);
    let acknowledged = others + usize::from(append(&mut writer, &record));
    let died = world.disk.revive();
    match end {
        End::Killed => {}
        End::Cut => world.disk.crash_hard(),
        End::CutKeepingNames => world.disk.crash_keeping_names(),
        End::CutKeepingContent => world.disk.crash_keeping_content(),
    }
    drop(writer);
    let records = |world: &World| log::named(&world.system, Path::new(ROOT), WRITER).len();
    check(&world, &told);
    assert!(records(&world) >= acknowledged, "{told}: lost what was acknowledged");
    let mut writer = open(&world);
    assert!(append(&mut writer, &record), "{told}: the retry failed");
    world.disk.crash_hard();
    let finished = check(&world, &told);
    assert_eq!(finished.len(), 1 + others, "{told}: {finished:?}");
    assert!(records(&world) > acknowledged, "{told}");
    died
}

fn everywhere(before: Before) {
    for end in [End::Killed, End::Cut, End::CutKeepingNames, End::CutKeepingContent] {
        let mut deaths = 0;
        for timed in [false, true] {
            let mut calls = 0;
            while die_and_try_again(before, end, timed, calls) {
                calls += 1;
            }
            assert!(calls > 10, "{before:?}, {end:?}, timed {timed}: only {calls} calls");
            deaths += calls;
        }
        let (hits, fault) = match end {
            End::Killed => (Hits::Writer, "killed at any call of a large append"),
            _ => (Hits::Disk, "power cut at any call of a large append"),
        };
        Fault::new("writer", hits, fault, "in front of each call in turn, over a simulated disk").held(
            deaths,
            "nothing acknowledged lost, nothing half taken for a payload; tried again, it succeeds",
        );
    }
}

#[test]
fn a_first_payload_is_whole_or_not_there_wherever_it_ends() {
    everywhere(Before::Nothing);
}

#[test]
fn so_is_one_on_a_share_without_a_directory_for_payloads() {
    everywhere(Before::OldShare);
}

#[test]
fn so_is_a_later_one_of_the_same_hour() {
    everywhere(Before::Hour);
}

#[test]
fn so_is_one_that_was_there_before_its_record() {
    everywhere(Before::Finished);
}

/// Directories that are there may have been made by a process that died before they were durable.
#[test]
fn another_hours_directories_are_made_durable_whoever_made_them() {
    let mut life = 0;
    loop {
        let world = world(Before::Nothing);
        let mut writer = open(&world);
        world.disk.die_after(life);
        append(&mut writer, &record(""));
        let died = world.disk.revive();
        drop(writer);
        let mut writer = open(&world);
        assert!(append(&mut writer, &record("").timestamp_ms(0)) && append(&mut writer, &record("").id("a")));
        world.disk.crash_hard();
        check(&world, &format!("{life} calls"));
        life += 1;
        if !died {
            return;
        }
    }
}

/// What these tests see, they see because the disk forgets what was not synced.
#[test]
fn a_payload_survives_a_power_cut_only_thanks_to_both_syncs() {
    for (about_files, about_directories) in [(false, false), (true, false), (false, true)] {
        let world = world(Before::Nothing);
        let mut writer = open(&world);
        world.disk.lie(about_files, about_directories);
        drop(writer.append_payload(&record("").id("a"), Generated::new(LENGTH)).unwrap());
        world.disk.crash_hard();
        let path = path(&world);
        let there = world.disk.paths().contains(&path);
        let whole = there && world.disk.content(&path) == Generated::bytes(LENGTH);
        assert_eq!(whole, !about_files && !about_directories);
    }
}
