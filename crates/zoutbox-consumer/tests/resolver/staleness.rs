//! What this host has cached may be older than the message: the server is asked exactly then.

use std::fs;
use std::path::{Path, PathBuf};

use zoutbox_consumer::{ErrorKind, Payload, ResolveError, Resolver, ResolverOptions};
use zoutbox_format::layout::SegmentName;
use zoutbox_format::{Hour, PayloadName, PayloadReference, Record};

use crate::cached::CachedDisk;
use crate::ground::{Draft, Ground, TIME, carry, ground, named, owned, segment_id, varied, writer_id};

fn resolver(ground: &Ground, disk: &CachedDisk) -> Resolver {
    Resolver::open_with(disk.system(), &*ground.root, ResolverOptions::default()).unwrap()
}

fn cut(draft: &Draft, records: usize) -> Draft {
    let mut cut = draft.clone();
    cut.bytes.truncate(draft.offsets[records]);
    cut
}

/// Writes into the file that is there, as its writer does.
fn grow(path: &Path, draft: &Draft) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &draft.bytes, 0).unwrap();
}

#[test]
fn a_batch_whose_bytes_are_to_be_seen_costs_one_read_and_no_question() {
    let ground = ground();
    let draft = ground.draft("orders", 1, 1).records(&varied(6));
    ground.lay(&draft, false);
    let disk = CachedDisk::default();
    let mut resolver = resolver(&ground, &disk);
    resolver.resolve(carry(&draft.pointer(0..2))).unwrap();
    disk.calls();
    for range in [2..4, 0..6, 5..6] {
        resolver.resolve(carry(&draft.pointer(range))).unwrap();
        let calls = disk.calls();
        assert!(calls.len() == 1 && calls[0].starts_with("read "), "{calls:?}");
    }
}

#[test]
fn a_live_segment_that_grew_is_asked_for_once() {
    let ground = ground();
    let records = varied(6);
    let whole = ground.draft("orders", 1, 1).records(&records);
    let path = ground.lay(&cut(&whole, 1), false);
    let disk = CachedDisk::default();
    let mut resolver = resolver(&ground, &disk);
    resolver.resolve(carry(&whole.pointer(0..1))).unwrap();
    for end in 2..=6 {
        grow(&path, &cut(&whole, end));
        disk.calls();
        let found = resolver.resolve(carry(&whole.pointer(end - 1..end))).unwrap();
        assert_eq!(owned(&found), named("orders", end, &records[end - 1..end]));
        let calls: Vec<_> =
            disk.calls().iter().map(|call| call.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(calls, ["read", "refresh", "read"]);
    }
}

#[test]
fn zeros_and_old_bytes_that_are_cached_are_asked_for_too() {
    let ground = ground();
    let records = varied(3);
    let whole = ground.draft("orders", 1, 1).records(&records);
    let mut zeros = whole.clone();
    zeros.bytes[whole.offsets[1]..].fill(0);
    let path = ground.lay(&zeros, false);
    let disk = CachedDisk::default();
    let mut resolver = resolver(&ground, &disk);
    let message = carry(&whole.pointer(1..3));
    assert_eq!(resolver.resolve(message.clone()).unwrap_err().kind(), ErrorKind::Retry);
    grow(&path, &whole);
    assert_eq!(owned(&resolver.resolve(message).unwrap()), named("orders", 2, &records[1..3]));
}

#[test]
fn a_header_that_came_after_the_file_was_opened_is_asked_for() {
    let ground = ground();
    let whole = ground.draft("orders", 1, 1).records(&varied(1));
    let mut zeros = whole.clone();
    zeros.bytes.fill(0);
    let path = ground.lay(&zeros, false);
    let disk = CachedDisk::default();
    let message = carry(&whole.pointer(0..1));
    let mut resolver = resolver(&ground, &disk);
    assert_eq!(resolver.resolve(message.clone()).unwrap_err().kind(), ErrorKind::Retry);
    disk.before(&format!("refresh {}", path.display()), move || grow(&path, &whole));
    assert_eq!(resolver.resolve(message).unwrap().len(), 1);
    assert!(disk.is_done());
}

#[test]
fn a_writer_a_segment_and_an_archive_that_were_absent_are_found_when_they_are_there() {
    let ground = ground();
    let records = varied(2);
    let draft = ground.draft("orders", 1, 1).records(&records);
    let message = carry(&draft.pointer(0..2));
    let disk = CachedDisk::default();
    let look = || resolver(&ground, &disk).resolve(message.clone());
    // The writer's directory is known not to be there.
    assert!(matches!(look().unwrap_err(), ResolveError::NotYet { .. }));
    let directory = ground.layout.writer(&writer_id("orders"));
    fs::create_dir(&directory).unwrap();
    // Now only the segment is.
    assert!(matches!(look().unwrap_err(), ResolveError::NotYet { .. }));
    let open = ground.lay(&draft, false);
    assert_eq!(owned(&look().unwrap()), named("orders", 1, &records));
    // Sealed: the old name still leads to it, and the new one is known not to be there.
    let sealed =
        ground.layout.writer(&writer_id("orders")).join(SegmentName::sealed(segment_id(1, 1)).file_name());
    fs::rename(&open, &sealed).unwrap();
    assert_eq!(look().unwrap().len(), 2);
    let fresh = CachedDisk::default();
    assert_eq!(resolver(&ground, &fresh).resolve(message.clone()).unwrap().len(), 2);
    // Archived, in a directory that is known not to be there.
    let archive = ground.layout.archive(&writer_id("orders"));
    fs::create_dir(&archive).unwrap();
    fs::rename(&sealed, archive.join(sealed.file_name().unwrap())).unwrap();
    for disk in [&disk, &fresh] {
        assert_eq!(resolver(&ground, disk).resolve(message.clone()).unwrap().len(), 2);
    }
}

#[test]
fn a_segment_that_is_removed_while_it_is_open_is_expired() {
    let ground = ground();
    let draft = ground.draft("orders", 1, 1).records(&varied(2)).seal();
    let path = ground.lay(&draft, true);
    let disk = CachedDisk::default();
    let mut resolver = resolver(&ground, &disk);
    let message = carry(&draft.pointer(0..1));
    resolver.resolve(message.clone()).unwrap();
    ground.lay(&ground.draft("orders", 1, 3).records(&varied(1)), false);
    fs::remove_file(path).unwrap();
    let error = resolver.resolve(message.clone()).unwrap_err();
    assert!(matches!(error, ResolveError::Expired { .. }), "{error:?}");
    // The same if it goes between a read that is too short and the question.
    let draft = ground.draft("other", 1, 1).records(&varied(3)).seal();
    let path = ground.lay(&cut(&draft, 1), true);
    ground.lay(&ground.draft("other", 1, 4).records(&varied(1)), false);
    resolver.resolve(carry(&draft.pointer(0..1))).unwrap();
    disk.before(&format!("refresh {}", path.display()), move || fs::remove_file(path).unwrap());
    let error = resolver.resolve(carry(&draft.pointer(1..2))).unwrap_err();
    assert!(matches!(error, ResolveError::Expired { .. }), "{error:?}");
    assert!(disk.is_done());
}

/// The segment, and a later one so that it would count as expired; the paths that it has in its life.
fn with_later(ground: &Ground) -> (Draft, [PathBuf; 3]) {
    let draft = ground.draft("orders", 1, 2).records(&varied(2)).seal();
    let live = ground.layout.writer(&writer_id("orders"));
    let archive = ground.layout.archive(&writer_id("orders"));
    fs::create_dir_all(&archive).unwrap();
    let [open, sealed] = [false, true].map(|sealed| SegmentName { id: segment_id(1, 2), sealed }.file_name());
    (draft, [live.join(open), live.join(&sealed), archive.join(sealed)])
}

#[test]
fn a_segment_that_moves_on_between_two_looks_is_not_taken_for_removed() {
    // From which place to which, just before which look.
    for (from, to, look) in [(0, 1, 0), (1, 2, 1)] {
        let ground = ground();
        let (draft, paths) = with_later(&ground);
        let message = carry(&draft.pointer(0..2));
        let disk = CachedDisk::default();
        let mut resolver = resolver(&ground, &disk);
        ground.lay(&ground.draft("orders", 1, 1).records(&varied(1)).seal(), true);
        // Its name is not there, and that is cached.
        let name = paths[from].strip_prefix(&*ground.root).unwrap();
        assert!(disk.system().disk.open_beneath(&ground.root, name).unwrap_err().is_missing());
        let later = ground.draft("orders", 1, 4).records(&varied(1));
        ground.lay(&later, false);
        fs::write(&paths[from], &draft.bytes).unwrap();
        // Before the first look, which sees only what is cached, nothing; in the one after the question it moves.
        let (source, target) = (paths[from].clone(), paths[to].clone());
        let when = format!("open {}", paths[look].display());
        let second = when.clone();
        let inner = disk.clone();
        disk.before(&when, move || {
            inner.before(&second, move || fs::rename(source, target).unwrap());
        });
        let found = resolver.resolve(message).unwrap_or_else(|error| panic!("{from} {to} {look}: {error:?}"));
        assert_eq!(found.len(), 2);
        assert!(disk.is_done(), "{from} {to} {look}: it did not move");
    }
}

#[test]
fn a_payload_in_directories_that_were_absent_is_found_when_it_is_there() {
    let ground = ground();
    let name = PayloadName::new(writer_id("orders"), Hour::of(TIME), "a").unwrap();
    let path = ground.layout.payload(&name);
    let reference = PayloadReference { name, size: 5, crc: crc32fast::hash(b"hello") };
    let draft = ground.draft("orders", 1, 1).large(&Record::new("t", ""), &reference);
    ground.lay(&draft, false);
    let disk = CachedDisk::default();
    let records = resolver(&ground, &disk).resolve(carry(&draft.pointer(0..1))).unwrap();
    let read = || {
        let Payload::Large(large) = records.get(0).unwrap().payload else { panic!("in the message") };
        let mut text = String::new();
        large.open().map(|mut reader| {
            std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
            text
        })
    };
    // Up to that of the writer.
    let mut directories: Vec<_> = path.ancestors().skip(1).take(5).collect();
    directories.reverse();
    for directory in directories {
        assert!(matches!(read().unwrap_err(), ResolveError::NotYet { .. }));
        fs::create_dir(directory).unwrap();
    }
    assert!(matches!(read().unwrap_err(), ResolveError::NotYet { .. }));
    fs::write(&path, "hello").unwrap();
    assert_eq!(read().unwrap(), "hello");
}
