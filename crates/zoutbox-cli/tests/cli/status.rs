//! `zoutbox status`.

use serde_json::Value;
use zoutbox_format::{Epoch, Holder, Wait, Waits, WriterId};
use zoutbox_storage::System;

use crate::support::{Running, Share, flip, json, offsets};

fn lanes(share: &Share) -> Vec<Value> {
    let status = json(&share.run("status", &["--json"]).good());
    status["writers"].as_array().expect("an array").clone()
}

#[test]
fn nothing_confirmed_means_everything_lags() {
    for share in Share::all() {
        share.append_many("w", 200);
        share.append("a", "x\n");
        let segments = share.segments("w");
        let status = json(&share.run("status", &["--json"]).good());
        assert_eq!(status["share"], share.id().to_string());
        assert_eq!(status["root"], share.root.to_str().unwrap());
        assert!(status["space"]["available_bytes"].as_u64() <= status["space"]["total_bytes"].as_u64());
        assert_eq!(status["relay"], Value::Null);
        let lanes = lanes(&share);
        assert_eq!((&lanes[0]["writer"], &lanes[1]["writer"]), (&"a".into(), &"w".into()));
        let lane = &lanes[1];
        for (field, expected) in [
            ("durable", 200),
            ("confirmed", 0),
            ("lag_records", 200),
            ("epoch", 1),
            ("segments", segments.len() as u64),
        ] {
            assert_eq!(lane[field], expected, "{field}");
        }
        let frames: u64 = segments.iter().map(|s| std::fs::metadata(s).unwrap().len() - 160 - 44).sum();
        assert_eq!(lane["lag_bytes"], frames);
        let files: u64 = segments.iter().map(|s| std::fs::metadata(s).unwrap().len()).sum();
        assert_eq!(lane["segment_bytes"], files);
        assert!(lane["lag_seconds"].as_f64().is_some_and(|lag| lag >= 0.0));
        assert!(lane["holder"]["pid"].as_u64().is_some_and(|pid| pid > 0));
        assert_eq!(lane["damages"], Value::Array(vec![]));
    }
}

#[test]
fn lag_counts_from_the_checkpoint_wherever_it_is() {
    for share in Share::all() {
        share.append_many("w", 200);
        let segments = share.segments("w");
        let all: Vec<_> = segments.iter().map(|segment| offsets(segment)).collect();
        let frame = all[0][1].1 - all[0][0].1;
        for (segment, frames) in segments.iter().zip(&all) {
            for (sequence, offset) in [frames[0], frames[frames.len() / 2], *frames.last().unwrap()] {
                share.confirm("w", segment, offset, sequence);
                let lane = &lanes(&share)[0];
                assert_eq!(lane["confirmed"], sequence - 1);
                assert_eq!(lane["lag_records"], 201 - sequence);
                let bytes = lane["lag_bytes"].as_u64().unwrap();
                // Two bytes a frame at most: numbers of one to three digits are padded, times are not.
                assert!(
                    bytes.abs_diff(frame * (201 - sequence)) <= 4 * (201 - sequence),
                    "{bytes} for {sequence}"
                );
            }
        }
        let last = segments.last().unwrap();
        let end = std::fs::metadata(last).unwrap().len() - 44;
        share.confirm("w", last, end, 201);
        let lane = &lanes(&share)[0];
        let lag = ["lag_records", "lag_bytes"].map(|field| lane[field].as_u64());
        assert_eq!((lane["confirmed"].as_u64(), lag), (Some(200), [Some(0), Some(0)]));
        assert_eq!(lane["lag_seconds"], 0.0);
    }
}

#[test]
fn a_long_backlog_is_counted_and_not_read() {
    for share in Share::all() {
        share.append_many("w", 300);
        let segments = share.segments("w");
        for middle in &segments[1..segments.len() - 1] {
            flip(middle, 1000);
        }
        let lane = &lanes(&share)[0];
        assert_eq!((&lane["durable"], &lane["lag_records"]), (&300.into(), &300.into()));
        assert_eq!(lane["damages"], Value::Array(vec![]), "verify is what reads everything");
    }
}

#[test]
fn a_live_writer_shows_what_is_durable_and_who_it_is() {
    for share in Share::all() {
        let mut running = Running::start(&share, &["--writer", "w"]);
        running.send("one\ntwo\n");
        running.ack();
        running.ack();
        let lane = &lanes(&share)[0];
        assert_eq!((&lane["durable"], &lane["segments"]), (&2.into(), &1.into()));
        assert_eq!(lane["holder"]["pid"], running.child.id());
        running.send("three\n");
        assert_eq!(running.ack(), "w/1/3", "looking does not disturb");
        running.end();
    }
}

#[test]
fn a_damaged_checkpoint_and_a_damaged_end_are_shown() {
    for share in Share::all() {
        share.append("w", "1\n");
        share.append("w", "2\n3\n4\n");
        std::fs::write(share.path("relay/checkpoints/w"), "nonsense").expect("a share");
        let newest = share.segments("w").pop().unwrap();
        let at = offsets(&newest)[1];
        flip(&newest, at.1 + 30);
        let lane = &lanes(&share)[0];
        assert_eq!(
            (&lane["durable"], &lane["confirmed"], &lane["lag_records"]),
            (&4.into(), &0.into(), &4.into())
        );
        let damages = lane["damages"].as_array().unwrap();
        assert_eq!(damages.len(), 2);
        assert_eq!(damages[0]["file"], share.path("relay/checkpoints/w").to_str().unwrap());
        assert_eq!((&damages[1]["offset"], &damages[1]["lost_from"]), (&at.1.into(), &3.into()));
        let table = share.run("status", &[]).good();
        assert_eq!(table.lines().filter(|line| line.starts_with("damage: ")).count(), 2, "{table}");
    }
}

#[test]
fn the_table_is_aligned() {
    for share in Share::all() {
        assert!(share.run("status", &[]).good().ends_with("no writers yet\n"));
        share.append("a-rather-long-writer-id", "x\n");
        share.append_many("b", 100);
        std::fs::write(share.path("writers/NOT-A-WRITER"), "").expect("a share");
        let table = share.run("status", &[]).good();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 5, "{table}");
        let column = lines[1].find("LAST HELD BY").expect("a heading");
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host");
        for row in &lines[2..4] {
            assert!(row[column..].starts_with(host.trim()), "{table}");
        }
        let durable = lines[1].find("DURABLE").expect("a heading") + "DURABLE".len();
        assert!(lines[2][..durable].ends_with(" 1") && lines[3][..durable].ends_with(" 100"), "{table}");
        assert_eq!(lines[4], "note: writers/NOT-A-WRITER is no writer's directory");
    }
}

/// As a relay would.
fn lease(share: &Share, epoch: u64) {
    let holder = Holder {
        epoch: Epoch::new(epoch),
        next_sequence: None,
        host: "elsewhere".into(),
        pid: 7,
        doorbell: None,
    };
    std::fs::write(share.path("relay/lease"), holder.encode()).expect("a share");
}

fn waits(share: &Share, epoch: u64, omitted: u64) {
    let now_ms = System::real().clock.now_ms();
    let wait = |writer: Option<&str>, what: &str, seconds_ago: u64| Wait {
        writer: writer.map(|writer| WriterId::new(writer).expect("valid")),
        what: what.into(),
        since_ms: now_ms - seconds_ago * 1000 - 500,
    };
    let waits = vec![
        wait(None, "the broker is not connected: refused", 3660),
        wait(Some("orders"), "halted at orders/1/5: no queue takes it", 360),
        wait(Some("gone"), "the share does not answer: reading writer gone", 10_000),
    ];
    let waits = Waits { relay_epoch: Epoch::new(epoch), written_ms: now_ms, waits, omitted };
    std::fs::write(share.path("relay/waits"), waits.encode()).expect("a share");
}

#[test]
fn what_the_relay_waits_for_is_told_below_the_table_and_with_its_lane() {
    for share in Share::all() {
        share.append("orders", "x\n");
        share.append("sound", "x\n");
        lease(&share, 3);
        waits(&share, 3, 9);
        let status = json(&share.run("status", &["--json"]).good());
        let whats = |value: &Value| -> Vec<String> {
            let waits = value["waits"].as_array().expect("an array").iter();
            waits.map(|wait| wait["what"].as_str().expect("a text").to_owned()).collect()
        };
        assert_eq!(whats(&status["writers"][0]), ["halted at orders/1/5: no queue takes it"]);
        assert!(status["writers"][0]["waits"][0]["since_ms"].as_u64() > Some(1_700_000_000_000));
        assert_eq!(status["writers"][0]["waits"][0]["relay_epoch"], 3);
        assert_eq!(whats(&status["writers"][1]), Vec::<String>::new());
        let gone = "gone: the share does not answer: reading writer gone";
        assert_eq!(whats(&status["relay"]), ["the broker is not connected: refused", gone]);
        assert_eq!(status["notes"], Value::from(vec!["the relay waits for 9 things more"]));
        let table = share.run("status", &[]).good();
        let lines: Vec<_> = table.lines().skip(4).collect();
        let expected = [
            "waits: relay: the broker is not connected: refused, for 61 min (relay epoch 3)",
            "waits: relay: gone: the share does not answer: reading writer gone, for 2 h (relay epoch 3)",
            "waits: orders: halted at orders/1/5: no queue takes it, for 6 min (relay epoch 3)",
            "note: the relay waits for 9 things more",
        ];
        assert_eq!(lines, expected, "{table}");
    }
}

#[test]
fn what_a_relay_before_the_last_one_waited_for_says_nothing_about_now() {
    for share in Share::all() {
        share.append("orders", "x\n");
        waits(&share, 3, 0);
        assert!(!share.run("status", &[]).good().contains("waits:"), "nobody ever took the lease");
        lease(&share, 4);
        assert!(!share.run("status", &[]).good().contains("waits:"), "an older relay");
        lease(&share, 3);
        assert!(share.run("status", &[]).good().contains("waits:"));
    }
}

#[test]
fn waits_that_can_not_be_understood_are_a_note_and_no_error() {
    for share in Share::all() {
        share.append("orders", "x\n");
        lease(&share, 3);
        let path = share.path("relay/waits");
        waits(&share, 3, 0);
        let mut oversized = std::fs::read(&path).expect("a share");
        oversized.resize(zoutbox_format::waits::MAX_WAITS_LENGTH + 1, b' ');
        for content in [&b""[..], b"nonsense", b"{}", &oversized] {
            std::fs::write(&path, content).expect("a share");
            let table = share.run("status", &[]).good();
            let note = format!("note: {} is damaged: ignored", path.display());
            assert!(table.lines().any(|line| line == note) && !table.contains("waits:"), "{table}");
        }
        std::fs::remove_file(&path).expect("a share");
        std::fs::create_dir(&path).expect("a share");
        let status = json(&share.run("status", &["--json"]).good());
        assert_eq!(status["notes"][0], format!("{} is a directory, not a file: ignored", path.display()));
        assert_eq!(status["writers"][0]["durable"], 1);
    }
}
