//! A store that counts: how many records were delivered that had their effect already, which an inbox rightly makes nothing of.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use zoutbox_consumer::inbox::{Opened, Parked, Row, Saved, Store, Work};
use zoutbox_consumer::{ApplyError, InboxError};

/// How often it is said how far it is.
const PAUSE: Duration = Duration::from_millis(50);

/// Shared by the store and the handler.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Effects that ran.
    effects: Arc<AtomicU64>,
    said: Arc<Mutex<Option<Instant>>>,
}

impl Counts {
    /// An effect was written, at this position.
    pub(crate) fn at(&self, position: i64) {
        self.effects.fetch_add(1, Ordering::Relaxed);
        let mut said = self.said.lock().unwrap();
        if said.is_none_or(|said| said.elapsed() > PAUSE) {
            println!("at {position}");
            *said = Some(Instant::now());
        }
    }
}

/// A store, and what it is asked.
#[derive(Debug)]
pub(crate) struct Counting<S> {
    inner: S,
    counts: Counts,
}

impl<S> Counting<S> {
    pub(crate) fn new(inner: S, counts: &Counts) -> Self {
        Self { inner, counts: counts.clone() }
    }
}

impl<S: Store> Store for Counting<S> {
    type Transaction<'a> = S::Transaction<'a>;

    const ROLLS_BACK: bool = S::ROLLS_BACK;

    fn opened(&mut self, consumer: &str) -> Result<Opened, InboxError> {
        self.inner.opened(consumer)
    }

    fn ended(transaction: &Self::Transaction<'_>) -> Option<InboxError> {
        S::ended(transaction)
    }

    fn parked(&mut self, consumer: &str) -> Result<Vec<Parked>, InboxError> {
        self.inner.parked(consumer)
    }

    /// There is a key for each record that is to be applied: those whose effect does not run had it.
    fn transact<'k, T, E>(
        &mut self,
        row: &Row<'_>,
        keys: &[&'k [u8]],
        work: impl FnOnce(Saved, &mut Self::Transaction<'_>) -> Result<Work<'k, T>, ApplyError<E>>,
    ) -> Result<Option<T>, ApplyError<E>> {
        let before = self.counts.effects.load(Ordering::Relaxed);
        let done = self.inner.transact(row, keys, work)?;
        let ran = self.counts.effects.load(Ordering::Relaxed) - before;
        let duplicates = (keys.len() as u64).saturating_sub(ran);
        if duplicates > 0 {
            println!("duplicates {duplicates}");
        }
        Ok(done)
    }
}
