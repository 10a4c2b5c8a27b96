//! The loop that nobody wants to write: from a queue of RabbitMQ to effects, each exactly once, in the order of their keys.
//!
//! ```text
//!   queue ──▶ resolve ──▶ inbox: effect and mark in one transaction ──▶ ack
//!     ▲          │                    │ fails again and again, or is poison
//!     │          ▼ can't be           ▼
//!     │        <queue>.parked ◀── the record, and later ones with its key      (confirmed, then noted in the inbox, then ack)
//!     └──────────────┘ unpark
//! ```
//!
//! # What becomes of a message
//!
//! It is acknowledged when each of its records is applied, was applied before, or is parked: durably, never earlier. Nothing that comes from
//! the network ends the consumer, and nothing is acknowledged by mistake.
//!
//! | what happens | what the consumer does |
//! |---|---|
//! | the handler says [`HandlerError::Retry`] | the same record again, later and later, and nothing behind it before; parked after [`ConsumerOptions::tries`] |
//! | the handler says [`HandlerError::Poison`] | parked at once |
//! | the handler says [`HandlerError::Trouble`] | the same record again, for ever: never the record's fault |
//! | an earlier record of its writer and key is parked | parked behind it |
//! | the inbox's database is locked, full or away | the same record again, for ever: never the record's fault |
//! | the inbox is damaged, of a newer zoutbox, read-only | ends with the error |
//! | the inbox can't tell whether it was applied ([`InboxError::Forgotten`](crate::InboxError::Forgotten)) | parked |
//! | this host does not show yet what the message leads to | it and later ones of its writer wait, others go on; after [`ConsumerOptions::not_yet_limit`] back to the broker |
//! | what it leads to was removed, and all its records were applied before | acknowledged: a duplicate |
//! | what it leads to was removed or is damaged; it is forged, truncated, foreign | parked whole, as it came |
//! | it is a pointer, and this consumer was given no share | the same message again, for ever, loudly: it is the configuration that is wrong, or somebody else publishes to the queue |
//! | the share can't be read | the same message again, for ever |
//! | the connection breaks, the broker restarts | a new connection, to the next address; what was not acknowledged comes again |
//! | the handler panics | ends with [`ConsumerError::Thread`] |
//!
//! # Parking, and the order of a key
//!
//! A record is parked in three steps: published to `<queue>.parked`, a durable quorum queue, and confirmed; noted in the inbox's database;
//! only then its message is acknowledged. A crash in between parks it twice, which does no harm: the second copy is a duplicate. While it is
//! parked, later records of its writer with its key are parked behind it, so a key is never applied out of order; other keys go on.
//! [`unpark`] brings all of them back in order. The note goes in the transaction that applies the record.
//!
//! What is parked keeps its properties and headers, and gets `zoutbox-parked-reason` and `zoutbox-parked-topic` (the routing key that it came
//! with). A record out of a batch is a message of its own, with a pointer to it alone.
//!
//! Order holds for one consumer process of a queue. Several share the work, and records of one key may then be worked on out of order, as the
//! broker gave them out; each still has its effect once, and none overtakes one that is parked.

mod blocking;
mod decide;
mod error;
mod lanes;
mod link;
mod message;
mod observer;
mod options;
mod parker;
mod place;
mod shell;
mod unpark;
mod worker;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::watch;

use crate::inbox::{Inbox, Store};
use crate::resolver::{Resolved, Resolver};

pub use blocking::{Stop, unpark_blocking};
pub use error::ConsumerError;
pub use observer::{Look, Observer};
pub use options::{ConsumerAmqp, ConsumerOptions, UnparkOptions};
pub use unpark::unpark;

use observer::Telling;
use place::Place;
use shell::Shell;
use worker::Worker;

/// The observer may be writing to a share that hangs.
const OBSERVER_END: Duration = Duration::from_secs(5);

/// Why the handler did not apply a record. Either way everything it did in the transaction is taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError<E> {
    /// It may work later.
    #[error("{0}")]
    Retry(E),
    /// It never will.
    #[error("{0}")]
    Poison(E),
    /// It is not the record's fault: the database is full, locked or away, say. The same record again, for ever.
    ///
    /// The errors of `rusqlite` and `postgres` turn into this or into [`HandlerError::Retry`] by themselves, with `?`.
    #[error("{0}")]
    Trouble(E),
}

impl<E> HandlerError<E> {
    /// By what can be done about an error of the database that the effect is applied in.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    fn of_database(kind: zoutbox_storage::ErrorKind, error: E) -> Self {
        use zoutbox_storage::ErrorKind;
        match kind {
            // Waiting helps, or a person does: no other record would fare better.
            ErrorKind::Retry | ErrorKind::Full | ErrorKind::Corrupt | ErrorKind::Missing => {
                Self::Trouble(error)
            }
            // A statement that this record makes fail: a constraint, a value out of range.
            _ => Self::Retry(error),
        }
    }
}

#[cfg(feature = "sqlite")]
impl<E: From<rusqlite::Error>> From<rusqlite::Error> for HandlerError<E> {
    fn from(error: rusqlite::Error) -> Self {
        Self::of_database(crate::inbox::sqlite_kind(&error), error.into())
    }
}

#[cfg(feature = "postgres")]
impl<E: From<postgres::Error>> From<postgres::Error> for HandlerError<E> {
    fn from(error: postgres::Error) -> Self {
        Self::of_database(crate::inbox::postgres_kind(&error), error.into())
    }
}

/// What a consumer did until it was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Records that were applied.
    pub applied: u64,
    /// Records that had been applied before.
    pub duplicates: u64,
    /// Records, and messages that have none, that were parked.
    pub parked: u64,
    /// Messages that went back to the broker since this host did not show what they lead to.
    pub returned: u64,
    /// `false` if the handler did not come back in time: then the numbers are not known and are 0.
    pub finished: bool,
}

impl Default for Summary {
    fn default() -> Self {
        Self { applied: 0, duplicates: 0, parked: 0, returned: 0, finished: true }
    }
}

/// Consumes one queue.
pub struct Consumer<S> {
    options: ConsumerOptions,
    resolver: Resolver,
    inbox: Inbox<S>,
    observer: Option<Box<dyn Observer + Send>>,
}

impl<S> std::fmt::Debug for Consumer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<S: Store + Send + 'static> Consumer<S> {
    /// A consumer that starts with [`Consumer::run`].
    #[must_use]
    pub fn new(options: ConsumerOptions, resolver: Resolver, inbox: Inbox<S>) -> Self {
        Self { options, resolver, inbox, observer: None }
    }

    /// Tells somebody how far it is.
    #[must_use]
    pub fn observe(mut self, observer: Box<dyn Observer + Send>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Consumes until `stop` is true: then it has nothing more sent, lets the handler finish the record in hand, acknowledges what is done, and
    /// closes, within 10 s; the rest is delivered again. If the sender of `stop` is dropped, nothing stops it any more.
    ///
    /// The handler runs on a thread of its own, where it may block. It applies a record in the transaction, which is committed together with
    /// the mark that it was applied. It may be called more than once for a record, though its transaction is committed once: what it
    /// does elsewhere may happen more than once.
    ///
    /// # Errors
    /// [`ConsumerError`]: what waiting does not help against. Everything that was not acknowledged is delivered again.
    ///
    /// # Cancellation
    /// Dropping the future ends the consumer as a crash would: nothing is lost, and what was not acknowledged is delivered again. The thread
    /// ends after the record in hand.
    pub async fn run<F, E>(self, stop: watch::Receiver<bool>, handler: F) -> Result<Summary, ConsumerError>
    where
        F: FnMut(&Resolved<'_>, &mut S::Transaction<'_>) -> Result<(), HandlerError<E>> + Send + 'static,
        E: Display,
    {
        let place = match checked(&self.options) {
            Ok(place) => place,
            Err(error) => {
                // A connection to PostgreSQL must not be closed on a thread of the runtime.
                let closing = std::thread::Builder::new().spawn(move || drop(self));
                return Err(closing.err().map_or(error, thread));
            }
        };
        let Self { options, resolver, inbox, observer } = self;
        let (telling, observer_end) = match observer {
            Some(observer) => {
                Telling::start(observer).map(|(telling, end)| (telling, Some(end))).map_err(thread)?
            }
            None => (Telling::default(), None),
        };
        let (to_worker, inbound) = std::sync::mpsc::channel();
        let (to_shell, said) = tokio::sync::mpsc::unbounded_channel();
        let link = Arc::new(AtomicU64::new(1));
        let prefetch = options.prefetch;
        let shell = shell::Parts {
            place,
            prefetch,
            telling: telling.clone(),
            inbound: to_worker,
            said,
            link: Arc::clone(&link),
            stop,
        };
        let parts =
            worker::Parts { options, resolver, inbox, handler, telling, inbound, said: to_shell, link };
        let worker = Worker::new(parts);
        std::thread::Builder::new()
            .name("zoutbox-consumer".into())
            .spawn(move || worker.run())
            .map_err(thread)?;
        let outcome = Shell::new(shell).run().await;
        if let Some(end) = observer_end
            && tokio::time::timeout(OBSERVER_END, end).await.is_err()
        {
            tracing::warn!("the observer has not ended in time");
        }
        outcome
    }
}

fn checked(options: &ConsumerOptions) -> Result<Place, ConsumerError> {
    if options.prefetch == 0 {
        return Err(ConsumerError::Option("prefetch is 0, and must be 1 to 65535".into()));
    }
    Place::new(&options.amqp, &options.queue)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn thread(error: std::io::Error) -> ConsumerError {
    ConsumerError::Thread(format!("a thread can't be started: {error}"))
}
