//! What to do with a record that could not be applied. Pure: no I/O, no clock.
//!
//! ```text
//!   handler: Retry  ─▶ again, later and later ─▶ after `tries`: park        the record's fault
//!   handler: Poison ─────────────────────────────────────────▶ park
//!   handler: Trouble
//!   inbox: Retry, Full ─▶ again, later and later, for ever                  never the record's fault
//!   inbox: Corrupt, Missing, Fatal, … ───────────────────────▶ stop
//!   inbox: Unknown, Invalid ─────────────────────────────────▶ park         nobody can tell, or no such record
//! ```

use std::time::Duration;

use zoutbox_storage::ErrorKind;

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub(super) tries: u32,
    pub(super) retry_min: Duration,
    pub(super) retry_max: Duration,
}

impl Policy {
    /// How long to wait after the so many'th failure, from 1: doubling.
    pub(super) fn delay(&self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.retry_min.saturating_mul(doubled).min(self.retry_max)
    }
}

/// Why a record was not applied.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    Retry(String),
    Poison(String),
    /// Of what the handler needs, and not of the record.
    Trouble(String),
    Inbox(ErrorKind, String),
}

/// What to do then.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Apply it again after this long, and nothing behind it before.
    Again(Duration),
    /// Set it aside, for this reason.
    Park(String),
    /// End.
    Stop,
}

/// The attempts at one record.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    handled: u32,
    troubles: u32,
}

impl Attempts {
    /// How often it failed.
    pub(super) const fn failures(&self) -> u32 {
        self.handled.saturating_add(self.troubles)
    }

    pub(super) fn then(&mut self, policy: &Policy, failed: Failed) -> Then {
        match failed {
            Failed::Poison(reason) => Then::Park(reason),
            Failed::Retry(reason) => {
                self.handled = self.handled.saturating_add(1);
                if policy.tries != 0 && self.handled >= policy.tries {
                    return Then::Park(format!("failed {} times: {reason}", self.handled));
                }
                Then::Again(policy.delay(self.handled))
            }
            Failed::Trouble(_) | Failed::Inbox(ErrorKind::Retry | ErrorKind::Full, _) => {
                self.troubles = self.troubles.saturating_add(1);
                Then::Again(policy.delay(self.troubles))
            }
            Failed::Inbox(ErrorKind::Unknown | ErrorKind::Invalid, reason) => Then::Park(reason),
            Failed::Inbox(..) => Then::Stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy =
        Policy { tries: 3, retry_min: Duration::from_millis(100), retry_max: Duration::from_millis(350) };

    fn retry() -> Failed {
        Failed::Retry("no".into())
    }

    fn again(ms: u64) -> Then {
        Then::Again(Duration::from_millis(ms))
    }

    #[test]
    fn a_record_is_tried_again_later_and_later_and_then_parked() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.then(&POLICY, retry()), again(100));
        assert_eq!(attempts.then(&POLICY, retry()), again(200));
        assert_eq!(attempts.then(&POLICY, retry()), Then::Park("failed 3 times: no".into()));
    }

    #[test]
    fn without_a_limit_it_is_tried_for_ever() {
        let policy = Policy { tries: 0, ..POLICY };
        let mut attempts = Attempts::default();
        for _ in 0..1000 {
            assert!(
                matches!(attempts.then(&policy, retry()), Then::Again(delay) if delay <= policy.retry_max)
            );
        }
        assert_eq!(attempts.then(&policy, retry()), again(350));
    }

    #[test]
    fn poison_is_parked_at_once() {
        assert_eq!(Attempts::default().then(&POLICY, Failed::Poison("bad".into())), Then::Park("bad".into()));
    }

    #[test]
    fn trouble_with_the_database_is_never_counted_against_a_record() {
        let mut attempts = Attempts::default();
        for kind in [ErrorKind::Retry, ErrorKind::Full].repeat(100) {
            assert!(matches!(attempts.then(&POLICY, Failed::Inbox(kind, String::new())), Then::Again(_)));
        }
        for _ in 0..100 {
            assert!(matches!(attempts.then(&POLICY, Failed::Trouble(String::new())), Then::Again(_)));
        }
        assert_eq!(attempts.then(&POLICY, retry()), again(100));
        for kind in [ErrorKind::Corrupt, ErrorKind::Missing, ErrorKind::Fatal, ErrorKind::Fenced] {
            assert_eq!(attempts.then(&POLICY, Failed::Inbox(kind, String::new())), Then::Stop);
        }
        for kind in [ErrorKind::Unknown, ErrorKind::Invalid] {
            assert_eq!(attempts.then(&POLICY, Failed::Inbox(kind, "x".into())), Then::Park("x".into()));
        }
    }
}
