//! Bad input: one line that names what is wrong, an exit code to branch on, and nothing made or lost.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use zoutbox_test_support::test_roots;

use crate::support::{Ran, Running, Share, command, run, run_with, tree};

/// Every command on a root.
fn on_root(root: &OsStr) -> Vec<(&'static str, Ran)> {
    let append = ["append", "--writer", "w", "--root"].map(OsStr::new);
    let commands = ["status", "cat", "verify"];
    let others = commands.map(|name| (name, run([OsStr::new(name), OsStr::new("--root"), root])));
    let mut append = command(append);
    append.arg(root);
    [("append", run_with(append, b"x\n"))].into_iter().chain(others).collect()
}

#[test]
fn a_root_without_marker_is_named_and_left_alone() {
    for directory in test_roots() {
        for root in [directory.join("empty"), directory.join("absent")] {
            if root.ends_with("empty") {
                std::fs::create_dir(&root).expect("a fresh directory");
            }
            for (name, ran) in on_root(root.as_os_str()) {
                let complaint = ran.complaint(66);
                let expected = format!(
                    "{} has no zoutbox.json: it is no zoutbox share, or the share is not mounted there",
                    root.display()
                );
                assert_eq!(complaint, expected, "{name}");
            }
        }
        let left: Vec<_> = tree(&directory).into_iter().map(|(path, _)| path).collect();
        assert_eq!(left, [directory.join("empty")]);
    }
}

#[test]
fn a_newer_or_damaged_marker_is_named_and_left_alone() {
    for share in Share::all() {
        let marker = share.path("zoutbox.json");
        let cases =
            [(&br#"{"format":2,"share":1}"#[..], 76, "format 2"), (b"{}", 2, "not a zoutbox share marker")];
        for (content, code, says) in cases {
            std::fs::write(&marker, content).expect("a share");
            let before = share.tree();
            let mut init = command(["init"]);
            init.arg(&share.root);
            let runs = on_root(share.root.as_os_str()).into_iter().chain([("init", run_with(init, b""))]);
            for (name, ran) in runs {
                let complaint = ran.complaint(code);
                assert!(complaint.starts_with(marker.to_str().unwrap()), "{name}: {complaint}");
                assert!(complaint.contains(says), "{name}: {complaint}");
            }
            assert_eq!(share.tree(), before);
        }
    }
}

#[test]
fn an_impossible_option_is_named_before_anything_is_touched() {
    for share in Share::all() {
        let before = share.tree();
        let long = "x".repeat(65);
        let topic = "t".repeat(256);
        let huge = format!("h={}", "x".repeat(65_536));
        let cases: [(&[&str], i32, &str); 14] = [
            (&["--writer", "../up"], 64, "'../up'"),
            (&["--writer", "a/b"], 64, "'a/b'"),
            (&["--writer", ""], 64, "'--writer <ID>'"),
            (&["--writer", &long], 64, "1 to 64 characters"),
            (&["--writer", "w", "--topic", &topic], 65, "--topic: topic is 256 bytes long, the limit is 255"),
            (&["--writer", "w", "--key", &topic], 65, "--key: key is 256 bytes"),
            (&["--writer", "w", "--content-type", &topic], 65, "--content-type: content type is 256 bytes"),
            (&["--writer", "w", "--header", "novalue"], 65, "--header 'novalue': not NAME=VALUE"),
            (&["--writer", "w", "--header", "zoutbox-seq=1"], 65, "--header zoutbox-seq: names that start"),
            (&["--writer", "w", "--header", "a=1", "--header", "a=2"], 65, "--header: header name"),
            (&["--writer", "w", "--header", "=1"], 65, "--header: header name '' is empty"),
            (&["--writer", "w", "--header", &huge], 65, "--header: headers together is"),
            (&["--writer", "w", "--segment-size", "1"], 64, "--segment-size: 1 bytes, must be from 65536"),
            (
                &["--writer", "w", "--max-unconfirmed", "0"],
                64,
                "--max-unconfirmed: 0 bytes, must be at least 1",
            ),
        ];
        for (arguments, code, says) in cases {
            let complaint = run_with(share.command("append", arguments), b"x\n").complaint(code);
            assert!(complaint.contains(says), "{arguments:?}: {complaint}");
        }
        let complaint = share.run("append", &[]).complaint(64);
        assert_eq!(
            complaint,
            "the following required arguments were not provided: --writer <ID> (see zoutbox --help)"
        );
        assert!(share.run("cat", &["--from", "0"]).complaint(64).contains("'--from <SEQ>'"));
        assert_eq!(share.tree(), before);
    }
}

#[test]
fn a_second_live_writer_of_an_id_is_refused_and_told_who_holds_it() {
    for share in Share::all() {
        let mut first = Running::start(&share, &["--writer", "w"]);
        first.send("one\n");
        assert_eq!(first.ack(), "w/1/1");
        // But for the next segment, which the first one prepares meanwhile.
        let rest = || {
            let mut files = share.tree();
            files.retain(|(path, _)| !path.file_name().unwrap().to_str().unwrap().starts_with("next-"));
            files
        };
        let before = rest();
        let second = run_with(share.command("append", &["--writer", "w"]), b"two\n");
        let complaint = second.complaint(75);
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host");
        assert!(
            complaint.contains(&format!("host {}, process {}", host.trim(), first.child.id())),
            "{complaint}"
        );
        assert!(complaint.contains(share.path("writers/w/writer.lock").to_str().unwrap()), "{complaint}");
        assert_eq!(rest(), before);
        first.send("three\n");
        assert_eq!(first.ack(), "w/1/2");
        assert_eq!(first.end().code, Some(0));
        assert_eq!(share.run("cat", &[]).good().lines().count(), 2);
    }
}

#[test]
fn a_line_over_the_limit_is_named_and_all_before_it_is_durable() {
    for share in Share::all() {
        let limit = 16 * 1024 * 1024;
        let mut input = b"first\n".to_vec();
        input.resize(input.len() + limit, b'x');
        input.extend(b"\nlast\n");
        input.resize(input.len() + limit + 1, b'y');
        input.extend(b"\nnever\n");
        let ran = run_with(share.command("append", &["--writer", "w", "--acks"]), &input);
        assert_eq!(ran.out, "w/1/1\nw/1/2\nw/1/3\n");
        let says = "standard input: line 4 is over 16777216 bytes (16 MiB); lines 1 to 3 are durable";
        assert_eq!(ran.complaint(65), says);
        let read = share.run("cat", &[]).good();
        let lengths: Vec<_> =
            read.lines().map(|l| crate::support::json(l)["payload"].as_str().map_or(0, str::len)).collect();
        assert_eq!(lengths, [5, limit, 4]);
    }
}

#[test]
fn a_share_with_too_little_space_takes_nothing_when_told_to_fail() {
    for share in Share::all() {
        let options = ["--writer", "w", "--min-free-space", "1000000GiB", "--when-full", "fail"];
        let complaint = run_with(share.command("append", &options), b"x\n").complaint(75);
        assert!(complaint.starts_with("line 1 was not appended: full: min_free_space"), "{complaint}");
        assert_eq!(share.run("cat", &[]).good(), "");
        assert_eq!(share.run("verify", &[]).code, Some(0));
    }
}

/// A write that fails in the middle: here by the limit on file sizes.
#[test]
fn a_failing_write_ends_it_and_only_durable_records_are_acknowledged() {
    for share in Share::all() {
        let mut limited = Command::new("sh");
        let script = r#"trap '' XFSZ; ulimit -f 200; exec "$0" "$@""#;
        limited.args([
            "-c",
            script,
            env!("CARGO_BIN_EXE_zoutbox"),
            "append",
            "--acks",
            "--writer",
            "w",
            "--root",
        ]);
        limited.arg(&share.root);
        let lines = (1..=3000).map(|n| format!("{n:<999}\n")).collect::<Vec<_>>().concat();
        let ran = run_with(limited, lines.as_bytes());
        let acks: Vec<_> = ran.out.lines().map(str::to_owned).collect();
        assert_ne!(ran.code, Some(0), "{}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert!(ran.err.contains("line ") && ran.err.contains("writers/w"), "{}", ran.err);
        let read = share.run("cat", &[]);
        let records: Vec<_> =
            read.out.lines().map(|l| crate::support::json(l)["id"].as_str().unwrap().to_owned()).collect();
        assert!(acks.iter().all(|ack| records.contains(ack)), "acknowledged and not there");
    }
}

#[test]
fn a_share_that_cannot_be_written_is_an_error_that_names_the_path() {
    for share in Share::all() {
        use std::os::unix::fs::PermissionsExt;
        let mode = |mode| {
            for directory in [share.path("writers"), share.root.clone()] {
                std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode)).expect("ours");
            }
        };
        mode(0o555);
        let before = share.tree();
        // Root may write everywhere unless it gives that up.
        let mut append = Command::new("setpriv");
        append.args([
            "--bounding-set=-all",
            env!("CARGO_BIN_EXE_zoutbox"),
            "append",
            "--writer",
            "w",
            "--root",
        ]);
        append.arg(&share.root);
        let complaint = run_with(append, b"x\n").complaint(73);
        mode(0o755);
        assert!(complaint.contains(share.path("writers/w").to_str().unwrap()), "{complaint}");
        assert!(complaint.contains("Permission denied"), "{complaint}");
        assert_eq!(share.tree(), before);
    }
}

#[test]
fn a_directory_where_a_file_should_be_is_named() {
    for share in Share::all() {
        let place = share.path("writers/w/00000000000000000001-00000000000000000001.seg");
        std::fs::create_dir_all(&place).expect("a share");
        for name in ["cat", "verify"] {
            let ran = share.run(name, &[]);
            assert_eq!(ran.code, Some(2), "{name}");
            let said = format!("{}{}", ran.out, ran.err);
            assert!(said.contains(place.to_str().unwrap()), "{name}: {said}");
        }
        assert_eq!(share.run("status", &[]).code, Some(0));
        let dumped = run([OsStr::new("dump"), place.as_os_str()]).complaint(2);
        assert_eq!(dumped, format!("{} is a directory, not a file", place.display()));

        let lock = share.path("writers/x/writer.lock");
        std::fs::create_dir_all(&lock).expect("a share");
        let complaint = run_with(share.command("append", &["--writer", "x"]), b"x\n").complaint(2);
        assert_eq!(complaint, format!("{} is a directory, not a file", lock.display()));
    }
    for directory in test_roots() {
        let marker = directory.join("zoutbox.json");
        std::fs::create_dir(&marker).expect("a fresh directory");
        for (name, ran) in on_root(directory.as_os_str()) {
            assert_eq!(
                ran.complaint(2),
                format!("{} is a directory, not a file", marker.display()),
                "{name}"
            );
        }
    }
}

#[test]
fn a_root_that_cannot_be_made_is_named() {
    for directory in test_roots() {
        let file = directory.join("file");
        std::fs::write(&file, "x").expect("a fresh directory");
        for root in [file.clone(), directory.join("no/such/parent")] {
            let complaint = run([OsStr::new("init"), root.as_os_str()]).complaint(73);
            let says = format!("can't create directory {}", root.display());
            assert!(complaint.starts_with(&says), "{complaint}");
        }
        assert_eq!(tree(&directory).len(), 1);
    }
}

#[test]
fn an_input_that_cannot_be_read_is_an_error() {
    for share in Share::all() {
        let mut append = share.command("append", &["--writer", "w"]);
        let directory = std::fs::File::open(&share.root).expect("a share");
        let output = append.stdin(Stdio::from(directory)).output().expect("the program");
        let complaint = Ran::from(output).complaint(74);
        assert!(complaint.starts_with("can't read standard input: Is a directory"), "{complaint}");
    }
}
