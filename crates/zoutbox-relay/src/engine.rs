//! The shell around the lanes: it waits for what happens, hands it to the lanes, and does what they say.
//!
//! ```text
//!   publisher: up, down, blocked, confirms, returns ─┐            ┌─▶ publish
//!   jobs: read, saved, discovered, …                 ├─▶ lanes ───┼─▶ jobs (threads that may block)
//!   watcher, doorbell: hints                         │            └─▶ log
//!   time, stop                                      ─┘
//! ```
//!
//! One task owns all lanes and the publisher, so nothing is shared and nothing locked. Lanes take turns at the channel, a
//! handful of records at a time; a lane that waits costs the others nothing.

mod bell;
mod calls;
mod channel;
mod jobs;
mod keeping;
mod notice;
mod pulse;
mod renewal;
mod report;
mod results;
mod slot;
mod source;
mod stepped;
mod traffic;
mod waits;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use zoutbox_format::WriterId;
use zoutbox_reader::{Hint, Watcher};
use zoutbox_relay_core::{Input, LaneOptions, Output, RunOptions};
use zoutbox_storage::{Share, System};

use crate::doorbell::{DoorbellOptions, Ear};
use crate::error::RelayError;
use crate::lease::{Lease, PROVE_EVERY};
use crate::publisher::{Content, Publisher, Undeliverable};
use crate::remove::Retention;
use bell::Bell;
use channel::Channel;
pub use channel::WindowSize;
use jobs::{Crew, Done, Jobs};
use keeping::Keeping;
use notice::Notice;
use renewal::Renewal;
use report::Report;
use slot::{Reader, Slot};
use source::ReadOrder;
pub use stepped::SteppedEngine;
use waits::{Broker, Silence, Wait};

/// A lane's turn at the channel.
const TURN: usize = 64;
/// Bytes held in memory beyond the window, over all lanes, after which reading waits.
const HELD: usize = 16 * 1024 * 1024;
/// How often what is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const BALLAST_EVERY: Duration = Duration::from_mins(1);
/// An orderly stop: this long for confirms, then this long for checkpoints, of the 10 s it may take.
const DRAIN: Duration = Duration::from_secs(6);
const SAVE: Duration = Duration::from_secs(2);

/// How the relay works.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How lanes work.
    pub lane: LaneOptions,
    /// Which topics are published how.
    pub publish: RunOptions,
    /// How much may be in flight, over all lanes.
    pub window: WindowSize,
    /// What happens to segments that were published.
    pub retention: Retention,
    /// Stop when everything that was there is published.
    pub once: bool,
    /// How often the counters are logged, when they changed.
    pub report_every: Duration,
    /// At most about this many looks a second at writers that have nothing new, over all of them: the more there are, the rarer each.
    pub poll_rate: NonZeroU32,
    /// How often writers are looked for that are not known yet.
    pub discover_every: Duration,
    /// Whether to take hints from inotify.
    pub inotify: bool,
    /// Whether, and where, to take hints from writers on other hosts.
    pub doorbell: DoorbellOptions,
}

/// Relays one share to one publisher.
pub struct Engine<P> {
    publisher: P,
    jobs: Jobs,
    done: mpsc::UnboundedReceiver<Done>,
    hints: mpsc::UnboundedReceiver<Hint>,
    /// Once it watches. Beginning to touches every file, and one whose host is cut off may hang for a lease.
    _watcher: Option<JoinHandle<Option<Watcher>>>,
    bell: Option<Bell>,
    options: EngineOptions,
    slots: Vec<Slot>,
    by_writer: HashMap<WriterId, usize>,
    ignored: Vec<String>,
    /// Whether there were more of those than are named.
    flooded: bool,
    channel: Channel,
    broker: Broker,
    silence: Silence,
    renewal: Renewal,
    /// `None` where nobody asks what it waits for.
    notice: Option<Notice>,
    first: usize,
    reads: usize,
    /// `None` while one is going on.
    next_discovery: Option<Duration>,
    /// A writer rang during the one that is going on, and may have come too late for it.
    discover_again: bool,
    discovered: bool,
    /// `None` while the lease is being proven.
    next_proof: Option<Duration>,
    keeping: Keeping,
    next_look: Duration,
    next_ballast: Duration,
    report: Report,
    stopping: Option<Duration>,
    failure: Option<RelayError>,
}

impl<P: Publisher> Engine<P> {
    /// An engine for the share whose lease is held.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(
        system: System,
        share: Share,
        lease: Arc<Lease>,
        publisher: P,
        ear: Option<Ear>,
        options: EngineOptions,
    ) -> Self {
        let (hint, hints) = mpsc::unbounded_channel();
        let (its_system, its_share) = (system.clone(), share.clone());
        let watch = move || {
            Watcher::new(&its_system, &its_share, move |changed| drop(hint.send(changed)))
                .inspect_err(|error| tracing::info!("{error}: polling only"))
                .ok()
        };
        let watcher = options.inotify.then(|| tokio::task::spawn_blocking(watch));
        let bell = ear.map(|ear| Bell::listen(ear.socket, share.id));
        let notice = Notice::begin(system.clone(), share.clone(), lease.epoch());
        let (jobs, done) = Jobs::new(system, share, lease, Crew::Threads);
        let begun = Self::begun(publisher, jobs, done, hints, options);
        Self { _watcher: watcher, bell, notice: Some(notice), ..begun }
    }

    /// One that has nothing but its jobs and its publisher.
    fn begun(
        publisher: P,
        jobs: Jobs,
        done: mpsc::UnboundedReceiver<Done>,
        hints: mpsc::UnboundedReceiver<Hint>,
        options: EngineOptions,
    ) -> Self {
        let now = jobs.system.clock.monotonic();
        Self {
            publisher,
            jobs,
            done,
            hints,
            _watcher: None,
            bell: None,
            channel: Channel::new(options.window),
            broker: Broker::Away { since: now },
            silence: Silence::default(),
            renewal: Renewal::new(),
            notice: None,
            report: Report::new(now, options.report_every),
            options,
            slots: Vec::new(),
            by_writer: HashMap::new(),
            ignored: Vec::new(),
            flooded: false,
            first: 0,
            reads: 0,
            next_discovery: Some(now),
            discover_again: false,
            discovered: false,
            next_proof: Some(now + PROVE_EVERY),
            keeping: Keeping::new(now),
            next_look: now,
            next_ballast: now,
            stopping: None,
            failure: None,
        }
    }

    /// Relays until `stop` turns true, then stops in good order: confirms awaited, checkpoints saved, within 10 s.
    ///
    /// # Errors
    /// When this relay can't go on: refused by the broker at the first connection, fenced, or nobody reads its output.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), RelayError> {
        let mut told = Vec::new();
        while !self.is_over() {
            let wait = self.turn();
            tokio::select! {
                () = self.publisher.events(&mut told) => {}
                Some(done) = self.done.recv() => {
                    self.done(done);
                    while let Ok(done) = self.done.try_recv() {
                        self.done(done);
                    }
                }
                Some(hint) = self.hints.recv() => {
                    // A commit raises several; look once.
                    let mut hints = HashSet::new();
                    hints.insert(hint_writer(hint));
                    while let Ok(hint) = self.hints.try_recv() {
                        hints.insert(hint_writer(hint));
                    }
                    self.hinted(&hints);
                }
                () = Bell::rung(self.bell.as_ref()) => {}
                () = tokio::time::sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop), if self.stopping.is_none() => self.stop(),
            }
            for event in told.drain(..) {
                self.told(event);
            }
        }
        let fenced = matches!(self.failure, Some(RelayError::Fenced { .. }));
        let withdrawn = async {
            if let Some(notice) = self.notice {
                notice.withdraw(!fenced).await;
            }
        };
        tokio::join!(self.publisher.close(), withdrawn);
        self.report.last(&self.slots);
        self.failure.map_or(Ok(()), Err)
    }

    fn now(&self) -> Duration {
        self.jobs.system.clock.monotonic()
    }

    fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        tracing::info!("stopping: {} messages in flight", self.channel.in_flight());
        let now = self.now();
        self.stopping = Some(now);
        for slot in &mut self.slots {
            slot.lane.handle(Input::Stop, now);
        }
    }

    fn fail(&mut self, error: RelayError) {
        // A relay that is not the active one any more leaves the share alone, whatever else went wrong before.
        if self.failure.is_none() || matches!(error, RelayError::Fenced { .. }) {
            self.failure = Some(error);
        }
        self.down(None);
        self.stop();
    }

    /// Whether there is nothing left to do, or no time or right left to do it.
    fn is_over(&mut self) -> bool {
        if matches!(self.failure, Some(RelayError::Fenced { .. })) {
            return true;
        }
        let Some(since) = self.stopping else { return false };
        let stopping = self.now().saturating_sub(since);
        if stopping >= DRAIN && self.channel.in_flight() > 0 {
            tracing::warn!(
                "{} messages were not confirmed in time: they will be published again",
                self.channel.in_flight()
            );
            self.down(None);
        }
        if stopping >= DRAIN + SAVE {
            tracing::warn!("not all checkpoints were saved in time: some records will be published again");
        }
        stopping >= DRAIN + SAVE || self.slots.iter().all(|slot| slot.stopped)
    }

    /// Lets every lane do what it can; returns how long nothing is to be done if nothing happens.
    fn turn(&mut self) -> Duration {
        let now = self.now();
        let rings = self.answer(now);
        self.periodic(now);
        self.renew(now);
        let held: usize = self.slots.iter().map(|slot| slot.lane.held()).sum();
        let limit = HELD + self.options.window.bytes.saturating_mul(2);
        let may_read = held + self.reads * self.options.lane.read_budget < limit;
        let lanes = self.slots.len();
        loop {
            let mut published = false;
            let first = self.first;
            for index in (0..lanes).map(|lane| (first + lane) % lanes) {
                published |= self.drive(index, may_read, now);
            }
            if !published || !self.channel.has_room() {
                break;
            }
        }
        self.first = self.first.checked_add(1).filter(|first| *first < lanes).unwrap_or(0);
        if self.options.once && self.is_done() {
            self.stop();
        }
        let lanes = self.slots.iter().filter_map(|slot| slot.lane.deadline()).min();
        let stop = self.stopping.map(|_| now + Duration::from_millis(50));
        let keeping = self.stopping.is_none().then(|| self.keeping.next());
        let soon = self.next_look.min(self.report.next());
        let next = [lanes, self.next_discovery, self.next_proof, keeping, Some(soon), stop, rings];
        // A lane that may not read now is not asked again at once: what it waits for is an event.
        let floor = Duration::from_millis(if may_read { 1 } else { 20 });
        next.into_iter().flatten().min().unwrap_or(now).saturating_sub(now).max(floor)
    }

    fn is_done(&self) -> bool {
        // What is in front of the place where a lane waits goes out first.
        let done = |slot: &Slot| slot.lane.is_caught_up() || slot.lane.is_held_up();
        self.discovered && self.slots.iter().all(done)
    }

    fn periodic(&mut self, now: Duration) {
        if self.next_discovery.is_some_and(|next| next <= now) && self.stopping.is_none() {
            self.next_discovery = None;
            self.jobs.discover(self.by_writer.keys().cloned().collect());
        }
        if self.next_proof.is_some_and(|next| next <= now) {
            self.prove(now);
        }
        if self.stopping.is_none() {
            self.keep_up(now);
        }
        if self.next_look <= now {
            self.next_look = now + LOOK_EVERY;
            self.jobs.tell_hanging();
            if let Some(notice) = &self.notice {
                notice.show(self.waits(now));
            }
        }
        if self.next_ballast <= now && self.stopping.is_none() {
            self.next_ballast = now + BALLAST_EVERY;
            self.jobs.keep_ballast();
        }
        let rings = self.bell.as_ref().map(|bell| bell.rings().counts());
        self.report.tick(now, &self.slots, self.channel.in_flight(), rings);
    }

    /// Has the lease proven, unless a checkpoint did it meanwhile.
    fn prove(&mut self, now: Duration) {
        let due = self.jobs.lease.proven() + PROVE_EVERY;
        self.next_proof = (due > now).then_some(due);
        if self.next_proof.is_none() {
            self.jobs.prove();
        }
    }

    fn waits(&self, now: Duration) -> Vec<Wait> {
        let mut waits = self.jobs.hanging(now);
        let lease = &self.jobs.lease;
        let unproven =
            || Wait { writer: None, since: lease.proven(), what: "the lease is not proven".into() };
        waits.extend((!lease.is_trusted(now)).then(unproven));
        let broker = self.broker.wait(self.publisher.trouble(), now);
        waits.extend(broker.or_else(|| self.silence.wait(self.channel.in_flight(), now)));
        waits.extend(self.keeping.waits());
        waits.extend(self.slots.iter().flat_map(Slot::waits));
        waits
    }

    /// One lane's turn; whether it published.
    fn drive(&mut self, lane: usize, may_read: bool, now: Duration) -> bool {
        let mut published = 0;
        loop {
            // Asked anew for each record: between two of them this process may have been stopped for any time.
            let trusted = || self.jobs.lease.is_trusted(self.now());
            let may_publish = published < TURN && self.channel.has_room() && trusted();
            let Some(slot) = self.slots.get_mut(lane) else { break };
            let Some(output) = slot.lane.poll(may_publish, may_read, now) else { break };
            published += usize::from(matches!(output, Output::Publish(_)));
            self.execute(lane, output, now);
        }
        published > 0
    }

    fn execute(&mut self, lane: usize, output: Output<Content, Undeliverable>, now: Duration) {
        let Some(slot) = self.slots.get_mut(lane) else { return };
        match output {
            Output::Read { generation, from, skip_damage, budget, single } => {
                let order = ReadOrder { generation, from, skip_damage, budget, single };
                match &mut slot.reader {
                    Reader::Here(source) => {
                        let source = source.take();
                        slot.reader = Reader::Away { then: None };
                        self.reads += 1;
                        let publish = self.options.publish.clone();
                        self.jobs.read(lane, slot.writer.clone(), source, order, publish);
                    }
                    Reader::Away { then } => *then = Some(order),
                }
            }
            Output::Publish(item) => self.publish(lane, item, now),
            Output::DeadLetter { key, body, reason } => {
                let id = slot.id(key);
                tracing::warn!("dead letter {id}: {reason}");
                self.jobs.dead_letter(lane, id, body, &reason);
            }
            Output::Quarantine => match slot.damage.clone() {
                Some(damage) => {
                    tracing::warn!("skipping damage: {damage}");
                    self.jobs.quarantine(lane, damage);
                }
                None => slot.lane.handle(Input::QuarantineFailed, now),
            },
            Output::SaveCheckpoint(position) => self.jobs.save(lane, slot.writer.clone(), position),
            Output::Halted { key, reason } => {
                let at = format!("{}: {reason}", slot.id(key));
                slot.halted(Some(key), &at, now);
            }
            Output::HaltedByDamage => {
                let damage = slot.damage.as_ref().map(ToString::to_string).unwrap_or_default();
                slot.halted(None, &format!("damage: {damage}"), now);
            }
            Output::Stopped => slot.stopped = true,
        }
    }

    /// Has the lanes look that were rung for, if it is time; returns when it will be.
    fn answer(&mut self, now: Duration) -> Option<Duration> {
        let mut rings = self.bell.as_ref()?.rings();
        for lane in rings.take_lanes(now) {
            if let Some(slot) = self.slots.get_mut(lane) {
                slot.lane.handle(Input::Hint, now);
            }
        }
        if rings.take_stranger(now) {
            self.discover_again = self.next_discovery.is_none();
            self.next_discovery = self.next_discovery.map(|_| now);
        }
        rings.due()
    }

    fn hinted(&mut self, hints: &HashSet<Option<WriterId>>) {
        let now = self.now();
        for hint in hints {
            match hint.as_ref().map(|writer| self.by_writer.get(writer)) {
                Some(Some(lane)) => {
                    if let Some(slot) = self.slots.get_mut(*lane) {
                        slot.lane.handle(Input::Hint, now);
                    }
                }
                Some(None) => self.next_discovery = self.next_discovery.map(|_| now),
                None => {
                    self.next_discovery = self.next_discovery.map(|_| now);
                    self.slots.iter_mut().for_each(|slot| slot.lane.handle(Input::Hint, now));
                }
            }
        }
    }
}

fn hint_writer(hint: Hint) -> Option<WriterId> {
    match hint {
        Hint::Writer(writer) => Some(writer),
        Hint::Anything => None,
    }
}

#[cfg(test)]
mod tests;
