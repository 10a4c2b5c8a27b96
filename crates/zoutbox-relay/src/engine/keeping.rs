//! When upkeep is done: segments removed every now and then, consumers looked at right before, payloads swept more rarely.
//!
//! ```text
//!   time ──▶ look at the consumers (one job) ──▶ what they need ──▶ remove (a job a lane)
//!   time ──▶ sweep (a job a lane, one lane at a time)
//! ```
//!
//! Nothing is removed on the word of an older look, and nothing while a look is going on: a consumer's file that does not answer keeps
//! everything, and holds up no lane.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use zoutbox_format::WriterId;
use zoutbox_relay_core::{Consumers, Needs, Remark};

use super::Engine;
use super::slot::Slot;
use super::waits::Wait;
use crate::error::RelayError;
use crate::publisher::Publisher;
use crate::remove::Retention;
use crate::upkeep::Removed;

/// How soon it is tried again to sweep before writers were looked for.
const SOON: Duration = Duration::from_secs(1);

/// What the engine keeps for upkeep.
#[derive(Debug)]
pub(super) struct Keeping {
    /// Away while a look is going on.
    consumers: Option<Consumers>,
    remarks: Vec<Remark>,
    complaint: String,
    next_removal: Duration,
    next_sweep: Duration,
    /// The lanes that are still to be swept in this round.
    to_sweep: VecDeque<usize>,
    sweeping: bool,
}

/// What a look at the consumers gave.
pub(super) struct Looked {
    pub(super) consumers: Consumers,
    pub(super) result: Result<(Needs, Vec<Remark>), RelayError>,
}

impl Keeping {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            consumers: Some(Consumers::new()),
            remarks: Vec::new(),
            complaint: String::new(),
            next_removal: now,
            next_sweep: now,
            to_sweep: VecDeque::new(),
            sweeping: false,
        }
    }

    pub(super) fn next(&self) -> Duration {
        self.next_removal.min(self.next_sweep)
    }

    /// What holds things up that somebody might expect to go.
    pub(super) fn waits(&self) -> impl Iterator<Item = Wait> {
        let wait = |remark: &Remark| Wait { writer: None, since: remark.since, what: remark.what.clone() };
        self.remarks.iter().map(wait)
    }
}

fn removal_pause(retention: Retention) -> Duration {
    (retention.longest() / 4).clamp(Duration::from_secs(1), Duration::from_mins(1))
}

fn sweep_pause(retention: Retention) -> Duration {
    (retention.sweep_after / 4).clamp(Duration::from_mins(1), Duration::from_hours(1))
}

impl<P: Publisher> Engine<P> {
    pub(super) fn keep_up(&mut self, now: Duration) {
        if self.keeping.next_removal <= now {
            self.keeping.next_removal = now + removal_pause(self.options.retention);
            if let Some(consumers) = self.keeping.consumers.take() {
                self.jobs.look_at_consumers(consumers);
            }
        }
        if self.keeping.next_sweep <= now {
            // The first round waits until it is known whose there are.
            let pause = if self.discovered { sweep_pause(self.options.retention) } else { SOON };
            self.keeping.next_sweep = now + pause;
            if self.discovered && self.keeping.to_sweep.is_empty() {
                self.keeping.to_sweep.extend(0..self.slots.len());
                self.jobs.sweep_registrations(self.options.retention.sweep_after);
            }
        }
        self.sweep_next();
    }

    /// Sweeps the next lane whose upkeep is not away; the others come later.
    fn sweep_next(&mut self) {
        for _ in 0..self.keeping.to_sweep.len() {
            if self.keeping.sweeping {
                return;
            }
            let Some(lane) = self.keeping.to_sweep.pop_front() else { return };
            let Some(slot) = self.slots.get_mut(lane) else { continue };
            if let Some(upkeep) = slot.upkeep.take() {
                self.keeping.sweeping = true;
                self.jobs.sweep(lane, upkeep, self.options.retention.sweep_after);
            } else {
                self.keeping.to_sweep.push_back(lane);
            }
        }
    }

    pub(super) fn looked(&mut self, looked: Looked, now: Duration) {
        let Looked { consumers, result } = looked;
        self.keeping.remarks = consumers.remarks(now);
        self.keeping.consumers = Some(consumers);
        match result {
            Ok((needs, news)) => {
                self.keeping.complaint.clear();
                news.iter().for_each(tell);
                if self.stopping.is_none() {
                    self.remove(&Arc::new(needs));
                }
            }
            Err(error) => {
                let complaint = format!("nothing is removed, since consumers can't be looked at: {error}");
                if self.keeping.complaint != complaint {
                    tracing::warn!("{complaint}");
                    self.keeping.complaint = complaint;
                }
            }
        }
    }

    fn remove(&mut self, needs: &Arc<Needs>) {
        for (lane, slot) in self.slots.iter_mut().enumerate() {
            if let Some(durable) = slot.lane.durable()
                && let Some(upkeep) = slot.upkeep.take()
            {
                self.jobs.remove(lane, upkeep, durable, Arc::clone(needs), self.options.retention);
            }
        }
    }

    pub(super) fn removed(
        &mut self,
        lane: usize,
        result: Result<Removed, RelayError>,
        swept: bool,
        now: Duration,
    ) {
        self.keeping.sweeping &= !swept;
        let Some(slot) = self.slots.get_mut(lane) else { return };
        slot.remark(now);
        match result {
            Ok(removed) => {
                self.report.removed += removed.segments;
                if swept && removed != Removed::default() {
                    tell_swept(&slot.writer, removed);
                }
            }
            Err(error) if swept => slot.complain(format!("large payloads can't be swept: {error}")),
            Err(error) => slot.complain(format!("segments can't be removed: {error}")),
        }
    }
}

fn tell(news: &Remark) {
    if news.warning {
        tracing::warn!("{}", news.what);
    } else {
        tracing::info!("{}", news.what);
    }
}

fn tell_swept(writer: &WriterId, removed: Removed) {
    let Removed { payloads, temporary, .. } = removed;
    tracing::info!(
        "writer {writer}: swept {payloads} large payloads that no record names, and {temporary} that were never finished"
    );
}

impl Slot {
    /// Notes why more is kept than was asked for, and tells what is new of it.
    fn remark(&mut self, now: Duration) {
        let Some(upkeep) = &self.upkeep else { return };
        let remarks: Vec<String> = upkeep.remarks().collect();
        for what in &remarks {
            if self.kept.iter().all(|wait| wait.what != *what) {
                tracing::warn!("writer {}: {what}", self.writer);
                self.kept.push(Wait { writer: Some(self.writer.clone()), since: now, what: what.clone() });
            }
        }
        self.kept.retain(|wait| remarks.contains(&wait.what));
    }
}

#[cfg(test)]
mod tests;
