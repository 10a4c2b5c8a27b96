//! Which message is next, when some lead to what this host does not show yet. Pure: no I/O, no clock.
//!
//! Messages are worked on in the order of delivery. One that is not ready holds back the later ones of its writer, and nobody else's:
//!
//! ```text
//!   delivered      A1 B1 A2 A3 B2         A1 is not ready
//!   worked on         B1       B2
//!   A's lane       A1 A2 A3               A1 again, later and later …
//!                  ready: A1, A2, A3 are next
//!                  not ready within the limit: all three go back to the broker, in this order, and come again
//! ```
//!
//! What else comes of A before those have come again waits for them, for as long as the limit. In a lane the order is that of the log.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use zoutbox_format::{RecordId, WriterId};

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// Work on it.
    Take(T),
    /// Give these back to the broker, in this order.
    Return(Vec<T>),
    /// Nothing for so long; without a time, until something comes.
    Wait(Option<Duration>),
}

#[derive(Debug)]
struct Item<T> {
    record: Option<RecordId>,
    what: T,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<Item<T>>,
    state: State,
    deadline: Duration,
}

impl<T> Lane<T> {
    /// In front of all that are later in the log.
    fn hold(&mut self, item: Item<T>) {
        let index = self.waiting.partition_point(|before| before.record <= item.record);
        self.waiting.insert(index, item);
    }

    /// Whether this was the last one that had been given back; nothing if it was none of them.
    fn came_again(&mut self, record: Option<&RecordId>) -> Option<bool> {
        let State::Returned(missing) = &mut self.state else { return None };
        missing.remove(record?).then(|| missing.is_empty())
    }
}

#[derive(Debug)]
enum State {
    /// The first one was not ready.
    NotReady { again: Duration, delay: Duration },
    /// It was taken to look again.
    Looking { delay: Duration },
    /// These were given back, and have not come again.
    Returned(BTreeSet<RecordId>),
}

/// The messages that are held.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    ready: VecDeque<Item<T>>,
    lanes: HashMap<WriterId, Lane<T>>,
    retry_min: Duration,
    retry_max: Duration,
    limit: Duration,
}

impl<T> Lanes<T> {
    pub(super) fn new(retry_min: Duration, retry_max: Duration, limit: Duration) -> Self {
        Self { ready: VecDeque::new(), lanes: HashMap::new(), retry_min, retry_max, limit }
    }

    /// A message came; `record` is what it says that it is.
    pub(super) fn arrived(&mut self, record: Option<RecordId>, what: T) {
        self.ready.push_back(Item { record, what });
    }

    /// The connection is gone, and with it all that is held.
    pub(super) fn clear(&mut self) {
        self.ready.clear();
        self.lanes.clear();
    }

    pub(super) fn next(&mut self, now: Duration) -> Next<T> {
        if let Some(next) = self.due(now) {
            return next;
        }
        while let Some(item) = self.ready.pop_front() {
            let lane = item.record.as_ref().and_then(|record| self.lanes.get_mut(&record.writer));
            let Some(lane) = lane else { return Next::Take(item.what) };
            let Some(done) = lane.came_again(item.record.as_ref()) else {
                lane.hold(item);
                continue;
            };
            if let Some(record) = item.record.as_ref().filter(|_| done) {
                self.settled(&record.writer);
            }
            return Next::Take(item.what);
        }
        let soonest = self.lanes.values().map(|lane| match lane.state {
            State::NotReady { again, .. } => again.min(lane.deadline),
            State::Looking { .. } | State::Returned(_) => lane.deadline,
        });
        Next::Wait(soonest.min().map(|at| at.saturating_sub(now)))
    }

    /// What a lane has to do now.
    fn due(&mut self, now: Duration) -> Option<Next<T>> {
        let due = |lane: &Lane<T>| {
            now >= lane.deadline || matches!(lane.state, State::NotReady { again, .. } if now >= again)
        };
        let writer = self.lanes.iter().find(|(_, lane)| due(lane)).map(|(writer, _)| writer.clone())?;
        let limit = self.limit;
        let lane = self.lanes.get_mut(&writer)?;
        if now < lane.deadline {
            let State::NotReady { delay, .. } = lane.state else { return None };
            lane.state = State::Looking { delay };
            return lane.waiting.pop_front().map(|item| Next::Take(item.what));
        }
        if !matches!(lane.state, State::Returned(_)) {
            lane.state =
                State::Returned(lane.waiting.iter().filter_map(|item| item.record.clone()).collect());
            lane.deadline = now.saturating_add(limit);
            return Some(Next::Return(lane.waiting.drain(..).map(|item| item.what).collect()));
        }
        // It went elsewhere.
        self.settled(&writer);
        None
    }

    /// The message that was taken last is not ready; it is `record` of what it says.
    pub(super) fn not_yet(&mut self, record: RecordId, what: T, now: Duration) {
        let writer = record.writer.clone();
        let item = Item { record: Some(record), what };
        let (min, max, limit) = (self.retry_min, self.retry_max, self.limit);
        let lane = self.lanes.entry(writer).or_insert_with(|| Lane {
            waiting: VecDeque::new(),
            state: State::Looking { delay: Duration::ZERO },
            deadline: now.saturating_add(limit),
        });
        let before = match lane.state {
            State::Looking { delay } => delay,
            State::NotReady { .. } => Duration::ZERO,
            State::Returned(_) => {
                lane.deadline = now.saturating_add(limit);
                Duration::ZERO
            }
        };
        let delay = before.saturating_mul(2).clamp(min, max.max(min));
        lane.state = State::NotReady { again: now.saturating_add(delay), delay };
        lane.hold(item);
    }

    /// The writer's first message is ready, whatever became of it: what waited for it is next.
    pub(super) fn settled(&mut self, writer: &WriterId) {
        let Some(lane) = self.lanes.remove(writer) else { return };
        for item in lane.waiting.into_iter().rev() {
            self.ready.push_front(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn lanes() -> Lanes<&'static str> {
        Lanes::new(MS(100), MS(400), MS(1_000))
    }

    fn id(text: &str) -> RecordId {
        text.parse().unwrap()
    }

    fn come(lanes: &mut Lanes<&'static str>, ids: &[&'static str]) {
        for text in ids {
            lanes.arrived(text.parse().ok(), text);
        }
    }

    fn taken(lanes: &mut Lanes<&'static str>, now: Duration) -> Vec<&'static str> {
        std::iter::from_fn(|| match lanes.next(now) {
            Next::Take(what) => Some(what),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn messages_are_taken_in_the_order_of_delivery() {
        let mut lanes = lanes();
        come(&mut lanes, &["a/1/1", "foreign", "b/1/1", "a/1/2"]);
        assert_eq!(taken(&mut lanes, MS(0)), ["a/1/1", "foreign", "b/1/1", "a/1/2"]);
        assert_eq!(lanes.next(MS(0)), Next::Wait(None));
    }

    #[test]
    fn one_that_is_not_ready_holds_back_its_writer_only() {
        let mut lanes = lanes();
        come(&mut lanes, &["a/1/1", "b/1/1", "a/1/2"]);
        assert_eq!(lanes.next(MS(0)), Next::Take("a/1/1"));
        lanes.not_yet(id("a/1/1"), "a/1/1", MS(0));
        come(&mut lanes, &["foreign", "a/1/3"]);
        assert_eq!(taken(&mut lanes, MS(0)), ["b/1/1", "foreign"]);
        assert_eq!(lanes.next(MS(40)), Next::Wait(Some(MS(60))));
        assert_eq!(lanes.next(MS(100)), Next::Take("a/1/1"));
        lanes.not_yet(id("a/1/1"), "a/1/1", MS(100));
        assert_eq!(lanes.next(MS(100)), Next::Wait(Some(MS(200))), "twice as long");
        assert_eq!(lanes.next(MS(300)), Next::Take("a/1/1"));
        lanes.settled(&id("a/1/1").writer);
        come(&mut lanes, &["a/1/4"]);
        assert_eq!(taken(&mut lanes, MS(300)), ["a/1/2", "a/1/3", "a/1/4"]);
    }

    #[test]
    fn after_the_limit_all_of_the_writer_go_back_in_order_and_what_comes_waits_for_the_first() {
        let mut lanes = lanes();
        come(&mut lanes, &["a/1/1", "a/1/2", "b/1/1"]);
        assert_eq!(lanes.next(MS(0)), Next::Take("a/1/1"));
        lanes.not_yet(id("a/1/1"), "a/1/1", MS(0));
        assert_eq!(taken(&mut lanes, MS(0)), ["b/1/1"]);
        assert_eq!(lanes.next(MS(1_000)), Next::Return(vec!["a/1/1", "a/1/2"]));
        come(&mut lanes, &["a/1/3", "b/1/2"]);
        assert_eq!(taken(&mut lanes, MS(1_000)), ["b/1/2"]);
        come(&mut lanes, &["a/1/1", "a/1/2"]);
        assert_eq!(taken(&mut lanes, MS(1_000)), ["a/1/1", "a/1/2", "a/1/3"]);
    }

    #[test]
    fn what_was_given_back_is_not_waited_for_longer_than_the_limit() {
        let mut lanes = lanes();
        come(&mut lanes, &["a/1/1"]);
        assert_eq!(lanes.next(MS(0)), Next::Take("a/1/1"));
        lanes.not_yet(id("a/1/1"), "a/1/1", MS(0));
        assert_eq!(lanes.next(MS(1_000)), Next::Return(vec!["a/1/1"]));
        come(&mut lanes, &["a/1/2"]);
        assert_eq!(lanes.next(MS(1_500)), Next::Wait(Some(MS(500))));
        assert_eq!(taken(&mut lanes, MS(2_000)), ["a/1/2"]);
        assert_eq!(lanes.next(MS(2_000)), Next::Wait(None));
    }

    #[test]
    fn a_lost_connection_clears_everything() {
        let mut lanes = lanes();
        come(&mut lanes, &["a/1/1", "a/1/2"]);
        assert_eq!(lanes.next(MS(0)), Next::Take("a/1/1"));
        lanes.not_yet(id("a/1/1"), "a/1/1", MS(0));
        lanes.clear();
        assert_eq!(lanes.next(MS(5_000)), Next::Wait(None));
    }
}
