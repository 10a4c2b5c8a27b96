//! By example, and against a queue, a broker and a relay that are made up.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const INTERVAL: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(20);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn writer(text: &str) -> WriterId {
    WriterId::new(text).unwrap()
}

fn segment(first: u64) -> SegmentId {
    SegmentId { epoch: Epoch::new(1), first_sequence: Sequence::new(first) }
}

fn confirmed(all: &[(&str, u64)]) -> Confirmed {
    all.iter().map(|(text, first)| (writer(text), segment(*first))).collect()
}

fn count(waiting: u64, delivered: u64) -> Count {
    Count { waiting, delivered }
}

/// One that has lived for a while, and heard of nothing.
fn tracker() -> Tracker {
    let mut tracker = Tracker::new(INTERVAL, SETTLE, at(0));
    tracker.turn(Confirmed::new(), count(0, 0), SETTLE);
    tracker.counted(count(0, 0), SETTLE + INTERVAL);
    tracker
}

/// Passed and open of a writer.
fn place(tracker: &Tracker, name: &str) -> (Option<u64>, Option<u64>) {
    let place = tracker.places().remove(&writer(name)).unwrap_or_default();
    let first = |id: Option<SegmentId>| id.map(|id| id.first_sequence.get());
    (first(place.passed), first(place.open))
}

fn come(tracker: &mut Tracker, delivery: u64, name: &str, first: u64) {
    tracker.delivered(delivery, &writer(name), Some(segment(first)));
}

#[test]
fn what_is_held_is_open_and_what_is_acknowledged_has_passed() {
    let mut tracker = tracker();
    assert_eq!(tracker.places(), BTreeMap::new());
    come(&mut tracker, 1, "a", 10);
    come(&mut tracker, 2, "a", 20);
    come(&mut tracker, 3, "b", 7);
    assert_eq!((place(&tracker, "a"), place(&tracker, "b")), ((None, Some(10)), (None, Some(7))));
    tracker.acked(1);
    assert_eq!(place(&tracker, "a"), (Some(10), Some(20)));
    tracker.acked(2);
    tracker.acked(3);
    assert_eq!((place(&tracker, "a"), place(&tracker, "b")), ((Some(20), None), (Some(7), None)));
    come(&mut tracker, 4, "a", 10);
    tracker.acked(4);
    assert_eq!(place(&tracker, "a"), (Some(20), None), "a late duplicate takes nothing back");
}

#[test]
fn what_could_not_be_resolved_proves_nothing() {
    let mut tracker = tracker();
    come(&mut tracker, 1, "a", 999);
    tracker.refused(1);
    tracker.acked(1);
    tracker.delivered(2, &writer("a"), None);
    tracker.acked(2);
    assert_eq!(tracker.places(), BTreeMap::new());
}

#[test]
fn what_a_connection_held_stays_open_until_the_queue_has_turned() {
    let mut tracker = tracker();
    come(&mut tracker, 1, "a", 10);
    tracker.acked(1);
    come(&mut tracker, 2, "a", 20);
    tracker.delivered(3, &writer("a"), None);
    tracker.lost(at(0));
    assert_eq!(place(&tracker, "a"), (Some(10), Some(10)), "an inline message may need what was passed last");
    come(&mut tracker, 4, "a", 30);
    tracker.acked(4);
    assert_eq!(place(&tracker, "a"), (Some(30), Some(10)));
    // Counted too early: the broker may not have taken it back by then.
    tracker.turn(confirmed(&[("a", 30)]), count(0, 4), at(10));
    tracker.counted(count(0, 4), at(15));
    assert_eq!(place(&tracker, "a"), (Some(30), Some(10)));
    tracker.turn(confirmed(&[("a", 40)]), count(0, 4), at(20));
    tracker.counted(count(0, 4), at(25));
    assert_eq!(place(&tracker, "a"), (Some(40), None));
}

fn file(writers: BTreeMap<WriterId, Place>) -> Progress {
    let share = zoutbox_format::ShareId::from_bytes([1; 16]);
    Progress { share, group: writer("g"), updated_ms: 0, interval_ms: 0, limit_ms: 0, writers }
}

#[test]
fn what_an_earlier_life_needed_is_needed_until_the_queue_has_turned() {
    let mut tracker = Tracker::new(INTERVAL, SETTLE, at(0));
    let passed = Place { passed: Some(segment(9)), ..Place::default() };
    let open = Place { open: Some(segment(3)), ..passed.clone() };
    tracker.inherit(file([(writer("a"), open), (writer("b"), passed)].into()));
    come(&mut tracker, 1, "a", 20);
    come(&mut tracker, 2, "b", 20);
    come(&mut tracker, 3, "c", 20);
    let all = |tracker: &Tracker| ["a", "b", "c"].map(|name| place(tracker, name));
    assert_eq!(all(&tracker), [(Some(9), Some(3)), (Some(9), Some(9)), (None, Some(1))]);
    (1..=3).for_each(|delivery| tracker.acked(delivery));
    assert_eq!(all(&tracker), [(Some(20), Some(3)), (Some(20), Some(9)), (Some(20), Some(1))]);
    tracker.turn(Confirmed::new(), count(0, 3), SETTLE);
    tracker.counted(count(0, 3), SETTLE + INTERVAL);
    assert_eq!(all(&tracker), [(Some(20), None); 3]);
}

#[test]
fn what_is_parked_is_told_and_until_then_what_an_earlier_life_said() {
    let mut tracker = Tracker::new(INTERVAL, SETTLE, at(0));
    let before = Place { parked: vec![segment(1)], ..Place::default() };
    tracker.inherit(file([(writer("a"), before)].into()));
    let parked = |tracker: &Tracker| tracker.places()[&writer("a")].parked.clone();
    tracker.parked(&writer("a"), Some(segment(2)));
    tracker.parked(&writer("a"), Some(segment(2)));
    tracker.parked(&writer("a"), None);
    assert_eq!(parked(&tracker), [segment(1), segment(2)]);
    tracker.started();
    tracker.unparked(&writer("a"), Some(segment(2)));
    assert_eq!(parked(&tracker), [segment(2)], "one of two");
    tracker.unparked(&writer("a"), Some(segment(2)));
    assert_eq!(parked(&tracker), []);
}

#[test]
fn an_idle_queue_is_asked_twice() {
    let mut tracker = tracker();
    tracker.turn(confirmed(&[("elsewhere", 70)]), count(0, 0), at(0));
    tracker.counted(count(0, 0), at(4));
    assert_eq!(place(&tracker, "elsewhere"), (None, None), "not an interval later");
    // The broker had said 0 and not known it.
    tracker.counted(count(2, 0), at(5));
    assert!(tracker.is_turning());
    come(&mut tracker, 1, "a", 1);
    come(&mut tracker, 2, "a", 1);
    tracker.acked(1);
    tracker.counted(count(0, 2), at(10));
    assert_eq!(place(&tracker, "elsewhere"), (None, None), "the second is not settled");
    tracker.acked(2);
    tracker.counted(count(0, 2), at(11));
    assert_eq!(place(&tracker, "elsewhere"), (Some(70), None));
    assert!(!tracker.is_turning());
}

#[test]
fn a_queue_that_is_never_empty_turns_all_the_same() {
    let mut tracker = tracker();
    tracker.turn(confirmed(&[("elsewhere", 70)]), count(3, 10), at(0));
    for delivery in 11..=14 {
        come(&mut tracker, delivery, "a", 1);
    }
    for delivery in [11, 13] {
        tracker.acked(delivery);
    }
    tracker.counted(count(500, 14), at(6));
    assert_eq!(place(&tracker, "elsewhere"), (None, None));
    tracker.acked(12);
    tracker.counted(count(500, 14), at(7));
    assert_eq!(place(&tracker, "elsewhere"), (Some(70), None), "14 came behind those that were counted");
}

#[test]
fn a_turn_ends_with_its_connection() {
    let mut tracker = tracker();
    tracker.turn(confirmed(&[("elsewhere", 70)]), count(0, 0), at(0));
    tracker.lost(at(1));
    tracker.counted(count(0, 0), at(9));
    assert_eq!(place(&tracker, "elsewhere"), (None, None));
}

/// A relay, a broker with one queue that gives back in front, and a consumer whose file is what was written last.
struct World {
    now: u64,
    /// What the relay published of each writer, and where its next record lies.
    next: [u64; 2],
    /// Only writer 0's records come here.
    queue: VecDeque<(usize, u64)>,
    /// With their delivery numbers.
    sent: VecDeque<(u64, usize, u64)>,
    /// Of connections that are gone, until the broker notices.
    limbo: Vec<(u64, Vec<(usize, u64)>)>,
    number: u64,
    read: Option<Confirmed>,
    tracker: Tracker,
    file: BTreeMap<WriterId, Place>,
}

#[derive(Debug, Clone)]
enum Act {
    Publish { writer: usize, new_segment: bool },
    Deliver,
    Ack,
    Lose { notice: u64 },
    Restart { notice: u64 },
    Pass { seconds: u64 },
    Write,
    Read,
    Look,
}

fn names() -> [WriterId; 2] {
    [writer("here"), writer("elsewhere")]
}

impl World {
    fn new() -> Self {
        Self {
            now: 0,
            next: [1, 1],
            queue: VecDeque::new(),
            sent: VecDeque::new(),
            limbo: Vec::new(),
            number: 0,
            read: None,
            tracker: Tracker::new(INTERVAL, SETTLE, at(0)),
            file: BTreeMap::new(),
        }
    }

    fn lose(&mut self, notice: u64) {
        let back = self.sent.drain(..).map(|(_, writer, first)| (writer, first)).collect();
        self.limbo.push((self.now + notice, back));
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Publish { writer, new_segment } => {
                self.next[writer] += u64::from(new_segment);
                if writer == 0 {
                    self.queue.push_back((0, self.next[0]));
                }
            }
            Act::Deliver => {
                if let Some((of, first)) = self.queue.pop_front() {
                    self.number += 1;
                    self.sent.push_back((self.number, of, first));
                    self.tracker.delivered(self.number, &names()[of], Some(segment(first)));
                }
            }
            Act::Ack => {
                if let Some((number, ..)) = self.sent.pop_front() {
                    self.tracker.acked(number);
                }
            }
            Act::Lose { notice } => {
                self.lose(notice);
                self.tracker.lost(at(self.now));
                self.read = None;
            }
            Act::Restart { notice } => {
                self.lose(notice);
                self.tracker = Tracker::new(INTERVAL, SETTLE, at(self.now));
                self.number = 0;
                self.read = None;
                self.tracker.inherit(file(self.file.clone()));
                // It says so before it is sent anything.
                self.file = self.tracker.places();
            }
            Act::Pass { seconds } => self.now += seconds,
            Act::Write => self.file = self.tracker.places(),
            Act::Read => {
                let all = names().into_iter().zip(self.next).map(|(name, first)| (name, segment(first)));
                self.read = Some(all.collect());
            }
            Act::Look => {
                let count = count(self.queue.len() as u64, self.number);
                self.tracker.counted(count, at(self.now));
                if !self.tracker.is_turning()
                    && let Some(confirmed) = self.read.take()
                {
                    self.tracker.turn(confirmed, count, at(self.now));
                }
            }
        }
        let now = self.now;
        let due: Vec<_> = self.limbo.extract_if(.., |(until, _)| *until <= now).collect();
        for (of, first) in due.into_iter().rev().flat_map(|(_, back)| back.into_iter().rev()) {
            self.queue.push_front((of, first));
        }
    }

    /// The lowest segment that the relay keeps because of the file.
    fn kept_from(&self, name: &WriterId) -> SegmentId {
        let place = self.file.get(name).cloned().unwrap_or_default();
        place.open.or(place.passed).unwrap_or(FIRST)
    }

    fn check(&self) {
        let limbo = self.limbo.iter().flat_map(|(_, back)| back).copied();
        let sent = self.sent.iter().map(|(_, of, first)| (*of, *first));
        for (of, first) in self.queue.iter().copied().chain(limbo).chain(sent) {
            let from = self.kept_from(&names()[of]);
            assert!(from <= segment(first), "{first} is on its way, and only from {from} on is kept");
        }
    }
}

fn acts() -> impl Strategy<Value = Act> {
    let notice = 0..=SETTLE.as_secs();
    prop_oneof![
        6 => (0..2_usize, any::<bool>()).prop_map(|(writer, new_segment)| Act::Publish { writer, new_segment }),
        8 => Just(Act::Deliver),
        8 => Just(Act::Ack),
        1 => notice.clone().prop_map(|notice| Act::Lose { notice }),
        1 => notice.prop_map(|notice| Act::Restart { notice }),
        4 => (1..8_u64).prop_map(|seconds| Act::Pass { seconds }),
        4 => Just(Act::Write),
        3 => Just(Act::Read),
        4 => Just(Act::Look),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_is_let_go_of_that_is_still_on_its_way(acts in prop::collection::vec(acts(), 1..200)) {
        let mut world = World::new();
        for act in acts {
            world.act(act);
            world.check();
        }
    }

    #[test]
    fn everything_that_is_through_is_let_go_of(acts in prop::collection::vec(acts(), 1..100)) {
        let mut world = World::new();
        for act in acts {
            world.act(act);
        }
        world.act(Act::Pass { seconds: 2 * SETTLE.as_secs() + 1 });
        while !world.queue.is_empty() || !world.sent.is_empty() {
            world.act(Act::Deliver);
            world.act(Act::Ack);
        }
        for _ in 0..3 {
            world.act(Act::Read);
            world.act(Act::Look);
            world.act(Act::Pass { seconds: INTERVAL.as_secs() });
            world.act(Act::Look);
        }
        world.act(Act::Write);
        for (name, next) in names().iter().zip(world.next) {
            prop_assert_eq!(world.kept_from(name), segment(next));
        }
    }
}
