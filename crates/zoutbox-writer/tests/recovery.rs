//! Opening a writer again: whatever the one before left behind, what it had acknowledged stays readable.

#![expect(clippy::unwrap_used, reason = "a test that can't do its work fails")]

mod support;

use std::path::Path;

use support::{ROOT, WRITER, World, id, log, put, record, small};
use zoutbox_format::checkpoint::{Checkpoint, Position};
use zoutbox_format::{Epoch, Sequence};
use zoutbox_storage::{ErrorKind, Operation};
use zoutbox_test_support::{Fault, Hits};
use zoutbox_writer::{Options, WriterError};

const DIRECTORY: &str = "/share/writers/orders/";

fn read(world: &World) -> log::Log {
    log::read(&world.system, Path::new(ROOT), WRITER)
}

/// A world with one open segment of `commits` commits of two records each, left by a crash; its name.
fn left_by_a_crash(commits: usize) -> (World, String) {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    for n in 0..commits {
        let tickets = [n * 2, n * 2 + 1].map(|n| writer.append(&record(format!("r{n}"))).unwrap());
        assert!(writer.step());
        for ticket in tickets {
            ticket.wait().unwrap();
        }
    }
    world.disk.crash_hard();
    drop(writer);
    let name = world.names(".open").remove(0);
    (world, format!("{DIRECTORY}{name}"))
}

#[test]
fn every_open_takes_a_new_epoch_and_goes_on_with_the_next_sequence() {
    let world = World::new();
    for round in 1..=4 {
        let mut writer = world.stepped(small()).unwrap();
        assert_eq!(put(&mut writer, "x").unwrap(), id(round, round));
        if round % 2 == 0 { writer.close().unwrap() } else { drop(writer) }
    }
    let unused = world.stepped(small()).unwrap();
    drop(unused);
    let mut writer = world.stepped(small()).unwrap();
    assert_eq!(put(&mut writer, "x").unwrap(), id(6, 5));
    assert_eq!(read(&world).records.len(), 5);
}

#[test]
fn wherever_the_last_segment_is_cut_the_records_before_the_cut_stay() {
    let (world, path) = left_by_a_crash(3);
    let whole = world.disk.content(&path);
    for length in 160..whole.len() {
        let (world, path) = left_by_a_crash(3);
        world.disk.put(&path, &whole[..length]);
        let before = log::visible(&world.system, Path::new(ROOT), WRITER);
        let mut writer = world.stepped(small()).unwrap();
        let new = put(&mut writer, "new").unwrap();
        assert_eq!(new.epoch, Epoch::new(2));
        let log = read(&world);
        assert_eq!(log.records[..before.len()], before[..], "cut at {length}");
        assert_eq!(log.records.last().unwrap().0, new);
    }
    Fault::new(
        "writer",
        Hits::Disk,
        "the end of the last segment is torn",
        "cut at each byte in turn, then a new writer",
    )
    .held(
        whole.len() - 160,
        "all records in front of the cut stay, the next one follows under another epoch",
    );
}

#[test]
fn a_flipped_byte_never_cuts_off_the_records_of_other_commits() {
    let (_, path) = left_by_a_crash(3);
    let (world, _) = left_by_a_crash(3);
    let whole = world.disk.content(&path);
    let all = read(&world).records;
    for at in 0..whole.len() {
        let (world, path) = left_by_a_crash(3);
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        world.disk.put(&path, &bytes);
        let mut writer = world.stepped(small()).unwrap();
        let new = put(&mut writer, "new").unwrap();
        let log = read(&world);
        let missing: Vec<_> = all.iter().filter(|record| !log.records.contains(record)).collect();
        assert_eq!(log.records.last().unwrap().0, new, "byte {at}");
        assert!(new.sequence.get() > all.len() as u64 - 2, "byte {at}: {new} repeats an acknowledged record");
        if at < 160 {
            assert!(new.sequence.get() > all.len() as u64, "byte {at}: {new}");
            assert!(log.segments.last().unwrap().previous.unwrap().end_offset >= whole.len() as u64);
        } else if missing.len() > 1 {
            // Only damage in the last commit can't be told from a commit that never finished.
            assert!(missing.iter().all(|(id, _)| id.sequence.get() > 4), "byte {at}: lost {missing:?}");
        }
    }
    Fault::new(
        "writer",
        Hits::Disk,
        "a flipped bit in the last segment",
        "of each byte in turn, then a new writer",
    )
    .held(whole.len(), "no identity is used again; no record of another commit is cut off");
}

#[test]
fn a_record_behind_damage_is_not_cut_off() {
    let (world, path) = left_by_a_crash(3);
    let mut bytes = world.disk.content(&path);
    bytes[200] ^= 1;
    world.disk.put(&path, &bytes);
    let mut writer = world.stepped(small()).unwrap();
    assert_eq!(put(&mut writer, "new").unwrap(), id(2, 7));
    let log = read(&world);
    assert_eq!(log.lost, [(1, 2)]);
    assert_eq!(log.records.len(), 6, "five of six, and the new one");
}

#[test]
fn a_tail_that_was_never_acknowledged_is_not_part_of_the_log() {
    let (world, path) = left_by_a_crash(1);
    let mut bytes = world.disk.content(&path);
    bytes.extend_from_slice(b"ZFRM half a frame");
    bytes.resize(bytes.len() + 5000, 0);
    world.disk.put(&path, &bytes);
    let mut writer = world.stepped(small()).unwrap();
    assert_eq!(put(&mut writer, "new").unwrap(), id(2, 3));
    assert_eq!(read(&world).records.len(), 3);
    assert_eq!(world.disk.content(&path), bytes, "an old segment was written to");
}

#[test]
fn what_is_visible_is_made_durable_before_anything_builds_on_it() {
    let (world, path) = left_by_a_crash(1);
    world.disk.forget_calls();
    let mut writer = world.stepped(small()).unwrap();
    put(&mut writer, "new").unwrap();
    let calls = world.disk.calls();
    let at = |wanted, name: &str| calls.iter().position(|(op, p)| *op == wanted && p.contains(name)).unwrap();
    assert!(at(Operation::Lock, &path) < at(Operation::Read, &path), "locked before it is read");
    assert!(at(Operation::Sync, &path) < at(Operation::Write, "writer.lock"), "synced before the claim");
    assert!(at(Operation::SyncDirectory, WRITER) < at(Operation::Write, "writer.lock"), "names as well");
}

#[test]
fn a_tail_that_the_lock_file_knows_of_and_nobody_has_is_left_as_a_gap() {
    let (world, path) = left_by_a_crash(3);
    let whole = world.disk.content(&path);
    let mut writer = world.stepped(small()).unwrap();
    put(&mut writer, "seven").unwrap();
    world.disk.crash_hard();
    drop(writer);
    let newest = world.names(".open").pop().unwrap();
    world.disk.remove(&format!("{DIRECTORY}{newest}"));
    world.disk.put(&path, &whole[..300]);
    let mut writer = world.stepped(small()).unwrap();
    assert_eq!(put(&mut writer, "new").unwrap(), id(3, 7));
    let log = read(&world);
    assert_eq!(log.lost.last().unwrap().1, 7, "{:?}", log.lost);
}

#[test]
fn without_any_segment_the_checkpoint_tells_how_far_it_was() {
    let world = World::new();
    let checkpoint = Checkpoint {
        share: zoutbox_storage::Share::open(&world.system, Path::new(ROOT)).unwrap().id,
        writer: zoutbox_format::WriterId::new(WRITER).unwrap(),
        relay_epoch: Epoch::new(1),
        position: Position {
            segment: zoutbox_format::SegmentId { epoch: Epoch::new(7), first_sequence: Sequence::new(20) },
            offset: 500,
            next_sequence: Sequence::new(33),
        },
        saved_ms: 0,
    };
    world.disk.put("/share/relay/checkpoints/orders", &checkpoint.encode());
    let mut writer = world.stepped(small()).unwrap();
    assert_eq!(put(&mut writer, "x").unwrap(), id(8, 33));
}

#[test]
fn a_second_live_writer_is_refused_and_told_who_holds_it() {
    let world = World::new();
    let first = world.open(Options::default()).unwrap();
    let error = world.open(Options::default()).unwrap_err();
    assert!(matches!(&error, WriterError::Locked { holder: Some((host, 4711)), .. } if host == "host-a"));
    assert!(error.to_string().contains("host host-a, process 4711"), "{error}");
    first.close().unwrap();
    world.open(Options::default()).unwrap().close().unwrap();
}

#[test]
fn leftovers_are_swept_and_a_half_done_seal_is_finished() {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    put(&mut writer, "a").unwrap();
    world.disk.fail(Operation::Rename, ".open", 0, 1, std::io::ErrorKind::Other);
    assert!(writer.close().is_err());
    world.disk.put(&format!("{DIRECTORY}next-00000000000000000009"), b"prepared by somebody");
    let writer = world.stepped(small()).unwrap();
    assert_eq!(
        (world.names(".seg").len(), world.names(".open").len(), world.names("next-").len()),
        (1, 0, 0)
    );
    drop(writer);
    let mut writer = world.stepped(small()).unwrap();
    assert_eq!(put(&mut writer, "b").unwrap(), id(11, 2));
}

#[test]
fn a_writer_that_was_taken_over_can_acknowledge_nothing_more() {
    for prepared in [false, true] {
        let world = World::new();
        // With its threads, it has the next segment prepared when it's cut off.
        let old = world.open(small()).unwrap();
        if prepared {
            old.append(&record("a")).unwrap().wait().unwrap();
        }
        world.disk.expire_locks();
        let mut new = world.stepped(small()).unwrap();
        let first = put(&mut new, "new").unwrap();
        let error = old.append(&record("zombie")).unwrap().wait().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unknown | ErrorKind::Fenced | ErrorKind::Fatal), "{error}");
        assert!(error.to_string().contains("was taken over by another process or lost its lock"), "{error}");
        let error = old.append(&record("zombie")).and_then(zoutbox_writer::Ticket::wait).unwrap_err();
        assert!(matches!(error, WriterError::Fenced { .. }), "{error}");
        drop(old);
        let second = put(&mut new, "new").unwrap();
        let log = read(&world);
        let ids: Vec<_> = log.records.into_iter().map(|(id, _)| id).collect();
        assert!(ids.ends_with(&[first, second]), "{ids:?}");
    }
    Fault::new(
        "writer",
        Hits::Writer,
        "taken over while it lives",
        "its locks lapse; with and without a segment prepared ahead",
    )
    .held(2, "the old one could acknowledge nothing more, and said why");
}

/// Somebody else has taken epoch 9, though the lock was not theirs to take.
fn take_epoch_9(world: &World) {
    let holder = zoutbox_format::Holder {
        epoch: Epoch::new(9),
        next_sequence: None,
        host: "host-b".into(),
        pid: 1,
        doorbell: None,
    };
    let other = zoutbox_storage::Disk::open(
        &world.disk,
        Path::new("/share/writers/orders/writer.lock"),
        zoutbox_storage::OpenMode::Write,
    );
    other.unwrap().write_at(&holder.encode(), 0).unwrap();
}

#[test]
fn before_a_commit_is_written_again_the_claim_is_proven_again() {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    put(&mut writer, "a").unwrap();
    writer.prepare_ahead();
    take_epoch_9(&world);
    world.disk.fail(Operation::Sync, ".open", 0, 1, std::io::ErrorKind::Other);
    assert_eq!(put(&mut writer, "b").unwrap_err().kind(), ErrorKind::Unknown);
    assert!(matches!(put(&mut writer, "c").unwrap_err(), WriterError::Fenced { .. }));
    assert_eq!(world.names(".open").len(), 1);
}

#[test]
fn a_lock_file_that_names_a_later_epoch_fences() {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    take_epoch_9(&world);
    assert!(matches!(put(&mut writer, "a").unwrap_err(), WriterError::Fenced { .. }));
    world.disk.forget_calls();
    assert!(matches!(put(&mut writer, "a").unwrap_err(), WriterError::Fenced { .. }));
    assert_eq!(world.disk.calls(), [], "whoever was fenced touches the share no more");
    assert!(log::visible(&world.system, Path::new(ROOT), WRITER).is_empty());
}

#[test]
fn a_segment_of_a_newer_format_is_not_guessed_at() {
    let (world, path) = left_by_a_crash(1);
    let mut bytes = world.disk.content(&path);
    bytes[8] = 2;
    let mut crc = crc32(&bytes[..156]).to_le_bytes();
    bytes[156..160].swap_with_slice(&mut crc);
    world.disk.put(&path, &bytes);
    let error = world.stepped(small()).err().unwrap();
    assert!(matches!(&error, WriterError::Segment { .. }), "{error}");
    assert!(error.to_string().contains("update it"), "{error}");
}

fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    }) ^ !0
}

#[test]
fn a_root_without_marker_and_a_bad_id_are_refused_and_nothing_is_made() {
    let world = World::new();
    world.disk.forget_calls();
    let open = |root: &str, id: &str| {
        zoutbox_writer::Writer::open_with(world.system.clone(), root, id, Options::default()).unwrap_err()
    };
    assert!(open("/elsewhere", WRITER).to_string().contains("/elsewhere has no zoutbox.json"));
    assert!(open(ROOT, "../etc").to_string().contains("'../etc' is not a writer id"));
    let changing = [Operation::Create, Operation::CreateDirectory, Operation::Write];
    assert!(world.disk.calls().iter().all(|(operation, _)| !changing.contains(operation)));
}
