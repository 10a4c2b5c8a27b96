//! Acknowledged means durable: what the writer says is there survives a power cut, on a disk that forgets all else.

#![expect(clippy::unwrap_used, reason = "a test that can't do its work fails")]

mod support;

use std::io;
use std::path::Path;
use std::time::Duration;

use support::{ROOT, WRITER, World, id, log, put, record, small};
use zoutbox_storage::{Clock, ErrorKind, Operation};
use zoutbox_test_support::{Fault, Hits};
use zoutbox_writer::{Options, WriterError, ZeroAhead};

const fn fault(fault: &'static str, how: &'static str) -> Fault {
    Fault::new("writer", Hits::Disk, fault, how)
}

fn payloads(world: &World) -> Vec<String> {
    let records = log::read(&world.system, Path::new(ROOT), WRITER).records;
    records.into_iter().map(|(_, payload)| String::from_utf8(payload).unwrap()).collect()
}

/// Appends, cuts the power, and returns what is left. `acknowledged` of the appends were.
fn crash_after_appends(world: &World) -> (usize, Vec<String>) {
    let mut writer = world.stepped(small()).unwrap();
    let acknowledged = (0..5).filter(|n| put(&mut writer, &format!("r{n}")).is_ok()).count();
    world.disk.crash_hard();
    drop(writer);
    (acknowledged, payloads(world))
}

#[test]
fn what_is_acknowledged_survives_a_crash_and_only_thanks_to_both_syncs() {
    let world = World::new();
    assert_eq!(crash_after_appends(&world), (5, (0..5).map(|n| format!("r{n}")).collect()));
    let cases = [(true, false), (false, true)];
    for (about_files, about_directories) in cases {
        let world = World::new();
        world.disk.lie(about_files, about_directories);
        let survived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| crash_after_appends(&world)));
        assert!(!matches!(survived, Ok((5, left)) if left.len() == 5), "the disk lied, and nothing was lost");
    }
    fault(
        "a disk whose syncs do nothing",
        "file syncs or directory syncs ignored, then a power cut; over a simulated disk",
    )
    .held(cases.len(), "acknowledged records were lost each time: the tests can fail");
}

#[test]
fn one_commit_is_one_write_and_one_sync() {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    put(&mut writer, "first").unwrap();
    world.disk.forget_calls();
    let tickets: Vec<_> = (0..10).map(|n| writer.append(&record(format!("{n}"))).unwrap()).collect();
    assert!(writer.step());
    assert!(!writer.step());
    let operations: Vec<_> = world.disk.calls().into_iter().map(|(operation, _)| operation).collect();
    assert_eq!(operations, [Operation::Write, Operation::Sync]);
    for (ticket, sequence) in tickets.into_iter().zip(2..) {
        assert_eq!(ticket.wait().unwrap(), id(1, sequence));
    }
}

#[test]
fn a_segment_gets_its_name_only_with_a_durable_record_and_the_ticket_only_after_the_name_is_durable() {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    world.disk.forget_calls();
    put(&mut writer, "first").unwrap();
    let calls: Vec<_> = world.disk.calls().into_iter().filter(|(_, path)| !path.contains("lock")).collect();
    let order: Vec<_> = calls.iter().map(|(operation, _)| *operation).collect();
    let tail = [Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDirectory];
    assert!(order.ends_with(&tail), "{order:?}");
}

#[test]
fn a_claim_is_proven_after_the_new_file_was_made_and_locked() {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    world.disk.forget_calls();
    put(&mut writer, "first").unwrap();
    let calls = world.disk.calls();
    let at = |wanted: Operation, name: &str| {
        let found = calls.iter().position(|(operation, path)| *operation == wanted && path.contains(name));
        found.unwrap_or_else(|| panic!("no {wanted} of {name}"))
    };
    assert!(at(Operation::Create, "next-") < at(Operation::Lock, "next-"));
    assert!(at(Operation::Lock, "next-") < at(Operation::Write, "writer.lock"));
    assert!(at(Operation::Write, "writer.lock") < at(Operation::Sync, "writer.lock"));
    assert!(at(Operation::Sync, "writer.lock") < at(Operation::Rename, "next-"));
}

#[test]
fn a_record_larger_than_a_commit_goes_out_in_synced_pieces() {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    put(&mut writer, "first").unwrap();
    world.disk.forget_calls();
    put(&mut writer, &"x".repeat(10_000)).unwrap();
    let operations: Vec<_> = world.disk.calls().into_iter().map(|(operation, _)| operation).collect();
    assert_eq!(operations, [Operation::Write, Operation::Sync].repeat(3));
    world.disk.crash_hard();
    assert_eq!(payloads(&world)[1].len(), 10_000);
}

#[test]
fn a_failed_sync_is_never_reported_as_success_nor_tried_again() {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    put(&mut writer, "a").unwrap();
    world.disk.fail(Operation::Sync, ".open", 0, 1, io::ErrorKind::Other);
    world.disk.forget_calls();
    // The commit is written again, to another file, under the same identity.
    assert_eq!(put(&mut writer, "b").unwrap(), id(1, 2));
    let syncs = world.disk.calls().into_iter().filter(|(operation, path)| {
        *operation == Operation::Sync && path.ends_with("00000000000000000001.open")
    });
    assert_eq!(syncs.count(), 1, "the poisoned file was synced again");
    assert_eq!(put(&mut writer, "c").unwrap(), id(1, 3));
    world.disk.crash_hard();
    drop(writer);
    assert_eq!(payloads(&world), ["a", "b", "c"]);
    let log = log::read(&world.system, Path::new(ROOT), WRITER);
    assert_eq!(log.segments.len(), 2);
    let previous = log.segments[1].previous.unwrap();
    assert_eq!((previous.next_sequence.get(), previous.id), (2, log.segments[0].id));
    fault("a file's sync fails", "EIO once, over a simulated disk")
        .held(1, "written again to another segment under the same identity; never synced again; all there after a power cut");
}

#[test]
fn an_append_whose_rewrite_fails_too_is_unknown_and_its_identity_is_never_used_again() {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    put(&mut writer, "a").unwrap();
    world.disk.fail(Operation::Sync, ".open", 0, 1, io::ErrorKind::Other);
    world.disk.fail(Operation::Sync, "next-", 0, 1, io::ErrorKind::Other);
    let error = put(&mut writer, "b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown);
    assert!(matches!(&error, WriterError::Unknown { from, to, .. } if *from == id(1, 2) && *to == id(1, 2)));
    // It's visible, and a relay may have published it as 1/2.
    assert_eq!(put(&mut writer, "c").unwrap(), id(2, 2));
    assert_eq!(put(&mut writer, "d").unwrap(), id(2, 3));
    world.disk.crash_hard();
    drop(writer);
    assert_eq!(payloads(&world), ["a", "c", "d"]);
    fault("a file's sync fails, and that of its rewrite", "EIO twice, over a simulated disk")
        .held(1, "reported as unknown; its identity was never used again; all else there after a power cut");
}

#[test]
fn what_was_prepared_for_an_epoch_in_doubt_is_not_used_and_removed() {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    put(&mut writer, "a").unwrap();
    writer.prepare_ahead();
    assert_eq!(world.names("next-"), ["next-00000000000000000001"]);
    world.disk.fail(Operation::Sync, ".open", 0, 1, io::ErrorKind::Other);
    world.disk.fail(Operation::Read, "writer.lock", 0, 1, io::ErrorKind::Interrupted);
    assert_eq!(put(&mut writer, "b").unwrap_err().kind(), ErrorKind::Unknown);
    world.disk.forget_calls();
    assert_eq!(put(&mut writer, "c").unwrap(), id(2, 2));
    let renamed = world.disk.calls().into_iter().find(|(operation, _)| *operation == Operation::Rename);
    assert!(renamed.unwrap().1.ends_with("next-00000000000000000002"));
    assert!(world.names("next-").is_empty());
}

#[test]
fn segments_are_zeroed_ahead_only_where_there_is_room() {
    // Room that is to be kept free is not for zeros either.
    let cases = [(u64::MAX, false, true), (200_000, false, false), (u64::MAX, true, false)];
    for (room, failing, zeroed) in cases {
        let world = World::new();
        world.disk.set_capacity(Some(room));
        let options = Options { zero_ahead: ZeroAhead::Always, min_free_space: 150_000, ..small() };
        let mut writer = world.stepped(options).unwrap();
        if failing {
            world.disk.fail(Operation::Write, "next-", 0, 1, io::ErrorKind::QuotaExceeded);
        }
        writer.prepare_ahead();
        put(&mut writer, "a").unwrap();
        let name = world.names(".open").remove(0);
        let length = world.disk.content(&format!("{ROOT}/writers/{WRITER}/{name}")).len();
        assert_eq!(length == 64 * 1024, zeroed, "{length} bytes with room for {room}");
        assert_eq!(payloads(&world), ["a"]);
    }
}

#[test]
fn a_first_commit_that_fails_leaves_no_named_segment_and_is_definitely_not_written() {
    for operation in [Operation::Write, Operation::Sync, Operation::Rename, Operation::Create] {
        let world = World::new();
        let mut writer = world.stepped(small()).unwrap();
        world.disk.fail(operation, "next-", 0, 1, io::ErrorKind::Other);
        let error = put(&mut writer, "a").unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Unknown, "{operation}");
        assert!(world.names(".open").is_empty() && world.names("next-").is_empty(), "{operation}");
        assert_eq!(put(&mut writer, "b").unwrap(), id(1, 1), "{operation}");
        assert_eq!(payloads(&world), ["b"]);
    }
    fault(
        "a segment's first commit fails",
        "EIO of its write, sync, rename or creation, over a simulated disk",
    )
    .held(4, "definitely not written, no segment left, the next append has its place");
}

#[test]
fn a_name_that_may_not_be_durable_makes_the_append_unknown() {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    world.disk.fail(Operation::SyncDirectory, WRITER, 0, 1, io::ErrorKind::Other);
    assert_eq!(put(&mut writer, "a").unwrap_err().kind(), ErrorKind::Unknown);
    assert_eq!(put(&mut writer, "b").unwrap(), id(2, 1));
    world.disk.crash_hard();
    assert_eq!(payloads(&world), ["b"]);
    fault("a directory's sync fails", "EIO, over a simulated disk")
        .held(1, "reported as unknown; the next append is durable under another epoch");
}

#[test]
fn a_rename_whose_answer_was_lost_is_looked_up() {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    world.disk.fail_after(Operation::Rename, "next-");
    assert_eq!(put(&mut writer, "a").unwrap(), id(1, 1));
    world.disk.crash_hard();
    assert_eq!(payloads(&world), ["a"]);
    fault("a rename works and says that it failed", "EIO after it, over a simulated disk")
        .held(1, "looked up, acknowledged, and there after a power cut");
}

#[test]
fn appends_work_again_when_a_full_share_has_room_again() {
    let world = World::new();
    let mut writer = world.stepped(Options { min_free_space: 0, ..small() }).unwrap();
    put(&mut writer, "a").unwrap();
    world.disk.set_capacity(Some(1));
    let mut kinds = Vec::new();
    for n in 0..3 {
        kinds.push(put(&mut writer, &format!("lost{n}")).unwrap_err().kind());
    }
    assert_eq!(kinds, [ErrorKind::Unknown, ErrorKind::Full, ErrorKind::Full]);
    world.disk.set_capacity(None);
    assert_eq!(put(&mut writer, "b").unwrap(), id(2, 2));
    writer.close().unwrap();
    assert_eq!(payloads(&world), ["a", "b"]);
}

#[test]
fn rotation_by_size_keeps_one_chain_and_seals_what_is_behind() {
    let world = World::new();
    let options = Options { zero_ahead: ZeroAhead::Always, ..small() };
    let writer = world.open(options).unwrap();
    for n in 0..100 {
        writer.append(&record(format!("{n:04000}"))).unwrap().wait().unwrap();
    }
    writer.close().unwrap();
    let log = log::read(&world.system, Path::new(ROOT), WRITER);
    assert!(log.segments.len() > 5);
    assert_eq!(world.names(".seg").len(), log.segments.len());
    assert!(world.names("next-").is_empty() && world.names(".open").is_empty());
    let sequences: Vec<_> = log.records.iter().map(|(id, _)| id.sequence.get()).collect();
    assert_eq!(sequences, (1..=100).collect::<Vec<_>>());
    for name in world.names(".seg") {
        let bytes = world.disk.content(&format!("{ROOT}/writers/{WRITER}/{name}"));
        assert!(bytes.len() <= 64 * 1024, "{name} has {} bytes", bytes.len());
        assert_ne!(bytes[bytes.len() - 44..][..4], [0; 4], "{name} does not end in its seal");
    }
}

#[test]
fn no_segment_outgrows_its_size_however_much_waits_for_one_commit() {
    let world = World::new();
    let options = Options { commit_bytes: 1024 * 1024, ..small() };
    let writer = world.stepped(options).unwrap();
    let tickets: Vec<_> = (0..300).map(|n| writer.append(&record(format!("{n:01000}"))).unwrap()).collect();
    writer.close().unwrap();
    assert!(tickets.iter().all(|ticket| ticket.outcome().unwrap().is_ok()));
    let segments = world.names(".seg");
    assert!(segments.len() >= 5, "{segments:?}");
    for name in segments {
        let length = world.disk.content(&format!("{ROOT}/writers/{WRITER}/{name}")).len();
        assert!(length <= 64 * 1024, "{name} has {length} bytes");
    }
}

#[test]
fn an_old_segment_is_sealed_also_when_nothing_is_appended() {
    let world = World::new();
    let age = Duration::from_secs(10);
    let mut writer = world.stepped(Options { segment_age: age, ..small() }).unwrap();
    put(&mut writer, "a").unwrap();
    world.clock.advance(age.checked_sub(Duration::from_millis(1)).unwrap());
    writer.tick();
    assert_eq!(world.names(".seg").len(), 0);
    world.clock.advance(Duration::from_millis(1));
    writer.tick();
    assert_eq!((world.names(".seg").len(), world.names(".open").len()), (1, 0));
    assert_eq!(put(&mut writer, "b").unwrap(), id(1, 2));
    drop(writer);
    assert_eq!(payloads(&world), ["a", "b"]);
    assert!(world.clock.monotonic() >= age);
}

#[test]
fn a_seal_that_fails_loses_nothing() {
    for operation in [Operation::Write, Operation::Sync, Operation::Rename] {
        let world = World::new();
        let mut writer = world.stepped(small()).unwrap();
        put(&mut writer, "a").unwrap();
        world.disk.fail(operation, ".open", 0, 1, io::ErrorKind::Other);
        assert!(writer.close().is_err(), "{operation}");
        world.disk.heal();
        let mut writer = world.stepped(small()).unwrap();
        assert_eq!(put(&mut writer, "b").unwrap(), id(2, 2), "{operation}");
        assert_eq!(payloads(&world), ["a", "b"], "{operation}");
    }
    fault("a seal fails", "EIO of its write, sync or rename, over a simulated disk")
        .held(3, "nothing lost, the log goes on");
}
