//! States in memory: gone with the process.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::{ApplyError, InboxError, Opened, Parked, Row, Saved, Store, Work};

/// Remembers until the process ends. For tests, and where an effect may happen again after a restart.
#[derive(Debug, Default)]
pub struct MemoryStore {
    states: HashMap<Key, Vec<u8>>,
    /// By order key, epoch and sequence.
    parked: HashMap<Key, BTreeMap<(Vec<u8>, u64, u64), (super::Head, Parked)>>,
}

type Key = (Box<str>, zoutbox_format::ShareId, zoutbox_format::WriterId);

impl MemoryStore {
    /// One that remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    /// There is none: an effect that fails takes back itself what it did.
    type Transaction<'a> = ();

    fn opened(&mut self, consumer: &str) -> Result<Opened, InboxError> {
        let known = self.states.keys().any(|(name, ..)| **name == *consumer);
        Ok(if known { Opened::Existing } else { Opened::Empty })
    }

    const ROLLS_BACK: bool = false;

    fn parked(&mut self, consumer: &str) -> Result<Vec<Parked>, InboxError> {
        let own = self.parked.iter().filter(|((name, ..), _)| **name == *consumer);
        let mut all: Vec<_> =
            own.flat_map(|(_, rows)| rows.values().map(|(_, parked)| parked.clone())).collect();
        all.sort_by(|a, b| (a.share, &a.record).cmp(&(b.share, &b.record)));
        Ok(all)
    }

    fn transact<'k, T, E>(
        &mut self,
        row: &Row<'_>,
        keys: &[&'k [u8]],
        work: impl FnOnce(Saved, &mut ()) -> Result<Work<'k, T>, ApplyError<E>>,
    ) -> Result<Option<T>, ApplyError<E>> {
        let of: Key = (row.consumer.into(), *row.share, row.writer.clone());
        let parked = self.parked.entry(of.clone()).or_default();
        let head = |key: &&[u8]| {
            let (found, (head, _)) = parked.range((key.to_vec(), 0, 0)..).next()?;
            (found.0 == *key).then_some(*head)
        };
        let saved = Saved { state: self.states.get(&of).cloned(), heads: keys.iter().map(head).collect() };
        match work(saved, &mut ())? {
            Work::Nothing => Ok(None),
            Work::Save { state, unpark, value } => {
                if let Some((key, head)) = unpark {
                    parked.remove(&(key.to_vec(), head.epoch, head.sequence));
                }
                self.states.insert(of, state);
                Ok(Some(value))
            }
            Work::Park { park, value } => {
                let place = (park.key.to_vec(), park.head.epoch, park.head.sequence);
                let Entry::Vacant(slot) = parked.entry(place) else { return Ok(None) };
                slot.insert((park.head, Parked::of(*row.share, row.writer, &park)));
                Ok(Some(value))
            }
        }
    }
}
