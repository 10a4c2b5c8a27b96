//! `zoutbox cat`.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Ran, Running, Share, flip, json, offsets};

fn ids(out: &str) -> Vec<String> {
    out.lines().map(|line| json(line)["id"].as_str().expect("a string").to_owned()).collect()
}

#[test]
fn a_record_is_one_line_of_json_with_every_field() {
    for share in Share::all() {
        share.append_with(&["--writer", "w", "--key", "k"], "a \"line\"");
        let line = share.run("cat", &[]).good();
        let stamp = json(&line)["timestamp_ms"].as_u64().expect("a number");
        assert!(stamp > 1_700_000_000_000);
        let expected = format!(
            concat!(
                r#"{{"id":"w/1/1","writer":"w","epoch":1,"sequence":1,"topic":"w","key":"k","#,
                r#""application_id":null,"timestamp_ms":{},"content_type":null,"headers":{{}},"#,
                r#""payload":"a \"line\"","payload_encoding":"utf8"}}"#,
                "\n"
            ),
            stamp
        );
        assert_eq!(line, expected);
        assert_eq!(share.run("cat", &["--json"]).good(), line);
    }
}

#[test]
fn writers_come_in_the_order_of_their_ids_or_alone_and_from_where_asked() {
    for share in Share::all() {
        share.append("b", "1\n2\n");
        share.append("a", "1\n");
        share.append("b", "3\n4\n");
        let all = ["a/1/1", "b/1/1", "b/1/2", "b/2/3", "b/2/4"];
        assert_eq!(ids(&share.run("cat", &[]).good()), all);
        assert_eq!(ids(&share.run("cat", &["--writer", "b"]).good()), all[1..]);
        for from in 1..=5 {
            let found = ids(&share.run("cat", &["--writer", "b", "--from", &from.to_string()]).good());
            assert_eq!(found, all[from..], "from {from}");
        }
        let complaint = share.run("cat", &["--writer", "c"]).complaint(66);
        assert!(complaint.starts_with("--writer c: there is no such writer on "), "{complaint}");
    }
}

#[test]
fn damage_in_front_of_where_reading_starts_is_not_told_of() {
    for share in Share::all() {
        share.append_many("w", 300);
        let segments = share.segments("w");
        flip(&segments[0], 1000);
        let ran = share.run("cat", &["--from", "250"]);
        assert_eq!(ids(&ran.good()).len(), 51);
    }
}

#[test]
fn damage_is_told_with_its_range_and_reading_goes_on_behind_it() {
    for share in Share::all() {
        share.append_many("w", 100);
        share.append("x", "fine\n");
        let first = &share.segments("w")[0];
        let at = offsets(first)[9].1;
        flip(first, at + 100);
        let ran = share.run("cat", &[]);
        let expected: Vec<_> =
            (1..=100).filter(|n| *n != 10).map(|n| format!("w/1/{n}")).chain(["x/1/1".into()]).collect();
        assert_eq!(ids(&ran.out), expected);
        let says =
            format!("{}: offset {at}: frame CRC does not match: lost sequence 10 of w", first.display());
        assert_eq!(ran.complaint(2), says);
    }
}

#[test]
fn damage_at_the_live_end_is_not_taken_for_a_torn_tail() {
    for share in Share::all() {
        let mut running = Running::start(&share, &["--writer", "w"]);
        for _ in 0..5 {
            running.send("a line\n");
            running.ack();
        }
        let live = &share.segments("w")[0];
        flip(live, offsets(live)[1].1 + 30);
        let ran = share.run("cat", &[]);
        assert_eq!(ids(&ran.out), ["w/1/1", "w/1/3", "w/1/4", "w/1/5"]);
        assert!(ran.complaint(2).ends_with("lost sequence 2 of w"));
        running.signal(nix::sys::signal::Signal::SIGKILL);
        running.end();
    }
}

#[test]
fn a_torn_tail_is_no_damage() {
    for share in Share::all() {
        let mut running = Running::start(&share, &["--writer", "w"]);
        running.send("one\n");
        running.ack();
        running.signal(nix::sys::signal::Signal::SIGKILL);
        running.end();
        let live = &share.segments("w")[0];
        let mut bytes = std::fs::read(live).expect("a segment");
        let end = bytes.iter().rposition(|byte| *byte != 0).expect("content") + 1;
        bytes.truncate(end);
        bytes.extend(b"ZFRM\x01\0\0\0\x20\0\0\0 half a frame");
        std::fs::write(live, &bytes).expect("a segment");
        assert_eq!(ids(&share.run("cat", &[]).good()), ["w/1/1"]);
        assert_eq!(share.run("verify", &[]).code, Some(0));
        assert_eq!(share.append("w", "two\n"), "w/2/2\n");
        assert_eq!(ids(&share.run("cat", &[]).good()), ["w/1/1", "w/2/2"]);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for share in Share::all() {
        share.append_many("w", 2000);
        let mut command = share.command("cat", &[]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        drop(child.stdout.take());
        let ran: Ran = child.wait_with_output().expect("the program").into();
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    }
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    for share in Share::all() {
        share.append("w", "x\n");
        for name in ["cat", "status", "verify"] {
            let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
            let output = share.command(name, &[]).stdout(Stdio::from(full)).output().expect("the program");
            let complaint = Ran::from(output).complaint(74);
            assert!(complaint.starts_with("can't write to standard output: No space left"), "{complaint}");
        }
    }
}

#[test]
fn archived_segments_are_read_on_demand() {
    for share in Share::all() {
        share.append_many("w", 200);
        let archive = share.path("archive/w");
        std::fs::create_dir_all(&archive).expect("a share");
        let oldest = share.segments("w").remove(0);
        let moved = archive.join(oldest.file_name().unwrap());
        std::fs::rename(&oldest, &moved).expect("one file system");
        let without = ids(&share.run("cat", &[]).good());
        let with = ids(&share.run("cat", &["--archive"]).good());
        assert_eq!((without[0].as_str() > "w/1/1", with.len()), (true, 200));
        assert_eq!(with[200 - without.len()..], without);
    }
}

/// The relay reclaims while somebody reads: what it removed is confirmed, so nothing is lost.
#[test]
fn segments_that_vanish_while_they_are_read_are_no_damage_once_confirmed() {
    for share in Share::all() {
        share.append_many("w", 2000);
        let segments = share.segments("w");
        let newest = segments.last().unwrap();
        let first = offsets(newest)[0];
        share.confirm("w", newest, first.1, first.0);
        let going = AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for segment in &segments[..segments.len() - 1] {
                    std::fs::remove_file(segment).expect("a segment");
                    std::thread::yield_now();
                }
                going.store(false, Ordering::Relaxed);
            });
            while going.load(Ordering::Relaxed) {
                for name in ["cat", "verify", "status"] {
                    let ran = share.run(name, &[]);
                    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{name}: {}", ran.out.len());
                }
            }
        });
        let left = ids(&share.run("cat", &[]).good());
        assert_eq!(left.len() as u64, 2001 - first.0);
    }
}
