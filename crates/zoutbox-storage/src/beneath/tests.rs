//! All ways keep the same promises.

use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use nix::sys::stat::Mode as Permissions;
use zoutbox_test_support::{TestRoot, test_roots};

use super::*;
use crate::error::ErrorKind;

/// That the kernel here has its own way is not left to chance: without, the first fails.
const WAYS: [(&str, Way); 3] =
    [("the kernel", by_kernel), ("components", by_components), ("either", by_either)];

/// A share with one file, beside a secret; and everything by which one might get from the share to the secret.
fn ground(above: &TestRoot) -> std::path::PathBuf {
    let root = above.join("share");
    std::fs::create_dir_all(root.join("writers/orders")).expect("made");
    std::fs::create_dir_all(above.join("outside/orders")).expect("made");
    for (path, bytes) in
        [("share/writers/orders/file", "sound"), ("outside/orders/file", "secret"), ("secret", "secret")]
    {
        std::fs::write(above.join(path), bytes).expect("written");
    }
    for (target, link) in [
        ("../../outside/orders", "writers/linked"),
        ("orders", "writers/sideways"),
        ("../../../secret", "writers/orders/escape"),
        ("file", "writers/orders/inside"),
        ("nowhere", "writers/orders/dangling"),
        ("/proc/self/cwd", "writers/magic"),
    ] {
        symlink(target, root.join(link)).expect("made");
    }
    symlink(above.join("outside"), root.join("archive")).expect("made");
    nix::unistd::mkfifo(&root.join("writers/orders/fifo"), Permissions::S_IRWXU).expect("made");
    drop(UnixListener::bind(root.join("writers/orders/socket")).expect("made"));
    root
}

fn opened(way: Way, root: &Path, relative: &str) -> Result<File, StorageError> {
    open_by(way, root, Path::new(relative))
}

#[test]
fn a_file_below_the_root_is_opened_whatever_the_root_is_called() {
    for above in test_roots() {
        let root = ground(&above);
        symlink(&root, above.join("mounted")).expect("made");
        for root in [root, above.join("mounted"), above.join("share/../share")] {
            for (called, way) in WAYS {
                let mut text = String::new();
                let mut file = opened(way, &root, "writers/orders/file").expect("there");
                file.read_to_string(&mut text).expect("read");
                assert_eq!(text, "sound", "{called}");
                assert!(io::Write::write_all(&mut file, b"x").is_err(), "{called}: for reading only");
            }
        }
    }
}

#[test]
fn no_link_below_the_root_is_followed_and_it_is_named() {
    for above in test_roots() {
        let root = ground(&above);
        for (relative, named) in [
            ("writers/linked/file", "writers/linked"),
            ("writers/sideways/file", "writers/sideways"),
            ("writers/orders/escape", "writers/orders/escape"),
            ("writers/orders/inside", "writers/orders/inside"),
            ("writers/orders/dangling", "writers/orders/dangling"),
            ("writers/magic/Cargo.toml", "writers/magic"),
            ("archive/orders/file", "archive"),
        ] {
            for (called, way) in WAYS {
                let error = opened(way, &root, relative).expect_err(relative);
                let found = match &error {
                    StorageError::NotAFile { path, found } | StorageError::NotADirectory { path, found } => {
                        assert_eq!(*path, root.join(named), "{called}");
                        *found
                    }
                    other => panic!("{called} {relative}: {other:?}"),
                };
                assert_eq!(
                    (found, error.kind()),
                    (FileKind::Other, ErrorKind::Corrupt),
                    "{called} {relative}"
                );
            }
        }
    }
}

#[test]
fn no_path_leads_out_of_the_root() {
    for above in test_roots() {
        let root = ground(&above);
        let absolute = above.join("secret").display().to_string();
        for relative in ["../secret", "writers/../../secret", "..", "", "/", "./..", &absolute] {
            for (called, way) in WAYS {
                let error = opened(way, &root, relative).expect_err(relative);
                assert!(matches!(error, StorageError::Outside { .. }), "{called} {relative}: {error:?}");
                assert_eq!(error.kind(), ErrorKind::Invalid);
            }
        }
    }
}

#[test]
fn only_regular_files_are_opened_and_nothing_is_waited_for() {
    for above in test_roots() {
        let root = ground(&above);
        for (called, way) in WAYS {
            for (name, kind) in
                [("fifo", FileKind::Other), ("socket", FileKind::Other), ("", FileKind::Directory)]
            {
                let relative = format!("writers/orders/{name}");
                let error = opened(way, &root, &relative).expect_err(name);
                let told = matches!(&error, StorageError::NotAFile { found, .. } if *found == kind);
                assert!(told, "{called} {name}: {error:?}");
            }
            let error = opened(way, Path::new("/dev"), "null").expect_err("a device");
            assert!(matches!(error, StorageError::NotAFile { found: FileKind::Other, .. }), "{error:?}");
            let error = opened(way, &root, "writers/orders/file/below").expect_err("below a file");
            assert!(matches!(error, StorageError::NotADirectory { found: FileKind::File, .. }), "{error:?}");
        }
    }
}

#[test]
fn what_is_not_there_is_missing_and_named() {
    for above in test_roots() {
        let root = ground(&above);
        for (called, way) in WAYS {
            for relative in ["writers/orders/none", "writers/none/file"] {
                let error = opened(way, &root, relative).expect_err(relative);
                assert!(error.is_missing(), "{called}: {error:?}");
                assert!(error.to_string().contains(relative), "{error}");
            }
            let error = opened(way, &above.join("none"), "writers/orders/file").expect_err("no root");
            assert!(error.is_missing(), "{called}: {error:?}");
        }
    }
}
