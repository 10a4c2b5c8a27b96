//! A share that is full though no limit said so: a quota that somebody else used up, or `min_free_space: 0`.

#![expect(clippy::unwrap_used, reason = "a test that can't do its work fails")]

mod support;

use std::io::ErrorKind as Io;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use support::{ROOT, WRITER, World, id, log, put, record, small};
use zoutbox_storage::{Clock, ErrorKind, Operation};
use zoutbox_test_support::{Fault, Hits};
use zoutbox_writer::{Options, Stepped, Ticket, WhenFull, Writer};

/// So long a test waits before it says that something hangs.
const SAFETY_NET: Duration = Duration::from_mins(1);
const EVER: usize = usize::MAX;

/// Waits for room, and no limit foresees that there is none.
fn blocks() -> Options {
    Options { when_full: WhenFull::Block, min_free_space: 0, ..small() }
}

/// Runs `work` on a thread, and fails if it never ends.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || drop(done.send(work())));
    is_done.recv_timeout(SAFETY_NET).unwrap()
}

/// Waits until so much time has gone by in the world: only who waits for room moves its clock.
fn wait_until_it_waited(world: &World, at_least: Duration) {
    let (clock, start) = (world.clock.clone(), world.clock.monotonic());
    ends(move || {
        while clock.monotonic().saturating_sub(start) < at_least {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    });
}

fn payloads(world: &World) -> Vec<String> {
    let records = log::read(&world.system, Path::new(ROOT), WRITER).records;
    records.into_iter().map(|(_, payload)| String::from_utf8(payload).unwrap()).collect()
}

/// Appends and tries a few times in vain.
fn waits(writer: &mut Stepped, payload: &str) -> Ticket {
    let ticket = writer.append(&record(payload)).unwrap();
    for _ in 0..3 {
        assert!(writer.step(), "it gave up");
        assert!(ticket.outcome().is_none(), "{:?}", ticket.outcome());
    }
    ticket
}

#[test]
fn a_first_commit_waits_for_room_whichever_call_says_that_there_is_none() {
    for (operation, name) in [
        (Operation::Create, "next-"),
        (Operation::Write, "next-"),
        (Operation::Sync, "next-"),
        (Operation::Rename, "next-"),
        (Operation::Write, "writer.lock"),
        (Operation::Sync, "writer.lock"),
    ] {
        for error in [Io::StorageFull, Io::QuotaExceeded] {
            let world = World::new();
            let mut writer = world.stepped(blocks()).unwrap();
            world.disk.fail(operation, name, 0, EVER, error);
            let ticket = waits(&mut writer, "a");
            world.disk.heal();
            writer.step();
            assert_eq!(ticket.wait().unwrap(), id(1, 1), "{operation} {name}");
            assert_eq!(put(&mut writer, "b").unwrap(), id(1, 2));
            world.disk.crash_hard();
            assert_eq!(payloads(&world), ["a", "b"], "{operation} {name}");
        }
    }
    Fault::new(
        "writer",
        Hits::Share,
        "no room, or over quota, when a segment is begun",
        "ENOSPC or EDQUOT of each call that can say so, over a simulated disk",
    )
    .held(12, "the append waited, and was durable once there was room");
}

#[test]
fn a_commit_whose_segment_was_poisoned_keeps_its_identity_however_long_it_waits() {
    for (operation, name) in
        [(Operation::Create, "next-"), (Operation::Sync, "next-"), (Operation::Sync, "writer.lock")]
    {
        let world = World::new();
        let mut writer = world.stepped(blocks()).unwrap();
        put(&mut writer, "a").unwrap();
        // What was written stays visible, and a relay may publish it.
        world.disk.fail(Operation::Sync, ".open", 0, 1, Io::QuotaExceeded);
        world.disk.fail(operation, name, 0, EVER, Io::QuotaExceeded);
        let ticket = waits(&mut writer, "b");
        world.disk.heal();
        writer.step();
        assert_eq!(ticket.wait().unwrap(), id(1, 2), "{operation} {name}");
        assert_eq!(put(&mut writer, "c").unwrap(), id(1, 3));
        world.disk.crash_hard();
        drop(writer);
        assert_eq!(payloads(&world), ["a", "b", "c"], "{operation} {name}");
        let segments = log::read(&world.system, Path::new(ROOT), WRITER).segments;
        assert_eq!(segments.len(), 2, "every try left a segment");
    }
}

#[test]
fn what_was_prepared_ahead_and_has_no_room_is_given_back() {
    let world = World::new();
    let mut writer = world.stepped(blocks()).unwrap();
    writer.prepare_ahead();
    assert_eq!(world.names("next-").len(), 1);
    world.disk.fail(Operation::Write, "next-", 0, EVER, Io::StorageFull);
    let ticket = waits(&mut writer, "a");
    assert!(world.names("next-").is_empty(), "it takes room that somebody needs");
    world.disk.heal();
    writer.step();
    assert_eq!(ticket.wait().unwrap(), id(1, 1));
}

#[test]
fn without_room_for_the_next_file_ahead_appends_go_on_and_need_it_only_then() {
    let world = World::new();
    let mut writer = world.stepped(blocks()).unwrap();
    put(&mut writer, "a").unwrap();
    world.disk.fail(Operation::Create, "next-", 0, EVER, Io::StorageFull);
    writer.prepare_ahead();
    assert_eq!(put(&mut writer, "b").unwrap(), id(1, 2));
    // Too large for the rest of the segment.
    let large = "x".repeat(64 * 1024);
    let ticket = waits(&mut writer, &large);
    world.disk.heal();
    writer.step();
    assert_eq!(ticket.wait().unwrap(), id(1, 3));
    world.disk.crash_hard();
    assert_eq!(payloads(&world), ["a", "b", &large]);
}

#[test]
fn another_error_than_a_lack_of_room_ends_the_wait() {
    let world = World::new();
    let mut writer = world.stepped(blocks()).unwrap();
    world.disk.fail(Operation::Write, "next-", 0, EVER, Io::StorageFull);
    let ticket = waits(&mut writer, "a");
    world.disk.heal();
    world.disk.fail(Operation::Write, "next-", 0, 1, Io::Other);
    writer.step();
    let error = ticket.wait().unwrap_err();
    assert!(!matches!(error.kind(), ErrorKind::Full | ErrorKind::Unknown), "{error}");
    assert_eq!(put(&mut writer, "b").unwrap(), id(1, 1));

    world.disk.fail(Operation::Sync, ".open", 0, 1, Io::QuotaExceeded);
    world.disk.fail(Operation::Create, "next-", 0, EVER, Io::QuotaExceeded);
    let ticket = waits(&mut writer, "c");
    world.disk.heal();
    world.disk.fail(Operation::Write, "next-", 0, 1, Io::Other);
    writer.step();
    // It may lie in the segment that was poisoned.
    assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::Unknown);
    assert_eq!(put(&mut writer, "d").unwrap(), id(2, 2), "its identity is used again");
}

#[test]
fn who_is_taken_over_while_waiting_for_room_is_fenced() {
    let world = World::new();
    let mut zombie = world.stepped(blocks()).unwrap();
    world.disk.fail(Operation::Write, "next-", 0, EVER, Io::StorageFull);
    let ticket = waits(&mut zombie, "a");
    world.disk.heal();
    world.disk.expire_locks();
    let mut writer = world.stepped(blocks()).unwrap();
    zombie.step();
    assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::Fenced);
    put(&mut writer, "b").unwrap();
}

/// Lets a disk be sound again when it is dropped.
struct Healed<'a>(&'a World);

impl Drop for Healed<'_> {
    fn drop(&mut self) {
        self.0.disk.heal();
    }
}

#[test]
fn callers_wait_for_room_and_all_of_them_go_on_when_there_is_some() {
    let world = World::new();
    let writer = world.open(Options { memory_limit: 2000, ..blocks() }).unwrap();
    world.disk.fail(Operation::Sync, "next-", 0, EVER, Io::QuotaExceeded);
    std::thread::scope(|scope| {
        let writer = &writer;
        // A check that fails must not leave them waiting, and this one for them.
        let _room = Healed(&world);
        let append = |n: usize| writer.append(&record(format!("{n:01000}"))).and_then(Ticket::wait);
        let callers: Vec<_> = (0..8).map(|n| scope.spawn(move || append(n))).collect();
        // Long enough for several tries.
        wait_until_it_waited(&world, Duration::from_secs(10));
        assert!(callers.iter().all(|caller| !caller.is_finished()), "somebody did not wait");
        world.disk.heal();
        let mut ids: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap().unwrap()).collect();
        ids.sort_by_key(|id| id.sequence);
        assert_eq!(ids, (1..=8).map(|sequence| id(1, sequence)).collect::<Vec<_>>());
    });
    ends(move || writer.close()).unwrap();
}

#[test]
fn the_tries_become_rarer_up_to_one_a_second() {
    let world = World::new();
    let mut writer = world.open(blocks()).unwrap();
    world.disk.fail(Operation::Write, "next-", 0, EVER, Io::StorageFull);
    let ticket = writer.append(&record("a")).unwrap();
    wait_until_it_waited(&world, Duration::from_secs(1000));
    // It goes on while it is looked at: between two looks at the clock.
    let seconds = || usize::try_from(world.clock.monotonic().as_secs()).unwrap();
    let before = seconds();
    let tries = world.disk.calls().into_iter();
    let tries =
        tries.filter(|(operation, path)| *operation == Operation::Write && path.contains("next-")).count();
    let after = seconds();
    // And the first ones, which come sooner, and the one that is about to be made.
    assert!((before..=after + 10).contains(&tries), "{tries} tries in {before} to {after} s");
    world.disk.heal();
    writer = ends(move || {
        ticket.wait().unwrap();
        writer
    });
    ends(move || writer.close()).unwrap();
}

#[test]
fn a_close_waits_for_room_and_succeeds_if_it_comes() {
    let world = World::new();
    let writer = world.open(Options { close_patience: Duration::from_hours(1000), ..blocks() }).unwrap();
    world.disk.fail(Operation::Sync, "next-", 0, EVER, Io::QuotaExceeded);
    let ticket = writer.append(&record("a")).unwrap();
    let closing = std::thread::spawn(move || writer.close());
    wait_until_it_waited(&world, Duration::from_secs(20));
    assert!(!closing.is_finished() && ticket.outcome().is_none());
    world.disk.heal();
    ends(move || closing.join().unwrap()).unwrap();
    assert_eq!(ticket.wait().unwrap(), id(1, 1));
    assert_eq!(world.names(".seg").len(), 1);
}

/// Ends a writer with three commits queued of which the first one waits, and returns what became of them.
fn ended_without_room(world: &World, end: impl FnOnce(Writer) + Send + 'static) -> Vec<ErrorKind> {
    let patience = Duration::from_secs(1000);
    let writer = world.open(Options { close_patience: patience, ..blocks() }).unwrap();
    world.disk.fail(Operation::Write, "next-", 0, EVER, Io::StorageFull);
    let tickets: Vec<_> = (0..3).map(|_| writer.append(&record(vec![b'x'; 3500])).unwrap()).collect();
    wait_until_it_waited(world, Duration::from_secs(100));
    // While a try hangs the clock stands still, so that the patience begins when this says.
    world.disk.hold(Some((Operation::Create, "next-")));
    let (tell, told) = std::sync::mpsc::channel();
    let ending = std::thread::spawn(move || {
        tell.send(()).unwrap();
        end(writer);
    });
    told.recv().unwrap();
    std::thread::park_timeout(Duration::from_secs(1));
    let before = world.clock.monotonic();
    world.disk.hold(None);
    ends(move || ending.join().unwrap());
    let took = world.clock.monotonic().saturating_sub(before);
    // The pause in which the end was noticed counts.
    assert!(
        took + Duration::from_secs(2) >= patience && took < patience * 2,
        "{took:?}: {patience:?} is for all of them"
    );
    tickets.into_iter().map(|ticket| ticket.outcome().unwrap().unwrap_err().kind()).collect()
}

#[test]
fn a_close_without_room_ends_after_its_patience_and_says_what_is_not_durable() {
    let world = World::new();
    let close = |writer: Writer| assert_eq!(writer.close().unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(ended_without_room(&world, close), [ErrorKind::Full; 3]);
    world.disk.heal();
    assert_eq!(put(&mut world.stepped(blocks()).unwrap(), "b").unwrap(), id(2, 1));
}

#[test]
fn a_drop_without_room_ends_after_the_same_patience() {
    assert_eq!(ended_without_room(&World::new(), drop), [ErrorKind::Full; 3]);
}

#[test]
fn a_stepped_close_without_room_ends_at_once() {
    let world = World::new();
    let mut writer = world.stepped(blocks()).unwrap();
    world.disk.fail(Operation::Write, "next-", 0, EVER, Io::StorageFull);
    let ticket = waits(&mut writer, "a");
    ends(move || writer.close()).unwrap();
    assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::Full);
}

#[test]
fn at_a_limit_try_append_never_waits() {
    let world = World::new();
    let writer = world.open(Options { memory_limit: 2000, ..blocks() }).unwrap();
    world.disk.hold(Some((Operation::Write, "next-")));
    let first = writer.try_append(&record(vec![0; 1500])).unwrap();
    let (refused, writer) = ends(move || (writer.try_append(&record(vec![0; 1500])).map(drop), writer));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Full);
    world.disk.hold(None);
    ends(move || first.wait()).unwrap();
    ends(move || writer.close()).unwrap();
}

#[test]
fn what_waited_and_became_durable_makes_no_later_append_unknown() {
    let world = World::new();
    let mut writer = world.stepped(blocks()).unwrap();
    put(&mut writer, "a").unwrap();
    world.disk.fail(Operation::Sync, ".open", 0, 1, Io::QuotaExceeded);
    world.disk.fail(Operation::Create, "next-", 0, 2, Io::QuotaExceeded);
    drop(writer.append(&record("b")).unwrap());
    while writer.step() {}
    world.clock.advance(Duration::from_hours(1));
    writer.tick();
    world.disk.fail(Operation::Write, "next-", 0, 1, Io::Other);
    let error = put(&mut writer, "c").unwrap_err();
    assert!(error.kind() != ErrorKind::Unknown, "it is nowhere: {error}");
    assert_eq!(put(&mut writer, "d").unwrap(), id(1, 3));
}
