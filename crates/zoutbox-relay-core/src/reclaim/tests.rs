use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use zoutbox_format::{Epoch, Sequence};

use super::*;

fn id(epoch: u64, first: u64) -> SegmentId {
    SegmentId { epoch: Epoch::new(epoch), first_sequence: Sequence::new(first) }
}

fn in_front_of(segment: SegmentId, next: u64) -> Position {
    Position { segment, offset: 1, next_sequence: Sequence::new(next) }
}

fn ids(due: Vec<Due>) -> Vec<SegmentId> {
    assert!(due.iter().all(|due| !due.aside), "{due:?}");
    due.into_iter().map(|due| due.segment).collect()
}

#[test]
fn only_segments_in_front_of_the_checkpoints_segment_go() {
    let all = [id(1, 1), id(1, 10), id(2, 20), id(2, 30)];
    let due =
        |position| ids(Reclaim::new().due(&all, position, &Need::nothing(), Duration::ZERO, Duration::ZERO));
    assert_eq!(due(in_front_of(all[0], 9)), []);
    assert_eq!(due(in_front_of(all[2], 20)), all[..2]);
    assert_eq!(due(in_front_of(all[3], 40)), all[..3]);
}

#[test]
fn the_newest_segment_never_goes_even_if_the_checkpoint_is_beyond_it() {
    let all = [id(1, 1), id(1, 10)];
    let beyond = in_front_of(id(9, 99), 99);
    let due = Reclaim::new().due(&all, beyond, &Need::nothing(), Duration::ZERO, Duration::ZERO);
    assert_eq!(ids(due), all[..1]);
}

#[test]
fn a_segment_is_kept_for_the_retention_since_it_was_published() {
    let all = [id(1, 1), id(1, 10), id(1, 20)];
    let (second, retention) = (Duration::from_secs(1), Duration::from_secs(10));
    let mut reclaim = Reclaim::new();
    let mut due = |segments: &[SegmentId], position, now| {
        ids(reclaim.due(segments, position, &Need::nothing(), retention, now))
    };
    assert_eq!(due(&all, in_front_of(all[1], 10), second), []);
    assert_eq!(due(&all, in_front_of(all[2], 20), 5 * second), []);
    assert_eq!(due(&all, in_front_of(all[2], 20), 11 * second), all[..1]);
    assert_eq!(due(&all[1..], in_front_of(all[2], 20), 15 * second), all[1..2]);
}

#[test]
fn the_retention_counts_while_a_consumer_needs_the_segment() {
    let all = [id(1, 1), id(1, 10), id(1, 20)];
    let retention = Duration::from_secs(10);
    let mut reclaim = Reclaim::new();
    let end = in_front_of(all[2], 20);
    assert_eq!(reclaim.due(&all, end, &Need::everything(), retention, Duration::ZERO), []);
    assert_eq!(reclaim.due(&all, end, &Need::everything(), retention, 100 * retention), []);
    let due = reclaim.due(&all, end, &Need::nothing(), retention, 100 * retention);
    assert_eq!(ids(due), all[..2], "it counted anew from when it was not needed any more");
}

#[test]
fn what_is_needed_for_itself_alone_is_set_aside_and_holds_nothing_up() {
    let all = [id(1, 1), id(1, 10), id(1, 20), id(1, 30)];
    let mut need = Need::nothing();
    need.hold(all[1]);
    let due = Reclaim::new().due(&all, in_front_of(all[3], 30), &need, Duration::ZERO, Duration::ZERO);
    let expected = [(all[0], false), (all[1], true), (all[2], false)];
    assert_eq!(due, expected.map(|(segment, aside)| Due { segment, aside }));
}

/// A listing can be late: over NFS, or when a writer that was taken over made one more.
#[test]
fn a_segment_that_shows_late_keeps_those_behind_it_until_its_own_time_is_over() {
    let all = [id(1, 1), id(1, 10), id(1, 20)];
    let (end, retention) = (in_front_of(all[2], 20), Duration::from_secs(10));
    let mut reclaim = Reclaim::new();
    let mut due = |segments: &[SegmentId], now| {
        ids(reclaim.due(segments, end, &Need::nothing(), retention, Duration::from_secs(now)))
    };
    assert_eq!(due(&all[1..], 0), []);
    assert_eq!(due(&all, 9), []);
    assert_eq!(due(&all, 10), [], "a gap");
    assert_eq!(due(&all, 19), all[..2]);
}

fn segment() -> impl Strategy<Value = SegmentId> {
    (1..3_u64, 1..9_u64).prop_map(|(epoch, first)| id(epoch, first))
}

proptest! {
    #[test]
    fn whatever_leaves_leaves_no_gap_and_nothing_that_is_needed_is_lost(
        all in btree_set(segment(), 0..12),
        looks in vec((segment(), option::of(segment()), vec(segment(), 0..3), 0..5_u64), 1..8),
    ) {
        let (mut reclaim, mut there) = (Reclaim::new(), all);
        let mut now = Duration::ZERO;
        for (durable, from, parked, later) in looks {
            now += Duration::from_secs(later);
            let mut need = from.map_or_else(Need::nothing, Need::from_on);
            for id in parked {
                need.hold(id);
            }
            let segments: Vec<_> = there.iter().copied().collect();
            let retention = Duration::from_secs(3);
            let due = reclaim.due(&segments, in_front_of(durable, 99), &need, retention, now);
            let leaving: Vec<_> = due.iter().map(|due| due.segment).collect();
            prop_assert_eq!(&leaving[..], &segments[..leaving.len()], "a gap");
            for Due { segment, aside } in due {
                prop_assert!(segment < durable && Some(&segment) != segments.last());
                prop_assert_eq!(aside, need.needs(segment));
                there.remove(&segment);
            }
        }
    }
}
