//! Deduplication by record identity, in the same transaction as the effect. The crate's front page shows how it is used.
//!
//! What was seen is decided by a pure `window`, which says why that is exactly right; a [`Store`] only keeps its state and
//! runs transactions.

mod error;
mod memory;
mod parked;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
mod turn;
mod window;

use zoutbox_format::{RecordId, ShareId, WriterId};

pub use error::{ApplyError, InboxError};
pub use memory::MemoryStore;
pub use parked::{Head, OrderKey, Park, Parked, Unkeyed};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(all(feature = "postgres", feature = "amqp"))]
pub(crate) use postgres::kind as postgres_kind;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
#[cfg(all(feature = "sqlite", feature = "amqp"))]
pub(crate) use sqlite::kind as sqlite_kind;
pub use store::{Row, Saved, Store, Work};
pub use turn::Turn;
pub use window::WindowError;

use window::{MOST_RUNS, Place, Seen, Window, seed};

/// Which record, of all shares that there are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The share that it was appended to.
    pub share: ShareId,
    /// Its identity there.
    pub record: RecordId,
}

impl Identity {
    /// An identity from its two parts.
    #[must_use]
    pub const fn new(share: ShareId, record: RecordId) -> Self {
        Self { share, record }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of share {}", self.record, self.share)
    }
}

/// What became of a record. Its message can be acknowledged either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Applied<T> {
    /// It was applied by this call, which is what the effect returned.
    Now(T),
    /// It had been applied before: nothing ran.
    Duplicate,
}

/// What an inbox remembered when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// Nothing for this consumer. If the consumer is not new, its database was lost or replaced: records that it applied before are
    /// applied again if they are delivered again.
    Empty,
    /// Something.
    Existing,
}

/// How an inbox works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many runs of consecutive sequences are remembered for each writer, 1 to 65536; 4096 by default.
    ///
    /// A run costs two to seven bytes in a row that every apply reads and writes. Delivered in order, a writer has one run for each of its
    /// epochs, that is, for each time it was opened. A gap costs one more: a record that is retried or set aside, one that waits behind a
    /// prefetch, and, where a queue gets only some of a writer's topics, each record of the others.
    ///
    /// Beyond the bound the oldest run is forgotten, and records at or below its end are refused as
    /// [`InboxError::Forgotten`]. So the bound should exceed the prefetch of all consumers together, and for a queue that gets
    /// only some topics, the number of records that a relay may publish again after a crash.
    pub most_runs: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { most_runs: 4096 }
    }
}

/// Applies each record once, and remembers which it applied.
///
/// `consumer` names whose memory it is. Several consumers may keep theirs in one database, each under a name of its own; several processes
/// may share one name and one database, and compete for records.
#[derive(Debug)]
pub struct Inbox<S> {
    store: S,
    consumer: Box<str>,
    options: Options,
    opened: Opened,
}

impl<S: Store> Inbox<S> {
    /// Opens the inbox of `consumer`, a name of the form of a writer id: `[a-z0-9][a-z0-9._-]{0,63}`.
    ///
    /// # Errors
    /// [`InboxError::ConsumerName`], and what the store says.
    pub fn open(store: S, consumer: &str) -> Result<Self, InboxError> {
        Self::open_with(store, consumer, Options::default())
    }

    /// The same, with options.
    ///
    /// # Errors
    /// Those of [`Inbox::open`], and [`InboxError::MostRuns`].
    pub fn open_with(mut store: S, consumer: &str, options: Options) -> Result<Self, InboxError> {
        if !WriterId::is_valid(consumer) {
            return Err(InboxError::ConsumerName(consumer.escape_debug().take(80).collect()));
        }
        if !(1..=MOST_RUNS).contains(&options.most_runs) {
            return Err(InboxError::MostRuns(options.most_runs));
        }
        let opened = store.opened(consumer)?;
        Ok(Self { store, consumer: consumer.into(), options, opened })
    }

    /// Whether anything was remembered when it was opened. [`Opened::Empty`] in a consumer that is not new is worth a loud
    /// line in its log.
    #[must_use]
    pub const fn opened(&self) -> Opened {
        self.opened
    }

    /// The consumer's name.
    #[must_use]
    pub const fn consumer(&self) -> &str {
        &self.consumer
    }

    /// The store, for the tables of the effects.
    #[must_use]
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// The store, for the tables of the effects.
    #[must_use]
    pub const fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Runs `effect` and marks the record as applied, in one transaction; or runs nothing, if it was applied before.
    ///
    /// # Errors
    /// [`ApplyError::Effect`] with what the effect returned: then nothing is applied or marked. [`ApplyError::Inbox`]: the table on the
    /// crate's front page says what each kind means.
    pub fn apply<T, E>(
        &mut self,
        identity: &Identity,
        effect: impl FnOnce(&mut S::Transaction<'_>) -> Result<T, E>,
    ) -> Result<Applied<T>, ApplyError<E>> {
        let (share, record) = (&identity.share, &identity.record);
        let place = place(identity)?;
        let row = Row { consumer: &self.consumer, share, writer: &record.writer };
        let most = self.options.most_runs;
        let applied = self.store.transact(&row, &[], |saved, transaction| {
            let mut window = load(&row, saved.state.as_deref())?;
            match window.look(place) {
                Seen::Yes => return Ok(Work::Nothing),
                Seen::Forgotten(horizon) => return Err(forgotten(identity, horizon).into()),
                Seen::No => {}
            }
            let value = effect(transaction).map_err(ApplyError::Effect)?;
            window.mark(place, most);
            Ok(Work::Save { state: window.encode(seed(row.share, row.writer)), unpark: None, value })
        })?;
        Ok(applied.map_or(Applied::Duplicate, Applied::Now))
    }
}

fn place(identity: &Identity) -> Result<Place, InboxError> {
    let place = Place { epoch: identity.record.epoch.get(), sequence: identity.record.sequence.get() };
    if place.epoch == 0 || place.sequence == 0 {
        return Err(InboxError::Zero { identity: Box::new(identity.clone()) });
    }
    Ok(place)
}

fn load(row: &Row<'_>, saved: Option<&[u8]>) -> Result<Window, InboxError> {
    let Some(saved) = saved else { return Ok(Window::default()) };
    Window::decode(saved, seed(row.share, row.writer)).map_err(|source| InboxError::State {
        consumer: row.consumer.into(),
        share: *row.share,
        writer: row.writer.clone(),
        source,
    })
}

fn forgotten(identity: &Identity, horizon: Place) -> InboxError {
    InboxError::Forgotten {
        identity: Box::new(identity.clone()),
        horizon: format!("{}/{}", horizon.epoch, horizon.sequence).into(),
    }
}
