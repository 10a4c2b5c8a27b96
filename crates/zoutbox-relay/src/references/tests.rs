#![expect(clippy::disallowed_methods, reason = "tests lay and damage files directly")]

use std::fs;

use zoutbox_format::layout::SegmentName;

use super::*;
use crate::ground::Ground;

fn update(ground: &Ground, references: &mut References) {
    references.update(&ground.system, &ground.share, &ground.writer).unwrap();
}

fn path(ground: &Ground, id: SegmentId) -> std::path::PathBuf {
    ground.share.layout.writer(&ground.writer).join(SegmentName::sealed(id).file_name())
}

#[test]
fn what_is_named_is_known_by_segment_and_what_is_not_is_not() {
    for mut ground in Ground::all() {
        let first = ground.segment(&["a", "b", "b"]);
        ground.open_segment(&["b", "c"]);
        let mut references = References::default();
        update(&ground, &mut references);
        let named = |references: &References, id: &str, except| references.name(&ground.name(id), except);
        for (id, anywhere, elsewhere) in
            [("a", true, false), ("b", true, true), ("c", true, true), ("d", false, false)]
        {
            assert_eq!(named(&references, id, None), anywhere, "{id}");
            assert_eq!(named(&references, id, Some(first)), elsewhere, "{id}");
        }
        assert_eq!(references.blindness(), None);
        assert!(references.are_known_of(first));
    }
}

#[test]
fn a_segment_that_has_ended_is_read_once_and_one_that_grows_from_where_it_ended() {
    for mut ground in Ground::all() {
        for number in 0..20 {
            ground.segment(&[&format!("s{number}")]);
        }
        ground.open_segment(&["a"]);
        let mut references = References::default();
        update(&ground, &mut references);
        assert_eq!(references.done(), 20);
        ground.append("b");
        ground.disk.calls();
        update(&ground, &mut references);
        assert!(ground.disk.calls() < 15);
        for id in ["s0", "s19", "a", "b"] {
            assert!(references.name(&ground.name(id), None), "{id}");
        }
    }
}

#[test]
fn a_segment_counts_where_it_is_moved_to_and_is_forgotten_when_it_is_gone() {
    for mut ground in Ground::all() {
        let first = ground.segment(&["a"]);
        ground.open_segment(&[""]);
        let mut references = References::default();
        update(&ground, &mut references);
        let archive = ground.share.layout.archive(&ground.writer);
        fs::create_dir(&archive).unwrap();
        let archived = archive.join(SegmentName::sealed(first).file_name());
        fs::rename(path(&ground, first), &archived).unwrap();
        update(&ground, &mut references);
        assert!(references.name(&ground.name("a"), None));
        fs::remove_file(archived).unwrap();
        references.forget_missing(&ground.system, &ground.share, &ground.writer).unwrap();
        assert!(!references.name(&ground.name("a"), None));
    }
}

#[test]
fn damage_in_the_log_blinds_until_it_is_restored_and_in_the_archive_it_does_not() {
    for mut ground in Ground::all() {
        let first = ground.segment(&["a", "b", "c"]);
        ground.open_segment(&["d"]);
        let sound = fs::read(path(&ground, first)).unwrap();
        let mut broken = sound.clone();
        let second = broken.windows(4).enumerate().filter(|(_, bytes)| *bytes == b"ZFRM").nth(1).unwrap().0;
        broken[second + 40] ^= 1;
        fs::write(path(&ground, first), &broken).unwrap();
        let mut references = References::default();
        update(&ground, &mut references);
        assert!(references.blindness().is_some_and(|what| what.contains("1-1")));
        assert!(!references.are_known_of(first));
        let named =
            |references: &References| ["a", "b", "c", "d"].map(|id| references.name(&ground.name(id), None));
        assert_eq!(named(&references), [true, false, true, true]);
        fs::write(path(&ground, first), sound).unwrap();
        update(&ground, &mut references);
        assert_eq!((references.blindness(), named(&references)), (None, [true; 4]));

        let archive = ground.share.layout.archive(&ground.writer);
        fs::create_dir(&archive).unwrap();
        fs::remove_file(path(&ground, first)).unwrap();
        fs::write(archive.join(SegmentName::sealed(first).file_name()), &broken).unwrap();
        let mut anew = References::default();
        update(&ground, &mut anew);
        assert_eq!((anew.blindness(), named(&anew)), (None, [true, false, true, true]));
    }
}

#[test]
fn more_names_than_there_is_room_for_blind_until_there_is_room() {
    for mut ground in Ground::all() {
        let first = ground.segment(&["a", "b", "c"]);
        ground.segment(&["d"]);
        ground.open_segment(&["e"]);
        let mut references = References::with_room(2);
        update(&ground, &mut references);
        assert!(references.blindness().is_some_and(|what| what.contains("more than 2")));
        fs::remove_file(path(&ground, first)).unwrap();
        update(&ground, &mut references);
        assert_eq!(references.blindness(), None);
        assert!(references.name(&ground.name("e"), None));
    }
}

#[test]
fn a_look_that_fails_leaves_what_was_known() {
    for mut ground in Ground::all() {
        ground.segment(&["a"]);
        ground.open_segment(&["b"]);
        let mut references = References::default();
        update(&ground, &mut references);
        let live = ground.segments()[1];
        ground.append("c");
        ground.disk.fail(zoutbox_storage::Operation::Read, &SegmentName::open(live).file_name());
        assert!(references.update(&ground.system, &ground.share, &ground.writer).is_err());
        assert!(references.name(&ground.name("a"), None) && references.name(&ground.name("b"), None));
        update(&ground, &mut references);
        assert!(references.name(&ground.name("c"), None));
    }
}
