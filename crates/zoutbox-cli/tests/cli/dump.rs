//! `zoutbox dump`.

use std::ffi::OsStr;

use crate::support::{Ran, Share, flip, offsets, run};

fn dump(file: &std::path::Path) -> Ran {
    run([OsStr::new("dump"), file.as_os_str()])
}

#[test]
fn a_segment_is_shown_with_headers_frames_and_offsets() {
    for share in Share::all() {
        share.append_with(&["--writer", "w", "--topic", "t"], "one\ntwo\n");
        let segment = &share.segments("w")[0];
        let text = dump(segment).good();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("segment writer=w epoch=1 first=1 share="), "{text}");
        assert!(lines[2].starts_with("@160 data sequence=1 "), "{text}");
        assert!(lines[2].ends_with(r#"payload=3 "one""#), "{text}");
        assert!(lines[3].contains(" data sequence=2 "), "{text}");
        assert!(lines[4].starts_with("end @") && lines[4].ends_with("sealed records=2"), "{text}");
        assert!(dump(&share.path("zoutbox.json")).good().starts_with("marker "));
    }
}

#[test]
fn damage_is_shown_and_ends_in_two() {
    for share in Share::all() {
        share.append_many("w", 10);
        let segment = &share.segments("w")[0];
        flip(segment, offsets(segment)[4].1 + 50);
        let ran = dump(segment);
        assert!(ran.out.contains("damaged lost=5"), "{}", ran.out);
        let said = format!("{}: damaged in 1 place (see the dump)", segment.display());
        assert_eq!(ran.complaint(2), said);

        let cut = std::fs::read(segment).expect("a segment");
        std::fs::write(segment, &cut[..cut.len() - 1]).expect("a segment");
        assert_eq!(dump(segment).code, Some(2));
        let uncut = &share.path("copy");
        std::fs::write(uncut, "no segment at all").expect("a share");
        let said = format!("{}: damaged, or not a file of a zoutbox share (see the dump)", uncut.display());
        assert_eq!(dump(uncut).complaint(2), said);
    }
}

#[test]
fn a_sealed_name_without_a_seal_is_damage() {
    for share in Share::all() {
        share.append("w", "one\n");
        let segment = &share.segments("w")[0];
        let bytes = std::fs::read(segment).expect("a segment");
        std::fs::write(segment, &bytes[..bytes.len() - 44]).expect("a segment");
        let said = format!(
            "{}: has no seal, though its name says that it is sealed (see the dump)",
            segment.display()
        );
        assert_eq!(dump(segment).complaint(2), said);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let complaint = run(["dump", "no/such/file"]).complaint(66);
    assert!(complaint.starts_with("can't open no/such/file: "), "{complaint}");
}
