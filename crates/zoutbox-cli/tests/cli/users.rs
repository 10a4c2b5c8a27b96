//! A share of several users, with real uids: each producer may write what is its own and nothing else, the relay does all it must without
//! being root, and an outsider gets nowhere.
//!
//! Needs root, to become others. Programs are run by a descriptor, since not everybody may reach the directory that they were built in.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, geteuid};
use zoutbox_format::layout::SegmentName;
use zoutbox_test_support::{TestRoot, binary, test_roots, wait_until};

use crate::support::{LONG, Ran, run};

/// Nobody's numbers.
const PRODUCERS: u32 = 64_200;
const RELAY: (u32, u32) = (64_101, 64_101);
const ORDERS: (u32, u32) = (64_102, PRODUCERS);
const PARCELS: (u32, u32) = (64_103, PRODUCERS);
const OUTSIDER: (u32, u32) = (64_104, 64_104);

/// A share that was made for them.
struct Shared {
    /// Where everybody gets to.
    above: TestRoot,
    zoutbox: File,
    relay: File,
}

impl Shared {
    fn new() -> Self {
        assert!(
            geteuid().is_root(),
            "root is missing: this test runs programs as several users, and is uid {}",
            geteuid()
        );
        let above = test_roots().into_iter().next().expect("a root");
        fs::set_permissions(&above, Permissions::from_mode(0o755)).expect("made open");
        let open = |name| File::open(binary(name)).expect("built");
        let shared = Self { above, zoutbox: open("zoutbox"), relay: open("zoutbox-relay") };
        // With an umask that would take everything away.
        let made =
            with_umask(|| run(["init", shared.path("").as_str(), "--group", "64200", "--relay", "64101"]));
        let told =
            "group 64200 may append; the relay runs as 64101, group 64101, and consumers are in both groups";
        assert!(made.clone().good().contains(told), "{made:?}");
        shared
    }

    fn path(&self, below: &str) -> String {
        self.above.join("share").join(below).display().to_string()
    }

    fn command(program: &File, user: (u32, u32)) -> Command {
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        command.uid(user.0).gid(user.1).current_dir("/").env_clear().stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Appends lines as a user whose umask takes everything from everybody else.
    fn append(&self, user: (u32, u32), writer: &str, lines: &str) -> Ran {
        let mut command = Self::command(&self.zoutbox, user);
        command.args(["append", "--root", &self.path(""), "--writer", writer]).stdin(Stdio::piped());
        let mut child = with_umask(|| command.spawn().expect("started"));
        drop(child.stdin.take().expect("piped").write_all(lines.as_bytes()));
        child.wait_with_output().expect("ended").into()
    }

    fn append_payload(&self, user: (u32, u32), writer: &str, file: &str) -> Ran {
        let mut command = Self::command(&self.zoutbox, user);
        command.args(["append", "--root", &self.path(""), "--writer", writer, "--payload", file]);
        command.args(["--payload-threshold", "1"]);
        with_umask(|| command.output().expect("started")).into()
    }

    fn relay(&self, more: &[&str]) -> Relay {
        let mut command = Self::command(&self.relay, RELAY);
        let log = File::create(self.above.join("log")).expect("made");
        let out = File::create(self.above.join("out")).expect("made");
        command.args(["--root", &self.path(""), "--stdout", "--poll-max", "20ms"]).args(more);
        command.stdout(out).stderr(log);
        Relay { child: command.spawn().expect("started"), above: self.above.to_path_buf() }
    }

    /// What a shell of that user comes to.
    fn shell(&self, user: (u32, u32), script: &str) -> Ran {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).uid(user.0).gid(user.1).current_dir("/").env_clear();
        command.env("PATH", "/usr/bin:/bin").env("S", self.path("")).stdin(Stdio::null());
        command.output().expect("/bin/sh is there").into()
    }

    /// Everything on the share, with owner, group, mode and length.
    fn listing(&self) -> BTreeMap<PathBuf, (u32, u32, u32, u64)> {
        let mut found = BTreeMap::new();
        let mut open = vec![PathBuf::from(self.path(""))];
        while let Some(path) = open.pop() {
            let there = fs::symlink_metadata(&path).expect("there");
            let length = if there.is_file() { there.len() } else { 0 };
            if there.is_dir() {
                open.extend(
                    fs::read_dir(&path).expect("root may").map(|entry| entry.expect("an entry").path()),
                );
            }
            found.insert(path, (there.uid(), there.gid(), there.mode() & 0o7777, length));
        }
        found
    }

    fn segments(&self, writer: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(&format!("writers/{writer}"))).expect("there");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
        let mut names: Vec<_> = names.filter(|name| SegmentName::parse(name).is_some()).collect();
        names.sort();
        names
    }
}

/// Does it on a thread whose files nobody else may use; the umask of the process stays.
fn with_umask<T: Send>(job: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_FS).expect("an umask of its own");
            umask(Mode::from_bits_truncate(0o077));
            job()
        });
        thread.join().expect("done")
    })
}

struct Relay {
    child: Child,
    above: PathBuf,
}

impl Relay {
    fn log(&self) -> String {
        fs::read_to_string(self.above.join("log")).expect("text")
    }

    #[track_caller]
    fn wait(&self, what: &str, until: impl FnMut() -> bool) {
        let log = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wait_until(what, LONG, until)));
        assert!(log.is_ok(), "{what}: never; the relay said:\n{}", self.log());
    }

    fn stop(mut self) -> (Vec<String>, String) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("small")), Signal::SIGTERM).expect("sent");
        let status = self.child.wait().expect("ended");
        assert_eq!(status.code(), Some(0), "{}", self.log());
        let out = fs::read_to_string(self.above.join("out")).expect("text");
        (out.lines().map(str::to_owned).collect(), self.log())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn init_says_who_may_do_what_whatever_the_umask_and_says_it_again() {
    let shared = Shared::new();
    let root = PathBuf::from(shared.path(""));
    let expected = [
        ("", PRODUCERS, 0o750),
        ("zoutbox.json", RELAY.1, 0o644),
        ("writers", RELAY.1, 0o3777),
        ("payloads", RELAY.1, 0o3777),
        ("consumers", RELAY.1, 0o3770),
        ("relay", RELAY.1, 0o2751),
        ("relay/checkpoints", RELAY.1, 0o2755),
        ("dead", RELAY.1, 0o2750),
        ("archive", RELAY.1, 0o2750),
    ];
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(name, gid, mode)| (root.join(name), (RELAY.0, *gid, *mode))).collect();
    let found = |shared: &Shared| -> BTreeMap<_, _> {
        shared.listing().into_iter().map(|(path, (uid, gid, mode, _))| (path, (uid, gid, mode))).collect()
    };
    assert_eq!(found(&shared), expected);
    // What somebody changed by hand.
    fs::set_permissions(root.join("writers"), Permissions::from_mode(0o777)).expect("changed");
    assert!(
        run(["init", &shared.path(""), "--group", "64200", "--relay", "64101"]).good().contains("already")
    );
    assert_eq!(found(&shared), expected);
}

#[test]
fn producers_of_one_group_write_what_is_their_own_and_nothing_else() {
    let shared = Shared::new();
    shared.append(ORDERS, "orders", "one\ntwo\n").good();
    // The share's root is not theirs to write to, and their directory is there by now.
    shared.append(ORDERS, "orders", "three\n").good();
    shared.append(PARCELS, "parcels", "four\n").good();
    fs::write(shared.above.join("large"), [7; 5000]).expect("written");
    let large = shared.above.join("large").display().to_string();
    shared.append_payload(ORDERS, "orders", &large).good();
    let relay = shared.relay(&[]);
    relay.wait("both are confirmed", || {
        Path::new(&shared.path("relay/checkpoints/parcels")).exists()
            && Path::new(&shared.path("relay/checkpoints/orders")).exists()
    });
    relay.stop();

    let before = shared.listing();
    let theirs: Vec<_> =
        before.iter().filter(|(path, _)| path.starts_with(shared.path("writers/orders"))).collect();
    assert!(theirs.len() >= 4, "{theirs:#?}");
    for (path, (uid, gid, mode, _)) in theirs {
        let wanted = if path.is_dir() { 0o2770 } else { 0o660 };
        assert_eq!((*uid, *gid, *mode), (ORDERS.0, RELAY.1, wanted), "{}", path.display());
    }
    for script in [
        "ls $S/writers/orders",
        "cat $S/writers/orders/*",
        "cat $S/writers/orders/writer.lock",
        "cat $S/relay/lease",
        "ls $S/relay",
        "touch $S/x",
        "touch $S/writers/orders/x",
        "touch $S/writers/orders/00000000000000000009-00000000000000000009.open",
        "rm -rf $S/writers/orders",
        "mv $S/writers/orders $S/writers/mine",
        "mv $S/writers/parcels $S/writers/orders",
        "chmod 777 $S/writers/orders",
        "ls $S/payloads/orders",
        "rm -rf $S/payloads/orders",
        "mv $S/payloads/orders $S/payloads/mine",
        "echo x > $S/relay/checkpoints/parcels",
        "rm -f $S/relay/checkpoints/parcels",
        "touch $S/relay/checkpoints/x",
        "touch $S/relay/x",
        "echo x > $S/relay/lease",
        "touch $S/consumers/x",
        "touch $S/dead/x",
        "mkdir $S/archive/x",
        "echo x > $S/zoutbox.json",
        "rm -f $S/zoutbox.json",
        "mv $S/writers $S/writers2",
        "chmod o-x $S",
    ] {
        let ran = shared.shell(PARCELS, script);
        assert_ne!(ran.code, Some(0), "another producer may: {script}");
    }
    // What it must be able to.
    for script in
        ["cat $S/zoutbox.json", "cat $S/relay/checkpoints/parcels > /dev/null", "ls $S/writers/parcels"]
    {
        let ran = shared.shell(PARCELS, script);
        assert_eq!(ran.code, Some(0), "{script}: {ran:?}");
    }
    assert_eq!(shared.append(PARCELS, "orders", "not mine\n").code, Some(74), "took another's writer id");
    for script in ["ls $S", "cat $S/zoutbox.json", "ls $S/writers", "mkdir $S/writers/mine"] {
        assert_ne!(shared.shell(OUTSIDER, script).code, Some(0), "an outsider may: {script}");
    }
    assert_ne!(shared.append(OUTSIDER, "mine", "x\n").code, Some(0));
    assert_eq!(shared.listing(), before, "something changed");
}

#[test]
fn a_relay_that_is_not_root_publishes_checkpoints_reclaims_archives_and_sweeps() {
    let shared = Shared::new();
    fs::write(shared.above.join("large"), [7; 5000]).expect("written");
    let large = shared.above.join("large").display().to_string();
    shared.append_payload(ORDERS, "orders", &large).good();
    for line in ["one\n", "two\n", "three\n"] {
        shared.append(ORDERS, "orders", line).good();
        shared.append(PARCELS, "parcels", line).good();
    }
    assert_eq!(shared.segments("orders").len(), 4);
    let payloads = |shared: &Shared| {
        shared
            .listing()
            .keys()
            .filter(|path| path.starts_with(shared.path("payloads/orders")) && path.is_file())
            .count()
    };
    assert_eq!(payloads(&shared), 1);
    let relay = shared.relay(&["--retention", "0s"]);
    relay.wait("all but the newest segment are gone", || {
        shared.segments("orders").len() == 1 && shared.segments("parcels").len() == 1
    });
    relay.wait("the payload went with its segment", || payloads(&shared) == 0);
    let (out, log) = relay.stop();
    assert_eq!(out.len(), 7, "{log}");
    assert!(!log.contains("WARN") || !log.contains("denied"), "{log}");

    // What nobody finished writing, a day old; and segments that are to be kept.
    let hour = shared.path("payloads/orders/2020/01/01/00");
    let made = shared.shell(ORDERS, "umask 007; mkdir -p $S/payloads/orders/2020/01/01/00 && echo x > $S/payloads/orders/2020/01/01/00/a.1.tmp");
    assert_eq!(made.code, Some(0), "{made:?}");
    shared.append(ORDERS, "orders", "four\n").good();
    let relay = shared.relay(&["--retention", "0s", "--archive", "--sweep-after", "0s"]);
    let archive = shared.path("archive/orders");
    relay.wait("a segment is archived", || fs::read_dir(&archive).is_ok_and(|entries| entries.count() == 1));
    relay.wait("the leftover is swept", || !Path::new(&hour).exists());
    let (out, log) = relay.stop();
    assert_eq!(out.len(), 1, "{log}");
    // And its writer goes on.
    shared.append(ORDERS, "orders", "five\n").good();
}

#[test]
fn a_writer_that_lets_nobody_in_waits_alone() {
    let shared = Shared::new();
    shared.append(ORDERS, "orders", "one\n").good();
    shared.append(PARCELS, "parcels", "two\n").good();
    assert_eq!(shared.shell(PARCELS, "chmod 000 $S/writers/parcels").code, Some(0));
    let relay = shared.relay(&["--retention", "0s"]);
    relay.wait("orders is confirmed", || Path::new(&shared.path("relay/checkpoints/orders")).exists());
    relay.wait("parcels is told of", || relay.log().contains("writers/parcels: Permission denied"));
    shared.append(ORDERS, "orders", "three\n").good();
    relay.wait("the first segment of orders is gone", || shared.segments("orders").len() == 1);
    assert_eq!(shared.shell(PARCELS, "chmod 2770 $S/writers/parcels").code, Some(0));
    relay.wait("parcels is confirmed", || Path::new(&shared.path("relay/checkpoints/parcels")).exists());
    let (out, log) = relay.stop();
    assert_eq!(out.len(), 3, "{log}");
    assert!(log.lines().count() < 60, "a flood of {} lines:\n{log}", log.lines().count());
}

#[test]
fn a_group_that_would_let_producers_do_all_is_refused_and_so_is_one_that_is_not_there() {
    let above = test_roots().into_iter().next().expect("a root");
    let root = above.join("share").display().to_string();
    let own = nix::unistd::getegid().to_string();
    assert!(run(["init", &root, "--group", &own]).complaint(64).contains("the relay's own group"));
    assert!(run(["init", &root, "--group", "no-such-group"]).complaint(64).contains("no-such-group"));
    assert!(
        run(["init", &root, "--group", "64200", "--relay", "no-such-user"])
            .complaint(64)
            .contains("no-such-user")
    );
    assert!(run(["init", &root, "--relay", "64101"]).complaint(64).contains("--group"));
    assert!(!Path::new(&root).join("zoutbox.json").exists());
}
