//! Every sound record of a segment, whatever its place in the log.

use std::ops::ControlFlow;

use zoutbox_format::Record;
use zoutbox_format::layout::SegmentName;
use zoutbox_reader::{DamageReason, Mark, Place, Sifted, places, sift};

use crate::support::{Draft, Log};

/// Commits of one record each, with these topics.
fn with(log: &Log, epoch: u64, first: u64, previous: Option<&Draft>, topics: &[&str]) -> Draft {
    let mut draft = log.segment(epoch, first, previous.map(Draft::whole));
    for topic in topics {
        let mut body = Vec::new();
        Record::new(*topic, "x").borrowed(1).encode(&mut body).expect("a record");
        draft = draft.body(0, &body);
    }
    draft
}

/// The topics of what segment `index` of all holds, and what came of it.
fn topics(log: &Log, index: usize, from: Option<Mark>) -> (Vec<String>, Sifted) {
    let places = places(&log.system, &log.share, &log.writer).expect("a readable share");
    let (place, later) = (&places[index], &places[index + 1..]);
    let mut found = Vec::new();
    let each = |record: &zoutbox_format::RecordRef<'_>| {
        found.push(record.topic.to_owned());
        ControlFlow::Continue(())
    };
    let sifted = sift(&log.system, &log.share, &log.writer, place, later, from, each);
    (found, sifted.expect("a readable share"))
}

fn state(sifted: &Sifted) -> (bool, bool) {
    match sifted {
        Sifted::Read { whole, newer, .. } => (*whole, *newer),
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_records_come_from_the_live_directory_and_the_archive() {
    for log in Log::all() {
        let first = with(&log, 1, 1, None, &["a", "b"]).sealed();
        let second = with(&log, 1, 3, Some(&first), &["c"]);
        log.put(&second, false);
        let archive = log.share.layout.archive(&log.writer);
        std::fs::create_dir(&archive).expect("a share");
        let name = SegmentName::sealed(first.id()).file_name();
        std::fs::write(archive.join(name), &first.bytes).expect("a share");
        let found = places(&log.system, &log.share, &log.writer).expect("a readable share");
        assert_eq!(
            found.iter().map(|place| &place.directory).collect::<Vec<_>>(),
            [&archive, &log.share.layout.writer(&log.writer)]
        );
        let (topics_of_first, sifted) = topics(&log, 0, None);
        assert_eq!((topics_of_first, state(&sifted)), (vec!["a".to_owned(), "b".into()], (true, false)));
        assert_eq!(topics(&log, 1, None).0, ["c"]);
    }
}

#[test]
fn a_segment_that_grows_goes_on_from_the_mark() {
    for log in Log::all() {
        let draft = with(&log, 1, 1, None, &["a", "b"]);
        log.put(&draft, false);
        let Sifted::Read { mark, .. } = topics(&log, 0, None).1 else { panic!("it is there") };
        let grown = with(&log, 1, 1, None, &["a", "b", "c", "d"]).sealed();
        log.put(&grown, false);
        let (found, sifted) = topics(&log, 0, Some(mark));
        assert_eq!((found, state(&sifted)), (vec!["c".to_owned(), "d".into()], (true, false)));
    }
}

#[test]
fn it_can_be_left_anywhere_and_goes_on_there() {
    for log in Log::all() {
        let all = ["a", "b", "c", "d"];
        log.put(&with(&log, 1, 1, None, &all).sealed(), true);
        let places = places(&log.system, &log.share, &log.writer).expect("a readable share");
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let each = |record: &zoutbox_format::RecordRef<'_>| {
                found.push(record.topic.to_owned());
                if found.len() % 2 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            match sift(&log.system, &log.share, &log.writer, &places[0], &[], from, each) {
                Ok(Sifted::Left { mark }) => from = Some(mark),
                other => break assert!(matches!(other, Ok(Sifted::Read { whole: true, .. }))),
            }
        }
        assert_eq!(found, owned(&all));
    }
}

#[test]
fn records_behind_damage_come_too_and_the_segment_is_not_whole() {
    for log in Log::all() {
        let all = ["a", "b", "c", "d"];
        let sound = with(&log, 1, 1, None, &all);
        let next = with(&log, 2, 5, Some(&sound), &["e"]);
        for sealed in [false, true] {
            for damaged in 0..4 {
                let mut draft = if sealed { sound.clone().sealed() } else { sound.clone() };
                draft.bytes[sound.offsets[damaged] + 30] ^= 1;
                log.put(&draft, sealed);
                let mut expected = all.to_vec();
                expected.remove(damaged);
                let (found, sifted) = topics(&log, 0, None);
                if sealed || damaged < 3 {
                    assert_eq!((found, state(&sifted).0), (owned(&expected), false), "{sealed} {damaged}");
                } else {
                    assert_eq!(
                        (found, state(&sifted).0),
                        (owned(&expected), true),
                        "a commit may be under way"
                    );
                }
                // With a successor that says how long it was, nothing is under way any more.
                let path = log.put(&next, false);
                let (found, sifted) = topics(&log, 0, None);
                assert_eq!((found, state(&sifted).0), (owned(&expected), false), "{sealed} {damaged}");
                std::fs::remove_file(path).expect("it was put there");
                std::fs::remove_file(log.path(draft.id(), sealed)).expect("it was put there");
            }
        }
    }
}

fn owned(topics: &[&str]) -> Vec<String> {
    topics.iter().map(|topic| (*topic).to_owned()).collect()
}

#[test]
fn a_hole_of_zeros_hides_no_record_behind_it() {
    for log in Log::all() {
        let mut draft = with(&log, 1, 1, None, &["a", "b", "c"]);
        draft.bytes[draft.offsets[1]..draft.offsets[2]].fill(0);
        log.put(&draft, false);
        let (found, sifted) = topics(&log, 0, None);
        assert_eq!((found, state(&sifted)), (owned(&["a", "c"]), (false, false)));
    }
}

#[test]
fn the_copies_of_a_segment_that_was_written_again_count_in_both() {
    for log in Log::all() {
        let failed = with(&log, 1, 1, None, &["a", "b"]);
        let mut again = log.segment(1, 2, Some(failed.ending_after(1)));
        let mut body = Vec::new();
        Record::new("b", "x").borrowed(1).encode(&mut body).expect("a record");
        again = again.body(0, &body);
        log.put(&failed, false);
        log.put(&again, false);
        assert_eq!(topics(&log, 1, None).0, ["b"]);
        // What lies behind the end that the next one names is nobody's.
        assert_eq!(topics(&log, 0, None).0, ["a"]);
    }
}

#[test]
fn what_a_newer_zoutbox_wrote_is_told_and_so_is_what_is_no_segment() {
    for log in Log::all() {
        let draft = with(&log, 1, 1, None, &["a"]).frame_of_kind(9);
        log.put(&draft, false);
        let (found, sifted) = topics(&log, 0, None);
        assert_eq!((found, state(&sifted).1), (owned(&["a"]), true));
        let mut broken = with(&log, 1, 1, None, &["a"]);
        broken.bytes[0] ^= 1;
        log.put(&broken, false);
        assert!(matches!(topics(&log, 0, None).1, Sifted::Unusable(DamageReason::Header(_))));
        let place =
            Place { directory: log.share.layout.archive(&log.writer), name: SegmentName::open(draft.id()) };
        let gone =
            sift(&log.system, &log.share, &log.writer, &place, &[], None, |_| ControlFlow::Continue(()));
        assert_eq!(gone.expect("a readable share"), Sifted::Vanished);
    }
}
