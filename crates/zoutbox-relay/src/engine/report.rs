//! The counters, and the one line that tells them from time to time.

use std::time::Duration;

use super::slot::Slot;

#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) published: u64,
    pub(super) confirmed: u64,
    pub(super) dead: u64,
    pub(super) removed: usize,
    told: (u64, u64, usize),
    every: Duration,
    since: Duration,
    complaint: String,
}

impl Report {
    pub(super) fn new(now: Duration, every: Duration) -> Self {
        Self { every, since: now, ..Self::default() }
    }

    pub(super) fn next(&self) -> Duration {
        self.since + self.every
    }

    /// `rings`: how many datagrams at the doorbell were rings, and how many were not.
    pub(super) fn tick(
        &mut self,
        now: Duration,
        slots: &[Slot],
        in_flight: usize,
        rings: Option<(u64, u64)>,
    ) {
        if now < self.next() {
            return;
        }
        let seconds = now.saturating_sub(self.since).as_secs().max(1);
        self.since = now;
        let state = (self.published, self.confirmed, self.removed);
        if state != self.told {
            let rate = (self.confirmed - self.told.1) / seconds;
            self.told = state;
            let halted = slots.iter().filter(|slot| slot.lane.is_halted()).count();
            let rings = rings.map(|(taken, dropped)| format!(", rings {taken} ({dropped} others dropped)"));
            let rings = rings.unwrap_or_default();
            tracing::info!(
                "confirmed {} ({rate}/s), in flight {in_flight}, dead {}, segments removed {}, writers {} ({halted} waiting){rings}",
                self.confirmed,
                self.dead,
                self.removed,
                slots.len(),
            );
        }
    }

    pub(super) fn last(&self, slots: &[Slot]) {
        tracing::info!(
            "stopped: published {}, confirmed {}, dead {}, writers {}",
            self.published,
            self.confirmed,
            self.dead,
            slots.len()
        );
    }

    /// Tells an operator, once.
    pub(super) fn complain(&mut self, complaint: String) {
        if self.complaint != complaint {
            tracing::warn!("{complaint}");
            self.complaint = complaint;
        }
    }
}
