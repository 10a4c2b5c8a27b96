//! What a writer makes of the way its share is mounted.

mod support;

use support::{World, put, small};
use zoutbox_storage::{Operation, StorageError};
use zoutbox_writer::{ErrorKind, Options, WriterError};

fn mounted(kind: &str, options: &str) -> World {
    let world = World::new();
    world.disk.set_mount(&format!("40 1 0:50 / /share rw,relatime - {kind} server:/outbox {options}"));
    world
}

fn accepting() -> Options {
    Options { accept_unsafe_mount: true, ..small() }
}

#[test]
fn a_mount_that_breaks_a_promise_is_refused_before_anything_is_made() {
    for (kind, options, promise) in [
        ("nfs4", "rw,vers=4.2,soft,local_lock=none", 1),
        ("nfs4", "rw,vers=4.2,softerr,local_lock=none", 1),
        ("nfs", "rw,vers=3,hard,nolock,local_lock=all", 2),
        ("cifs", "rw", 2),
        ("ext4", "rw,nobarrier", 1),
    ] {
        let world = mounted(kind, options);
        let before = world.disk.paths();
        let error = world.open(small()).expect_err(options);
        assert_eq!(error.kind(), ErrorKind::Fatal, "{error}");
        let WriterError::Storage(storage) = &error else { panic!("{error}") };
        assert!(
            matches!(&**storage, StorageError::UnsafeMount { promise: p, .. } if p.number() == promise),
            "{error}"
        );
        assert!(
            error.to_string().contains("/share is mounted as")
                && error.to_string().contains("accept_unsafe_mount")
        );
        assert_eq!(world.disk.paths(), before);
        let mut writer = world.stepped(accepting()).expect("accepted");
        put(&mut writer, "x").expect("appended");
    }
}

#[test]
fn a_mount_that_costs_something_or_is_memory_is_opened() {
    for (kind, options) in
        [("nfs4", "rw,vers=4.0,hard,noac"), ("nfs", "rw,vers=3,hard,local_lock=none"), ("tmpfs", "rw")]
    {
        let mut writer = mounted(kind, options).stepped(small()).expect(options);
        put(&mut writer, "x").expect("appended");
    }
}

#[test]
fn a_mount_that_nobody_tells_of_is_refused_unless_accepted() {
    let world = World::new();
    world.disk.set_mount("");
    let error = world.open(small()).expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::Fatal);
    assert!(error.to_string().contains("can't tell how"), "{error}");
    let mut writer = world.stepped(accepting()).expect("accepted");
    put(&mut writer, "x").expect("appended");
}

/// A commit that took two WRITEs would show zeros in front of data to readers on other hosts.
#[test]
fn a_commit_is_never_more_than_one_write_of_the_mount() {
    let options = || Options { commit_bytes: 64 * 1024, segment_size: 1024 * 1024, ..small() };
    let most = |mount: &str| {
        let world = mounted("nfs4", mount);
        let mut writer = world.stepped(options()).expect("opened");
        let tickets: Vec<_> =
            (0..60).map(|_| writer.append(&support::record(vec![b'x'; 1000])).expect("queued")).collect();
        world.disk.forget_calls();
        while writer.step() {}
        assert!(tickets.iter().all(|ticket| matches!(ticket.outcome(), Some(Ok(_)))));
        let syncs = world.disk.calls().iter().filter(|(operation, _)| *operation == Operation::Sync).count();
        (world.disk.most_written(), syncs)
    };
    let (large, few) = most("rw,vers=4.2,hard,wsize=1048576,local_lock=none");
    let (small, many) = most("rw,vers=4.2,hard,wsize=8192,local_lock=none");
    assert!(large > 8192 && large <= 64 * 1024, "{large}");
    assert!(small <= 8192, "{small}");
    assert!(few < many, "{few} and {many} syncs");
}
