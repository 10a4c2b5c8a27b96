//! One writer's path through the relay.
//!
//! ```text
//!               ┌──────────── settled ───────────┐
//!               ▼                                │
//!   read ──▶ Flowing ──── nacked, returned ──▶ Draining ──▶ Pausing ──▶ rewind to the watermark, read again
//!               │                (halt)        nothing more    │
//!               └── connection lost ─────────▶ goes out until  └ until the time has come to try again
//!                                              all is certain
//! ```
//!
//! The order on the wire is always the order of the log: after a rewind, duplicates start again at the watermark. After a halt
//! only the first record is tried, and the rest follows when that one has settled, so that trying costs one duplicate at most.
//!
//! Damage stops reading, not publishing: what was read in front of it still flows. So does what comes again elsewhere, because its writer
//! had to write it once more: the same identity is never in flight twice.
//!
//! What is published at once is an [`Item`]: a record, or a run of them that one message points to. The lane does not look into it.

use std::time::Duration;

use zoutbox_format::checkpoint::Position;

use crate::signals::{Input, LaneOptions, OnDamage, OnUndeliverable, Output, ReadEnd, ReadFrom};
use crate::window::{Item, Key, State, Window};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Flowing,
    Draining { pause: Duration },
    Pausing { until: Duration },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// The next read is due at this time.
    Due(Duration),
    /// A read is going on. `hinted`: what it gives may be older than the last hint.
    Busy {
        hinted: bool,
    },
    /// The next read repeats what was read before, and waits until the window is empty.
    Repeat,
    Quarantining,
    /// The next read passes the damage.
    Skip,
    /// Waits at damage; the window is read again from the watermark at this time, once it is empty.
    Damaged {
        until: Duration,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    Stopping,
    Stopped,
}

/// One writer's path through the relay.
///
/// Feed it with [`Lane::handle`] and then call [`Lane::poll`] until it has no more to say. It asks to be polled again at
/// [`Lane::deadline`] at the latest.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, beside the states")]
pub struct Lane<B, R> {
    options: LaneOptions,
    window: Window<B>,
    watermark: Option<Position>,
    flow: Flow,
    reading: Reading,
    generation: u64,
    rewind: bool,
    /// How many looks in a row found nothing, since the last hint.
    idle: u32,
    /// Whether something was read that no read has given yet.
    held_back: bool,
    /// Only one record in flight until one has settled.
    probing: bool,
    life: Life,
    checkpoint: Checkpointing,
    said: Vec<Output<B, R>>,
    /// What an operator was told last, so that trying again does not repeat it.
    told: Option<Key>,
    /// Everything in front of it was settled when it was returned last.
    told_is_first: bool,
    told_damage: bool,
}

#[derive(Debug, Default)]
struct Checkpointing {
    durable: Option<Position>,
    saving: bool,
    /// When there is something to save: by when.
    due: Option<Duration>,
    /// Not before this time, since saving failed.
    not_before: Duration,
    items: u64,
}

impl<B: Clone, R> Lane<B, R> {
    /// A lane that goes on behind what `checkpoint` says is confirmed; from the oldest segment without one.
    #[must_use]
    pub fn new(options: LaneOptions, checkpoint: Option<Position>) -> Self {
        Self {
            idle: 0,
            held_back: false,
            options,
            window: Window::default(),
            watermark: checkpoint,
            flow: Flow::Flowing,
            reading: Reading::Due(Duration::ZERO),
            generation: 0,
            rewind: true,
            probing: false,
            life: Life::Running,
            checkpoint: Checkpointing { durable: checkpoint, ..Checkpointing::default() },
            said: Vec::new(),
            told: None,
            told_is_first: false,
            told_damage: false,
        }
    }

    /// In front of the first record that is not settled.
    #[must_use]
    pub fn watermark(&self) -> Option<Position> {
        self.watermark
    }

    /// What the last saved checkpoint says.
    #[must_use]
    pub fn durable(&self) -> Option<Position> {
        self.checkpoint.durable
    }

    /// From the next look on that finds nothing, waits at most this long for another one, or as long as the shortest wait that it
    /// was made with.
    pub fn set_poll_slow(&mut self, longest: Duration) {
        self.options.poll_slow = longest.max(self.options.poll_fast);
    }

    /// Bytes of records that are held in memory.
    #[must_use]
    pub fn held(&self) -> usize {
        self.window.bytes()
    }

    /// Whether nothing was found at the last look, and nothing is under way.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        let waits = matches!(self.reading, Reading::Due(_)) && self.idle > 0;
        waits
            // Else there is something to try again.
            && self.flow == Flow::Flowing
            && !self.held_back
            && !self.rewind
            && self.window.is_empty()
            && self.checkpoint.durable == self.watermark
    }

    /// Whether the lane waits for damage or for a record that can't be delivered.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.told.is_some() || self.told_damage
    }

    /// Whether the lane waits for damage or for such a record, and everything in front of that is settled.
    #[must_use]
    pub fn is_held_up(&self) -> bool {
        // Else there is something to try again, in front of it or behind.
        let by_damage =
            self.told_damage && matches!(self.reading, Reading::Damaged { .. }) && self.flow == Flow::Flowing;
        let by_record = self.told.is_some() && self.told_is_first;
        self.window.is_empty() && (by_damage || by_record)
    }

    /// The record that the lane waits for because it can't be delivered.
    #[must_use]
    pub fn halted_at(&self) -> Option<Key> {
        self.told
    }

    /// Whether the lane waits for damage.
    #[must_use]
    pub fn is_halted_by_damage(&self) -> bool {
        self.told_damage
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input<B, R>, now: Duration) {
        match input {
            Input::Read { generation, items, end } if generation == self.generation => {
                self.read(items, end, now);
            }
            Input::ReadFailed { generation } if generation == self.generation => {
                self.reading = Reading::Due(now + self.options.retry);
            }
            Input::Hint => self.hint(now),
            Input::Settled(key) => {
                self.window.transition(key, State::Published, State::Settled);
                self.probing = false;
                self.advance(now);
            }
            Input::Nacked(key) => {
                self.window.transition(key, State::Published, State::Queued);
                self.drain(self.options.retry);
            }
            Input::Returned { key, reason, can_die } => self.returned(key, reason, can_die),
            Input::Lost => self.lost(now),
            Input::DeadLettered(key) => {
                self.window.transition(key, State::Dying, State::Settled);
                self.probing = false;
                self.advance(now);
            }
            Input::DeadLetterFailed(key) => {
                self.window.transition(key, State::Dying, State::Queued);
                self.drain(self.options.retry);
            }
            Input::Quarantined if self.reading == Reading::Quarantining => self.reading = Reading::Skip,
            Input::QuarantineFailed if self.reading == Reading::Quarantining => {
                self.reading = Reading::Damaged { until: now + self.options.damage_retry };
            }
            Input::CheckpointSaved(position) => {
                self.checkpoint.saving = false;
                self.checkpoint.durable = Some(position);
            }
            Input::CheckpointFailed => {
                self.checkpoint.saving = false;
                self.checkpoint.not_before = now + self.options.retry;
                self.checkpoint.due = Some(self.checkpoint.not_before);
            }
            Input::Stop if self.life == Life::Running => self.life = Life::Stopping,
            // Answers to what was asked before a rewind, and a second stop.
            Input::Read { .. }
            | Input::ReadFailed { .. }
            | Input::Quarantined
            | Input::QuarantineFailed
            | Input::Stop => {}
        }
    }

    fn read(&mut self, items: Vec<Item<B>>, end: ReadEnd, now: Duration) {
        let found = !items.is_empty();
        let hinted = self.reading == Reading::Busy { hinted: true };
        for item in items {
            self.window.push(item);
        }
        if found {
            self.idle = 0;
            self.told_damage = false;
        }
        // Whoever has enough may have kept it to itself.
        self.held_back = matches!(end, ReadEnd::Budget | ReadEnd::Held { .. });
        self.reading = match (end, self.options.on_damage) {
            (ReadEnd::Budget, _) => Reading::Due(now),
            (ReadEnd::CaughtUp, _) => {
                self.told_damage = false;
                Reading::Due(if hinted { now } else { now + self.pause(found) })
            }
            (ReadEnd::Held { until }, _) => {
                self.told_damage = false;
                Reading::Due(if hinted { now } else { until.min(now + self.pause(found)) })
            }
            (ReadEnd::Repeats, _) => Reading::Repeat,
            (ReadEnd::Damaged, OnDamage::Skip) => {
                self.said.push(Output::Quarantine);
                Reading::Quarantining
            }
            (ReadEnd::Damaged, OnDamage::Halt) | (ReadEnd::Newer, _) => {
                if !std::mem::replace(&mut self.told_damage, true) {
                    self.said.push(Output::HaltedByDamage);
                }
                Reading::Damaged { until: now + self.options.damage_retry }
            }
        };
    }

    /// How long to wait after a look, the longer the more of them found nothing.
    fn pause(&mut self, found: bool) -> Duration {
        let longer = 2_u32.checked_pow(self.idle).and_then(|times| self.options.poll_fast.checked_mul(times));
        self.idle = self.idle.saturating_add(u32::from(!found));
        longer.unwrap_or(Duration::MAX).min(self.options.poll_slow)
    }

    fn hint(&mut self, now: Duration) {
        self.reading = match self.reading {
            Reading::Due(due) => Reading::Due(due.min(now)),
            Reading::Busy { .. } => Reading::Busy { hinted: true },
            other => other,
        };
        self.idle = 0;
    }

    fn returned(&mut self, key: Key, reason: R, can_die: bool) {
        if can_die && self.options.on_undeliverable == OnUndeliverable::DeadLetter {
            if let Some(body) = self.window.transition(key, State::Published, State::Dying) {
                self.said.push(Output::DeadLetter { key, body, reason });
            }
            return;
        }
        self.window.transition(key, State::Published, State::Queued);
        // Of several that come back together, the first one is what holds the lane.
        let drains = matches!(self.flow, Flow::Draining { .. });
        if self.told != Some(key) && !(drains && self.told.is_some_and(|told| told < key)) {
            self.told = Some(key);
            self.told_is_first = false;
            self.said.push(Output::Halted { key, reason });
        }
        if self.told == Some(key) {
            self.told_is_first = self.window.is_first(key);
        }
        self.drain(self.options.retry);
    }

    /// Publishes nothing more until everything that is out there is certain.
    fn drain(&mut self, pause: Duration) {
        self.flow = Flow::Draining { pause };
    }

    /// What was in flight is uncertain for ever, so it is published again; a pause that was due is kept.
    fn lost(&mut self, now: Duration) {
        if self.window.published() == 0 {
            return;
        }
        match self.flow {
            Flow::Flowing => self.restart(now),
            Flow::Draining { pause } => {
                self.forget();
                self.flow = Flow::Pausing { until: now + pause };
            }
            Flow::Pausing { .. } => {}
        }
    }

    /// Drops what is held: it will be read again, so no dead letter is made of it before it is returned again.
    fn forget(&mut self) {
        self.window.clear();
        self.said.retain(|output| !matches!(output, Output::DeadLetter { .. }));
    }

    /// Goes back to the watermark.
    fn restart(&mut self, now: Duration) {
        self.forget();
        self.generation += 1;
        self.rewind = true;
        self.held_back = false;
        // What looks in front of this found says nothing of what is there to be read again.
        self.idle = 0;
        self.reading = Reading::Due(now);
        self.said.retain(|output| !matches!(output, Output::Quarantine));
    }

    /// Moves the watermark over what is settled without a gap.
    fn advance(&mut self, now: Duration) {
        let Some((items, position)) = self.window.advance() else { return };
        self.watermark = Some(position);
        self.checkpoint.items += items;
        self.checkpoint.due.get_or_insert(now + self.options.checkpoint_interval);
        let passed =
            |told: Key| (told.epoch, told.sequence) < (position.segment.epoch, position.next_sequence);
        if self.told.is_some_and(passed) {
            self.told = None;
        }
    }

    /// The next thing to do; `None` when there is nothing for now. `may_publish` is false while the channel's window is full, the
    /// broker blocks, or there is no connection; `may_read` is false while too much is held in memory.
    pub fn poll(&mut self, may_publish: bool, may_read: bool, now: Duration) -> Option<Output<B, R>> {
        if self.life == Life::Stopped {
            return None;
        }
        if !self.said.is_empty() {
            return Some(self.said.remove(0));
        }
        self.flow_on(now);
        if let Some(position) = self.checkpoint_due(now) {
            return Some(Output::SaveCheckpoint(position));
        }
        if self.life == Life::Stopping {
            return self.finish();
        }
        let publish = if may_publish { self.publish() } else { None };
        publish.or_else(|| if may_read { self.read_on(now) } else { None })
    }

    fn flow_on(&mut self, now: Duration) {
        if let Flow::Draining { pause } = self.flow
            && self.is_quiet()
        {
            // It will be read again; a lane that waits holds nothing.
            self.window.clear();
            self.flow = Flow::Pausing { until: now + pause };
        }
        if let Flow::Pausing { until } = self.flow
            && until <= now
            && self.life == Life::Running
        {
            self.flow = Flow::Flowing;
            self.probing = true;
            self.restart(now);
        }
    }

    fn is_quiet(&self) -> bool {
        self.window.published() == 0 && self.window.dying() == 0
    }

    fn checkpoint_due(&mut self, now: Duration) -> Option<Position> {
        let position = self.watermark.filter(|_| self.checkpoint.durable != self.watermark)?;
        if self.checkpoint.saving || now < self.checkpoint.not_before {
            return None;
        }
        let due = self.checkpoint.due.is_some_and(|due| due <= now);
        let many = self.checkpoint.items >= self.options.checkpoint_items;
        let last = self.life == Life::Stopping && self.is_quiet();
        if !(due || many || last) {
            return None;
        }
        let durable = self.checkpoint.durable;
        self.checkpoint = Checkpointing { saving: true, durable, ..Checkpointing::default() };
        Some(position)
    }

    fn finish(&mut self) -> Option<Output<B, R>> {
        let saved = !self.checkpoint.saving && self.checkpoint.durable == self.watermark;
        (saved && self.is_quiet()).then(|| {
            self.life = Life::Stopped;
            Output::Stopped
        })
    }

    fn publish(&mut self) -> Option<Output<B, R>> {
        let held = self.probing && !self.is_quiet();
        if self.flow != Flow::Flowing || held { None } else { self.window.publish().map(Output::Publish) }
    }

    fn read_on(&mut self, now: Duration) -> Option<Output<B, R>> {
        let skip_damage = match self.reading {
            Reading::Due(due) if due <= now => false,
            Reading::Repeat if self.window.is_empty() => false,
            Reading::Skip => true,
            Reading::Damaged { until } if until <= now && self.window.is_empty() => {
                self.restart(now);
                false
            }
            _ => return None,
        };
        if self.window.queued_span() >= self.options.read_ahead || self.flow != Flow::Flowing {
            return None;
        }
        self.reading = Reading::Busy { hinted: false };
        let from = match (std::mem::take(&mut self.rewind), self.watermark) {
            (false, _) => ReadFrom::There,
            (true, Some(position)) => ReadFrom::Position(position),
            (true, None) => ReadFrom::Oldest,
        };
        let (budget, single) = (self.options.read_budget, self.probing);
        Some(Output::Read { generation: self.generation, from, skip_damage, budget, single })
    }

    /// When to poll again if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let reads = self.flow == Flow::Flowing && self.window.queued_span() < self.options.read_ahead;
        let read = match self.reading {
            Reading::Due(due) if reads => Some(due),
            Reading::Repeat if reads && self.window.is_empty() => Some(Duration::ZERO),
            Reading::Damaged { until } if self.window.is_empty() => Some(until),
            _ => None,
        };
        let pause = match self.flow {
            Flow::Pausing { until } => Some(until),
            Flow::Flowing | Flow::Draining { .. } => None,
        };
        let unsaved = self.checkpoint.durable != self.watermark && !self.checkpoint.saving;
        let save = self.checkpoint.due.filter(|_| unsaved);
        let resumes = [read, pause].into_iter().flatten().filter(|_| self.life == Life::Running).min();
        resumes.into_iter().chain(save).min()
    }
}

#[cfg(test)]
mod tests;
