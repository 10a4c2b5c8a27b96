//! The counters, and the one line that tells them from time to time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::slot::Slot;

/// Records, and the messages that they were in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    records: u64,
    messages: u64,
}

impl Count {
    /// One message more, with these records.
    pub(super) fn count(&mut self, records: u32) {
        self.records += u64::from(records);
        self.messages += 1;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, messages } = self;
        if records == messages {
            write!(f, "{records}")
        } else {
            write!(f, "{records} in {messages} messages")
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) published: Count,
    pub(super) confirmed: Count,
    pub(super) dead: Count,
    pub(super) removed: usize,
    told: (Count, Count, usize),
    every: Duration,
    since: Duration,
    /// What was told last of each.
    complaints: BTreeMap<&'static str, String>,
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
            let rate = (self.confirmed.records - self.told.1.records) / seconds;
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

    /// It works again: what goes wrong with it next is told, be it the same.
    pub(super) fn recovered(&mut self, what: &'static str) {
        self.complaints.remove(what);
    }

    /// Tells an operator, once until something else is wrong with it.
    pub(super) fn complain(&mut self, what: &'static str, why: String) {
        let told = self.complaints.entry(what).or_default();
        if *told != why {
            tracing::warn!("{what}: {why}");
            *told = why;
        }
    }
}
