//! A lock keeps everybody else out, for exactly as long as its value lives.

use std::path::Path;

use zoutbox_storage::{DiskFile, Lock, OpenMode, System};
use zoutbox_test_support::test_roots;

use crate::child::{Speaking, alone, place, say_and_wait};

const HELD: &str = "LOCK-IS-MINE";
const REFUSED: &str = "LOCK-IS-TAKEN";

fn try_lock(path: &Path) -> Option<Lock> {
    Lock::try_path(&*System::real().disk, path).expect("a lock file")
}

/// The child of the tests below: elsewhere it has nothing to lock.
#[test]
fn another_process_locks() {
    let Some(place) = place() else { return };
    let lock = try_lock(Path::new(&place));
    say_and_wait(if lock.is_some() { HELD } else { REFUSED });
}

fn another_process(path: &Path) -> (Speaking, &'static str) {
    Speaking::start("lock::another_process_locks", path, &[HELD, REFUSED])
}

#[test]
fn a_lock_keeps_out_everybody_else_in_the_same_process() {
    let _alone = alone();
    for root in test_roots() {
        let path = root.join("writer.lock");
        let lock = try_lock(&path).expect("free");
        assert!(try_lock(&path).is_none(), "{}", root.label());
        drop(lock);
        assert!(try_lock(&path).is_some(), "{}: dropping the value lets go", root.label());
    }
}

#[test]
fn whether_a_lock_is_held_is_told_without_keeping_it_and_only_of_what_is_there() {
    let _alone = alone();
    for root in test_roots() {
        let path = root.join("payload");
        let is_held = || Lock::is_held(&*System::real().disk, &path);
        assert!(is_held().expect_err("nothing is there").is_missing() && !path.exists(), "{}", root.label());
        let lock = try_lock(&path).expect("free");
        assert!(is_held().expect("told"), "{}", root.label());
        drop(lock);
        assert!(!is_held().expect("told"), "{}", root.label());
        assert!(try_lock(&path).is_some(), "{}: asking keeps it", root.label());
    }
}

#[test]
fn a_lock_keeps_out_another_process_until_it_is_dropped() {
    let _alone = alone();
    for root in test_roots() {
        let path = root.join("writer.lock");
        let lock = try_lock(&path).expect("free");
        let (child, said) = another_process(&path);
        child.end();
        assert_eq!(said, REFUSED, "{}", root.label());
        drop(lock);
        let (child, said) = another_process(&path);
        assert_eq!(said, HELD, "{}", root.label());
        assert!(try_lock(&path).is_none(), "{}: the other process holds it", root.label());
        child.end();
        assert!(try_lock(&path).is_some(), "{}: it ended", root.label());
    }
}

#[test]
fn a_killed_process_holds_no_lock() {
    let _alone = alone();
    for root in test_roots() {
        let path = root.join("writer.lock");
        let (child, said) = another_process(&path);
        assert_eq!(said, HELD);
        assert!(try_lock(&path).is_none(), "{}", root.label());
        child.kill();
        assert!(try_lock(&path).is_some(), "{}", root.label());
    }
}

#[test]
fn closing_another_descriptor_of_the_file_does_not_drop_the_lock() {
    let _alone = alone();
    for root in test_roots() {
        let (system, path) = (System::real(), root.join("writer.lock"));
        let lock = try_lock(&path).expect("free");
        for mode in [OpenMode::Read, OpenMode::Write, OpenMode::ReadWriteCreate] {
            drop(system.disk.open(&path, mode).expect("a file"));
        }
        drop(try_lock(&path));
        let (child, said) = another_process(&path);
        child.end();
        assert_eq!(said, REFUSED, "{}", root.label());
        lock.file().write_at(b"mine", 0).expect("the holder writes");
    }
}

#[test]
fn a_segment_that_was_just_made_can_be_locked_through_the_file_that_writes_it() {
    let _alone = alone();
    for root in test_roots() {
        let (system, path) = (System::real(), root.join("next-1"));
        let file = system.disk.open(&path, OpenMode::CreateNew).expect("a new file");
        let lock = Lock::try_file(file).expect("a lock").expect("free");
        lock.file().write_at(b"bytes", 0).expect("written");
        system.disk.rename(&path, &root.join("renamed")).expect("renamed");
        assert!(try_lock(&root.join("renamed")).is_none(), "{}: the lock goes with the file", root.label());
    }
}

#[test]
fn a_file_opened_for_reading_only_can_not_be_locked_and_says_so() {
    let _alone = alone();
    for root in test_roots() {
        let (system, path) = (System::real(), root.join("file"));
        std::fs::write(&path, b"x").expect("a file");
        let file = system.disk.open(&path, OpenMode::Read).expect("a file");
        let error = DiskFile::try_lock(&*file).expect_err("an exclusive lock needs a writable file");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
