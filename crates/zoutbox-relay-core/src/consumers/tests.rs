use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use zoutbox_format::{Epoch, Place, SegmentId, Sequence, ShareId};

use super::*;

/// 2023.
const START_MS: u64 = 1_700_000_000_000;
const INTERVAL: u64 = 5000;
const LIMIT: u64 = 60_000;
const ORDERS: &str = "orders";

fn name(text: &str) -> WriterId {
    WriterId::new(text).expect("valid")
}

fn passed(updated_ms: u64, sequence: u64) -> Progress {
    let segment = SegmentId { epoch: Epoch::FIRST, first_sequence: Sequence::new(sequence) };
    let place = Place { passed: Some(segment), ..Place::default() };
    Progress {
        share: ShareId::from_bytes([1; 16]),
        group: name("billing"),
        updated_ms,
        interval_ms: INTERVAL,
        limit_ms: LIMIT,
        writers: BTreeMap::from([(name(ORDERS), place)]),
    }
}

fn sight(name: &str, found: Result<Progress, String>) -> Sighting {
    Sighting { name: name.into(), found }
}

/// A relay's look at a single consumer, after so many milliseconds on both clocks.
fn look(consumers: &mut Consumers, progress: &Progress, after: u64) -> (Needs, Vec<String>) {
    look_at(consumers, progress, START_MS + after, after)
}

fn look_at(consumers: &mut Consumers, progress: &Progress, now_ms: u64, after: u64) -> (Needs, Vec<String>) {
    let seen = [sight("b-1", Ok(progress.clone()))];
    let (needs, news) = consumers.look(&seen, 0, now_ms, Duration::from_millis(after));
    (needs, warnings(news))
}

fn warnings(news: Vec<Remark>) -> Vec<String> {
    news.into_iter().filter(|news| news.warning).map(|news| news.what).collect()
}

fn holds(needs: &Needs) -> bool {
    !needs.of(&name(ORDERS)).eq(&crate::Need::nothing())
}

#[test]
fn a_consumer_that_is_silent_beyond_its_limit_holds_nothing_and_is_told_of_once() {
    let mut consumers = Consumers::new();
    let last = passed(START_MS, 7);
    for after in [0, 10_000, LIMIT] {
        let (needs, news) = look(&mut consumers, &last, after);
        assert!(holds(&needs) && news.is_empty(), "{after}");
    }
    let (needs, news) = look(&mut consumers, &last, LIMIT + 1);
    let told = "consumer b-1 of group billing has vanished (silent for 60 s): it holds nothing any more";
    assert_eq!((holds(&needs), news), (false, vec![told.to_owned()]));
    assert!(consumers.has_vanished("b-1"));
    let (needs, news) = look(&mut consumers, &last, 2 * LIMIT);
    assert!(!holds(&needs) && news.is_empty(), "told every time");
    let remarks = consumers.remarks(Duration::from_mins(9));
    assert_eq!(remarks.len(), 1);
    assert!(remarks[0].what.contains("b-1") && remarks[0].since == Duration::from_millis(LIMIT + 1));

    let back = passed(START_MS + 3 * LIMIT, 7);
    let (needs, _) = look(&mut consumers, &back, 3 * LIMIT);
    assert!(holds(&needs) && consumers.remarks(Duration::ZERO).is_empty());
    let (needs, news) = look(&mut consumers, &back, 5 * LIMIT);
    assert_eq!((holds(&needs), news.len()), (false, 1), "it vanished again");
}

#[test]
fn a_relay_that_starts_gives_a_silent_consumer_two_intervals_whatever_the_clock_says() {
    let mut consumers = Consumers::new();
    let last = passed(START_MS - 1000 * LIMIT, 7);
    for after in [0, INTERVAL, 2 * INTERVAL - 1] {
        assert!(holds(&look(&mut consumers, &last, after).0), "{after}");
    }
    assert!(!holds(&look(&mut consumers, &last, 2 * INTERVAL).0));
    let mut hasty = Consumers::new();
    let often = Progress { interval_ms: 0, limit_ms: 0, ..last };
    for after in [0, 999] {
        assert!(holds(&look(&mut hasty, &often, after).0), "{after}");
    }
    assert!(!holds(&look(&mut hasty, &often, 1000).0));
}

#[test]
fn a_jump_of_a_clock_makes_no_living_consumer_vanish() {
    let mut consumers = Consumers::new();
    let jumps = [0, 1000 * LIMIT, 0, 999 * LIMIT];
    for (round, jump) in jumps.into_iter().cycle().take(40).enumerate() {
        let after = INTERVAL * round as u64;
        let alive = passed(START_MS + after, 7);
        let (needs, news) = look_at(&mut consumers, &alive, START_MS + after + jump, after + INTERVAL - 1);
        assert!(holds(&needs) && news.is_empty(), "{round}");
    }
}

#[test]
fn a_consumer_whose_clock_is_ahead_vanishes_when_it_has_stood_still_for_its_limit() {
    let mut consumers = Consumers::new();
    let ahead = passed(START_MS + 1_000_000 * LIMIT, 7);
    for after in [0, LIMIT] {
        assert!(holds(&look(&mut consumers, &ahead, after).0), "{after}");
    }
    assert!(!holds(&look(&mut consumers, &ahead, LIMIT + 1).0));
}

#[test]
fn a_consumer_whose_clock_stands_still_lives_as_long_as_its_file_changes() {
    let mut consumers = Consumers::new();
    for round in 0..100 {
        let (needs, _) = look(&mut consumers, &passed(START_MS, round + 1), round * INTERVAL);
        assert!(holds(&needs), "{round}");
    }
}

#[test]
fn what_can_not_be_read_holds_everything_and_is_told_of_once_a_reason() {
    let mut consumers = Consumers::new();
    let alive = sight("a", Ok(passed(START_MS, 7)));
    let mut look = |found: Result<Progress, String>| {
        let seen = [alive.clone(), sight("b", found)];
        let (needs, news) = consumers.look(&seen, 0, START_MS, Duration::ZERO);
        (needs.of(&name("anybody")).is_everything(), needs.of(&name(ORDERS)).is_everything(), warnings(news))
    };
    let damaged = "nothing is removed, since nobody knows what consumer b needs: damaged".to_owned();
    assert_eq!(look(Err("damaged".into())), (true, true, vec![damaged]));
    assert_eq!(look(Err("damaged".into())), (true, true, vec![]));
    assert_eq!(look(Err("newer".into())).2.len(), 1);
    let (_, everything, news) = look(Ok(passed(START_MS, 8)));
    assert!(!everything && news.is_empty());
}

#[test]
fn more_consumers_than_are_read_hold_everything() {
    let mut consumers = Consumers::new();
    let seen = [sight("a", Ok(passed(START_MS, 7)))];
    let (needs, news) = consumers.look(&seen, 3, START_MS, Duration::ZERO);
    assert!(needs.of(&name(ORDERS)).is_everything());
    assert_eq!(warnings(news).len(), 1);
    assert_eq!(consumers.look(&seen, 2, START_MS, Duration::ZERO).1, [], "told once");
    assert_eq!(consumers.remarks(Duration::ZERO).len(), 1);
    let (needs, _) = consumers.look(&seen, 0, START_MS, Duration::ZERO);
    assert!(!needs.of(&name(ORDERS)).is_everything() && consumers.remarks(Duration::ZERO).is_empty());
}

#[test]
fn who_takes_its_file_away_is_forgotten_at_once_and_is_new_if_it_comes_back() {
    let mut consumers = Consumers::new();
    let old = passed(START_MS - 1000 * LIMIT, 7);
    look(&mut consumers, &old, 0);
    let (needs, news) = consumers.look(&[], 0, START_MS, Duration::from_millis(2 * INTERVAL));
    assert!(!holds(&needs) && news.is_empty());
    assert!(holds(&look(&mut consumers, &old, 4 * INTERVAL).0), "it is two intervals from when it was seen");
}

proptest! {
    /// Looks at any times, clocks that jump anywhere: a consumer that writes as often as it says is never given up.
    #[test]
    fn a_consumer_that_keeps_its_word_never_vanishes(
        looks in vec((0..20_000_u64, -1_000_000_000_i64..1_000_000_000, -1_000_000_000_i64..1_000_000_000), 1..60),
        limit_ms in 0..100_000_u64,
    ) {
        let mut consumers = Consumers::new();
        let mut after = 0;
        for (pause, relay_jump, consumer_jump) in looks {
            after += pause;
            // Written at every multiple of the interval, by a clock that was wrong by then.
            let written = after - after % INTERVAL;
            let wrong = |at: u64, by: i64| (START_MS + at).saturating_add_signed(by);
            let mut progress = passed(wrong(written, consumer_jump), 1 + written);
            progress.limit_ms = limit_ms;
            let (needs, news) = look_at(&mut consumers, &progress, wrong(after, relay_jump), after);
            prop_assert!(holds(&needs) && news.is_empty(), "{news:?}");
        }
    }

    /// And one that stopped is given up in the end, wherever its clock and the relay's are.
    #[test]
    fn a_consumer_that_stopped_vanishes_in_the_end(updated_ms: u64, now_ms: u64, limit_ms in 0..1_000_000_000_u64) {
        let mut consumers = Consumers::new();
        let progress = Progress { updated_ms, limit_ms, ..passed(0, 1) };
        look_at(&mut consumers, &progress, now_ms, 0);
        let end = limit_ms + 2 * INTERVAL + 1;
        let (needs, news) = look_at(&mut consumers, &progress, now_ms, end);
        prop_assert!(!holds(&needs) && news.len() == 1);
    }
}
