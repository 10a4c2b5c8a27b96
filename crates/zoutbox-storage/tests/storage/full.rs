//! Disks that are full or read-only, for real: a tiny tmpfs in a mount namespace of its own.
//!
//! Mounting needs root, or a kernel that lets everybody have user namespaces; without either the test fails and says so.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use zoutbox_storage::{ErrorKind, OpenMode, Share, StorageError, System, replace};
use zoutbox_test_support::test_roots;

use crate::child::{WHERE, alone, arguments, place};

#[test]
fn a_full_or_read_only_disk_is_told_as_such_and_loses_nothing() {
    let _alone = alone();
    let root = test_roots().into_iter().next().expect("at least one root");
    for name in ["tiny", "readonly"] {
        std::fs::create_dir(root.join(name)).expect("made");
    }
    let program = std::env::current_exe().expect("the path of this test program");
    let mut namespace = Command::new("unshare");
    let owner = std::fs::metadata("/proc/self").expect("/proc must be mounted").uid();
    if owner != 0 {
        namespace.args(["--user", "--map-root-user"]);
    }
    namespace
        .args(["--mount", "sh", "-ec"])
        .arg("mount -t tmpfs -o size=256k tiny \"$1/tiny\"; mount -t tmpfs -o ro readonly \"$1/readonly\"; shift; exec \"$@\"")
        .arg("sh")
        .arg(&*root)
        .arg(program)
        .args(arguments("full::in_a_namespace_of_its_own"))
        .env(WHERE, &*root);
    let output = namespace.output().expect("unshare (util-linux) must be installed");
    assert!(
        output.status.success(),
        "this test mounts a tiny tmpfs: run it as root or allow user namespaces\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The child of the test above: elsewhere it has no disk to fill.
#[test]
fn in_a_namespace_of_its_own() {
    let Some(place) = place() else { return };
    let system = System::real();
    full(&system, &Path::new(&place).join("tiny"));
    read_only(&system, &Path::new(&place).join("readonly"));
}

fn full(system: &System, root: &Path) {
    let (checkpoint, segment) = (root.join("checkpoint"), root.join("segment"));
    replace::replace(system, &checkpoint, b"old").expect("there is room");
    let file = system.disk.open(&segment, OpenMode::CreateNew).expect("there is room");
    let space = system.disk.space(root).expect("asked");
    assert!(space.total <= 256 * 1024 && space.available < space.total, "{space:?}");
    let (block, mut offset) = ([1; 4096], 0);
    let error = loop {
        assert!(offset <= 256 * 1024, "a disk of 256 KiB took more");
        match file.write_at(&block, offset) {
            Ok(()) => offset += 4096,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
    let expected = format!("can't write {} at offset {offset}: ", segment.display());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert_eq!(system.disk.space(root).expect("asked").available, 0);

    let error = replace::replace(system, &checkpoint, &[2; 8192]).expect_err("full");
    assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
    let error = replace::create(system, &root.join("new"), &[2; 8192]).expect_err("full");
    assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
    assert_eq!(system.read_small(&checkpoint, 100).expect("there"), b"old");
    assert_eq!(system.disk.list(root).expect("listed").len(), 2, "a failed replacement left something");

    system.disk.remove_file(&segment).expect("removed");
    drop(file);
    replace::replace(system, &checkpoint, &[2; 8192]).expect("there is room again");
}

fn read_only(system: &System, root: &Path) {
    let errors = [
        system.disk.open(&root.join("file"), OpenMode::CreateNew).map(drop).expect_err("read-only"),
        replace::replace(system, &root.join("file"), b"x").expect_err("read-only"),
        Share::init(system, root).map(drop).expect_err("read-only"),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Fatal, "{error:?}");
        assert!(error.to_string().contains(&root.display().to_string()), "{error}");
    }
}

#[test]
fn every_error_of_a_system_call_has_the_kind_its_caller_needs() {
    let kind = |errno: Errno| {
        let source = std::io::Error::from(errno);
        let operation = zoutbox_storage::Operation::Sync;
        StorageError::Io { operation, path: "file".into(), offset: None, source }.kind()
    };
    for (errno, expected) in [
        (Errno::ENOSPC, ErrorKind::Full),
        (Errno::EDQUOT, ErrorKind::Full),
        (Errno::ENOENT, ErrorKind::Missing),
        (Errno::ESTALE, ErrorKind::Missing),
        (Errno::EINTR, ErrorKind::Retry),
        (Errno::EAGAIN, ErrorKind::Retry),
        (Errno::ETIMEDOUT, ErrorKind::Retry),
        (Errno::EFBIG, ErrorKind::Invalid),
        (Errno::ENAMETOOLONG, ErrorKind::Invalid),
        (Errno::EIO, ErrorKind::Fatal),
        (Errno::EROFS, ErrorKind::Fatal),
        (Errno::EACCES, ErrorKind::Fatal),
    ] {
        assert_eq!(kind(errno), expected, "{errno}");
    }
}
