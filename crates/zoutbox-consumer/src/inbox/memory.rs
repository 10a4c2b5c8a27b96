//! States in memory: gone with the process.

use std::collections::HashMap;

use super::{ApplyError, InboxError, Opened, Row, Store, Work};

/// Remembers until the process ends. For tests, and where an effect may happen again after a restart.
#[derive(Debug, Default)]
pub struct MemoryStore {
    states: HashMap<Key, Vec<u8>>,
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

    fn transact<T, E>(
        &mut self,
        row: &Row<'_>,
        work: impl FnOnce(Option<Vec<u8>>, &mut ()) -> Result<Work<T>, ApplyError<E>>,
    ) -> Result<Option<T>, ApplyError<E>> {
        let key = (row.consumer.into(), *row.share, row.writer.clone());
        match work(self.states.get(&key).cloned(), &mut ())? {
            Work::Nothing => Ok(None),
            Work::Save { state, value } => {
                self.states.insert(key, state);
                Ok(Some(value))
            }
        }
    }
}
