//! `scripts/setup-zfs.sh`, on the lab's pool: what it makes works from a host, and what somebody decided otherwise stays.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use libtest_mimic::Trial;

use super::trial;
use crate::hosts::{ALPHA, Mounted, PROGRAMS, lab};
use crate::process::{Ended, LONG, Running, finish};

const DATASET: &str = "tank/setup";
const DIRECTORY: &str = "/tank/setup";
const OUTBOX: u32 = 1000;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("setup: the share it makes is the owner's, from a host, and nobody else's", works),
        trial(
            "setup: run again it changes nothing, and afterwards only what differs",
            changes_only_what_differs,
        ),
        trial("setup: a dataset or an export that breaks a promise is refused and left as it is", refuses),
        trial("setup: an export that it would take away is named, and stays", keeps_exports),
        trial("setup: --check and --dry-run change nothing", only_tells),
    ]
}

/// The lab exports by a command alone, and OpenZFS runs `exportfs -ra`, which forgets what stands in no file.
const EXPORTS: &str = "/etc/exports.d/lab.exports";

/// Its dataset goes with it.
struct Dataset;

impl Dataset {
    fn none_yet() -> Self {
        let options = std::fs::read_to_string("/run/lab/export").unwrap();
        std::fs::write(EXPORTS, format!("{} *({})\n", crate::hosts::DATASET, options.trim())).unwrap();
        Self
    }
}

impl Drop for Dataset {
    fn drop(&mut self) {
        // It may have been removed by the test.
        std::fs::remove_file(EXPORTS).ok();
        let start = Instant::now();
        while there() && start.elapsed() < LONG {
            let destroyed = Command::new("zfs").args(["destroy", DATASET]).output().unwrap();
            if !destroyed.status.success() {
                println!("{}{}", String::from_utf8_lossy(&destroyed.stderr), nfs_states());
                // A client that opens a file while another replaces it can leave an open behind, as long as its lease lasts.
                lab(&["server", "restart"]);
            }
        }
        lab(&["export"]);
        assert!(!there() || std::thread::panicking(), "{DATASET} can't be destroyed");
    }
}

/// What the server keeps for its NFSv4 clients, to say why a dataset is busy.
fn nfs_states() -> String {
    let clients = std::fs::read_dir("/proc/fs/nfsd/clients").into_iter().flatten().flatten();
    clients.filter_map(|client| std::fs::read_to_string(client.path().join("states")).ok()).collect()
}

#[track_caller]
fn zfs(arguments: &[&str]) -> String {
    let output = Command::new("zfs").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "zfs {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn there() -> bool {
    Command::new("zfs").args(["list", DATASET]).output().unwrap().status.success()
}

fn property(name: &str) -> String {
    zfs(&["get", "-Hpo", "value", name, DATASET])
}

/// Every command that ever changed the pool.
fn history() -> String {
    String::from_utf8(Command::new("zpool").args(["history", "tank"]).output().unwrap().stdout).unwrap()
}

fn setup(more: &[&str]) -> Ended {
    let ended = finish(
        Command::new(Path::new(PROGRAMS).join("setup-zfs.sh"))
            .args([DATASET, "--clients", "10.9.0.0/24", "--mountpoint", DIRECTORY])
            .args(["--quota", "64M", "--owner", "1000:1000"])
            .args(more),
    );
    println!("setup-zfs.sh {more:?}: {}\n{}\n{}", ended.status, said(&ended), ended.errors);
    ended
}

fn said(ended: &Ended) -> String {
    ended.lines.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n")
}

/// The commands it ran.
fn commands(ended: &Ended) -> Vec<String> {
    ended.lines.iter().filter_map(|(_, line)| Some(line.strip_prefix("+ ")?.to_owned())).collect()
}

/// As its last words say.
fn mounted(ended: &Ended) -> Mounted {
    let said = said(ended);
    let line =
        said.lines().find(|line| line.trim_start().starts_with("mount -t nfs -o ")).expect("a command");
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[5], format!("server:{DIRECTORY}"));
    ALPHA.mount_export(DIRECTORY, words[4])
}

fn works() {
    let _dataset = Dataset::none_yet();
    let ended = setup(&[]);
    ended.succeeded();
    for (name, wanted) in [
        ("sync", "standard"),
        ("atime", "off"),
        ("compression", "lz4"),
        ("refquota", "67108864"),
        ("sharenfs", "rw=@10.9.0.0/24,sync,no_subtree_check,root_squash"),
    ] {
        assert_eq!(property(name), wanted, "{name}");
    }
    let mounted = mounted(&ended);
    let root = &mounted.path;
    finish(ALPHA.command_as(OUTBOX, "zoutbox").arg("init").arg(root)).succeeded();
    let append = |mut command: Command| {
        command.arg("append").arg("--root").arg(root).args(["--writer", "orders", "--acks"]);
        let mut running = Running::start(&mut command);
        // It may have ended by now.
        running.input().write_all(b"one\ntwo\n").ok();
        running.end(LONG)
    };
    let appended = append(ALPHA.command_as(OUTBOX, "zoutbox"));
    appended.succeeded();
    assert_eq!(appended.lines.len(), 2);
    let examined = finish(ALPHA.command_as(OUTBOX, "zoutbox").arg("doctor").arg("--root").arg(root));
    println!("{}", said(&examined));
    examined.succeeded();
    std::fs::read_dir("/mnt/alpha").expect("other exports are still there");
    let as_root = append(ALPHA.command("zoutbox"));
    println!("root: {}", as_root.errors);
    assert!(!as_root.status.success(), "root was not squashed");
}

fn changes_only_what_differs() {
    let _dataset = Dataset::none_yet();
    setup(&[]).succeeded();
    let before = history();
    let again = setup(&[]);
    again.succeeded();
    assert_eq!(commands(&again), Vec::<String>::new());
    assert_eq!(history(), before, "it changed something");
    zfs(&["set", "atime=on", DATASET]);
    let more = setup(&["--quota", "96M"]);
    more.succeeded();
    assert_eq!(
        commands(&more),
        ["zfs set atime=off tank/setup", "zfs set refquota=96M tank/setup"].map(str::to_owned)
    );
    let clients = setup(&["--quota", "96M", "--clients", "10.9.0.0/24,10.9.0.7/32"]);
    clients.succeeded();
    assert_eq!(
        commands(&clients),
        ["zfs set sharenfs=rw=@10.9.0.0/24:@10.9.0.7/32,sync,no_subtree_check,root_squash tank/setup"]
            .map(str::to_owned)
    );
    // What the server was told is gone, and not what the dataset says.
    assert!(
        Command::new("exportfs")
            .args(["-u", &format!("10.9.0.0/24:{DIRECTORY}")])
            .status()
            .unwrap()
            .success()
    );
    let exported = setup(&["--quota", "96M", "--clients", "10.9.0.0/24,10.9.0.7/32"]);
    exported.succeeded();
    assert_eq!(commands(&exported), ["zfs share tank/setup"].map(str::to_owned));
}

fn refuses() {
    let _dataset = Dataset::none_yet();
    setup(&[]).succeeded();
    let share = property("sharenfs");
    for (wrong, right, named) in [
        ("sync=disabled", "sync=standard".to_owned(), "sync=disabled"),
        ("readonly=on", "readonly=off".to_owned(), "readonly=on"),
        ("sharenfs=rw=@10.9.0.0/24,async", format!("sharenfs={share}"), "async"),
    ] {
        zfs(&["set", wrong, DATASET]);
        let before = history();
        for mode in [&[][..], &["--check"], &["--dry-run"]] {
            let refused = setup(mode);
            refused.exited(2);
            assert!(
                refused.errors.contains("refused: ") && refused.errors.contains(named),
                "{}",
                refused.errors
            );
            assert_eq!(commands(&refused), Vec::<String>::new());
        }
        assert_eq!(history(), before, "{wrong} was changed");
        zfs(&["set", &right, DATASET]);
    }
    let elsewhere = setup(&["--mountpoint", "/tank/elsewhere"]);
    elsewhere.exited(2);
    assert!(elsewhere.errors.contains("not at /tank/elsewhere"), "{}", elsewhere.errors);
    std::fs::write(Path::new(DIRECTORY).join("somebody's"), "x").unwrap();
    let taken = setup(&["--owner", "1001:1001"]);
    taken.exited(2);
    assert!(taken.errors.contains("belongs to 1000:1000"), "{}", taken.errors);
    setup(&["--check"]).succeeded();
}

fn keeps_exports() {
    let _dataset = Dataset::none_yet();
    std::fs::remove_file(EXPORTS).unwrap();
    let before = history();
    for mode in [&[][..], &["--check"], &["--dry-run"]] {
        let refused = setup(mode);
        refused.exited(2);
        assert!(refused.errors.contains("/tank/outbox is exported"), "{}", refused.errors);
    }
    assert_eq!(history(), before);
    std::fs::read_dir("/mnt/alpha").expect("it is exported all the same");
}

fn only_tells() {
    let _dataset = Dataset::none_yet();
    let before = history();
    setup(&["--check"]).exited(1);
    let told = setup(&["--dry-run"]);
    told.succeeded();
    assert!(!there());
    assert_eq!(history(), before);
    let done = setup(&[]);
    done.succeeded();
    assert_eq!(commands(&told), commands(&done), "what it said that it would do is not what it did");
}
