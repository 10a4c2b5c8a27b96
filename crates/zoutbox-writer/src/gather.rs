//! When to commit: at once, or a moment later with more. Pure.
//!
//! Callers that wait for their records come back right after a commit, but not before the next one has been taken: left alone,
//! half of them share each sync with nobody of the other half. So the commit thread waits for those it has just woken, for
//! at most half the time a commit takes and never for long, and only as long as that pays:
//!
//! ```text
//!   without waiting   before / S          records a second, S being the time of a commit
//!   with it           after / (S + w)     better when (after - before) · S > before · w
//! ```
//!
//! A lone caller is never waited for: nobody else was woken.

use std::time::Duration;

/// Below this a timer is too coarse to wait by.
const SHORTEST: Duration = Duration::from_micros(20);
/// A commit that waited for a server says nothing about the next one; and whom it kept waiting may have gone.
const LONGEST: Duration = Duration::from_millis(50);
const MOST_CREDIT: i32 = 8;
/// So many commits after waiting stopped to pay, it is tried again.
const PROBE: u32 = 256;

#[derive(Debug)]
pub(crate) struct Gather {
    commit: Duration,
    expected: usize,
    credit: i32,
    unwaited: u32,
}

impl Gather {
    pub(crate) const fn new() -> Self {
        Self { commit: Duration::ZERO, expected: 0, credit: 1, unwaited: 0 }
    }

    /// With how many records, or after how long, to commit; `None` for at once.
    pub(crate) fn plan(&mut self, waiting: usize) -> Option<(usize, Duration)> {
        let patience = (self.commit / 2).min(LONGEST);
        if waiting >= self.expected || patience < SHORTEST {
            return None;
        }
        if self.credit <= 0 {
            self.unwaited += 1;
            if self.unwaited < PROBE {
                return None;
            }
        }
        self.unwaited = 0;
        Some((self.expected, patience))
    }

    /// Waiting for `waited` has brought the records from `before` to `after`.
    pub(crate) fn gathered(&mut self, before: usize, after: usize, waited: Duration) {
        let gained = (after - before.min(after)) as u128 * self.commit.as_nanos();
        let paid = gained > before as u128 * waited.as_nanos();
        self.credit = (self.credit + if paid { 1 } else { -2 }).clamp(0, MOST_CREDIT);
    }

    /// A commit of `records` took `commit`, and `waiting` came meanwhile: all of those callers can come back.
    pub(crate) fn committed(&mut self, records: usize, commit: Duration, waiting: usize) {
        self.commit = commit;
        self.expected = records + waiting;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Duration = Duration::from_millis(1);

    #[test]
    fn a_lone_caller_is_never_waited_for() {
        let mut gather = Gather::new();
        for _ in 0..10 * PROBE {
            assert_eq!(gather.plan(1), None);
            gather.committed(1, COMMIT, 0);
        }
    }

    #[test]
    fn callers_that_were_just_woken_are_waited_for_at_most_half_a_commit() {
        let mut gather = Gather::new();
        gather.committed(32, COMMIT, 30);
        assert_eq!(gather.plan(30), Some((62, COMMIT / 2)));
        assert_eq!(gather.plan(62), None, "all are there");
        gather.committed(32, Duration::from_micros(5), 30);
        assert_eq!(gather.plan(30), None, "not worth a timer");
    }

    #[test]
    fn after_a_commit_that_hung_nobody_waits_long_for_who_may_have_gone() {
        let mut gather = Gather::new();
        gather.committed(32, Duration::from_mins(20), 30);
        assert_eq!(gather.plan(1), Some((62, LONGEST)));
    }

    #[test]
    fn waiting_that_does_not_pay_stops_and_is_tried_again_later() {
        let mut gather = Gather::new();
        gather.committed(2, COMMIT, 2);
        let mut waits = 0;
        for _ in 0..PROBE {
            if gather.plan(2).is_some() {
                waits += 1;
                gather.gathered(2, 2, COMMIT / 2);
            }
        }
        assert_eq!(waits, 1);
        let again = (0..PROBE).filter_map(|_| gather.plan(2)).count();
        assert_eq!(again, 1);
        gather.gathered(2, 4, COMMIT / 10);
        assert!(gather.plan(2).is_some(), "it pays now");
    }
}
