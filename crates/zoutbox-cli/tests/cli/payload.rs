//! `zoutbox append --payload`, and what the other commands make of large payloads.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zoutbox_test_support::wait_until;

use crate::support::{LONG, Ran, Share, flip, json, run_with, tree};

const MIB: usize = 1024 * 1024;

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at.wrapping_mul(2_654_435_761) >> 16 & 0xFF).unwrap()).collect()
}

/// A file with so many bytes, beside the share.
fn file(share: &Share, length: usize) -> PathBuf {
    let path = share.root.with_file_name(format!("input-{length}"));
    std::fs::write(&path, bytes(length)).expect("a file");
    path
}

/// Files below `payloads`.
fn payloads(share: &Share) -> Vec<PathBuf> {
    tree(&share.path("payloads")).into_iter().filter_map(|(path, content)| content.map(|_| path)).collect()
}

fn is_temporary(path: &Path) -> bool {
    path.extension().is_some_and(|suffix| suffix == "tmp")
}

fn append(share: &Share, payload: &Path, arguments: &[&str]) -> Ran {
    let mut command = share.command("append", &["--writer", "w", "--acks"]);
    command.args(arguments).arg("--payload").arg(payload);
    run_with(command, b"")
}

#[test]
fn a_file_is_one_record_and_a_large_one_a_file_of_its_own_that_cat_and_verify_know() {
    for share in Share::all() {
        let (small, large) = (file(&share, 1000), file(&share, 3 * MIB + 5));
        let options =
            ["--topic", "t", "--key", "k", "--content-type", "c", "--header", "a=b", "--id", "scan-1"];
        assert_eq!(append(&share, &large, &options).good(), "w/1/1\n");
        assert_eq!(append(&share, &small, &options).good(), "w/2/2\n");
        let records: Vec<_> = share.run("cat", &[]).good().lines().map(json).collect();
        for record in &records {
            assert_eq!((&record["topic"], &record["key"]), (&"t".into(), &"k".into()));
            assert_eq!((&record["content_type"], &record["application_id"]), (&"c".into(), &"scan-1".into()));
            assert_eq!(record["headers"]["a"], "b");
        }
        let headers = &records[0]["headers"];
        assert_eq!(
            (&records[0]["payload"], &headers["zoutbox-payload-size"]),
            (&"".into(), &"3145733".into())
        );
        let path = share.path(headers["zoutbox-payload-path"].as_str().expect("a path"));
        assert_eq!(payloads(&share), [path.as_path()]);
        assert!(std::fs::read(&path).expect("a payload") == bytes(3 * MIB + 5));
        assert_eq!(records[1]["headers"]["zoutbox-payload-path"], serde_json::Value::Null);
        assert_eq!(records[1]["payload_encoding"], "base64");
        let report = json(&share.run("verify", &["--json"]).good());
        assert_eq!((&report["payloads"], &report["payload_bytes"]), (&1.into(), &3_145_733.into()));
        assert!(share.run("verify", &[]).good().ends_with(" bytes, 1 large payload, 3145733 bytes\n"));
    }
}

#[test]
fn the_threshold_decides_and_standard_input_is_a_file_as_well() {
    for share in Share::all() {
        for (threshold, files) in [("2KiB", 0), ("1999", 1), ("0", 2)] {
            let arguments = ["--writer", "w", "--payload", "-", "--payload-threshold", threshold, "--acks"];
            let acked = run_with(share.command("append", &arguments), &bytes(2000)).good();
            assert_eq!(acked.lines().count(), 1);
            assert_eq!(payloads(&share).len(), files, "{threshold}");
        }
        share.run("verify", &[]).good();
    }
}

#[test]
fn a_second_try_with_the_same_id_writes_nothing_again() {
    for share in Share::all() {
        let large = file(&share, 2 * MIB);
        append(&share, &large, &["--id", "a"]).good();
        let before = std::fs::metadata(payloads(&share).remove(0)).expect("a payload");
        append(&share, &large, &["--id", "a"]).good();
        let after = std::fs::metadata(payloads(&share).remove(0)).expect("a payload");
        let known = |metadata: &std::fs::Metadata| (metadata.ino(), metadata.mtime_nsec(), metadata.nlink());
        assert_eq!((payloads(&share).len(), known(&before)), (1, known(&after)));
        assert_eq!(json(&share.run("verify", &["--json"]).good())["payloads"], 2);
        let complaint = append(&share, &file(&share, 2 * MIB + 1), &["--id", "a"]).complaint(65);
        assert!(complaint.contains("another payload of the same id"), "{complaint}");
        assert_eq!(payloads(&share).len(), 1);
    }
}

#[test]
fn what_can_not_be_appended_is_refused_in_one_line_and_leaves_nothing() {
    for share in Share::all() {
        let large = file(&share, 2 * MIB);
        let missing = share.root.with_file_name("missing");
        let cases: &[(&Path, &[&str], i32, &str)] = &[
            (&large, &["--id", "a/b"], 65, "--id: 'a/b' can't name a large payload"),
            (&large, &["--id", ""], 65, "--id: '' can't name"),
            (&large, &["--payload-threshold", "17MiB"], 64, "--payload-threshold: "),
            (&missing, &[], 66, "missing: can't read it: No such file"),
            (&share.root, &[], 74, "share: can't read it: Is a directory"),
            (&large, &["--min-free-space", "1000000GiB"], 75, "the payload was not appended: full"),
            (&large, &["--min-free-space", "1000000GiB", "--when-full", "fail"], 75, "not appended: full"),
        ];
        for (payload, arguments, code, says) in cases {
            let complaint = append(&share, payload, arguments).complaint(*code);
            assert!(complaint.contains(says), "{complaint}");
            assert!(payloads(&share).is_empty());
        }
        assert_eq!(share.run("cat", &[]).good(), "");
        let complaint = share.run("append", &["--writer", "w", "--id", "a"]).complaint(64);
        assert!(complaint.contains("--payload <FILE>"), "{complaint}");
    }
}

/// An append that reads standard input, and has written so many bytes of it.
fn streaming(share: &Share, input: &[u8], written: u64) -> Child {
    let mut command = share.command("append", &["--writer", "w", "--payload", "-", "--id", "a"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    child.stdin.as_mut().expect("piped").write_all(input).expect("the program reads");
    wait_until("some of it is written", LONG, || {
        let length = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        payloads(share).first().is_some_and(|path| is_temporary(path) && length(path) >= written)
    });
    child
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("it runs");
}

/// Waits for a program to end by itself; one that does not is ended.
fn ends(child: &mut Child) -> std::process::ExitStatus {
    let start = std::time::Instant::now();
    while child.try_wait().expect("a child").is_none() && start.elapsed() < LONG {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // An error if it has ended.
    drop(child.kill());
    child.wait().expect("a child")
}

#[test]
fn killed_while_it_writes_it_leaves_nothing_to_be_taken_for_a_payload_and_a_second_try_works() {
    for share in Share::all() {
        let mut child = streaming(&share, &bytes(5 * MIB), 4 << 20);
        send(&child, Signal::SIGKILL);
        child.wait().expect("killed");
        let left = payloads(&share);
        assert!(left.len() == 1 && is_temporary(&left[0]), "{left:?}");
        assert_eq!(share.run("cat", &[]).good(), "");
        share.run("verify", &[]).good();

        let whole = file(&share, 6 * MIB);
        assert_eq!(append(&share, &whole, &["--id", "a"]).good(), "w/2/1\n");
        let finished: Vec<_> = payloads(&share).into_iter().filter(|path| !is_temporary(path)).collect();
        assert_eq!(finished.len(), 1);
        assert!(std::fs::read(&finished[0]).expect("a payload") == bytes(6 * MIB));
        assert_eq!(json(&share.run("verify", &["--json"]).good())["payloads"], 1);
    }
}

#[test]
fn a_signal_while_it_reads_ends_it_with_nothing_left() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        for share in Share::all() {
            let mut child = streaming(&share, &bytes(3 * MIB), 2 << 20);
            let _input = child.stdin.take();
            send(&child, signal);
            ends(&mut child);
            let ran: Ran = child.wait_with_output().expect("it ended").into();
            assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(code), "", ""));
            assert!(payloads(&share).is_empty() && share.run("cat", &[]).good().is_empty());
        }
    }
}

/// Nobody can cancel a wait inside the library, so the signal ends the program.
#[test]
fn a_signal_ends_the_wait_for_room_in_the_log_too() {
    for share in Share::all() {
        share.append("w", "unconfirmed\n");
        let large = file(&share, 2 * MIB);
        let mut command = share.command("append", &["--writer", "w", "--max-unconfirmed", "1", "--id", "a"]);
        command.arg("--payload").arg(&large).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        wait_until("the payload is there", LONG, || payloads(&share).iter().any(|path| !is_temporary(path)));
        assert!(child.try_wait().expect("a child").is_none(), "it does not wait");
        send(&child, Signal::SIGTERM);
        let ended = ends(&mut child);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(15));
        assert_eq!(share.run("cat", &[]).good().lines().count(), 1);
    }
}

#[test]
fn verify_finds_a_payload_that_is_not_what_its_record_says() {
    for share in Share::all() {
        share.append("w", "a line\n");
        append(&share, &file(&share, 2 * MIB), &["--id", "a"]).good();
        let path = payloads(&share).remove(0);
        let whole = std::fs::read(&path).expect("a payload");
        let found = |what: &str| {
            let report = json(&share.run("verify", &["--json"]).out);
            let damage = &report["damages"][0];
            let reason = damage["reason"].as_str().expect("a text").to_owned();
            assert!(reason.contains(what), "{reason}");
            assert_eq!((&damage["writer"], &damage["lost_from"]), (&"w".into(), &2.into()));
            assert_eq!((&damage["lost_records"], &report["payloads"]), (&1.into(), &0.into()));
            assert_eq!(report["damages"].as_array().expect("an array").len(), 1);
            let text = share.run("verify", &[]);
            assert_eq!(text.code, Some(2));
            let line = format!("{}: offset 0: {reason}: lost sequence 2 of w\n", path.display());
            assert!(text.out.starts_with(&line), "{}", text.out);
        };
        flip(&path, 1_500_000);
        found("CRC of the large payload is ");
        std::fs::write(&path, &whole[..MIB]).expect("a payload");
        found("the large payload has 1048576 bytes, its record says 2097152");
        std::fs::remove_file(&path).expect("a payload");
        found("the large payload is missing");
        let elsewhere = share.root.with_file_name("elsewhere");
        std::fs::write(&elsewhere, &whole).expect("a file");
        symlink(&elsewhere, &path).expect("a link");
        found("the large payload is a link or special file, not a file");
        std::fs::remove_file(&path).expect("a link");
        let hour = path.parent().expect("a directory");
        std::fs::remove_dir(hour).expect("empty");
        found("the large payload is missing");
        std::fs::create_dir(share.root.with_file_name("hour")).expect("a directory");
        std::fs::write(share.root.with_file_name("hour").join("a"), &whole).expect("a file");
        symlink(share.root.with_file_name("hour"), hour).expect("a link");
        found("is a link or special file, not a directory");
        std::fs::remove_file(hour).expect("a link");
        std::fs::create_dir(hour).expect("a directory");
        std::fs::write(&path, &whole).expect("a payload");
        share.run("verify", &[]).good();
    }
}
