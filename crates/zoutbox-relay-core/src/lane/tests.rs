//! A lane, driven by hand.

use super::*;
use zoutbox_format::{Epoch, SegmentId, Sequence};

type TestLane = Lane<u64, &'static str>;

const NOW: Duration = Duration::from_mins(1);
const LATER: Duration = Duration::from_mins(2);
const MUCH_LATER: Duration = Duration::from_mins(3);

fn key(sequence: u64) -> Key {
    Key { epoch: Epoch::FIRST, sequence: Sequence::new(sequence) }
}

fn behind(sequence: u64) -> Position {
    let segment = SegmentId { epoch: Epoch::FIRST, first_sequence: Sequence::FIRST };
    Position { segment, offset: sequence * 100, next_sequence: Sequence::new(sequence + 1) }
}

fn items(sequences: std::ops::RangeInclusive<u64>) -> Vec<Item<u64>> {
    sequences.map(|s| Item { key: key(s), size: 10, span: 10, after: behind(s), body: s }).collect()
}

fn lane(options: LaneOptions) -> TestLane {
    Lane::new(options, None)
}

/// Everything it wants to do now.
fn outputs(lane: &mut TestLane, now: Duration) -> Vec<Output<u64, &'static str>> {
    std::iter::from_fn(|| lane.poll(true, true, now)).collect()
}

fn generation(outputs: &[Output<u64, &'static str>]) -> (u64, ReadFrom) {
    let read = outputs.iter().find_map(|output| match output {
        Output::Read { generation, from, .. } => Some((*generation, *from)),
        _ => None,
    });
    read.unwrap_or_else(|| panic!("no read among {outputs:?}"))
}

fn published(outputs: &[Output<u64, &'static str>]) -> Vec<u64> {
    let published = outputs.iter().filter_map(|output| match output {
        Output::Publish(item) => Some(item.body),
        _ => None,
    });
    published.collect()
}

fn saves(outputs: &[Output<u64, &'static str>]) -> Vec<Position> {
    let saves = outputs.iter().filter_map(|output| match output {
        Output::SaveCheckpoint(position) => Some(*position),
        _ => None,
    });
    saves.collect()
}

/// Answers the lane's read with these records, and returns what it publishes.
fn feed(lane: &mut TestLane, sequences: std::ops::RangeInclusive<u64>, now: Duration) -> Vec<u64> {
    let (generation, _) = generation(&outputs(lane, now));
    lane.handle(Input::Read { generation, items: items(sequences), end: ReadEnd::CaughtUp }, now);
    published(&outputs(lane, now))
}

fn settle(lane: &mut TestLane, sequences: impl IntoIterator<Item = u64>, now: Duration) {
    sequences.into_iter().for_each(|s| lane.handle(Input::Settled(key(s)), now));
}

fn returned(sequence: u64) -> Input<u64, &'static str> {
    Input::Returned { key: key(sequence), reason: "no route", can_die: true }
}

#[test]
fn the_watermark_moves_over_the_contiguous_settled_records_only() {
    let mut lane = lane(LaneOptions::default());
    assert_eq!(feed(&mut lane, 1..=5, NOW), [1, 2, 3, 4, 5]);
    settle(&mut lane, [2, 3, 5], NOW);
    assert_eq!(lane.watermark(), None);
    settle(&mut lane, [1], NOW);
    assert_eq!(lane.watermark(), Some(behind(3)));
    settle(&mut lane, [4], NOW);
    assert_eq!(lane.watermark(), Some(behind(5)));
}

#[test]
fn nothing_is_published_and_nothing_is_read_without_leave() {
    let mut lane = lane(LaneOptions::default());
    assert_eq!(lane.poll(true, false, NOW), None);
    let (generation, _) = generation(&outputs(&mut lane, NOW));
    lane.handle(Input::Read { generation, items: items(1..=2), end: ReadEnd::Budget }, NOW);
    assert_eq!(lane.poll(false, false, NOW), None);
    assert_eq!(published(&outputs(&mut lane, NOW)), [1, 2]);
}

#[test]
fn reading_ahead_ends_at_its_limit_in_bytes_and_goes_on_below_it() {
    let mut lane = lane(LaneOptions { read_ahead: 30, ..LaneOptions::default() });
    let (first, _) = generation(&outputs(&mut lane, NOW));
    lane.handle(Input::Read { generation: first, items: items(1..=3), end: ReadEnd::Budget }, NOW);
    assert_eq!((lane.poll(false, true, NOW), lane.deadline()), (None, None));
    assert!(matches!(lane.poll(true, true, NOW), Some(Output::Publish(_))));
    assert!(matches!(lane.poll(false, true, NOW), Some(Output::Read { .. })));
}

#[test]
fn after_a_nack_the_lane_drains_and_resends_from_the_first_unconfirmed_record() {
    let mut lane = lane(LaneOptions::default());
    feed(&mut lane, 1..=4, NOW);
    settle(&mut lane, [1], NOW);
    lane.handle(Input::Nacked(key(2)), NOW);
    settle(&mut lane, [3], LATER);
    assert!(!outputs(&mut lane, LATER).iter().any(|o| matches!(o, Output::Read { .. } | Output::Publish(_))));
    settle(&mut lane, [4], LATER);
    assert!(published(&outputs(&mut lane, LATER)).is_empty(), "it waits before it tries again");
    assert_eq!(lane.watermark(), Some(behind(1)));
    let (generation, from) = generation(&outputs(&mut lane, MUCH_LATER));
    assert_eq!(from, ReadFrom::Position(behind(1)));
    lane.handle(Input::Read { generation, items: items(2..=4), end: ReadEnd::CaughtUp }, MUCH_LATER);
    assert_eq!(published(&outputs(&mut lane, MUCH_LATER)), [2], "one is tried first");
    settle(&mut lane, [2], MUCH_LATER);
    assert_eq!(published(&outputs(&mut lane, MUCH_LATER)), [3, 4]);
}

/// Else `--once` ends while a record that the broker refused was never delivered (found by the simulation, seed 1022769).
#[test]
fn a_lane_that_waits_to_try_a_refused_record_again_is_not_caught_up() {
    let mut lane = lane(LaneOptions { checkpoint_items: 1, ..LaneOptions::default() });
    feed(&mut lane, 1..=2, NOW);
    let (generation, _) = generation(&outputs(&mut lane, LATER));
    lane.handle(Input::Read { generation, items: vec![], end: ReadEnd::CaughtUp }, LATER);
    settle(&mut lane, [1], LATER);
    lane.handle(Input::Nacked(key(2)), LATER);
    assert!(outputs(&mut lane, LATER).contains(&Output::SaveCheckpoint(behind(1))));
    lane.handle(Input::CheckpointSaved(behind(1)), LATER);
    assert_eq!(lane.held(), 0, "it is to be read again");
    assert!(!lane.is_caught_up());
}

#[test]
fn a_lane_whose_look_behind_a_rewind_failed_is_not_caught_up() {
    let mut lane = lane(LaneOptions::default());
    feed(&mut lane, 1..=2, NOW);
    let (look, _) = generation(&outputs(&mut lane, LATER));
    lane.handle(Input::Read { generation: look, items: vec![], end: ReadEnd::CaughtUp }, LATER);
    lane.handle(Input::Lost, LATER);
    let (again, _) = generation(&outputs(&mut lane, LATER));
    lane.handle(Input::ReadFailed { generation: again }, LATER);
    assert_eq!((lane.held(), lane.is_caught_up()), (0, false), "1 and 2 were never confirmed");
}

#[test]
fn behind_a_nack_nothing_more_goes_out_until_what_is_out_is_certain() {
    let mut lane = lane(LaneOptions::default());
    let (generation, _) = generation(&outputs(&mut lane, NOW));
    lane.handle(Input::Read { generation, items: items(1..=4), end: ReadEnd::CaughtUp }, NOW);
    assert!(matches!(lane.poll(true, true, NOW), Some(Output::Publish(_))));
    assert!(matches!(lane.poll(true, true, NOW), Some(Output::Publish(_))));
    lane.handle(Input::Nacked(key(1)), NOW);
    assert!(published(&outputs(&mut lane, NOW)).is_empty(), "3 and 4 would overtake 1");
    settle(&mut lane, [2], NOW);
    outputs(&mut lane, NOW);
    assert_eq!(feed(&mut lane, 1..=4, LATER), [1]);
}

#[test]
fn after_a_lost_connection_everything_above_the_watermark_is_read_and_published_again() {
    let mut lane = lane(LaneOptions::default());
    feed(&mut lane, 1..=4, NOW);
    settle(&mut lane, [1, 3], NOW);
    lane.handle(Input::Lost, NOW);
    let (generation, from) = generation(&outputs(&mut lane, NOW));
    assert_eq!(from, ReadFrom::Position(behind(1)));
    lane.handle(Input::Read { generation, items: items(2..=4), end: ReadEnd::CaughtUp }, NOW);
    assert_eq!(published(&outputs(&mut lane, NOW)), [2, 3, 4]);
}

#[test]
fn a_read_from_before_a_rewind_is_ignored() {
    let mut lane = lane(LaneOptions { read_ahead: 1000, ..LaneOptions::default() });
    feed(&mut lane, 1..=2, NOW);
    let (old, _) = generation(&outputs(&mut lane, LATER));
    lane.handle(Input::Lost, LATER);
    lane.handle(Input::Read { generation: old, items: items(3..=4), end: ReadEnd::CaughtUp }, LATER);
    assert!(published(&outputs(&mut lane, LATER)).is_empty());
}

#[test]
fn a_returned_record_halts_the_lane_until_it_is_routable() {
    let mut lane = lane(LaneOptions::default());
    feed(&mut lane, 1..=3, NOW);
    settle(&mut lane, [1], NOW);
    lane.handle(returned(2), NOW);
    settle(&mut lane, [3], NOW);
    let halted = Output::Halted { key: key(2), reason: "no route" };
    assert!(outputs(&mut lane, NOW).contains(&halted));
    assert_eq!((lane.watermark(), lane.is_halted()), (Some(behind(1)), true));

    assert_eq!(feed(&mut lane, 2..=3, LATER), [2]);
    lane.handle(returned(2), LATER);
    assert!(!outputs(&mut lane, LATER).contains(&halted), "it is told once");

    assert_eq!(feed(&mut lane, 2..=3, MUCH_LATER), [2]);
    settle(&mut lane, [2], MUCH_LATER);
    assert_eq!(published(&outputs(&mut lane, MUCH_LATER)), [3]);
    assert_eq!((lane.watermark(), lane.is_halted()), (Some(behind(2)), false));
}

#[test]
fn a_lane_is_held_up_by_a_record_only_once_everything_in_front_of_it_is_settled() {
    let mut lane = lane(LaneOptions::default());
    feed(&mut lane, 1..=3, NOW);
    lane.handle(Input::Nacked(key(1)), NOW);
    lane.handle(returned(2), NOW);
    lane.handle(Input::Nacked(key(3)), NOW);
    outputs(&mut lane, NOW);
    assert_eq!(
        (lane.held(), lane.is_halted(), lane.is_held_up()),
        (0, true, false),
        "1 is to be tried again"
    );

    assert_eq!(feed(&mut lane, 1..=3, LATER), [1]);
    settle(&mut lane, [1], LATER);
    assert_eq!(published(&outputs(&mut lane, LATER)), [2, 3]);
    lane.handle(returned(2), LATER);
    settle(&mut lane, [3], LATER);
    outputs(&mut lane, LATER);
    assert!(lane.is_held_up());
    assert_eq!(feed(&mut lane, 2..=3, MUCH_LATER), [2]);
    assert!(!lane.is_held_up(), "it may be taken this time");
}

#[test]
fn a_lane_is_held_up_by_damage_only_once_everything_in_front_of_it_is_settled() {
    let mut lane = lane(LaneOptions::default());
    let damaged = |lane: &mut TestLane, now| {
        let (generation, _) = generation(&outputs(lane, now));
        lane.handle(Input::Read { generation, items: items(1..=2), end: ReadEnd::Damaged }, now);
        published(&outputs(lane, now))
    };
    assert_eq!(damaged(&mut lane, NOW), [1, 2]);
    assert!(!lane.is_held_up());
    lane.handle(Input::Lost, NOW);
    assert_eq!((lane.held(), lane.is_halted(), lane.is_held_up()), (0, true, false), "they are read again");
    assert_eq!(damaged(&mut lane, NOW), [1, 2]);
    lane.handle(Input::Nacked(key(1)), NOW);
    settle(&mut lane, [2], NOW);
    outputs(&mut lane, NOW);
    assert_eq!((lane.held(), lane.is_held_up()), (0, false), "1 is to be tried again");
    assert_eq!(damaged(&mut lane, LATER), [1]);
    settle(&mut lane, [1], LATER);
    assert_eq!(published(&outputs(&mut lane, LATER)), [2]);
    settle(&mut lane, [2], LATER);
    outputs(&mut lane, LATER);
    assert!(lane.is_held_up());
}

#[test]
fn no_dead_letter_is_made_of_a_record_that_will_be_published_again() {
    let options = LaneOptions { on_undeliverable: OnUndeliverable::DeadLetter, ..LaneOptions::default() };
    let mut lane = lane(options);
    feed(&mut lane, 1..=3, NOW);
    lane.handle(Input::Nacked(key(1)), NOW);
    lane.handle(returned(2), NOW);
    lane.handle(Input::Lost, NOW);
    let outputs = outputs(&mut lane, NOW);
    assert!(!outputs.iter().any(|output| matches!(output, Output::DeadLetter { .. })), "{outputs:?}");
}

#[test]
fn the_watermark_passes_a_returned_record_only_once_its_dead_letter_is_durable() {
    let options = LaneOptions { on_undeliverable: OnUndeliverable::DeadLetter, ..LaneOptions::default() };
    let mut lane = lane(options);
    feed(&mut lane, 1..=3, NOW);
    lane.handle(returned(2), NOW);
    settle(&mut lane, [1, 3], NOW);
    let dead = Output::DeadLetter { key: key(2), body: 2, reason: "no route" };
    assert!(outputs(&mut lane, NOW).contains(&dead));
    assert_eq!(lane.watermark(), Some(behind(1)));
    lane.handle(Input::Stop, NOW);
    assert!(!outputs(&mut lane, NOW).contains(&Output::Stopped), "the dead letter is awaited");
    lane.handle(Input::DeadLettered(key(2)), NOW);
    assert_eq!(lane.watermark(), Some(behind(3)));
}

#[test]
fn a_record_that_may_not_die_halts_the_lane_whatever_the_option_says() {
    let options = LaneOptions { on_undeliverable: OnUndeliverable::DeadLetter, ..LaneOptions::default() };
    let mut lane = lane(options);
    feed(&mut lane, 1..=1, NOW);
    lane.handle(Input::Returned { key: key(1), reason: "no permission", can_die: false }, NOW);
    assert!(outputs(&mut lane, NOW).contains(&Output::Halted { key: key(1), reason: "no permission" }));
    assert_eq!(lane.watermark(), None);
}

#[test]
fn a_dead_letter_that_fails_is_not_passed_and_its_record_is_tried_again() {
    let options = LaneOptions { on_undeliverable: OnUndeliverable::DeadLetter, ..LaneOptions::default() };
    let mut lane = lane(options);
    feed(&mut lane, 1..=2, NOW);
    lane.handle(returned(1), NOW);
    settle(&mut lane, [2], NOW);
    lane.handle(Input::DeadLetterFailed(key(1)), NOW);
    outputs(&mut lane, NOW);
    assert_eq!(feed(&mut lane, 1..=2, LATER), [1]);
    assert_eq!(lane.watermark(), None);
}

#[test]
fn at_damage_the_lane_publishes_what_came_before_and_waits_and_looks_again() {
    let mut lane = lane(LaneOptions::default());
    let (first, _) = generation(&outputs(&mut lane, NOW));
    lane.handle(Input::Read { generation: first, items: items(1..=2), end: ReadEnd::Damaged }, NOW);
    let said = outputs(&mut lane, NOW);
    assert!(said.contains(&Output::HaltedByDamage));
    assert_eq!(published(&said), [1, 2]);
    settle(&mut lane, [1, 2], NOW);
    let (second, from) = generation(&outputs(&mut lane, LATER));
    assert_eq!(from, ReadFrom::Position(behind(2)));
    lane.handle(Input::Read { generation: second, items: vec![], end: ReadEnd::Damaged }, LATER);
    assert!(!outputs(&mut lane, LATER).contains(&Output::HaltedByDamage), "it is told once");
}

#[test]
fn damage_is_skipped_only_by_option_and_only_once_its_report_is_durable() {
    let mut lane = lane(LaneOptions { on_damage: OnDamage::Skip, ..LaneOptions::default() });
    let (generation, _) = generation(&outputs(&mut lane, NOW));
    lane.handle(Input::Read { generation, items: items(1..=2), end: ReadEnd::Damaged }, NOW);
    let said = outputs(&mut lane, NOW);
    assert!(said.contains(&Output::Quarantine));
    assert!(!said.iter().any(|output| matches!(output, Output::Read { .. })));
    lane.handle(Input::Quarantined, NOW);
    let skips = |output: &Output<_, _>| matches!(output, Output::Read { skip_damage: true, .. });
    assert!(outputs(&mut lane, NOW).iter().any(skips));
    lane.handle(Input::Read { generation, items: items(5..=6), end: ReadEnd::CaughtUp }, NOW);
    assert_eq!(published(&outputs(&mut lane, NOW)), [5, 6]);
}

#[test]
fn what_a_newer_zoutbox_wrote_is_never_skipped() {
    let mut lane = lane(LaneOptions { on_damage: OnDamage::Skip, ..LaneOptions::default() });
    let (generation, _) = generation(&outputs(&mut lane, NOW));
    lane.handle(Input::Read { generation, items: items(1..=2), end: ReadEnd::Newer }, NOW);
    let said = outputs(&mut lane, NOW);
    assert!(said.contains(&Output::HaltedByDamage) && !said.contains(&Output::Quarantine));
    assert_eq!(published(&said), [1, 2], "what lies in front of it flows");
}

#[test]
fn a_checkpoint_is_saved_in_time_or_by_count_and_never_two_at_once() {
    let options = LaneOptions { checkpoint_items: 3, ..LaneOptions::default() };
    let interval = options.checkpoint_interval;
    let mut lane = lane(options);
    feed(&mut lane, 1..=9, NOW);
    settle(&mut lane, [1], NOW);
    assert_eq!(saves(&outputs(&mut lane, NOW)), []);
    assert!(lane.deadline().is_some_and(|deadline| deadline <= NOW + interval));
    assert_eq!(saves(&outputs(&mut lane, NOW + interval)), [behind(1)]);
    settle(&mut lane, 2..=9, NOW);
    assert_eq!(saves(&outputs(&mut lane, LATER)), [], "one is being saved");
    lane.handle(Input::CheckpointSaved(behind(1)), LATER);
    assert_eq!(saves(&outputs(&mut lane, NOW)), [behind(9)], "by count");
    lane.handle(Input::CheckpointFailed, LATER);
    assert_eq!(saves(&outputs(&mut lane, LATER)), []);
    assert_eq!(saves(&outputs(&mut lane, MUCH_LATER)), [behind(9)]);
    assert_eq!(lane.durable(), Some(behind(1)));
}

#[test]
fn an_orderly_stop_waits_for_what_is_in_flight_and_for_the_checkpoint() {
    let mut lane = lane(LaneOptions::default());
    feed(&mut lane, 1..=3, NOW);
    lane.handle(Input::Stop, NOW);
    assert_eq!(outputs(&mut lane, NOW), []);
    settle(&mut lane, 1..=3, NOW);
    assert_eq!(outputs(&mut lane, NOW), [Output::SaveCheckpoint(behind(3))]);
    lane.handle(Input::CheckpointSaved(behind(3)), NOW);
    assert_eq!(outputs(&mut lane, NOW), [Output::Stopped]);
    assert_eq!(outputs(&mut lane, MUCH_LATER), []);
}

#[test]
fn polling_slows_down_while_nothing_comes_and_a_hint_wakes_it() {
    let mut lane = lane(LaneOptions::default());
    let mut now = NOW;
    let mut waits = Vec::new();
    for _ in 0..12 {
        let (generation, _) = generation(&outputs(&mut lane, now));
        lane.handle(Input::Read { generation, items: vec![], end: ReadEnd::CaughtUp }, now);
        let due = lane.deadline().expect("a next read");
        waits.push(due.saturating_sub(now));
        now = due;
    }
    assert!(waits.is_sorted());
    let ends = [waits[0], waits[11]];
    assert_eq!(ends, [LaneOptions::default().poll_fast, LaneOptions::default().poll_slow]);
    let (first, _) = generation(&outputs(&mut lane, now));
    lane.handle(Input::Read { generation: first, items: vec![], end: ReadEnd::CaughtUp }, now);
    lane.handle(Input::Hint, now);
    assert_eq!(lane.deadline(), Some(now));
    lane.set_poll_slow(MUCH_LATER);
    let mut longest = Duration::ZERO;
    for _ in 0..30 {
        let (generation, _) = generation(&outputs(&mut lane, now));
        lane.handle(Input::Read { generation, items: vec![], end: ReadEnd::CaughtUp }, now);
        let due = lane.deadline().expect("a next read");
        longest = due.saturating_sub(now);
        now = due;
    }
    assert_eq!(longest, MUCH_LATER);
}

#[test]
fn a_hint_while_a_read_is_going_on_is_followed_by_another_one_at_once() {
    let options = LaneOptions { poll_fast: MUCH_LATER, poll_slow: MUCH_LATER, ..LaneOptions::default() };
    let mut lane = lane(options);
    let caught_up = |generation| Input::Read { generation, items: vec![], end: ReadEnd::CaughtUp };
    let (first, _) = generation(&outputs(&mut lane, NOW));
    lane.handle(Input::Hint, NOW);
    lane.handle(Input::Hint, NOW);
    assert_eq!(outputs(&mut lane, NOW), [], "one read at a time");
    lane.handle(caught_up(first), NOW);
    assert!(!lane.is_caught_up(), "what it found may be older than the hint");
    let (second, _) = generation(&outputs(&mut lane, NOW));
    lane.handle(caught_up(second), NOW);
    assert!(lane.is_caught_up());
    assert_eq!(outputs(&mut lane, NOW), [], "once for all of them");
    assert_eq!(lane.deadline(), Some(NOW + MUCH_LATER));
}

#[test]
fn what_is_held_back_is_read_again_in_time_and_the_lane_is_not_caught_up_before() {
    let options = LaneOptions { poll_fast: MUCH_LATER, poll_slow: MUCH_LATER, ..LaneOptions::default() };
    let mut lane = lane(options);
    let (first, _) = generation(&outputs(&mut lane, NOW));
    lane.handle(Input::Read { generation: first, items: vec![], end: ReadEnd::CaughtUp }, NOW);
    assert!(lane.is_caught_up());
    lane.handle(Input::Hint, NOW);
    let (second, _) = generation(&outputs(&mut lane, NOW));
    lane.handle(Input::Read { generation: second, items: vec![], end: ReadEnd::Held { until: LATER } }, NOW);
    assert!(!lane.is_caught_up());
    assert_eq!((outputs(&mut lane, NOW), lane.deadline()), (vec![], Some(LATER)));
    let (third, from) = generation(&outputs(&mut lane, LATER));
    assert_eq!(from, ReadFrom::There);
    lane.handle(Input::ReadFailed { generation: third }, LATER);
    assert!(!lane.is_caught_up(), "it is held back still");
    let (fourth, _) = generation(&outputs(&mut lane, MUCH_LATER));
    lane.handle(Input::Read { generation: fourth, items: items(1..=3), end: ReadEnd::CaughtUp }, MUCH_LATER);
    assert_eq!(published(&outputs(&mut lane, MUCH_LATER)), [1, 2, 3]);
}

#[test]
fn what_is_held_back_can_wait_for_less_than_it_may_and_a_hint_reads_on_at_once() {
    let mut lane = lane(LaneOptions::default());
    let held = |generation| Input::Read { generation, items: vec![], end: ReadEnd::Held { until: LATER } };
    let (first, _) = generation(&outputs(&mut lane, NOW));
    lane.handle(held(first), NOW);
    assert_eq!(lane.deadline(), Some(NOW + LaneOptions::default().poll_fast));
    lane.handle(Input::Hint, NOW);
    let (second, _) = generation(&outputs(&mut lane, NOW));
    lane.handle(Input::Hint, NOW);
    lane.handle(held(second), NOW);
    assert_eq!(lane.deadline(), Some(NOW), "what was read may be older than the hint");
}

#[test]
fn a_lane_that_has_enough_for_now_is_not_caught_up() {
    let mut lane = lane(LaneOptions::default());
    let (first, _) = generation(&outputs(&mut lane, NOW));
    lane.handle(Input::Read { generation: first, items: vec![], end: ReadEnd::CaughtUp }, NOW);
    assert!(lane.is_caught_up());
    let (second, _) = generation(&outputs(&mut lane, LATER));
    lane.handle(Input::Read { generation: second, items: vec![], end: ReadEnd::Budget }, LATER);
    assert!(!lane.is_caught_up(), "all of it may have been kept for a run");
}

#[test]
fn a_stop_and_a_rewind_leave_what_is_held_back_to_be_read_again() {
    let mut stops = lane(LaneOptions::default());
    let mut rewinds = lane(LaneOptions::default());
    for lane in [&mut stops, &mut rewinds] {
        let (generation, _) = generation(&outputs(lane, NOW));
        lane.handle(
            Input::Read { generation, items: items(1..=2), end: ReadEnd::Held { until: LATER } },
            NOW,
        );
        outputs(lane, NOW);
    }
    stops.handle(Input::Stop, NOW);
    settle(&mut stops, 1..=2, NOW);
    assert_eq!(saves(&outputs(&mut stops, NOW)), [behind(2)]);
    stops.handle(Input::CheckpointSaved(behind(2)), NOW);
    assert_eq!(outputs(&mut stops, MUCH_LATER), [Output::Stopped]);
    settle(&mut rewinds, [1], NOW);
    rewinds.handle(Input::Lost, NOW);
    let (generation, from) = generation(&outputs(&mut rewinds, NOW));
    assert_eq!(from, ReadFrom::Position(behind(1)));
    rewinds.handle(Input::Read { generation, items: items(2..=4), end: ReadEnd::CaughtUp }, NOW);
    assert_eq!(published(&outputs(&mut rewinds, NOW)), [2, 3, 4]);
    settle(&mut rewinds, 2..=4, NOW);
    assert_eq!(rewinds.watermark(), Some(behind(4)));
}

#[test]
fn what_comes_again_elsewhere_waits_until_its_first_copy_is_settled() {
    let mut lane = lane(LaneOptions::default());
    let (first, _) = generation(&outputs(&mut lane, NOW));
    lane.handle(Input::Read { generation: first, items: items(1..=4), end: ReadEnd::Repeats }, NOW);
    assert_eq!(published(&outputs(&mut lane, NOW)), [1, 2, 3, 4]);
    settle(&mut lane, [1, 2, 4], MUCH_LATER);
    let reads = |outputs: &[Output<_, _>]| outputs.iter().any(|o| matches!(o, Output::Read { .. }));
    assert!(!reads(&outputs(&mut lane, MUCH_LATER)), "3 would be in flight twice");
    assert!(!lane.is_caught_up());
    settle(&mut lane, [3], MUCH_LATER);
    lane.handle(Input::CheckpointSaved(behind(3)), MUCH_LATER);
    assert_eq!(lane.deadline(), Some(Duration::ZERO));
    let (second, from) = generation(&outputs(&mut lane, MUCH_LATER));
    assert_eq!(from, ReadFrom::There);
    lane.handle(Input::Read { generation: second, items: items(3..=6), end: ReadEnd::CaughtUp }, MUCH_LATER);
    assert_eq!(published(&outputs(&mut lane, MUCH_LATER)), [3, 4, 5, 6]);
    settle(&mut lane, 3..=6, MUCH_LATER);
    assert_eq!(lane.watermark(), Some(behind(6)));
}

#[test]
fn after_a_halt_one_record_is_asked_for() {
    let mut lane = lane(LaneOptions::default());
    let single =
        |outputs: &[Output<_, _>]| outputs.iter().any(|o| matches!(o, Output::Read { single: true, .. }));
    let said = outputs(&mut lane, NOW);
    assert!(!single(&said));
    let (generation, _) = generation(&said);
    lane.handle(Input::Read { generation, items: items(1..=2), end: ReadEnd::CaughtUp }, NOW);
    outputs(&mut lane, NOW);
    lane.handle(returned(1), NOW);
    settle(&mut lane, [2], NOW);
    outputs(&mut lane, NOW);
    assert!(single(&outputs(&mut lane, LATER)));
}
