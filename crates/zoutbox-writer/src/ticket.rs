//! Tickets: how a caller learns that its record is durable, by blocking or by awaiting.
//!
//! All records of one commit share one completion, so that the commit thread ends a whole commit with one store and one
//! wake-up, however many callers wait for it.
//!
//! ```text
//!   pending ──commit──▶ durable { epoch, first sequence }
//!      └──────────────▶ failed(error)            nothing leads back; a completion is set once
//! ```

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;

use zoutbox_format::{Epoch, RecordId, Sequence, WriterId};

use crate::error::WriterError;

/// What became of a commit.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Durable { epoch: Epoch, first: Sequence },
    Failed(WriterError),
}

/// One commit's outcome, shared by its tickets.
///
/// Waking a thread costs a system call. The commit thread pays for two; each thread that wakes up wakes two more, so that all
/// cores share the work and the next commit starts at once. A condition variable would have them all fight for its lock.
#[derive(Debug)]
pub(crate) struct Completion {
    writer: Arc<WriterId>,
    outcome: OnceLock<Outcome>,
    waiting: Mutex<Waiting>,
    /// The threads that were waiting when the outcome came; set before it.
    sleepers: OnceLock<Vec<Thread>>,
    /// How many of them were woken.
    woken: AtomicUsize,
}

#[derive(Debug, Default)]
struct Waiting {
    threads: Vec<Thread>,
    wakers: Vec<Waker>,
}

impl Completion {
    pub(crate) fn new(writer: Arc<WriterId>) -> Self {
        Self {
            writer,
            outcome: OnceLock::new(),
            waiting: Mutex::new(Waiting::default()),
            sleepers: OnceLock::new(),
            woken: AtomicUsize::new(0),
        }
    }

    /// Sets the outcome and wakes everyone. The first outcome stays.
    pub(crate) fn complete(&self, outcome: Outcome) {
        // Whoever waits has looked at the outcome under this lock: none of them can miss the wake-up.
        let mut waiting = self.lock();
        let Waiting { threads, wakers } = std::mem::take(&mut *waiting);
        let first = self.sleepers.set(threads).is_ok() && self.outcome.set(outcome).is_ok();
        drop(waiting);
        if first {
            self.wake_two();
        }
        for waker in wakers {
            waker.wake();
        }
    }

    pub(crate) fn wait(&self) -> &Outcome {
        if let Some(outcome) = self.outcome.get() {
            return outcome;
        }
        let mut waiting = self.lock();
        if let Some(outcome) = self.outcome.get() {
            return outcome;
        }
        waiting.threads.push(std::thread::current());
        drop(waiting);
        loop {
            std::thread::park();
            if let Some(outcome) = self.outcome.get() {
                // Every thread that waited does this once, however it was woken: so none is left asleep.
                self.wake_two();
                return outcome;
            }
        }
    }

    fn wake_two(&self) {
        let Some(sleepers) = self.sleepers.get() else { return };
        let from = self.woken.fetch_add(2, Ordering::Relaxed);
        for sleeper in sleepers.iter().skip(from).take(2) {
            sleeper.unpark();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, slot: &mut Option<usize>, waker: &Waker) -> Poll<&Outcome> {
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        let mut waiting = self.lock();
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        if let Some(known) = slot.and_then(|slot| waiting.wakers.get_mut(slot)) {
            known.clone_from(waker);
        } else {
            *slot = Some(waiting.wakers.len());
            waiting.wakers.push(waker.clone());
        }
        Poll::Pending
    }
}

/// A record on its way to durability. Wait for it or await it; dropping it changes nothing for the record.
///
/// As a future it is cancel-safe: dropping it mid-way loses nothing but the answer.
#[must_use = "a record is durable only once its ticket says so"]
pub struct Ticket {
    completion: Arc<Completion>,
    /// Which record of the commit.
    index: u32,
    /// Where its waker is, once it was polled.
    slot: Option<usize>,
}

impl Ticket {
    pub(crate) fn new(completion: Arc<Completion>, index: u32) -> Self {
        Self { completion, index, slot: None }
    }

    /// Blocks until the record is durable, and returns its identity.
    ///
    /// # Errors
    /// [`WriterError`]. With [`ErrorKind::Unknown`](zoutbox_storage::ErrorKind::Unknown) the record may or may not have been
    /// written; with any other kind it was not.
    pub fn wait(self) -> Result<RecordId, WriterError> {
        self.settled()
    }

    /// As [`Ticket::wait`], for who needs the ticket afterwards.
    pub(crate) fn settled(&self) -> Result<RecordId, WriterError> {
        self.result(self.completion.wait())
    }

    /// The outcome, if there is one yet. Never blocks.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<RecordId, WriterError>> {
        self.completion.outcome.get().map(|outcome| self.result(outcome))
    }

    fn result(&self, outcome: &Outcome) -> Result<RecordId, WriterError> {
        match outcome {
            Outcome::Durable { epoch, first } => Ok(RecordId {
                writer: WriterId::clone(&self.completion.writer),
                epoch: *epoch,
                sequence: Sequence::new(first.get().saturating_add(u64::from(self.index))),
            }),
            Outcome::Failed(error) => Err(error.clone()),
        }
    }
}

impl Future for Ticket {
    type Output = Result<RecordId, WriterError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = self.get_mut();
        let outcome = ticket.completion.poll(&mut ticket.slot, context.waker());
        outcome.map(|outcome| ticket.result(outcome))
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("outcome", &self.outcome()).finish()
    }
}
