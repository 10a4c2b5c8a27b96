//! `zoutbox verify`.

use serde_json::Value;

use crate::support::{Running, Share, flip, json, offsets};

/// A share with one writer of several segments, all sealed.
fn several() -> impl Iterator<Item = Share> {
    Share::all().inspect(|share| share.append_many("w", 300))
}

/// The damages verify finds, as file name, offset and lost sequences; and it must end in 2, as text and as JSON.
#[track_caller]
fn damages(share: &Share) -> Vec<(String, u64, String)> {
    let ran = share.run("verify", &["--json"]);
    assert_eq!((ran.code, ran.err.as_str(), ran.out.lines().count()), (Some(2), "", 1), "{}", ran.out);
    let report = json(&ran.out);
    assert_eq!(report["sound"], false);
    let damages = report["damages"].as_array().expect("an array");
    let text = share.run("verify", &[]);
    assert_eq!((text.code, text.out.lines().count()), (Some(2), damages.len() + 1), "{}", text.out);
    let shown = |damage: &Value| {
        let file = damage["file"].as_str().unwrap();
        let offset = damage["offset"].as_u64().unwrap();
        assert!(
            text.out.contains(&format!("{file}: offset {offset}: {}", damage["reason"].as_str().unwrap()))
        );
        let lost = format!("{}-{}:{}", damage["lost_from"], damage["lost_to"], damage["lost_records"]);
        (file.rsplit('/').next().unwrap().to_owned(), offset, lost)
    };
    damages.iter().map(shown).collect()
}

fn name(path: &std::path::Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_sound_share_is_counted() {
    for share in several() {
        share.append("x", "one\n");
        let report = json(&share.run("verify", &["--json"]).good());
        let segments = share.segments("w").len() as u64 + 1;
        assert_eq!(report["sound"], true);
        for (field, count) in [("writers", 2), ("segments", segments), ("records", 301)] {
            assert_eq!(report[field], count, "{field}");
        }
        assert_eq!((&report["damages"], &report["notes"]), (&Value::Array(vec![]), &Value::Array(vec![])));
        let text = share.run("verify", &[]).good();
        let says = format!("sound: 2 writers, {segments} segments, 301 records, {} bytes\n", report["bytes"]);
        assert_eq!(text, says);
    }
}

#[test]
fn a_flipped_byte_is_found_in_every_kind_of_place() {
    for share in several() {
        let segments = share.segments("w");
        let second = &segments[1];
        let sound = std::fs::read(second).expect("a segment");
        let frames = offsets(second);
        let (first, third) = (frames[0], frames[2]);
        let after = offsets(&segments[2])[0].0;
        let seal = sound.len() as u64 - 44;

        flip(second, third.1 + 200);
        assert_eq!(damages(&share), [(name(second), third.1, format!("{0}-{0}:1", third.0))], "a payload");
        flip(second, third.1 + 200);
        flip(second, 20);
        let whole = format!("{}-{}:{}", first.0, after - 1, after - first.0);
        assert_eq!(damages(&share), [(name(second), 0, whole)], "a header");
        flip(second, 20);
        flip(second, seal + 30);
        assert_eq!(damages(&share), [(name(second), seal, "null-null:0".into())], "a seal costs no record");
        flip(second, third.1 + 200);
        assert_eq!(damages(&share).len(), 2, "a payload and the seal");
        std::fs::write(second, &sound).expect("a segment");
        share.run("verify", &[]).good();
    }
}

#[test]
fn a_cut_or_missing_segment_is_damage_with_its_exact_range() {
    for share in several() {
        let segments = share.segments("w");
        let second = &segments[1];
        let sound = std::fs::read(second).expect("a segment");
        let (frames, after) = (offsets(second), offsets(&segments[2])[0].0);
        let fifth = frames[4];
        std::fs::write(second, &sound[..usize::try_from(fifth.1).unwrap() + 100]).expect("a segment");
        let lost = format!("{}-{}:{}", fifth.0, after - 1, after - fifth.0);
        assert_eq!(damages(&share), [(name(second), fifth.1, lost)]);

        std::fs::remove_file(second).expect("a segment");
        let lost = format!("{}-{}:{}", frames[0].0, after - 1, after - frames[0].0);
        assert_eq!(damages(&share), [(name(&segments[2]), 0, lost)]);

        std::fs::copy(&segments[0], second).expect("a segment");
        let lost = format!("{}-{}:{}", frames[0].0, after - 1, after - frames[0].0);
        assert_eq!(damages(&share), [(name(second), 0, lost)], "another segment's bytes");
    }
}

#[test]
fn the_newest_segment_cut_short_does_not_pass_as_live() {
    for share in several() {
        let newest = share.segments("w").pop().unwrap();
        let bytes = std::fs::read(&newest).expect("a segment");
        let last = *offsets(&newest).last().unwrap();
        std::fs::write(&newest, &bytes[..usize::try_from(last.1).unwrap() + 5]).expect("a segment");
        assert_eq!(damages(&share), [(name(&newest), last.1, format!("{}-null:null", last.0))]);
    }
}

#[test]
fn a_body_that_is_no_record_is_damage() {
    use zoutbox_format::frame::{Seal, encode_data, encode_seal};
    use zoutbox_format::{SegmentHeader, Sequence};
    for share in Share::all() {
        share.append("w", "one\n");
        let segment = &share.segments("w")[0];
        let header = SegmentHeader::decode(&std::fs::read(segment).expect("a segment")).expect("a header");
        let mut bytes = header.encode().to_vec();
        encode_data(&mut bytes, header.crc_seed(), Sequence::new(1), 0, b"no record");
        let seal = Seal { records: 1, offset: bytes.len() as u64 };
        encode_seal(&mut bytes, header.crc_seed(), Sequence::new(2), seal);
        std::fs::write(segment, bytes).expect("a segment");
        assert_eq!(damages(&share), [(name(segment), 160, "1-1:1".into())]);
        assert_eq!(share.run("cat", &[]).code, Some(2));
    }
}

#[test]
fn the_archive_is_part_of_the_log() {
    for share in several() {
        let archive = share.path("archive/w");
        std::fs::create_dir_all(&archive).expect("a share");
        let segments = share.segments("w");
        for segment in &segments[..2] {
            std::fs::rename(segment, archive.join(segment.file_name().unwrap())).expect("one file system");
        }
        let report = json(&share.run("verify", &["--json"]).good());
        assert_eq!(report["records"], 300);
        let moved = archive.join(segments[1].file_name().unwrap());
        flip(&moved, 20);
        let found = json(&share.run("verify", &["--json"]).out);
        assert_eq!(found["damages"][0]["file"], moved.to_str().unwrap());
        std::fs::remove_dir_all(share.path("writers/w")).expect("a writer");
        flip(&moved, 20);
        let report = json(&share.run("verify", &["--json"]).good());
        assert_eq!((&report["writers"], &report["segments"]), (&1.into(), &2.into()));
    }
}

#[test]
fn a_segment_that_was_kept_when_those_around_it_were_removed_is_sound() {
    for share in several() {
        let archive = share.path("archive/w");
        std::fs::create_dir_all(&archive).expect("a share");
        let segments = share.segments("w");
        let (newest, checkpoint) =
            (segments.last().expect("many"), offsets(segments.last().expect("many"))[0]);
        std::fs::rename(&segments[1], archive.join(segments[1].file_name().unwrap()))
            .expect("one file system");
        for removed in [&segments[0], &segments[2]] {
            std::fs::remove_file(removed).expect("a writer");
        }
        assert!(share.run("verify", &[]).code == Some(2), "nothing says that they were confirmed");
        share.confirm("w", newest, checkpoint.1, checkpoint.0);
        share.run("verify", &[]).good();
    }
}

#[test]
fn damaged_checkpoints_and_lock_files_are_told_of() {
    for share in Share::all() {
        share.append("w", "one\n");
        std::fs::write(share.path("relay/checkpoints/w"), "nonsense").expect("a share");
        std::fs::write(share.path("relay/lease"), "nonsense").expect("a share");
        std::fs::write(share.path("writers/w/writer.lock"), [b'x'; 512]).expect("a share");
        let nothing = "null-null:0".to_owned();
        let expected = ["lease", "w", "writer.lock"].map(|file| (file.to_owned(), 0, nothing.clone()));
        assert_eq!(damages(&share), expected);
    }
}

#[test]
fn a_live_writer_is_sound() {
    for share in Share::all() {
        let mut running = Running::start(&share, &["--writer", "w"]);
        for _ in 0..3 {
            running.send("a line\n");
            running.ack();
        }
        assert_eq!(json(&share.run("verify", &["--json"]).good())["records"], 3);
        running.send("another\n");
        assert_eq!(running.ack(), "w/1/4");
        running.end();
    }
}

#[test]
fn a_segment_in_nobodys_log_is_a_note_and_not_damage() {
    use zoutbox_format::{Epoch, SegmentHeader, SegmentId, Sequence};
    for share in Share::all() {
        share.append("w", "one\n");
        share.append("w", "two\n");
        let first = &share.segments("w")[0];
        let bytes = std::fs::read(first).expect("a segment");
        let mut header = SegmentHeader::decode(&bytes).expect("a header");
        let (before, end) = (header.id, bytes.len() as u64 - 44);
        header.id = SegmentId { epoch: Epoch::FIRST, first_sequence: Sequence::new(2) };
        let next_sequence = header.id.first_sequence;
        header.previous =
            Some(zoutbox_format::PreviousSegment { id: before, end_offset: end, next_sequence });
        let mut zombie = header.encode().to_vec();
        let body = &bytes[188..usize::try_from(end).unwrap()];
        zoutbox_format::frame::encode_data(&mut zombie, header.crc_seed(), next_sequence, 0, body);
        let name = zoutbox_format::layout::SegmentName::open(header.id).file_name();
        std::fs::write(share.path("writers/w").join(&name), zombie).expect("a writer");
        let report = json(&share.run("verify", &["--json"]).good());
        let notes = report["notes"].as_array().unwrap();
        assert!(notes.len() == 1 && notes[0].as_str().unwrap().contains(&name), "{notes:?}");
        assert_eq!(report["records"], 2);
    }
}
