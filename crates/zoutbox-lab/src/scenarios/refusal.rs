//! Mounts and exports that a writer and a relay refuse, and what they say of them.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;
use zoutbox_test_support::Hits;

use super::{fault, trial};
use crate::hosts::{ALPHA, Exported, NFS_4_2, Share};
use crate::process::{Ended, LONG, Running, finish};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("refusal: no writer and no relay starts on a soft mount unless it is accepted", || {
            refused("4.2", "soft", "nfs4 with soft", "promise 1");
        }),
        trial(
            "refusal: no writer and no relay starts on a mount without locks unless it is accepted",
            || {
                refused("3", "", "nfs with nolock", "promise 2");
            },
        ),
        trial("refusal: root_squash is told by directory and user", squashed),
    ]
}

/// Appends a line.
fn append(mut command: Command, root: &Path, writer: &str, options: &[&str]) -> Ended {
    command.arg("append").arg("--root").arg(root).args(["--writer", writer, "--acks"]).args(options);
    let mut running = Running::start(&mut command);
    // It may have ended by now.
    running.input().write_all(b"a line\n").ok();
    running.end(LONG)
}

fn relay(root: &Path, options: &[&str]) -> Ended {
    let mut command = ALPHA.command("zoutbox-relay");
    finish(command.arg("--root").arg(root).args(["--stdout", "--once"]).args(options))
}

fn refused(version: &str, options: &str, named: &str, promise: &str) {
    let share = Share::new("refusal", NFS_4_2);
    let mounted = ALPHA.mount(version, options);
    let root = mounted.path.join("refusal-4.2");
    for ended in [append(ALPHA.command("zoutbox"), &root, "orders", &[]), relay(&root, &[])] {
        println!("{}", ended.errors);
        ended.exited(66);
        for named in [named, promise, "--accept-unsafe-mount", &mounted.path.to_string_lossy()] {
            assert!(ended.errors.contains(named), "{named}: {}", ended.errors);
        }
        assert!(ended.lines.is_empty());
    }
    let accept = ["--accept-unsafe-mount"];
    let appended = append(ALPHA.command("zoutbox"), &root, "orders", &accept);
    appended.succeeded();
    assert_eq!(appended.lines.len(), 1);
    let relayed = relay(&root, &accept);
    relayed.succeeded();
    assert_eq!(relayed.lines.len(), 1);
    for ended in [appended, relayed] {
        assert!(ended.errors.contains(promise), "no warning: {}", ended.errors);
    }
    drop(mounted);
    share.remove();
    fault(Hits::Share, "a mount that breaks a promise", "soft, or without locks")
        .held(1, "writer and relay refused it, naming mount and promise, unless it was accepted");
}

fn squashed() {
    let share = Share::new("squashed", NFS_4_2);
    let exported = Exported::with("root_squash");
    let root = share.on(ALPHA);
    // Root, whom the server takes for nobody, and somebody whose directories these are not.
    let by_root = append(ALPHA.command("zoutbox"), &root, "orders", &[]);
    let by_outbox = append(ALPHA.command_as(1000, "zoutbox"), &root, "orders", &[]);
    let relay = relay(&root, &[]);
    for (ended, user) in [
        (by_root, "uid 0, which an export with root_squash treats as nobody"),
        (by_outbox, "uid 1000"),
        (relay, "uid 0"),
    ] {
        println!("{}: {}", ended.status, ended.errors);
        assert!(matches!(ended.status.code(), Some(73 | 74)), "{}", ended.status);
        let named = [root.to_string_lossy().into_owned(), "Permission denied".to_owned(), user.to_owned()];
        for named in named {
            assert!(ended.errors.contains(&named), "{named}: {}", ended.errors);
        }
    }
    drop(exported);
    append(ALPHA.command("zoutbox"), &root, "orders", &[]).succeeded();
    share.remove();
    fault(Hits::Share, "the export squashes root", "beneath writers and a relay that start")
        .held(1, "each named the directory, its user and the reason");
}
