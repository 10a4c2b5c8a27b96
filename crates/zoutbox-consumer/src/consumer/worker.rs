//! The thread that resolves, applies and calls the handler: all that blocks, and never the connection.
//!
//! ```text
//!   task that owns the connection ── Inbound ──▶ worker: lanes ▶ resolve ▶ apply, or park
//!                                 ◀── Said ─────          ack · give back · park, and wait for the confirm
//! ```
//!
//! Nothing here is lost when the connection is: what was not acknowledged comes again, and what was applied is then a duplicate.

mod aside;

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use zoutbox_storage::{Clock, ErrorKind, System};

use super::decide::{Attempts, Failed, Policy, Then};
use super::lanes::{Lanes, Next};
use super::message::{Delivered, Outgoing, one_line};
use super::observer::{Telling, Told};
use super::{ConsumerError, ConsumerOptions, HandlerError, Summary};
use crate::inbox::{Applied, ApplyError, Head, Identity, Inbox, InboxError, Opened, OrderKey, Store, Turn};
use crate::resolver::{Records, ResolveError, Resolved, Resolver};

/// A reason in a row or a log.
const MOST_REASON: usize = 512;

/// To the worker.
#[derive(Debug)]
pub(super) enum Inbound {
    Delivered(Box<Delivered>),
    Lost,
    Stop,
}

/// From the worker. A link is a connection: an answer for one that is gone is dropped.
#[derive(Debug)]
pub(super) enum Said {
    Ack { link: u64, tag: u64, delivery: u64 },
    GiveBack { link: u64, tag: u64, delivery: u64 },
    Park { link: u64, outgoing: Box<Outgoing>, reply: mpsc::SyncSender<Result<(), String>> },
    Ended(Result<Summary, ConsumerError>),
}

/// Why a message is left as it is.
enum Leave {
    /// Its connection is gone.
    Lost,
    Stop,
    Failed(ConsumerError),
}

type Done = Result<(), Leave>;

/// What a message came to.
enum Found {
    Records(Records),
    NotYet(ResolveError),
    /// What it leads to was removed.
    Gone(String),
    Bad(String),
}

/// What became of several records in one transaction.
enum Together {
    /// All are applied, or were before.
    Applied,
    /// Nothing is applied: each has to be looked at alone.
    Alone,
    /// The transaction ended within it: what the first so many did may be committed, and none is marked.
    Unknown { ran: usize, reason: String },
}

/// What it is made of.
pub(super) struct Parts<S, F> {
    pub(super) options: ConsumerOptions,
    pub(super) resolver: Resolver,
    pub(super) inbox: Inbox<S>,
    pub(super) handler: F,
    pub(super) telling: Telling,
    pub(super) inbound: Receiver<Inbound>,
    pub(super) said: UnboundedSender<Said>,
    /// The connection that there is.
    pub(super) link: Arc<AtomicU64>,
}

pub(super) struct Worker<S, F> {
    parts: Parts<S, F>,
    policy: Policy,
    clock: Arc<dyn Clock>,
    lanes: Lanes<Box<Delivered>>,
    /// What was said to be not ready, so that it is said once.
    not_ready: HashSet<String>,
    parked: usize,
    stop: bool,
    summary: Summary,
}

impl<S, F, E> Worker<S, F>
where
    S: Store,
    F: FnMut(&Resolved<'_>, &mut S::Transaction<'_>) -> Result<(), HandlerError<E>>,
    E: Display,
{
    pub(super) fn new(parts: Parts<S, F>) -> Self {
        let ConsumerOptions { tries, retry_min, retry_max, not_yet_limit, .. } = parts.options;
        Self {
            policy: Policy { tries, retry_min, retry_max },
            clock: System::real().clock,
            lanes: Lanes::new(retry_min, retry_max, not_yet_limit),
            not_ready: HashSet::new(),
            parked: 0,
            stop: false,
            summary: Summary::default(),
            parts,
        }
    }

    pub(super) fn run(mut self) {
        let result = match self.start().and_then(|()| self.work()) {
            Err(Leave::Failed(error)) => Err(error),
            Ok(()) | Err(Leave::Lost | Leave::Stop) => Ok(self.summary),
        };
        let Self { parts: Parts { said, inbox, .. }, .. } = self;
        // Closed before anybody hears of the end.
        drop(inbox);
        if said.send(Said::Ended(result)).is_err() {
            tracing::debug!("nobody waits for the consumer's end");
        }
    }

    fn start(&mut self) -> Done {
        if self.parts.inbox.opened() == Opened::Empty {
            tracing::warn!(
                "the inbox of consumer '{}' is empty: unless this consumer is new, its database was lost or replaced, and what is \
                 delivered again is applied again",
                self.parts.inbox.consumer()
            );
        }
        let mut attempts = Attempts::default();
        let parked = loop {
            match self.parts.inbox.parked() {
                Ok(parked) => break parked,
                Err(error) => self.database(&mut attempts, error, "reading what is parked")?,
            }
        };
        self.parked = parked.len();
        for parked in parked {
            self.parts.telling.tell(Told::Parked { writer: parked.record.writer, segment: parked.segment });
        }
        self.parts.telling.tell(Told::Started);
        Ok(())
    }

    fn work(&mut self) -> Done {
        loop {
            self.look_up();
            if self.stop {
                return Err(Leave::Stop);
            }
            match self.lanes.next(self.clock.monotonic()) {
                Next::Take(delivered) => match self.message(delivered) {
                    Ok(()) | Err(Leave::Lost) => {}
                    Err(leave) => return Err(leave),
                },
                Next::Return(all) => all.iter().for_each(|delivered| self.give_back(delivered)),
                Next::Wait(time) => self.wait(time),
            }
        }
    }

    /// What came in the meantime.
    fn look_up(&mut self) {
        loop {
            match self.parts.inbound.try_recv() {
                Ok(inbound) => self.came(inbound),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.stop = true;
                    return;
                }
            }
        }
    }

    fn wait(&mut self, time: Option<Duration>) {
        let inbound = match time {
            Some(time) => self.parts.inbound.recv_timeout(time),
            None => self.parts.inbound.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match inbound {
            Ok(inbound) => self.came(inbound),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.stop = true,
        }
    }

    fn came(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Delivered(delivered) => self.lanes.arrived(delivered.record(), delivered),
            Inbound::Lost => {
                self.lanes.clear();
                self.not_ready.clear();
            }
            Inbound::Stop => self.stop = true,
        }
    }

    /// Whether it still makes sense to work on what this connection brought.
    fn still(&mut self, link: u64) -> Done {
        self.look_up();
        if self.stop {
            return Err(Leave::Stop);
        }
        if self.parts.link.load(Ordering::Acquire) == link { Ok(()) } else { Err(Leave::Lost) }
    }

    /// Waits, and holds everything behind what is in hand.
    fn pause(&mut self, time: Duration, link: Option<u64>) -> Done {
        let end = self.clock.monotonic().saturating_add(time);
        loop {
            let left = end.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                return Ok(());
            }
            self.wait(Some(left));
            if self.stop {
                return Err(Leave::Stop);
            }
            if link.is_some_and(|link| self.parts.link.load(Ordering::Acquire) != link) {
                return Err(Leave::Lost);
            }
        }
    }

    fn message(&mut self, delivered: Box<Delivered>) -> Done {
        self.still(delivered.link)?;
        let record = delivered.record();
        match self.resolve(&delivered)? {
            Found::Records(records) => {
                if let Some(record) = record {
                    self.lanes.settled(&record.writer);
                    self.not_ready.remove(&delivered.name());
                }
                self.records(&delivered, &records)?;
            }
            Found::NotYet(error) => {
                // It has an id, or it could not have been resolved so far.
                let Some(record) = record else {
                    return self.set_aside_whole(&delivered, &error.to_string());
                };
                if self.not_ready.insert(delivered.name()) {
                    tracing::warn!("{} waits: {error}", delivered.name());
                }
                self.lanes.not_yet(record, delivered, self.clock.monotonic());
                return Ok(());
            }
            Found::Gone(reason) => {
                if let Some(record) = record {
                    self.lanes.settled(&record.writer);
                }
                self.gone(&delivered, &reason)?;
            }
            Found::Bad(reason) => {
                if let Some(record) = record {
                    self.lanes.settled(&record.writer);
                }
                self.parts.telling.tell(Told::Refused(delivered.number));
                self.set_aside_whole(&delivered, &reason)?;
            }
        }
        let (link, tag, delivery) = (delivered.link, delivered.tag, delivered.number);
        self.say(Said::Ack { link, tag, delivery })
    }

    fn resolve(&mut self, delivered: &Delivered) -> Result<Found, Leave> {
        let mut failures = 0_u32;
        loop {
            let error = match self.parts.resolver.resolve(delivered.message()) {
                Ok(records) => return Ok(Found::Records(records)),
                Err(error @ ResolveError::NotYet { .. }) => return Ok(Found::NotYet(error)),
                Err(error) => error,
            };
            match (&error, error.kind()) {
                (ResolveError::Expired { .. }, _) => return Ok(Found::Gone(error.to_string())),
                (_, ErrorKind::Corrupt | ErrorKind::Invalid) => return Ok(Found::Bad(error.to_string())),
                _ => {}
            }
            failures = failures.saturating_add(1);
            if failures == 1 {
                tracing::error!("{}: {error}; it is tried again until it works", delivered.name());
            }
            self.pause(self.policy.delay(failures), Some(delivered.link))?;
        }
    }

    fn records(&mut self, delivered: &Delivered, records: &Records) -> Done {
        if records.len() > 1 && self.parts.options.together {
            match self.all_at_once(records) {
                Together::Applied => return Ok(()),
                Together::Unknown { ran, reason } => return self.unknown(delivered, records, ran, &reason),
                Together::Alone => {}
            }
        }
        for record in records.iter() {
            self.still(delivered.link)?;
            self.record(delivered, &record, records.len())?;
        }
        Ok(())
    }

    /// All records of a message in one transaction.
    fn all_at_once(&mut self, records: &Records) -> Together {
        let unkeyed = self.parts.options.unkeyed;
        let resolved: Vec<Resolved<'_>> = records.iter().collect();
        let all: Vec<(Identity, OrderKey)> = resolved
            .iter()
            .map(|record| {
                let key = OrderKey::of(record.key, &record.identity.record, unkeyed);
                (record.identity.clone(), key)
            })
            .collect();
        let Parts { inbox, handler, .. } = &mut self.parts;
        let mut ran = 0;
        let applied = inbox.apply_all(&all, |index, transaction| {
            ran = index.saturating_add(1);
            match resolved.get(index) {
                Some(record) => handler(record, transaction).map_err(Some),
                None => Err(None),
            }
        });
        match applied {
            Ok(Some(all)) => {
                let duplicates = all.iter().filter(|applied| **applied == Applied::Duplicate).count() as u64;
                self.summary.duplicates += duplicates;
                self.summary.applied += (all.len() as u64).saturating_sub(duplicates);
                Together::Applied
            }
            Err(ApplyError::Inbox(error @ InboxError::TransactionEnded { .. })) => {
                Together::Unknown { ran, reason: error.to_string() }
            }
            // Which one it was, and what is to be done with it, is found out one by one.
            Ok(None) | Err(_) => Together::Alone,
        }
    }

    fn record(&mut self, delivered: &Delivered, record: &Resolved<'_>, of: usize) -> Done {
        let identity = &record.identity;
        let key = OrderKey::of(record.key, &identity.record, self.parts.options.unkeyed);
        let mut attempts = Attempts::default();
        loop {
            let Parts { inbox, handler, .. } = &mut self.parts;
            let applied = inbox.apply_in_turn(identity, &key, |transaction| handler(record, transaction));
            let error = match applied {
                Ok(Turn::Taken { applied, unparked }) => {
                    self.taken(identity, applied, unparked);
                    return Ok(());
                }
                Ok(Turn::Behind(before)) => {
                    return self.park(delivered, record, (of, &key), &format!("behind {before}"));
                }
                Err(error) => error,
            };
            let failed = failed(&error);
            let first = attempts.failures() == 0;
            match attempts.then(&self.policy, failed) {
                Then::Again(delay) => {
                    if first {
                        tracing::warn!("{}: {}; it is tried again", identity.record, text(&error));
                    }
                    self.pause(delay, Some(delivered.link))?;
                }
                Then::Park(reason) => return self.park(delivered, record, (of, &key), &reason),
                Then::Stop => {
                    return Err(match error {
                        ApplyError::Inbox(error) => Leave::Failed(error.into()),
                        ApplyError::Effect(_) => Leave::Stop,
                    });
                }
            }
        }
    }

    fn taken(&mut self, identity: &Identity, applied: Applied<()>, unparked: Option<Head>) {
        match applied {
            Applied::Now(()) => self.summary.applied += 1,
            Applied::Duplicate => self.summary.duplicates += 1,
        }
        if let Some(head) = unparked {
            self.parked = self.parked.saturating_sub(1);
            let (writer, segment) = (identity.record.writer.clone(), head.segment());
            self.parts.telling.tell(Told::Unparked { writer, segment });
        }
    }

    /// Waits after an error of the database that may pass.
    fn database(&mut self, attempts: &mut Attempts, error: InboxError, doing: &str) -> Done {
        let first = attempts.failures() == 0;
        match attempts.then(&self.policy, Failed::Inbox(error.kind(), String::new())) {
            Then::Again(delay) => {
                if first {
                    tracing::error!("{doing}: {error}; it is tried again until it works");
                }
                self.pause(delay, None)
            }
            Then::Park(_) | Then::Stop => Err(Leave::Failed(error.into())),
        }
    }

    fn give_back(&mut self, delivered: &Delivered) {
        tracing::warn!("{} goes back to the broker: it is not ready on this host", delivered.name());
        self.not_ready.remove(&delivered.name());
        self.summary.returned += 1;
        let (link, tag, delivery) = (delivered.link, delivered.tag, delivered.number);
        if self.say(Said::GiveBack { link, tag, delivery }).is_err() {
            self.stop = true;
        }
    }

    fn say(&self, said: Said) -> Done {
        self.parts.said.send(said).map_err(|_| Leave::Stop)
    }
}

fn failed<E: Display>(error: &ApplyError<HandlerError<E>>) -> Failed {
    match error {
        ApplyError::Effect(HandlerError::Retry(error)) => Failed::Retry(error.to_string()),
        ApplyError::Effect(HandlerError::Poison(error)) => Failed::Poison(error.to_string()),
        ApplyError::Effect(HandlerError::Trouble(error)) => Failed::Trouble(error.to_string()),
        ApplyError::Inbox(error) => Failed::Inbox(error.kind(), error.to_string()),
    }
}

fn text<E: Display>(error: &ApplyError<HandlerError<E>>) -> String {
    match error {
        ApplyError::Effect(
            HandlerError::Retry(error) | HandlerError::Poison(error) | HandlerError::Trouble(error),
        ) => {
            format!("the handler failed: {}", one_line(&error.to_string(), MOST_REASON))
        }
        ApplyError::Inbox(error) => error.to_string(),
    }
}
