//! When to ring, and when to look for whom to ring. Pure: told what happened and what time it is.
//!
//! ```text
//!   commits   │ ││││││││││││││││││        │        │
//!   rings     ▲ ┆    ▲    ▲    ▲    ▲     ▲        ▲
//!             └─┴ PAUSE at least ─┘   └ the last commit of a burst is rung for too
//! ```
//!
//! The first commit is rung for at once; while commits go on, rings keep their distance.

use std::time::Duration;

/// Between two rings, at least.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);
/// Between two looks at the lease, at least, while something is committed.
pub(crate) const LOOK_PAUSE: Duration = Duration::from_secs(5);
/// The same when nobody listens any more at the address that is known.
pub(crate) const LOOK_SOON: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Ringing {
    /// Something was committed that no ring has told of.
    owed: bool,
    rung: Option<Duration>,
    /// Something was committed since the last look.
    active: bool,
    looked: Option<Duration>,
    refused: bool,
}

impl Ringing {
    /// Something became durable. Where no doorbell is known, no ring is owed: a new one is rung when it becomes known.
    pub(crate) fn committed(&mut self, doorbell_known: bool) {
        self.owed = doorbell_known;
        self.active = true;
    }

    /// Nobody listens at the address that is known.
    pub(crate) fn refused(&mut self) {
        self.refused = true;
    }

    /// Whether to ring now; if so, that counts as done.
    pub(crate) fn ring(&mut self, now: Duration) -> bool {
        let ring = self.until_ring(now).is_some_and(|wait| wait.is_zero());
        if ring {
            self.owed = false;
            self.rung = Some(now);
        }
        ring
    }

    /// Whether a ring is owed when there is no time left to wait for its turn; it then counts as done.
    pub(crate) fn last_ring(&mut self) -> bool {
        std::mem::take(&mut self.owed)
    }

    /// How long until a ring that is owed is due; `None` if none is.
    pub(crate) fn until_ring(&self, now: Duration) -> Option<Duration> {
        let due = self.rung.map_or(now, |rung| rung + PAUSE);
        self.owed.then(|| due.saturating_sub(now))
    }

    /// Whether to look at the lease now; if so, that counts as done.
    pub(crate) fn look(&mut self, now: Duration) -> bool {
        let pause = if self.refused { LOOK_SOON } else { LOOK_PAUSE };
        let look = self.looked.is_none_or(|looked| self.active && now.saturating_sub(looked) >= pause);
        if look {
            self.looked = Some(now);
            self.active = false;
            self.refused = false;
        }
        look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn nothing_is_rung_for_without_a_commit_or_a_doorbell() {
        let mut ringing = Ringing::default();
        assert_eq!(
            (ringing.until_ring(ms(9)), ringing.ring(ms(9)), ringing.last_ring()),
            (None, false, false)
        );
    }

    #[test]
    fn the_first_commit_is_rung_for_at_once_and_the_last_of_a_burst_a_pause_later() {
        let mut ringing = Ringing::default();
        ringing.committed(true);
        assert!(ringing.ring(ms(100)), "at once");
        ringing.committed(true);
        assert!(!ringing.ring(ms(101)), "too soon");
        assert_eq!(ringing.until_ring(ms(101)), Some(ms(4)), "but owed");
        assert!(!ringing.ring(ms(104)) && ringing.ring(ms(105)));
        assert_eq!((ringing.until_ring(ms(106)), ringing.ring(ms(200))), (None, false), "told once");
        ringing.committed(true);
        assert!(ringing.ring(ms(1000)), "at once again");
    }

    #[test]
    fn a_burst_rings_no_more_often_than_every_pause_and_its_end_is_never_left_out() {
        let mut ringing = Ringing::default();
        let mut rings = Vec::new();
        for now in 0..1000 {
            ringing.committed(true);
            if ringing.ring(ms(now)) {
                rings.push(now);
            }
        }
        assert_eq!(rings.len(), 200);
        assert!(rings.windows(2).all(|two| ms(two[1] - two[0]) >= PAUSE));
        let wait = ringing.until_ring(ms(999)).expect("owed");
        assert!(ringing.ring(ms(999) + wait));
    }

    #[test]
    fn at_the_end_what_is_owed_is_rung_whatever_the_time() {
        let mut ringing = Ringing::default();
        ringing.committed(true);
        assert!(ringing.ring(ms(0)));
        assert!(!ringing.last_ring(), "nothing is owed");
        ringing.committed(true);
        assert!(!ringing.ring(ms(1)) && ringing.last_ring() && !ringing.last_ring());
    }

    #[test]
    fn the_lease_is_looked_at_first_of_all_then_rarely_and_never_while_idle() {
        let mut ringing = Ringing::default();
        assert!(ringing.look(ms(0)), "first of all");
        assert!(!ringing.look(Duration::from_hours(1)), "nothing was committed");
        ringing.committed(true);
        assert!(ringing.look(Duration::from_hours(1)), "the last look was long ago");
        let mut looks = 0;
        for now in (0..60_000).step_by(10) {
            ringing.committed(true);
            looks += u32::from(ringing.look(Duration::from_hours(1) + ms(now)));
        }
        assert_eq!(looks, 11, "one every five seconds");
    }

    #[test]
    fn a_refusal_brings_the_next_look_forward_once() {
        let mut ringing = Ringing::default();
        assert!(ringing.look(ms(0)));
        ringing.committed(true);
        ringing.refused();
        assert!(!ringing.look(ms(999)) && ringing.look(ms(1000)));
        ringing.committed(true);
        assert!(!ringing.look(ms(2000)) && !ringing.look(ms(5999)) && ringing.look(ms(6000)));
    }
}
