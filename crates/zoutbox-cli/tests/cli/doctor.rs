//! `zoutbox doctor`, alone and as a pair of processes, on real file systems.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use zoutbox_test_support::{TestRoot, test_roots, wait_until};

use crate::support::{LONG, Ran, Share, command, json, run, run_with, tree};

fn doctor(root: &Path, arguments: &[&str]) -> Command {
    let mut made = command(["doctor", "--root"]);
    made.arg(root).args(arguments);
    made
}

fn examine(root: &Path, arguments: &[&str]) -> Ran {
    run_with(doctor(root, arguments), b"")
}

/// Starts one that goes on while the test does other things.
fn start(root: &Path, arguments: &[&str]) -> Child {
    let mut command = doctor(root, arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program")
}

fn signal(child: &Child, signal: Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, signal).expect("it runs");
}

/// Its findings, by what they are about; the whole must fit together.
fn findings(ran: &Ran) -> (Value, Vec<(String, String)>) {
    assert_eq!(ran.err, "");
    let document = json(&ran.out);
    let all = document["findings"].as_array().expect("findings").clone();
    let text = |finding: &Value, field: &str| finding[field].as_str().expect("text").to_owned();
    let mut found = Vec::new();
    for finding in &all {
        let level = text(finding, "level");
        let breaks = level == "breaks";
        assert_eq!(
            (finding["promise"].is_u64(), finding["breaks"].is_string()),
            (breaks, breaks),
            "{finding}"
        );
        assert!(!text(finding, "why").is_empty() && !text(finding, "value").is_empty(), "{finding}");
        assert_eq!(text(finding, "advice").is_empty(), level == "fine", "{finding}");
        found.push((text(finding, "what"), level));
    }
    let broken = found.iter().any(|(_, level)| level == "breaks");
    assert_eq!((document["sound"].as_bool(), ran.code), (Some(!broken), Some(if broken { 2 } else { 0 })));
    (document, found)
}

fn level<'a>(found: &'a [(String, String)], what: &str) -> &'a str {
    found.iter().find(|(name, _)| name == what).map_or("not there", |(_, level)| level)
}

/// As the kernel has it for this directory; a container's own layer costs something, but breaks nothing.
fn expected(root: &TestRoot) -> &'static [&'static str] {
    if root.label() == "tmpfs" { &["breaks"] } else { &["fine", "costs"] }
}

const PROBES: [&str; 8] = [
    "exclusive creation",
    "hard link",
    "rename",
    "locks tried",
    "forced refresh",
    "sync latency",
    "free space",
    "inotify",
];

#[test]
fn a_share_is_examined_and_left_as_it_was() {
    for root in test_roots() {
        let share = root.join("share");
        run([OsStr::new("init"), share.as_os_str()]).good();
        let before = tree(&share);
        let (document, found) = findings(&examine(&share, &["--json"]));
        assert_eq!(level(&found, "share"), "fine", "{document}");
        for probe in PROBES {
            assert_eq!(level(&found, probe), "fine", "{probe} on {}: {document}", root.label());
        }
        assert!(expected(&root).contains(&level(&found, "file system")), "on {}: {document}", root.label());
        let point = document["mount"]["point"].as_str().expect("a mount");
        assert!(share.starts_with(point) && document["mount"]["kind"].is_string(), "{document}");
        assert_eq!(tree(&share), before);
    }
}

#[test]
fn the_table_names_the_promise_that_memory_breaks() {
    let root = test_roots().swap_remove(0);
    let ran = examine(&root, &[]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(2), ""));
    let broken: Vec<_> = ran.out.lines().filter(|line| line.starts_with("BREAKS")).collect();
    assert_eq!(broken.len(), 1, "{}", ran.out);
    for named in ["file system", "tmpfs", "/dev/shm", "promise 1 (durable means durable)"] {
        assert!(broken[0].contains(named), "{named}: {}", broken[0]);
    }
    assert!(ran.out.ends_with("1 finding breaks a promise: not to be trusted like this\n"), "{}", ran.out);
}

#[test]
fn a_directory_that_is_no_share_yet_is_examined_and_a_missing_one_is_an_error() {
    for root in test_roots() {
        let (document, found) = findings(&examine(&root, &["--json"]));
        assert_eq!(level(&found, "share"), "costs", "{document}");
        assert!(
            document["findings"][0]["advice"].as_str().is_some_and(|advice| advice.contains("zoutbox init"))
        );
        assert_eq!(tree(&root), []);
        let missing = root.join("missing");
        let complaint = examine(&missing, &[]).complaint(66);
        assert!(complaint.contains(missing.to_str().expect("text")), "{complaint}");
        std::fs::write(root.join("file"), "x").expect("a file");
        let complaint = examine(&root.join("file"), &[]).complaint(74);
        assert!(complaint.contains("Not a directory"), "{complaint}");
    }
}

#[test]
fn leftovers_of_the_dead_go_and_the_living_and_strangers_stay() {
    for root in test_roots() {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host");
        let ours: String =
            host.trim().chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '_' }).collect();
        let below = root.join(".doctor");
        let dead = below.join(format!("{ours}-1-00"));
        let living = below.join(format!("{ours}-2-00"));
        let stranger = below.join("another.host-3-00");
        for directory in [&dead, &living, &stranger] {
            std::fs::create_dir_all(directory.join("watched/writers")).expect("ours");
            std::fs::write(directory.join("watched/writers/file"), "x").expect("ours");
        }
        let age = |directory: &Path| {
            // Not so young that its owner might not have locked it yet.
            let then = std::time::SystemTime::now() - Duration::from_mins(1);
            std::fs::File::open(directory).expect("ours").set_modified(then).expect("ours");
        };
        let mut holder = command([OsStr::new("hold-lock"), living.join("alive").as_os_str()]);
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a holder");
        wait_until("the lock file is there", LONG, || living.join("alive").exists());
        let mut word = [0; 5];
        std::io::Read::read_exact(holder.stdout.as_mut().expect("piped"), &mut word).expect("a word");
        assert_eq!(&word, b"held\n");
        for directory in [&dead, &living, &stranger] {
            age(directory);
        }
        findings(&examine(&root, &["--json"]));
        assert_eq!((dead.exists(), living.exists(), stranger.exists()), (false, true, true));
        drop(holder.stdin.take());
        holder.wait().expect("it ends");
        findings(&examine(&root, &["--json"]));
        assert_eq!((living.exists(), stranger.exists()), (false, true));
    }
}

#[test]
fn a_link_in_the_way_is_not_followed() {
    for root in test_roots() {
        let elsewhere = root.join("elsewhere");
        std::fs::create_dir(&elsewhere).expect("ours");
        std::os::unix::fs::symlink(&elsewhere, root.join(".doctor")).expect("ours");
        for arguments in [&[][..], &["--pair", "--timeout", "1"]] {
            let complaint = examine(&root, arguments).complaint(2);
            assert!(complaint.ends_with("is a link or special file, not a directory"), "{complaint}");
        }
        assert_eq!(tree(&elsewhere), []);
    }
}

#[test]
fn a_directory_that_cannot_be_written_breaks_a_promise_and_names_the_user() {
    use std::os::unix::fs::PermissionsExt;
    for root in test_roots() {
        let mode =
            |mode| std::fs::set_permissions(&*root, std::fs::Permissions::from_mode(mode)).expect("ours");
        mode(0o555);
        // Root may write everywhere unless it gives that up.
        let mut examined = Command::new("setpriv");
        examined.args(["--bounding-set=-all", env!("CARGO_BIN_EXE_zoutbox"), "doctor", "--json", "--root"]);
        let ran = run_with(
            {
                examined.arg(&*root);
                examined
            },
            b"",
        );
        mode(0o755);
        let (document, found) = findings(&ran);
        assert_eq!((level(&found, "writing"), ran.code), ("breaks", Some(2)));
        let why =
            document["findings"].as_array().and_then(|all| all.last()).and_then(|last| last["why"].as_str());
        let why = why.expect("a finding");
        assert!(why.contains(root.join(".doctor").to_str().expect("text")), "{why}");
        assert!(why.contains(&format!("this process is uid {}", nix::unistd::geteuid())), "{why}");
        assert_eq!(tree(&root), []);
    }
}

/// Runs a program on a share over which a file system lies that ignores every sync.
fn on_volatile(share: &Share, program: &[&str]) -> Command {
    let beside = |name: &str| -> PathBuf {
        let path = share.root.with_file_name(name);
        // A layer that was mounted like this can't be mounted again.
        if path.exists() {
            std::fs::remove_dir_all(&path).expect("ours");
        }
        std::fs::create_dir_all(&path).expect("ours");
        path
    };
    let script =
        r#"mount -t overlay v -o "lowerdir=$1,upperdir=$2,workdir=$3,volatile" "$1" && shift 3 && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command
        .args([&share.root, &beside("upper"), &beside("work")])
        .args(program)
        .arg("--root")
        .arg(&share.root);
    command
}

#[test]
fn a_mount_that_breaks_a_promise_is_found_and_refused_unless_accepted() {
    for share in Share::all() {
        let program = env!("CARGO_BIN_EXE_zoutbox");
        let append = [program, "append", "--writer", "w", "--acks"];
        let before = share.tree();
        let complaint = run_with(on_volatile(&share, &append), b"x\n").complaint(66);
        let named =
            format!("{} is mounted as overlay with volatile, which breaks promise 1", share.root.display());
        assert!(complaint.starts_with(&named), "{complaint}");
        assert!(complaint.contains("--accept-unsafe-mount"), "{complaint}");
        let accepted = [&append[..], &["--accept-unsafe-mount"]].concat();
        let ran = run_with(on_volatile(&share, &accepted), b"x\n");
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "w/1/1\n"), "{}", ran.err);
        assert!(ran.err.starts_with("zoutbox: warning: ") && ran.err.contains(&named), "{}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert_eq!(share.tree(), before, "it all went to the upper layer");
        let (document, found) = findings(&run_with(on_volatile(&share, &[program, "doctor", "--json"]), b""));
        assert_eq!(level(&found, "volatile"), "breaks", "{document}");
    }
}

const MEASURED: [&str; 7] = [
    "question and answer",
    "growth, asking",
    "growth, plain stat",
    "new file, asking",
    "new file, plain stat",
    "locks, across",
    "lock of a killed process",
];

#[test]
fn a_pair_finds_each_other_and_both_print_what_was_measured() {
    for root in test_roots() {
        let pair = [start(&root, &["--pair", "--json"]), start(&root, &["--pair", "--json"])];
        let pids = pair.each_ref().map(Child::id);
        let ran = pair.map(|child| Ran::from(child.wait_with_output().expect("it ends")));
        let documents = ran.each_ref().map(|ran| findings(ran).0);
        let partners = documents.each_ref().map(|document| document["partner"]["pid"].as_u64());
        assert_eq!(partners, [Some(pids[1].into()), Some(pids[0].into())]);
        let measured = documents.each_ref().map(|document| {
            let all = document["findings"].as_array().expect("findings").clone();
            let across = |finding: &Value| MEASURED.iter().any(|what| finding["what"] == *what);
            all.into_iter().filter(across).collect::<Vec<_>>()
        });
        assert_eq!(measured[0], measured[1]);
        let names: Vec<_> =
            measured[0].iter().map(|finding| finding["what"].as_str().expect("text")).collect();
        assert_eq!(names, MEASURED);
        assert!(measured[0].iter().all(|finding| finding["level"] == "fine"), "{:?}", measured[0]);
        assert_eq!(tree(&root), []);
    }
}

#[test]
fn a_doctor_without_a_partner_says_so_and_cleans_up() {
    for root in test_roots() {
        let complaint = examine(&root, &["--pair", "--timeout", "1"]).complaint(75);
        assert!(
            complaint.starts_with("no partner came within 1 s: run the same on the other host"),
            "{complaint}"
        );
        assert!(complaint.contains(root.to_str().expect("text")), "{complaint}");
        assert_eq!(tree(&root), []);
        assert!(examine(&root, &["--timeout", "5"]).complaint(64).contains("--pair"));
    }
}

#[test]
fn a_doctor_that_is_interrupted_cleans_up() {
    for root in test_roots() {
        for (number, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let waiting = start(&root, &["--pair"]);
            wait_until("it waits for a partner", LONG, || root.join(".doctor/pair-1/first").exists());
            signal(&waiting, number);
            let ran = Ran::from(waiting.wait_with_output().expect("it ends"));
            assert_eq!(ran.complaint(code), format!("ended by signal {}", number as i32));
            assert_eq!(tree(&root), []);
        }
    }
}

#[test]
fn a_killed_doctor_is_not_taken_for_a_partner() {
    for root in test_roots() {
        let mut killed = start(&root, &["--pair"]);
        wait_until("it waits for a partner", LONG, || root.join(".doctor/pair-1/first").exists());
        killed.kill().expect("it runs");
        killed.wait().expect("it ends");
        let pair = [start(&root, &["--pair", "--json"]), start(&root, &["--pair", "--json"])];
        let pids = pair.each_ref().map(Child::id);
        let ran = pair.map(|child| Ran::from(child.wait_with_output().expect("it ends")));
        let partners = ran.each_ref().map(|ran| findings(ran).0["partner"]["pid"].as_u64());
        assert_eq!(partners, [Some(pids[1].into()), Some(pids[0].into())]);
        assert_eq!(tree(&root), [], "the dead one's place goes as well");
    }
}
