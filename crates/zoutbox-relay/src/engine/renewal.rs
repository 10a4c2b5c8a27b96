//! When a connection is given up that is there, and over which the broker takes nothing.
//!
//! A channel that publishes to a quorum queue for the first time asks the node that led the queue last. Where that node is dead,
//! RabbitMQ 3.10 refuses everything over that channel until the node is back, though the queue may have had another leader for long, and a
//! later channel would find it (`rabbit_fifo_client`, a first `enqueue` without a known leader). And a node that is cut off from its
//! cluster may refuse what another one takes. A queue that is full refuses no differently: a nack says no reason. So another connection is tried in any case, in a way
//! that costs a queue which is full for days nothing: rarer each time, and with nothing in flight that would have to be published again.
//!
//! ```text
//!   refused for AFTER ──▶ holding: nothing more goes out ──▶ nothing in flight, or HOLD later ──▶ given up ──▶ up: not before a pause,
//!                             └ down, blocked: no more of it                                              twice as long each time
//! ```

use std::time::Duration;

/// Longer than a lane waits before it tries a record again: it was refused twice.
const AFTER: Duration = Duration::from_secs(6);
/// Between two connections that are given up for this, at most; so for so long at most a queue waits that has a leader again.
const PAUSE_LAST: Duration = Duration::from_mins(1);
/// What was published is confirmed in less, or the connection has another trouble.
const HOLD: Duration = Duration::from_secs(5);

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    None,
    /// Publish nothing more, until another step.
    Hold,
    /// Give the connection up.
    Renew,
}

/// When to try another connection.
#[derive(Debug)]
pub(super) struct Renewal {
    /// Not before this time.
    next: Duration,
    /// How long the connection that comes next is kept at least.
    pause: Duration,
    /// Since when nothing more is published.
    holding: Option<Duration>,
}

impl Renewal {
    pub(super) fn new() -> Self {
        Self { next: Duration::ZERO, pause: AFTER, holding: None }
    }

    /// There is a connection.
    pub(super) fn up(&mut self, now: Duration) {
        self.next = now + self.pause;
        self.holding = None;
    }

    /// There is none any more, for another reason than this: what comes next may have met its queues without a leader.
    pub(super) fn lost(&mut self) {
        *self = Self::new();
    }

    /// `refused`: since when the broker has not taken some record, if it takes others to be there. `in_flight`: how much is not resolved.
    pub(super) fn step(&mut self, refused: Option<Duration>, in_flight: usize, now: Duration) -> Step {
        let due = refused.is_some_and(|since| since + AFTER <= now) && self.next <= now;
        if !due {
            self.holding = None;
            return Step::None;
        }
        let since = *self.holding.get_or_insert(now);
        if in_flight > 0 && now < since + HOLD {
            return Step::Hold;
        }
        self.holding = None;
        self.pause = (self.pause * 2).min(PAUSE_LAST);
        self.next = now + self.pause;
        Step::Renew
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const START: Duration = Duration::from_secs(100);

    /// With a connection since long ago.
    fn connected() -> Renewal {
        let mut renewal = Renewal::new();
        renewal.up(Duration::ZERO);
        renewal
    }

    #[test]
    fn a_connection_is_given_up_when_a_record_was_refused_twice_and_nothing_is_in_flight() {
        let (mut renewal, refused) = (connected(), Some(START));
        assert_eq!(renewal.step(None, 0, START * 9), Step::None, "nothing is refused");
        assert_eq!(renewal.step(refused, 0, START), Step::None, "once");
        let due = START + AFTER;
        assert_eq!(renewal.step(refused, 7, due), Step::Hold);
        assert_eq!(renewal.step(refused, 1, due + SECOND), Step::Hold);
        assert_eq!(renewal.step(refused, 0, due + SECOND), Step::Renew);
    }

    #[test]
    fn what_is_never_confirmed_holds_nobody_for_long() {
        let mut renewal = connected();
        assert_eq!(renewal.step(Some(START), 7, START * 2), Step::Hold);
        assert_eq!(renewal.step(Some(START), 7, START * 2 + HOLD), Step::Renew);
    }

    #[test]
    fn what_is_taken_in_the_end_holds_nobody() {
        let mut renewal = connected();
        assert_eq!(renewal.step(Some(START), 7, START * 2), Step::Hold);
        assert_eq!(renewal.step(None, 7, START * 2 + SECOND), Step::None);
        assert_eq!(renewal.step(Some(START), 7, START * 2 + HOLD), Step::Hold, "from the beginning");
    }

    /// How long each connection lasts of those that are given up for a queue that is full all day.
    fn lasts(renewal: &mut Renewal, count: usize) -> Vec<u64> {
        let mut now = START * 9;
        let each = |_| {
            renewal.up(now);
            let since = now;
            while renewal.step(Some(START), 0, now) != Step::Renew {
                now += SECOND;
            }
            now.saturating_sub(since).as_secs()
        };
        (0..count).map(each).collect()
    }

    #[test]
    fn connections_are_given_up_more_and_more_rarely_until_one_is_lost() {
        let mut renewal = Renewal::new();
        assert_eq!(lasts(&mut renewal, 9), [6, 12, 24, 48, 60, 60, 60, 60, 60]);
        renewal.lost();
        assert_eq!(lasts(&mut renewal, 2), [6, 12]);
    }
}
