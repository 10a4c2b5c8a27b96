//! What can't be opened is called what it is, by its path, and nothing is made by trying.

use std::os::unix::fs::symlink;

use nix::sys::stat::Mode;
use zoutbox_storage::{ErrorKind, FileKind, OpenMode, StorageError, System};
use zoutbox_test_support::test_roots;

const MODES: [OpenMode; 3] = [OpenMode::Read, OpenMode::Write, OpenMode::ReadWriteCreate];

#[test]
fn what_is_no_regular_file_is_called_what_it_is() {
    for root in test_roots() {
        let system = System::real();
        let path = |name: &str| root.join(name);
        std::fs::create_dir(path("directory")).expect("made");
        nix::unistd::mkfifo(&path("fifo"), Mode::S_IRWXU).expect("made");
        std::fs::write(path("file"), b"secret").expect("made");
        symlink(path("file"), path("link")).expect("made");
        symlink(path("nowhere"), path("dangling")).expect("made");
        let cases = [
            ("directory", FileKind::Directory),
            ("fifo", FileKind::Other),
            ("link", FileKind::Other),
            ("dangling", FileKind::Other),
        ];
        for (name, kind) in cases {
            for mode in MODES {
                let error = system.disk.open(&path(name), mode).expect_err(name);
                let told = matches!(&error, StorageError::NotAFile { found, .. } if *found == kind);
                assert!(told, "{}: {name} {mode:?}: {error:?}", root.label());
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                assert!(error.to_string().contains(&path(name).display().to_string()), "{error}");
            }
            assert!(system.disk.open(&path(name), OpenMode::CreateNew).is_err(), "{name} is taken");
            assert!(system.disk.map(&path(name)).is_err(), "{name} can't be mapped");
        }
        assert!(!path("nowhere").exists(), "{}: a link was followed to make a file", root.label());
    }
}

#[test]
fn a_missing_file_is_missing_and_named_and_not_made() {
    for root in test_roots() {
        let (system, path) = (System::real(), root.join("missing"));
        for mode in [OpenMode::Read, OpenMode::Write] {
            let error = system.disk.open(&path, mode).expect_err("missing");
            assert!(error.is_missing(), "{error:?}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
        assert!(!path.exists());
        drop(system.disk.open(&path, OpenMode::ReadWriteCreate).expect("made"));
        assert!(path.exists());
        let taken = system.disk.open(&path, OpenMode::CreateNew).expect_err("taken");
        assert!(taken.to_string().starts_with(&format!("can't create {}", path.display())), "{taken}");
    }
}

#[test]
fn bytes_are_read_where_they_were_written_and_nothing_behind_the_end() {
    for root in test_roots() {
        let (system, path) = (System::real(), root.join("file"));
        let writer = system.disk.open(&path, OpenMode::CreateNew).expect("made");
        writer.write_at(b"later", 10).expect("written");
        writer.write_at(b"first", 0).expect("written");
        writer.sync().expect("synced");
        let reader = system.disk.open(&path, OpenMode::Read).expect("there");
        assert_eq!(reader.path(), path);
        let mut buffer = [9; 20];
        assert_eq!(reader.read_at(&mut buffer, 0).expect("read"), 15);
        assert_eq!(&buffer[..15], b"first\0\0\0\0\0later");
        assert_eq!(reader.read_at(&mut buffer, 15).expect("read"), 0);
        assert_eq!(reader.read_at(&mut buffer, 1 << 40).expect("read"), 0);
        assert_eq!(reader.metadata().expect("asked").length, 15);
        writer.set_length(3).expect("cut");
        assert_eq!(reader.metadata().expect("asked").length, 3, "{}", root.label());
        assert_eq!(system.read_small(&path, 2).expect("read"), b"fi");
        assert_eq!(system.read_small(&path, 100).expect("read"), b"fir");
    }
}

#[test]
fn a_file_for_writing_is_not_readable_and_one_for_reading_not_writable() {
    for root in test_roots() {
        let (system, path) = (System::real(), root.join("file"));
        let writer = system.disk.open(&path, OpenMode::CreateNew).expect("made");
        assert!(writer.read_at(&mut [0], 0).is_err());
        let reader = system.disk.open(&path, OpenMode::Read).expect("there");
        let error = reader.write_at(b"x", 7).expect_err("read-only");
        let expected = format!("can't write {} at offset 7: ", path.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_eq!(writer.metadata().expect("asked").length, 0);
    }
}

#[test]
fn a_mapping_shows_the_file_and_outlives_its_name() {
    for root in test_roots() {
        let (system, path) = (System::real(), root.join("file"));
        std::fs::write(&path, b"sealed bytes").expect("written");
        let mapping = system.disk.map(&path).expect("mapped");
        system.disk.remove_file(&path).expect("removed");
        assert_eq!(mapping.as_ref(), b"sealed bytes", "{}", root.label());
        assert!(system.disk.map(&path).expect_err("gone").is_missing());
        std::fs::write(&path, b"").expect("written");
        assert_eq!(system.disk.map(&path).expect("an empty file is a file").as_ref(), b"");
    }
}
