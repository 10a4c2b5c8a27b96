//! Large payloads as their callers see them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't do its work fails")]
#![expect(clippy::disallowed_methods, reason = "looks at real files as they are")]

mod support;

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::{Generated, ROOT, WRITER, World, id, log, put, record, small};
use zoutbox_format::{Hour, PayloadReference};
use zoutbox_storage::{Clock, Disk, ErrorKind, OpenMode, Operation, Share, System};
use zoutbox_test_support::test_roots;
use zoutbox_writer::{Limit, Options, Record, RecordId, Stepped, WhenFull, Writer, WriterError};

const THRESHOLD: u64 = 1000;
const HOUR: Duration = Duration::from_hours(1);

fn options() -> Options {
    Options { payload_threshold: THRESHOLD, min_free_space: 0, ..small() }
}

/// A mount that writes 4 KiB at a time, so that few bytes are many writes.
fn world() -> World {
    let world = World::new();
    world.disk.set_mount("40 1 0:50 / /share rw - nfs4 server:/outbox rw,vers=4.2,hard,wsize=4096");
    world
}

fn named(id: &str) -> Record {
    record("").id(id)
}

/// Appends a payload and commits it.
fn store(writer: &mut Stepped, record: &Record, input: impl Read) -> Result<RecordId, WriterError> {
    let ticket = writer.append_payload(record, input)?;
    while writer.step() {}
    ticket.outcome().unwrap()
}

fn references(world: &World) -> Vec<PayloadReference> {
    log::read(&world.system, Path::new(ROOT), WRITER).references
}

/// Every record that names a payload has it.
fn check(world: &World, length: u64) {
    for reference in references(world) {
        let content = world.disk.content(&format!("{ROOT}/{}", reference.name));
        assert!(content == Generated::bytes(length), "{} has other bytes", reference.name);
        assert_eq!((reference.size, reference.crc), (length, crc32fast::hash(&content)));
    }
}

/// An input that nobody may touch.
struct Forbidden;

impl Read for Forbidden {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("the input was read")
    }
}

/// An input that breaks off.
struct Broken(Generated);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            count => Ok(count),
        }
    }
}

#[test]
fn up_to_the_threshold_bytes_are_in_the_record_and_no_file_is_made() {
    for length in [0, 1, THRESHOLD] {
        let world = world();
        let mut writer = world.stepped(options()).unwrap();
        assert_eq!(store(&mut writer, &named("a"), Generated::new(length)).unwrap(), id(1, 1));
        let log = log::read(&world.system, Path::new(ROOT), WRITER);
        assert_eq!(log.records, [(id(1, 1), Generated::bytes(length))]);
        assert_eq!((log.references.len(), world.payloads().len()), (0, 0));
    }
}

#[test]
fn more_bytes_are_a_file_that_its_record_names_and_both_survive_a_power_cut() {
    for length in [THRESHOLD + 1, 4095, 4096, 4097, 50_000] {
        let world = world();
        let mut writer = world.stepped(options()).unwrap();
        let ticket = writer.append_payload(&named("a.bin"), Generated::new(length)).unwrap();
        assert!(ticket.outcome().is_none() && references(&world).is_empty(), "durable before its commit");
        assert!(writer.step());
        assert_eq!(ticket.wait().unwrap(), id(1, 1));
        world.disk.crash_hard();
        let references = references(&world);
        let hour = Hour::of(world.clock.now_ms());
        assert_eq!(references[0].name.to_string(), format!("payloads/{WRITER}/{hour}/a.bin"));
        assert_eq!(world.payloads(), [format!("{hour}/a.bin")]);
        check(&world, length);
    }
}

#[test]
fn the_threshold_may_be_nothing_and_an_empty_payload_is_never_a_file() {
    let world = world();
    let mut writer = world.stepped(Options { payload_threshold: 0, ..options() }).unwrap();
    store(&mut writer, &named("empty"), io::empty()).unwrap();
    store(&mut writer, &named("one"), Generated::new(1)).unwrap();
    assert_eq!((references(&world).len(), world.payloads().len()), (1, 1));
    check(&world, 1);
}

#[test]
fn the_hour_is_that_of_the_records_time_and_its_directories_are_durable() {
    let world = world();
    let mut writer = world.stepped(options()).unwrap();
    let leap = named("a").timestamp_ms(951_782_400_000);
    store(&mut writer, &leap, Generated::new(2000)).unwrap();
    world.disk.crash_hard();
    assert_eq!(world.payloads(), ["2000/02/29/00/a"]);
    check(&world, 2000);
}

#[test]
fn a_share_that_was_made_before_there_were_payloads_gets_their_directory() {
    let world = world();
    world.disk.remove_dir(&Path::new(ROOT).join("payloads")).unwrap();
    world.disk.sync_everything();
    let mut writer = world.stepped(options()).unwrap();
    store(&mut writer, &named("a"), Generated::new(2000)).unwrap();
    world.disk.crash_hard();
    check(&world, 2000);
}

#[test]
fn what_can_be_no_record_is_refused_before_anything_is_read_or_written() {
    let world = world();
    let mut writer = world.stepped(options()).unwrap();
    let before = (world.disk.paths(), world.disk.directories());
    for bad in ["", "a/b", "../a", ".a", "a.tmp", "a.swept", "ä", &"x".repeat(201)] {
        let error = writer.append_payload(&named(bad), Forbidden).unwrap_err();
        assert!(matches!(error, WriterError::PayloadId(_)), "{bad}: {error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    let crowded = (0..254).fold(record(""), |record, n| record.header(format!("h{n}"), ""));
    for bad in [record("x"), record("").key("x".repeat(256)), record("").header("zoutbox-seq", "1"), crowded]
    {
        let error = writer.append_payload(&bad, Forbidden).unwrap_err();
        assert!(matches!(error, WriterError::Record(_)), "{error}");
    }
    assert_eq!((world.disk.paths(), world.disk.directories()), before);
}

#[test]
fn without_an_id_the_file_gets_a_random_one_and_nothing_is_looked_for() {
    let world = world();
    let mut writer = world.stepped(options()).unwrap();
    store(&mut writer, &record(""), Generated::new(2000)).unwrap();
    world.clock.advance(3 * HOUR);
    world.disk.forget_calls();
    store(&mut writer, &record(""), Generated::new(2000)).unwrap();
    let before = (1..=24).map(|hours| Hour::of(world.clock.now_ms() - hours * 3_600_000).to_string());
    let before: Vec<_> = before.collect();
    let calls = world.disk.calls().into_iter();
    let elsewhere: Vec<_> = calls.filter(|(_, path)| before.iter().any(|hour| path.contains(hour))).collect();
    assert_eq!(elsewhere, []);
    let names = world.payloads();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().all(|name| name.rsplit('/').next().unwrap().len() == 32), "{names:?}");
    check(&world, 2000);
}

/// Writes, syncs and reads of files below `payloads`.
fn touched(world: &World) -> Vec<(Operation, String)> {
    let touching =
        [Operation::Create, Operation::Write, Operation::Sync, Operation::Read, Operation::SetLength];
    let calls = world.disk.calls().into_iter();
    calls.filter(|(operation, path)| touching.contains(operation) && path.contains("payloads")).collect()
}

#[test]
fn a_retry_finds_the_finished_file_and_neither_writes_nor_reads_it() {
    // Hours between the two, whether the record has a time of its own, and whether the file must be found.
    for (hours, timed, found) in
        [(0, false, true), (1, false, true), (24, false, true), (25, false, false), (1000, true, true)]
    {
        let world = world();
        let mut record = named("a");
        record.timestamp_ms = timed.then(|| world.clock.now_ms());
        let mut writer = world.stepped(options()).unwrap();
        // Found again also when the process that wrote it died before its record was durable.
        drop(writer.append_payload(&record, Generated::new(9000)).unwrap());
        drop(writer);
        let before = world.payloads();
        world.clock.advance(HOUR * hours);
        let mut writer = world.stepped(options()).unwrap();
        world.disk.forget_calls();
        let ticket = writer.append_payload(&record, Generated::new(9000)).unwrap();
        if found {
            assert_eq!(ticket.outcome().unwrap().unwrap(), id(2, 1), "durable when the call returns");
            assert_eq!((touched(&world), world.payloads()), (vec![], before), "{hours} h, {timed}");
        } else {
            assert_eq!(world.payloads().len(), 2, "{hours} h");
            writer.step();
        }
        store(&mut writer, &record, Generated::new(9000)).unwrap();
        assert_eq!(references(&world).len(), 2);
        check(&world, 9000);
    }
}

#[test]
fn a_retrys_record_has_a_time_in_the_hour_of_its_file() {
    let world = world();
    let mut writer = world.stepped(options()).unwrap();
    let first = world.clock.now_ms();
    store(&mut writer, &named("a"), Generated::new(9000)).unwrap();
    world.clock.advance(5 * HOUR);
    store(&mut writer, &named("a"), Generated::new(9000)).unwrap();
    let times = log::read(&world.system, Path::new(ROOT), WRITER).times;
    assert_eq!(times.iter().map(|at| Hour::of(*at)).collect::<Vec<_>>(), [Hour::of(first); 2]);
}

#[test]
fn another_size_under_the_same_id_is_refused_and_changes_nothing() {
    let world = world();
    let mut writer = world.stepped(options()).unwrap();
    store(&mut writer, &named("a"), Generated::new(9000)).unwrap();
    let before = world.payloads();
    for length in [8999, 9001, 2000] {
        let error = store(&mut writer, &named("a"), Generated::new(length)).unwrap_err();
        assert!(matches!(error, WriterError::OtherPayload { found: 9000, given, .. } if given == length));
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!((world.payloads(), references(&world).len()), (before.clone(), 1));
    }
    check(&world, 9000);
}

/// As when two threads append the same id, and neither has found a file when it begins to write.
#[test]
fn a_file_that_gets_its_name_while_another_is_written_is_never_replaced() {
    let world = world();
    let mut writer = world.stepped(options()).unwrap();
    let path = format!("{ROOT}/payloads/{WRITER}/{}/a", Hour::of(world.clock.now_ms()));
    let (disk, planted) = (world.disk.clone(), path.clone());
    world.disk.meddle(move |_| {
        let written = |name: &String| name.contains("payloads") && disk.content(name).len() > 4096;
        if !disk.paths().contains(&planted) && disk.paths().iter().any(written) {
            disk.put(&planted, &[7; 9000]);
        }
    });
    let ticket = writer.append_payload(&named("a"), Generated::new(9000)).unwrap();
    world.disk.meddle_no_more();
    assert!(ticket.outcome().unwrap().is_ok(), "found, so waited for");
    assert!(world.disk.content(&path) == [7; 9000], "replaced");
    assert_eq!((world.payloads().len(), references(&world).len()), (1, 1));
}

/// The caller's mistake, and it is the later record's that pays for it: every reader sees that its CRC is not the payload's.
#[test]
fn other_bytes_of_the_same_size_under_the_same_id_change_nothing_that_is_there() {
    let world = world();
    let mut writer = world.stepped(options()).unwrap();
    store(&mut writer, &named("a"), Generated::new(9000)).unwrap();
    store(&mut writer, &named("a"), io::repeat(7).take(9000)).unwrap();
    let references = references(&world);
    let content = world.disk.content(&format!("{ROOT}/{}", references[0].name));
    assert!(content == Generated::bytes(9000) && references[0].crc == crc32fast::hash(&content));
    assert_eq!((&references[1].name, references[1].size), (&references[0].name, 9000));
    assert_eq!(references[1].crc, crc32fast::hash(&[7; 9000]));
}

#[test]
fn no_link_is_followed_on_the_way_to_a_payload() {
    for root in test_roots() {
        Share::init(&System::real(), &root).unwrap();
        let elsewhere = root.join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, root.join("payloads").join(WRITER)).unwrap();
        let options = Options { min_free_space: 0, ..options() };
        let writer = Writer::open(&root, WRITER, options).unwrap();
        let error = writer.append_payload(&named("a"), Generated::new(9000)).unwrap_err();
        assert!(error.to_string().contains("a link or special file, not a directory"), "{error}");
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0, "{}", root.label());
    }
}

#[test]
fn an_input_that_breaks_leaves_nothing() {
    for already in [false, true] {
        for length in [10, 5000] {
            let world = world();
            let mut writer = world.stepped(options()).unwrap();
            if already {
                store(&mut writer, &named("a"), Generated::new(9000)).unwrap();
            }
            let before = world.payloads();
            let error = store(&mut writer, &named("a"), Broken(Generated::new(length))).unwrap_err();
            assert!(matches!(error, WriterError::Input { .. }), "{error}");
            assert_ne!(error.kind(), ErrorKind::Unknown);
            assert_eq!((world.payloads(), references(&world).len()), (before, usize::from(already)));
        }
    }
}

#[test]
fn whatever_call_fails_for_the_file_the_record_is_definitely_not_there_and_a_retry_works() {
    let cases = [
        (Operation::CreateDirectory, "payloads", 0),
        (Operation::SyncDirectory, "payloads", 0),
        (Operation::Create, ".tmp", 0),
        (Operation::Lock, ".tmp", 0),
        (Operation::Write, ".tmp", 0),
        (Operation::Write, ".tmp", 2),
        (Operation::Sync, ".tmp", 0),
        (Operation::Rename, ".tmp", 0),
        (Operation::SyncDirectory, "/22", 0),
    ];
    for (operation, name, skip) in cases {
        for record in [named("a"), record("")] {
            let world = world();
            let mut writer = world.stepped(options()).unwrap();
            world.disk.fail(operation, name, skip, 1, io::ErrorKind::Other);
            let error = writer.append_payload(&record, Generated::new(9000)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Fatal, "{operation}: {error}");
            assert!(!writer.step(), "{operation}: something was appended");
            let left = world.payloads();
            // A file that has its name is complete, and with an id a retry may find it.
            let finished = name == "/22" && record.id.is_some();
            assert_eq!(left.len(), usize::from(finished), "{operation}: {left:?}");
            store(&mut writer, &record, Generated::new(9000)).unwrap();
            assert_eq!(world.payloads().len(), 1, "{operation}");
            world.disk.crash_hard();
            check(&world, 9000);
        }
    }
}

/// A sync that fails may have lost what it should have written, and the next one says that all is well.
#[test]
fn a_sync_that_failed_is_not_tried_again() {
    let world = world();
    let mut writer = world.stepped(options()).unwrap();
    world.disk.fail(Operation::Sync, ".tmp", 0, 1, io::ErrorKind::Other);
    world.disk.forget_calls();
    writer.append_payload(&named("a"), Generated::new(9000)).unwrap_err();
    let calls = world.disk.calls();
    let syncs =
        calls.iter().filter(|(operation, path)| *operation == Operation::Sync && path.contains(".tmp"));
    assert_eq!(syncs.count(), 1);
    assert!(!calls.iter().any(|(operation, _)| *operation == Operation::Rename));
}

#[test]
fn a_rename_whose_answer_was_lost_is_looked_up() {
    let world = world();
    let mut writer = world.stepped(options()).unwrap();
    world.disk.fail_after(Operation::Rename, ".tmp");
    store(&mut writer, &named("a"), Generated::new(9000)).unwrap();
    world.disk.crash_hard();
    check(&world, 9000);
    assert_eq!(world.payloads().len(), 1);
}

#[test]
fn a_payload_that_finds_no_room_is_given_up_as_full_whoever_would_wait_and_takes_none() {
    for when_full in [WhenFull::Fail, WhenFull::Block] {
        for (operation, name) in
            [(Operation::Create, ".tmp"), (Operation::Write, ".tmp"), (Operation::Sync, ".tmp")]
        {
            for error in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
                let world = world();
                let mut writer = world.stepped(Options { when_full, ..options() }).unwrap();
                world.disk.fail(operation, name, 0, 1, error);
                let error = writer.append_payload(&named("a"), Generated::new(9000)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Full, "{operation}: {error}");
                assert!(world.payloads().is_empty() && !writer.step());
                store(&mut writer, &named("a"), Generated::new(9000)).unwrap();
                check(&world, 9000);
            }
        }
    }
}

#[test]
fn bytes_that_are_to_stay_free_do_to_the_last_one() {
    for (length, fits) in [(20_000, true), (20_001, false)] {
        let world = world();
        let setup = world.disk.clone();
        let options = Options { min_free_space: 100_000, ..options() };
        let mut writer = world.stepped(options).unwrap();
        put(&mut writer, "so that the log has its file").unwrap();
        let used: usize = setup.paths().iter().map(|path| setup.content(path).len()).sum();
        world.disk.set_capacity(Some(used as u64 + 120_000));
        world.disk.forget_calls();
        let stored = writer.append_payload(&named("a"), Generated::new(length));
        match stored {
            Ok(_) => assert!(fits),
            Err(WriterError::Full { limit: Limit::FreeSpace, used, allowed: 100_000 }) => {
                assert!(!fits && used < 100_000);
                assert!(world.payloads().is_empty());
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_a_client_keeps_dirty_is_bounded_by_syncs_on_the_way() {
    let world = World::new();
    let mut writer = world.stepped(options()).unwrap();
    drop(writer.append_payload(&named("a"), Generated::new(70 * 1024 * 1024)).unwrap());
    let (mut unsynced, mut most) = (0, 0);
    for (operation, path) in world.disk.calls() {
        match operation {
            Operation::Write if path.contains(".tmp") => unsynced += 1,
            Operation::Sync if path.contains(".tmp") => unsynced = 0,
            _ => {}
        }
        most = most.max(unsynced);
    }
    assert_eq!((unsynced, most), (0, 64), "writes of 1 MiB between two syncs");
    assert_eq!(world.disk.most_written(), 1024 * 1024);
}

#[test]
fn no_write_is_larger_than_one_of_the_mount() {
    let world = world();
    let mut writer = world.stepped(options()).unwrap();
    store(&mut writer, &named("a"), Generated::new(50_000)).unwrap();
    assert_eq!(world.disk.most_written(), 4096);
}

/// Whenever a relay removes directories that have become empty: in front of the first call, and again in front of any two others.
#[test]
fn directories_that_vanish_while_they_are_used_are_made_again() {
    let removed = Arc::new(AtomicUsize::new(0));
    for second in 1..20 {
        for third in second..20 {
            let world = world();
            let mut writer = world.stepped(options()).unwrap();
            store(&mut writer, &named("first"), Generated::new(2000)).unwrap();
            let hour = format!("{ROOT}/payloads/{WRITER}/{}", Hour::of(world.clock.now_ms()));
            world.disk.remove(&format!("{hour}/first"));
            let (mut call, disk, removed) = (0, world.disk.clone(), removed.clone());
            world.disk.meddle(move |_| {
                let due = [0, second, third].contains(&call);
                call += 1;
                let mut chain = Path::new(&hour).ancestors().take(6);
                while due && chain.next().is_some_and(|directory| disk.remove_dir(directory).is_ok()) {
                    removed.fetch_add(1, Ordering::SeqCst);
                }
            });
            store(&mut writer, &record(""), Generated::new(9000)).unwrap();
            world.disk.meddle_no_more();
            world.disk.crash_hard();
            assert_eq!(world.payloads().len(), 1);
            let last = references(&world).pop().unwrap();
            assert!(world.disk.content(&format!("{ROOT}/{}", last.name)) == Generated::bytes(9000));
        }
    }
    let removed = removed.load(Ordering::SeqCst);
    assert!(removed > 2000, "only {removed} directories were removed");
}

#[test]
fn a_file_is_locked_until_its_record_has_its_outcome() {
    let world = world();
    let mut writer = world.stepped(options()).unwrap();
    let ticket = writer.append_payload(&named("a"), Generated::new(9000)).unwrap();
    let path = Path::new(ROOT).join("payloads").join(WRITER).join(world.payloads().remove(0));
    let free = || world.disk.open(&path, OpenMode::Write).unwrap().try_lock().unwrap();
    assert!(!free(), "a sweeper could take it");
    writer.step();
    assert!(ticket.outcome().is_some() && free(), "nobody could ever sweep it");
}

#[test]
fn a_file_that_somebody_keeps_locked_is_not_waited_for_for_ever() {
    let world = world();
    let mut writer = world.stepped(options()).unwrap();
    let ticket = writer.append_payload(&named("a"), Generated::new(9000)).unwrap();
    // The first one's record is not committed yet.
    let error = writer.append_payload(&named("a"), Generated::new(9000)).unwrap_err();
    assert!(matches!(error, WriterError::PayloadBusy { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Retry);
    writer.step();
    assert!(ticket.outcome().unwrap().is_ok());
    store(&mut writer, &named("a"), Generated::new(9000)).unwrap();
    assert_eq!(world.payloads().len(), 1);
    check(&world, 9000);
}

#[test]
fn an_append_that_is_refused_after_its_payload_was_written_leaves_only_what_a_retry_finds() {
    for (record, left) in [(named("a"), 1), (record(""), 0)] {
        let world = world();
        let mut writer = world.stepped(Options { memory_limit: 1, ..options() }).unwrap();
        let first = writer.append(&support::record("it waits")).unwrap();
        let error = writer.append_payload(&record, Generated::new(9000)).unwrap_err();
        assert!(matches!(error, WriterError::Full { limit: Limit::Memory, .. }), "{error}");
        assert_eq!(world.payloads().len(), left);
        writer.step();
        assert!(first.outcome().unwrap().is_ok());
        store(&mut writer, &record, Generated::new(9000)).unwrap();
        assert_eq!(world.payloads().len(), 1);
        check(&world, 9000);
    }
}

#[test]
fn a_writer_that_can_append_nothing_reads_nothing() {
    let world = world();
    let writer = world.open(options()).unwrap();
    writer.append(&record("a")).unwrap().wait().unwrap();
    world.disk.panic_at(Operation::Write, ".open");
    writer.append(&record("b")).unwrap().wait().unwrap_err();
    assert!(matches!(writer.append_payload(&named("a"), Forbidden), Err(WriterError::Stopped { .. })));
}

#[test]
fn an_unknown_outcome_of_the_record_is_told_as_such_and_the_payload_stays() {
    for already in [false, true] {
        let world = world();
        let mut writer = world.stepped(options()).unwrap();
        put(&mut writer, "a").unwrap();
        if already {
            drop(writer.append_payload(&named("a"), Generated::new(9000)).unwrap());
            drop(writer);
            writer = world.stepped(options()).unwrap();
            put(&mut writer, "b").unwrap();
        }
        world.disk.fail(Operation::Sync, ".open", 0, 1, io::ErrorKind::Other);
        world.disk.fail(Operation::Sync, "next-", 0, 1, io::ErrorKind::Other);
        let error = store(&mut writer, &named("a"), Generated::new(9000)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
        assert_eq!(world.payloads().len(), 1);
        store(&mut writer, &named("a"), Generated::new(9000)).unwrap();
        assert_eq!(world.payloads().len(), 1);
        check(&world, 9000);
    }
}

#[test]
fn threads_with_the_same_id_share_one_file_and_with_others_have_their_own() {
    let world = world();
    let writer = Arc::new(world.open(options()).unwrap());
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let writer = writer.clone();
            std::thread::spawn(move || {
                let record = named(&format!("p{}", n % 2));
                writer.append_payload(&record, Generated::new(9000)).map(|ticket| ticket.wait().unwrap())
            })
        })
        .collect();
    for thread in threads {
        match thread.join().unwrap() {
            Ok(_) | Err(WriterError::PayloadBusy { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(world.payloads().len(), 2, "{:?}", world.payloads());
    check(&world, 9000);
}

#[test]
fn on_real_disks_a_payload_is_there_with_its_record_and_found_again() {
    for root in test_roots() {
        let system = System::real();
        Share::init(&system, &root).unwrap();
        let options = || Options { min_free_space: 0, ..Options::default() };
        let length = 3 * 1024 * 1024 + 17;
        for epoch in 1..=2 {
            let writer = Writer::open(&root, WRITER, options()).unwrap();
            let ticket = writer.append_payload(&named("a"), Generated::new(length)).unwrap();
            assert_eq!(ticket.wait().unwrap(), id(epoch, epoch), "{}", root.label());
            writer.close().unwrap();
        }
        let log = log::read(&system, &root, WRITER);
        assert_eq!(log.references.len(), 2);
        assert_eq!(log.references[0], log.references[1], "{}: written twice", root.label());
        let path = root.join(log.references[0].name.to_string());
        assert!(std::fs::read(&path).unwrap() == Generated::bytes(length), "{}", root.label());
        let beside = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1, "{}: something is left", root.label());
    }
}
