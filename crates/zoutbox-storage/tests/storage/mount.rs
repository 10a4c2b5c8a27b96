//! How mounts are read and judged: over lines of `/proc/self/mountinfo` as Linux writes them (proc(5), nfs(5)), since no machine has
//! all of these; and what the real disk says of this one's.

use std::path::Path;

use zoutbox_storage::mount::{Level, Mount, Promise, Wanted, find, judge, parse, refuse, trust};
use zoutbox_storage::{ErrorKind, StorageError, System};
use zoutbox_test_support::test_roots;

use Level::{Breaks, Costs, Fine};

const DURABLE: Level = Breaks(Promise::Durable);
const IN_ORDER: Level = Breaks(Promise::InOrder);

fn mount(kind: &str, source: &str, options: &str) -> Mount {
    let line = format!("36 25 0:52 / /mnt/outbox rw,relatime shared:9 - {kind} {source} {options}\n");
    parse(line.as_bytes()).pop().unwrap_or_else(|| panic!("not read: {line}"))
}

/// As a client of Linux 6.12 shows them, with `options` for `hard`.
fn nfs(version: &str, options: &str) -> Mount {
    let kind = if version == "3" { "nfs" } else { "nfs4" };
    let common = format!(
        "rw,vers={version},rsize=1048576,wsize=1048576,namlen=255,{options},proto=tcp,timeo=600,retrans=2,sec=sys"
    );
    let rest = match version {
        "3" => "mountaddr=10.9.0.1,mountvers=3,mountport=20048,mountproto=udp",
        _ => "clientaddr=10.9.0.2",
    };
    let local = if options.contains("local_lock") { "" } else { ",local_lock=none" };
    mount(kind, "server:/tank/outbox", &format!("{common},{rest}{local},addr=10.9.0.1"))
}

/// What is not fine, and which promise a refusal names.
#[track_caller]
fn assert_judged(mount: &Mount, wanted: &[(&str, Level)]) {
    let findings = judge(mount);
    let found: Vec<_> =
        findings.iter().filter(|f| f.level != Fine).map(|f| (f.what.as_str(), f.level)).collect();
    assert_eq!(found, wanted, "{mount:?}");
    for finding in &findings {
        assert!(!finding.why.is_empty() && !finding.value.is_empty(), "{finding:?}");
        assert_eq!(finding.advice.is_empty(), finding.level == Fine, "{finding:?}");
    }
    let broken = findings.iter().find_map(|finding| finding.broken().filter(|_| finding.refused));
    match refuse(mount, false) {
        Ok(warnings) => assert_eq!((broken, warnings.len()), (None, count(&findings)), "{mount:?}"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Fatal);
            let promise = broken.unwrap_or_else(|| panic!("refused for nothing: {error}"));
            let text = error.to_string();
            for named in ["/mnt/outbox", &mount.kind, &promise.to_string(), "--accept-unsafe-mount"] {
                assert!(text.contains(named), "'{named}' is not named: {text}");
            }
        }
    }
    let accepted = refuse(mount, true).expect("accepted");
    assert_eq!(accepted.len(), count(&findings), "a line for each promise that is broken: {accepted:?}");
}

fn count(findings: &[zoutbox_storage::mount::Finding]) -> usize {
    findings.iter().filter(|finding| finding.broken().is_some()).count()
}

#[test]
fn nfs_is_judged_by_version_and_options() {
    assert_judged(&nfs("4.1", "hard"), &[]);
    assert_judged(&nfs("4.2", "hard"), &[]);
    assert_judged(&nfs("4.0", "hard"), &[("NFS version", Costs)]);
    assert_judged(&nfs("3", "hard"), &[("NFS version", Costs)]);
    assert_judged(
        &mount("nfs", "s:/e", "rw,vers=2,hard,wsize=8192,local_lock=none"),
        &[("NFS version", IN_ORDER), ("wsize", Costs)],
    );
    for (options, wanted) in [
        ("soft", &[("soft", DURABLE)][..]),
        ("softerr", &[("softerr", DURABLE)]),
        ("hard,softreval", &[("softreval", IN_ORDER)]),
        ("hard,noac,acregmin=0,acregmax=0,acdirmin=0,acdirmax=0", &[("noac", Costs)]),
        ("sync,hard,noac,acregmin=0,acregmax=0,acdirmin=0,acdirmax=0", &[("noac", Costs)]),
        ("hard,acregmin=0,acregmax=0,acdirmin=0,acdirmax=0", &[("actimeo=0", Costs)]),
        ("hard,acregmin=0,acregmax=1,acdirmin=0,acdirmax=0", &[]),
        ("hard,acregmin=3,acregmax=60,acdirmin=30,acdirmax=60", &[]),
        ("hard,acregmin=600,acdirmax=600", &[("attribute caching", Costs)]),
        ("hard,lookupcache=none", &[("lookupcache", Costs)]),
        ("hard,lookupcache=pos", &[]),
        ("hard,nocto", &[("nocto", Costs)]),
        ("sync,hard", &[("sync", Costs)]),
        ("soft,softreval", &[("soft", DURABLE), ("softreval", IN_ORDER)]),
    ] {
        assert_judged(&nfs("4.2", options), wanted);
    }
}

#[test]
fn locks_that_are_local_break_what_fences_writers() {
    let version = ("NFS version", Costs);
    for (options, wanted) in [
        ("hard,nolock,local_lock=all", &[version, ("nolock", IN_ORDER)][..]),
        ("hard,local_lock=all", &[version, ("local_lock", IN_ORDER)]),
        ("hard,local_lock=posix", &[version, ("local_lock", IN_ORDER)]),
        // zoutbox has no use for flock(2).
        ("hard,local_lock=flock", &[version]),
        ("hard,local_lock=none", &[version]),
    ] {
        assert_judged(&nfs("3", options), wanted);
    }
}

#[test]
fn small_writes_and_missing_values_are_seen() {
    let small = mount("nfs4", "s:/e", "rw,vers=4.2,wsize=65536,hard,local_lock=none");
    assert_eq!(small.write_size(), Some(65536));
    assert_judged(&small, &[("wsize", Costs)]);
    // What a mount does not say is not made up.
    let bare = mount("nfs4", "s:/e", "rw");
    assert_eq!((bare.nfs_version(), bare.write_size()), (Some((4, 0)), None));
    assert_judged(&bare, &[("NFS version", Costs)]);
    assert_eq!(mount("nfs", "s:/e", "rw,vers=x").nfs_version(), Some((3, 0)));
    assert_eq!(mount("ext4", "/dev/sda1", "rw,wsize=5").write_size(), None);
}

#[test]
fn local_and_foreign_file_systems_are_told_apart() {
    for (kind, options, wanted) in [
        ("ext4", "rw,errors=remount-ro", &[][..]),
        ("ext4", "rw,nobarrier", &[("nobarrier", DURABLE)]),
        ("ext4", "rw,barrier=0,sync", &[("nobarrier", DURABLE), ("sync", Costs)]),
        ("ext4", "rw,barrier=1", &[]),
        ("xfs", "rw,attr2,inode64,logbufs=8,noquota", &[]),
        ("btrfs", "rw,space_cache=v2,subvolid=256,subvol=/@", &[]),
        ("zfs", "rw,xattr,noacl,casesensitive", &[]),
        ("zfs", "ro,xattr,noacl", &[("ro", DURABLE)]),
        ("tmpfs", "rw,size=1024k", &[("file system", DURABLE)]),
        ("ramfs", "rw", &[("file system", DURABLE)]),
        ("overlay", "rw,lowerdir=/l,upperdir=/u,workdir=/w", &[("file system", Costs)]),
        ("overlay", "rw,lowerdir=/l,volatile", &[("file system", Costs), ("volatile", DURABLE)]),
        ("overlay", "rw,lowerdir=/l,fsync=volatile", &[("file system", Costs), ("volatile", DURABLE)]),
        ("cifs", "rw,vers=3.1.1,cache=strict,soft", &[("file system", IN_ORDER)]),
        ("9p", "rw,sync,dirsync,access=client,trans=virtio", &[("file system", IN_ORDER), ("sync", Costs)]),
        ("9p", "rw,aname=drvfs;path=C:\\134,trans=fd", &[("file system", IN_ORDER)]),
        ("drvfs", "rw", &[("file system", IN_ORDER)]),
        ("vboxsf", "rw,iocharset=utf8", &[("file system", IN_ORDER)]),
        ("fuse.sshfs", "rw,user_id=0,group_id=0", &[("file system", IN_ORDER)]),
        ("fuse.s3fs", "rw,user_id=0", &[("file system", IN_ORDER)]),
        ("fuse.rclone", "rw,user_id=0", &[("file system", DURABLE)]),
        ("fuse.glusterfs", "rw,user_id=0", &[("file system", Costs)]),
        ("ceph", "rw,name=admin,acl", &[("file system", Costs)]),
        ("lustre", "rw,flock,lazystatfs", &[("file system", Costs)]),
        ("lustre", "rw,localflock", &[("file system", Costs), ("localflock", IN_ORDER)]),
        ("never-heard-of", "rw", &[("file system", Costs)]),
    ] {
        assert_judged(&mount(kind, "source", options), wanted);
    }
    assert_judged(
        &parse(b"1 1 0:1 / /mnt/outbox ro - nfs4 s:/e rw,vers=4.2,hard\n").remove(0),
        &[("ro", DURABLE)],
    );
}

#[test]
fn memory_is_told_and_not_refused_and_the_rest_is() {
    assert_eq!(refuse(&mount("tmpfs", "tmpfs", "rw"), false).map(|warnings| warnings.len()).ok(), Some(1));
    let Err(error) = refuse(&nfs("4.2", "soft"), false) else { panic!("soft was not refused") };
    let text = error.to_string();
    assert!(
        text.starts_with("/mnt/outbox is mounted as nfs4 with soft, which breaks promise 1 (durable means"),
        "{text}"
    );
    assert!(text.contains("mount with hard, or accept it with accept_unsafe_mount"), "{text}");
}

#[test]
fn a_table_is_read_line_by_line() {
    let table = b"\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 propagate_from:3 - ext4 /dev/vda rw,discard
not a line
40 27 0:40 / /mnt/with\\040space\\011and\\134more rw - nfs4 server:/a\\040b rw,vers=4.1
41 27 254:0 /srv/share /mnt/bind rw - ext4 /dev/vda rw
42 27 0:42 /@home /home rw - btrfs /dev/vdb rw,subvol=/@home
43 27 0:43 / /odd\\9z\\+12 rw -
44 27 0:44 / /cut
45 27 0:45 / /bare rw - tmpfs none
46 x
";
    let mounts = parse(table);
    assert_eq!(mounts.iter().map(|mount| mount.id).collect::<Vec<_>>(), [22, 27, 40, 41, 42, 45]);
    assert_eq!(mounts[2].point, Path::new("/mnt/with space\tand\\more"));
    assert_eq!(mounts[2].source, "server:/a b");
    assert_eq!((mounts[3].inside.to_str(), mounts[4].inside.to_str()), (Some("/srv/share"), Some("/@home")));
    assert_eq!(mounts[3].to_string(), "ext4 /dev/vda at /mnt/bind (its /srv/share)");
    assert_eq!(mounts[5].options, [("rw".to_owned(), None)]);
    assert!(mounts[1].has("relatime") && mounts[1].has("discard") && !mounts[1].has("disc"));
}

#[test]
fn no_table_makes_it_panic() {
    let line = b"40 27 0:40 / /mnt/a\\040b rw shared:1 - nfs4 s:/e rw,vers=4.1,=,x=,=y\n";
    for at in 0..line.len() {
        for byte in [0, b' ', b'\\', b'7', b'-', b'\n', b':', 0xff] {
            let mut changed = line.to_vec();
            changed[at] = byte;
            judge_all(&changed);
            judge_all(&changed[at..]);
            judge_all(&changed[..at]);
        }
    }
}

#[test]
fn the_mount_that_holds_a_path_is_found_with_and_without_its_number() {
    let table = b"\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:50 / /mnt rw - nfs4 below:/e rw
3 1 0:51 / /mnt rw - nfs4 above:/e rw
4 1 0:52 / /mnt/deep rw - tmpfs t rw
5 1 0:53 / /mntx rw - tmpfs u rw
6 1 0:60 /@ /b rw - btrfs /dev/sdb rw
";
    let by = |id, device, path: &str| {
        find(parse(table), Wanted { id, device, path: Path::new(path) }).map(|mount| mount.id)
    };
    assert_eq!(by(Some(2), (0, 50), "/mnt/x"), Some(2), "the number decides");
    assert_eq!(by(None, (0, 51), "/mnt/x"), Some(3), "the upper one hides the lower");
    assert_eq!(by(Some(99), (0, 51), "/mnt/x"), Some(3));
    assert_eq!(by(None, (0, 50), "/mnt/x"), Some(2), "an open directory may be below an overmount");
    assert_eq!(by(None, (8, 1), "/mntxy/z"), Some(1), "a name is no prefix of another");
    assert_eq!(by(None, (0, 52), "/mnt/deep"), Some(4));
    assert_eq!(by(None, (0, 99), "/b/file"), Some(6), "btrfs: a device that is nowhere mounted");
    assert_eq!(find(Vec::new(), Wanted { id: None, device: (8, 1), path: Path::new("/x") }), None);
}

#[test]
fn this_machines_mounts_are_found() {
    let disk = System::real().disk;
    for root in test_roots() {
        let mount = disk.mount(&root).expect("a mount");
        assert!(root.canonicalize().expect("there").starts_with(&mount.point), "{mount:?}");
        if root.label() == "tmpfs" {
            assert_eq!(mount.kind, "tmpfs");
        }
        let missing = disk.mount(&root.join("missing")).expect_err("nothing there");
        assert!(missing.is_missing(), "{missing}");
        // A writer's directory is not there before its first open.
        let trusted = trust(&*disk, &root.join("not/there/yet"), true).expect("the directory above");
        assert_eq!(trusted.mount, Some(mount));
    }
    assert_eq!(disk.mount(Path::new("/proc/self")).expect("procfs").kind, "proc");
}

#[test]
fn a_mount_that_can_not_be_told_is_an_error_that_can_be_accepted() {
    let error = StorageError::UnknownMount { path: "/share".into(), reason: "there is no table".into() };
    assert_eq!(error.kind(), ErrorKind::Fatal);
    assert!(error.to_string().contains("/share") && error.to_string().contains("--accept-unsafe-mount"));
}

fn judge_all(table: &[u8]) {
    for mount in parse(table) {
        drop(judge(&mount));
    }
}
