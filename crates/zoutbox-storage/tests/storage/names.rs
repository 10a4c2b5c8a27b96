//! Names: listed as they are now, replaced, linked and removed.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;

use zoutbox_storage::{ErrorKind, FileKind, FileSystem, System};
use zoutbox_test_support::test_roots;

fn listed(system: &System, path: &Path) -> BTreeSet<(String, bool, bool)> {
    let entries = system.disk.list(path).expect("listed");
    let shown = |name: &std::ffi::OsStr| name.to_str().expect("text").to_owned();
    entries
        .iter()
        .map(|e| (shown(&e.name), e.kind == FileKind::File, e.kind == FileKind::Directory))
        .collect()
}

#[test]
fn a_listing_is_fresh_and_tells_files_from_what_is_none() {
    for root in test_roots() {
        let system = System::real();
        assert!(listed(&system, &root).is_empty());
        std::fs::write(root.join("file"), b"").expect("made");
        std::fs::create_dir(root.join("directory")).expect("made");
        symlink(root.join("file"), root.join("link")).expect("made");
        let name = |name: &str| name.to_owned();
        let expected =
            [(name("file"), true, false), (name("directory"), false, true), (name("link"), false, false)];
        assert_eq!(listed(&system, &root), BTreeSet::from(expected), "{}", root.label());
        system.disk.rename(&root.join("file"), &root.join("renamed")).expect("renamed");
        system.disk.remove_file(&root.join("link")).expect("removed");
        let expected = [(name("renamed"), true, false), (name("directory"), false, true)];
        assert_eq!(listed(&system, &root), BTreeSet::from(expected), "{}", root.label());
        let error = system.disk.list(&root.join("missing")).expect_err("missing");
        assert!(error.is_missing() && error.to_string().contains("missing"), "{error}");
        assert!(system.disk.list(&root.join("renamed")).is_err(), "a file has no entries");
    }
}

#[test]
fn metadata_is_of_the_name_itself_and_up_to_date() {
    for root in test_roots() {
        let system = System::real();
        let (file, link) = (root.join("file"), root.join("link"));
        std::fs::write(&file, b"12345").expect("made");
        symlink(&file, &link).expect("made");
        let before = system.disk.metadata(&file).expect("asked");
        assert_eq!((before.kind, before.length), (FileKind::File, 5));
        assert_eq!(
            system.disk.metadata(&link).expect("asked").kind,
            FileKind::Other,
            "links are not followed"
        );
        assert_eq!(system.disk.metadata(&root).expect("asked").kind, FileKind::Directory);
        let times =
            std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(7, 8));
        let opened = std::fs::OpenOptions::new().append(true).open(&file).expect("opened");
        opened.set_len(9).expect("grown");
        opened.set_times(times).expect("set");
        let after = system.disk.metadata(&file).expect("asked");
        assert_eq!((after.length, after.modified_ns), (9, 7_000_000_008), "{}", root.label());
        assert!(system.disk.metadata(&root.join("missing")).expect_err("missing").is_missing());
    }
}

#[test]
fn a_rename_replaces_and_a_link_never_does() {
    for root in test_roots() {
        let system = System::real();
        let (old, new) = (root.join("old"), root.join("new"));
        std::fs::write(&old, b"old").expect("made");
        std::fs::write(&new, b"new").expect("made");
        let taken = system.disk.link(&new, &old).expect_err("taken");
        assert!(taken.to_string().contains(&old.display().to_string()), "{taken}");
        assert_eq!(std::fs::read(&old).expect("there"), b"old");
        system.disk.rename(&new, &old).expect("renamed");
        assert_eq!(std::fs::read(&old).expect("there"), b"new", "{}", root.label());
        assert!(system.disk.rename(&new, &old).expect_err("gone").is_missing());
        assert!(system.disk.remove_file(&new).expect_err("gone").is_missing());
        system.disk.sync_dir(&root).expect("synced");
        assert!(system.disk.sync_dir(&new).expect_err("gone").is_missing());
    }
}

#[test]
fn a_directory_may_be_there_already_but_nothing_else_may() {
    for root in test_roots() {
        let system = System::real();
        let path = root.join("directory");
        system.disk.create_dir(&path).expect("made");
        system.disk.create_dir(&path).expect("it is there");
        std::fs::write(root.join("file"), b"").expect("made");
        let error = system.disk.create_dir(&root.join("file")).expect_err("a file is there");
        assert!(error.to_string().contains("file"), "{error}");
        assert!(system.disk.create_dir(&root.join("no/parent")).expect_err("no parent").is_missing());
    }
}

#[test]
fn space_and_kind_of_a_file_system_are_known() {
    for root in test_roots() {
        let system = System::real();
        let space = system.disk.space(&root).expect("asked");
        assert!(space.available > 0 && space.available <= space.total, "{space:?}");
        let tmpfs = system.disk.file_system(&root).expect("asked") == FileSystem::Tmpfs;
        assert_eq!(tmpfs, root.label() == "tmpfs" || (root.label() == "given" && tmpfs));
        assert_eq!(system.disk.space(&root.join("missing")).expect_err("missing").kind(), ErrorKind::Missing);
    }
    assert!(FileSystem::Ext.rewards_zeroed_files() && FileSystem::Xfs.rewards_zeroed_files());
    assert!(
        !FileSystem::Nfs.rewards_zeroed_files() && !FileSystem::Other(0x2FC1_2FC1).rewards_zeroed_files()
    );
}
