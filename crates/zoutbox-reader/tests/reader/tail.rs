//! What a tail gives out of every shape a log can have.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::support::{Draft, Log, drain, ids};
use zoutbox_format::Sequence;
use zoutbox_format::checkpoint::Position;
use zoutbox_reader::{DamageReason, Stop};

/// Three segments of two epochs, the last one live.
fn chain(log: &Log) -> [Draft; 3] {
    let first = log.segment(1, 1, None).commits(&[2, 1]).sealed();
    let second = log.segment(1, 4, Some(first.whole())).commits(&[3, 3]);
    let third = log.segment(2, 10, Some(second.whole())).commits(&[2]);
    log.put(&first, true);
    log.put(&second, false);
    log.put(&third, false);
    [first, second, third]
}

fn everything() -> Vec<String> {
    [ids(1, 1..=9), ids(2, 10..=11)].concat()
}

#[test]
fn records_come_in_order_across_segments_and_epochs() {
    for log in Log::all() {
        chain(&log);
        let mut tail = log.tail(None);
        assert_eq!(drain(&mut tail), (everything(), vec![]));
        assert_eq!(drain(&mut tail), (vec![], vec![]), "and only once");
    }
}

#[test]
fn reading_goes_on_from_every_position_that_a_checkpoint_can_name() {
    for log in Log::all() {
        chain(&log);
        let batch = log.tail(None).read(usize::MAX).expect("readable");
        for (done, record) in batch.records.iter().enumerate() {
            let (rest, damages) = drain(&mut log.tail(Some(record.after)));
            assert_eq!((rest, damages), (everything()[done + 1..].to_vec(), vec![]));
        }
    }
}

#[test]
fn a_live_segment_gives_records_as_they_come_and_its_successor_after_it() {
    for log in Log::all() {
        let mut tail = log.tail(None);
        assert_eq!(drain(&mut tail), (vec![], vec![]), "an empty directory is no error");
        let first = log.segment(1, 1, None).commits(&[1]);
        log.put(&first, false);
        assert_eq!(drain(&mut tail).0, ids(1, 1..=1));
        let grown = first.commits(&[2]).garbage(&[0; 64]);
        log.put(&grown, false);
        assert_eq!(drain(&mut tail).0, ids(1, 2..=3));
        // The writer adds a commit, seals, and goes on elsewhere, all before the next look.
        let mut last = grown.clone();
        last.bytes.truncate(grown.offsets[3]);
        let last = last.commits(&[2]).sealed();
        log.put(&last, false);
        std::fs::rename(log.path(last.id(), false), log.path(last.id(), true)).expect("renamed");
        log.put(&log.segment(1, 6, Some(last.whole())).commits(&[1]), false);
        assert_eq!(drain(&mut tail), (ids(1, 4..=6), vec![]));
    }
}

#[test]
fn a_torn_tail_is_cut_where_the_next_epoch_says_at_every_byte() {
    for log in Log::all() {
        let whole = log.segment(1, 1, None).commits(&[1, 1]);
        for cut in whole.offsets[1]..whole.offsets[2] {
            let mut torn = whole.clone();
            torn.bytes.truncate(cut);
            log.put(&torn, false);
            let mut early = log.tail(None);
            assert_eq!(drain(&mut early), (ids(1, 1..=1), vec![]), "live, cut at {cut}");
            let next = log.segment(2, 2, Some(whole.ending_after(1))).commits(&[1]);
            let path = log.put(&next, false);
            assert_eq!(drain(&mut early), (ids(2, 2..=2), vec![]));
            assert_eq!(drain(&mut log.tail(None)), ([ids(1, 1..=1), ids(2, 2..=2)].concat(), vec![]));
            std::fs::remove_file(path).expect("removed");
        }
    }
}

#[test]
fn records_rewritten_after_a_failed_sync_are_given_out_once() {
    for log in Log::all() {
        // Records 3 and 4 were visible, their sync failed, and they were written again, in the same epoch.
        let poisoned = log.segment(1, 1, None).commits(&[2, 2]);
        log.put(&poisoned, false);
        let mut early = log.tail(None);
        assert_eq!(drain(&mut early).0, ids(1, 1..=4));
        let position = early.position().expect("somewhere");
        let again = log.segment(1, 3, Some(poisoned.ending_after(2))).commits(&[2, 1]);
        log.put(&again, false);
        assert_eq!(drain(&mut early), (ids(1, 5..=5), vec![]), "by a tail that saw them");
        assert_eq!(
            drain(&mut log.tail(Some(position))),
            (ids(1, 5..=5), vec![]),
            "by one behind its checkpoint"
        );
        assert_eq!(drain(&mut log.tail(None)), (ids(1, 1..=5), vec![]), "by one that starts now");
    }
}

#[test]
fn records_rewritten_after_a_failed_sync_come_again_if_asked_for_and_not_unannounced() {
    for log in Log::all() {
        let poisoned = log.segment(1, 1, None).commits(&[2, 2]);
        log.put(&poisoned, false);
        let mut early = log.tail(None).repeat_rewritten();
        assert_eq!(drain(&mut early).0, ids(1, 1..=4));
        let behind_it = early.position();
        let in_front_of_it = Some(poisoned.whole()).map(|whole| Position {
            segment: whole.id,
            offset: poisoned.offsets[2] as u64,
            next_sequence: Sequence::new(3),
        });
        log.put(&log.segment(1, 3, Some(poisoned.ending_after(2))).commits(&[2, 1]), false);
        let from = Sequence::new(3);
        for mut saw_them in [early, log.tail(behind_it).repeat_rewritten()] {
            let batch = saw_them.read(usize::MAX).expect("readable");
            assert_eq!((batch.records.len(), batch.stop), (0, Stop::Repeats { from }));
            assert_eq!(drain(&mut saw_them), (ids(1, 3..=5), vec![]));
        }
        let mut did_not = log.tail(in_front_of_it).repeat_rewritten();
        assert_eq!(drain(&mut did_not), (ids(1, 3..=5), vec![]));
    }
}

#[test]
fn a_record_is_shown_with_its_whole_frame_and_its_place_in_its_commit() {
    for log in Log::all() {
        let segment = log.segment(1, 1, None).commits(&[2, 1]);
        log.put(&segment, false);
        let mut tail = log.tail(None);
        let mut seen = Vec::new();
        let mut look = |enough: usize| {
            tail.read_each(|record| {
                let (from, to) = (segment.offsets[seen.len()], segment.offsets[seen.len() + 1]);
                assert_eq!((record.offset, record.after.offset), (from as u64, to as u64));
                assert_eq!(record.frame, &segment.bytes[from..to]);
                assert_eq!(record.body, &record.frame[28..]);
                assert_eq!(record.after.next_sequence, record.sequence.next());
                seen.push((record.sequence.get(), record.commit_index));
                if seen.len() == enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        };
        assert_eq!(look(1).expect("readable"), Stop::Budget);
        assert_eq!(look(0).expect("readable"), Stop::CaughtUp);
        assert_eq!(seen, [(1, 0), (2, 1), (3, 0)]);
    }
}

#[test]
fn sequences_that_a_new_epoch_takes_again_are_other_records_and_given_out() {
    for log in Log::all() {
        let lost_tail = log.segment(1, 1, None).commits(&[2, 2]);
        log.put(&lost_tail, false);
        let mut early = log.tail(None);
        assert_eq!(drain(&mut early).0, ids(1, 1..=4));
        log.put(&log.segment(2, 3, Some(lost_tail.ending_after(2))).commits(&[2]), false);
        assert_eq!(drain(&mut early), (ids(2, 3..=4), vec![]));
    }
}

#[test]
fn a_segment_written_after_a_take_over_is_passed_by() {
    for log in Log::all() {
        let first = log.segment(1, 1, None).commits(&[2]);
        let fenced = log.segment(1, 3, Some(first.whole())).commits(&[5]);
        let taken_over = log.segment(2, 3, Some(first.whole())).commits(&[1]);
        for segment in [&first, &fenced, &taken_over] {
            log.put(segment, false);
        }
        let expected = [ids(1, 1..=2), ids(2, 3..=3)].concat();
        assert_eq!(drain(&mut log.tail(None)), (expected, vec![]));
    }
}

#[test]
fn a_damaged_record_is_reported_with_its_exact_range_and_the_rest_follows() {
    for log in Log::all() {
        let [_, second, third] = chain(&log);
        for record in 0..6 {
            let mut broken = second.clone();
            broken.bytes[second.offsets[record] + 20] ^= 4;
            let path = log.put(&broken, false);
            let (records, damages) = drain(&mut log.tail(None));
            let lost = 4 + record as u64;
            let rest: Vec<_> = everything().into_iter().filter(|id| *id != format!("1/{lost}")).collect();
            assert_eq!(records, rest);
            let [damage] = &damages[..] else { panic!("{damages:?}") };
            assert_eq!((&damage.path, damage.offset), (&path, second.offsets[record] as u64));
            assert_eq!(damage.lost_from, Sequence::new(lost));
            assert_eq!(damage.lost_until, Some(Sequence::new(lost + 1)));
            assert!(damage.to_string().contains(&format!("lost sequence {lost}")), "{damage}");
        }
        log.put(&second, false);
        log.put(&third, false);
    }
}

#[test]
fn zeros_and_cuts_in_front_of_the_end_are_damage_and_not_a_torn_tail() {
    for log in Log::all() {
        let [_, second, _] = chain(&log);
        let mut zeroed = second.clone();
        zeroed.bytes[second.offsets[2]..].fill(0);
        log.put(&zeroed, false);
        let (records, damages) = drain(&mut log.tail(None));
        assert_eq!(records, [ids(1, 1..=5), ids(2, 10..=11)].concat());
        assert_eq!((damages.len(), damages[0].reason), (1, DamageReason::Zeros));
        let range = (damages[0].lost_from.get(), damages[0].lost_until.map(Sequence::get));
        assert_eq!(range, (6, Some(10)));
        let mut cut = second.clone();
        cut.bytes.truncate(second.offsets[4] + 7);
        log.put(&cut, false);
        let (records, damages) = drain(&mut log.tail(None));
        assert_eq!(records, [ids(1, 1..=7), ids(2, 10..=11)].concat());
        assert_eq!((damages.len(), damages[0].reason), (1, DamageReason::Cut));
    }
}

#[test]
fn a_segment_that_is_gone_or_foreign_or_has_no_header_loses_its_records_and_no_others() {
    for log in Log::all() {
        let [_, second, _] = chain(&log);
        let path = log.path(second.id(), false);
        let mut flipped = second.clone();
        flipped.bytes[40] ^= 1;
        let mut other_share = log.segment(1, 4, second.header.previous);
        other_share.header.share = zoutbox_format::ShareId::from_bytes([9; 16]);
        other_share.bytes = other_share.header.encode().to_vec();
        let other_share = other_share.commits(&[6]);
        let cases: [(&str, Option<&[u8]>); 4] = [
            ("gone", None),
            ("flipped", Some(&flipped.bytes)),
            ("foreign", Some(&other_share.bytes)),
            ("empty", Some(b"")),
        ];
        for (case, bytes) in cases {
            std::fs::remove_file(&path).expect("removed");
            if let Some(bytes) = bytes {
                std::fs::write(&path, bytes).expect("written");
            }
            let (records, damages) = drain(&mut log.tail(None));
            assert_eq!(records, [ids(1, 1..=3), ids(2, 10..=11)].concat(), "{case}");
            let [damage] = &damages[..] else { panic!("{case}: {damages:?}") };
            assert_eq!(
                (damage.lost_from.get(), damage.lost_until.map(Sequence::get)),
                (4, Some(10)),
                "{case}"
            );
            std::fs::write(&path, &second.bytes).expect("written");
        }
        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir(&path).expect("made");
        let (records, damages) = drain(&mut log.tail(None));
        assert_eq!(records, [ids(1, 1..=3), ids(2, 10..=11)].concat(), "a directory in its place");
        assert_eq!((damages.len(), damages[0].reason), (1, DamageReason::Foreign));
    }
}

#[test]
fn a_sealed_segment_without_its_seal_is_damaged() {
    for log in Log::all() {
        let segment = log.segment(1, 1, None).commits(&[2]);
        log.put(&segment, true);
        let mut tail = log.tail(None);
        let (records, damages) = drain(&mut tail);
        assert_eq!(records, ids(1, 1..=2));
        assert_eq!((damages[0].lost_from.get(), damages[0].lost_until), (3, None));
    }
}

#[test]
fn damage_in_a_live_segment_is_found_once_it_stands_still() {
    for log in Log::all() {
        let mut segment = log.segment(1, 1, None).commits(&[1, 1, 1]);
        let at = segment.offsets[1];
        segment.bytes[at + 30] ^= 1;
        log.put(&segment, false);
        let mut tail = log.tail(None);
        assert_eq!(drain(&mut tail), (ids(1, 1..=1), vec![]), "it may be half written");
        log.clock.advance(Duration::from_secs(6));
        let (records, damages) = drain(&mut tail);
        assert_eq!((records, damages.len()), (ids(1, 3..=3), 1));
        assert_eq!((damages[0].lost_from.get(), damages[0].offset), (2, at as u64));
    }
}

#[test]
fn a_torn_commit_in_a_live_segment_is_never_taken_for_damage() {
    for log in Log::all() {
        let mut segment = log.segment(1, 1, None).commits(&[1, 3]);
        let at = segment.offsets[1];
        segment.bytes[at..at + 30].fill(0);
        log.put(&segment, false);
        let mut tail = log.tail(None);
        assert_eq!(drain(&mut tail), (ids(1, 1..=1), vec![]));
        for _ in 0..4 {
            assert_eq!(drain(&mut tail), (vec![], vec![]));
            log.clock.advance(Duration::from_secs(6));
        }
        assert_eq!(drain(&mut tail), (vec![], vec![]));
    }
}

#[test]
fn a_segment_that_vanishes_while_it_is_read_is_a_range_and_not_a_crash() {
    for log in Log::all() {
        let [first, ..] = chain(&log);
        let mut tail = log.tail(None);
        assert_eq!(tail.read(1).expect("readable").records.len(), 1);
        // On a local file system the open file reads on; what counts is a tail that starts over.
        std::fs::remove_file(log.path(first.id(), true)).expect("removed");
        let position = tail.position().expect("in the first segment");
        let (records, damages) = drain(&mut log.tail(Some(position)));
        assert_eq!(records, everything()[3..]);
        assert_eq!((damages[0].lost_from.get(), damages[0].lost_until.map(Sequence::get)), (2, Some(4)));
        assert_eq!(damages[0].reason, DamageReason::Missing);
    }
}

#[test]
fn what_was_reclaimed_behind_the_checkpoint_is_not_missed() {
    for log in Log::all() {
        let [first, second, _] = chain(&log);
        let end = second.whole();
        let position =
            Position { segment: second.id(), offset: end.end_offset, next_sequence: end.next_sequence };
        for segment in [(first.id(), true), (second.id(), false)] {
            std::fs::remove_file(log.path(segment.0, segment.1)).expect("removed");
        }
        assert_eq!(drain(&mut log.tail(Some(position))), (ids(2, 10..=11), vec![]));
        assert_eq!(
            drain(&mut log.tail(None)),
            (ids(2, 10..=11), vec![]),
            "the oldest there is, without a checkpoint"
        );
    }
}

#[test]
fn a_budget_bounds_what_is_read_at_once_and_at_least_one_record_comes() {
    for log in Log::all() {
        chain(&log);
        let mut tail = log.tail(None);
        for expected in everything() {
            let batch = tail.read(0).expect("readable");
            assert_eq!(batch.records.iter().map(crate::support::text).collect::<Vec<_>>(), [expected]);
            assert_eq!(batch.stop, Stop::Budget);
        }
        assert_eq!(tail.read(0).expect("readable").stop, Stop::CaughtUp);
    }
}
