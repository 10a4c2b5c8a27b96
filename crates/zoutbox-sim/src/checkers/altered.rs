//! No record is invented or altered, and one identity never means two records.

use std::collections::BTreeMap;

use zoutbox_relay_core::Key;

use super::{Checker, Seen, name};
use crate::world::ledger::{Ledger, Told};

/// Which append each identity was seen with, and the other way round.
#[derive(Debug, Default)]
pub(super) struct Altered {
    appends: BTreeMap<(String, Key), usize>,
    identities: BTreeMap<(String, usize), Key>,
}

impl Checker for Altered {
    fn name(&self) -> &'static str {
        "altered"
    }

    fn see(&mut self, ledger: &Ledger, seen: &Seen<'_>) -> Result<(), String> {
        match *seen {
            Seen::Accepted { writer, first, content: Some((topic, payload)), .. } => {
                self.record(ledger, writer, first, topic, payload)
            }
            Seen::Applied { writer, key, topic, payload } => self.record(ledger, writer, key, topic, payload),
            Seen::Told { writer, append, told: Told::Durable(key) } => self.pair(writer, key, append),
            _ => Ok(()),
        }
    }
}

impl Altered {
    fn record(
        &mut self,
        ledger: &Ledger,
        writer: &str,
        key: Key,
        topic: &str,
        payload: &[u8],
    ) -> Result<(), String> {
        let of = ledger.writer(writer).zip(Ledger::append_of(payload));
        let append = of.and_then(|(writer, number)| Some((number, writer.appends.get(number)?)));
        match append {
            Some((number, append)) if append.payload == payload && append.topic == topic => {
                self.pair(writer, key, number)
            }
            Some((number, _)) => Err(format!("{} is not what append {number} was", name(writer, key))),
            None => Err(format!("{} was never appended", name(writer, key))),
        }
    }

    fn pair(&mut self, writer: &str, key: Key, append: usize) -> Result<(), String> {
        let known = *self.appends.entry((writer.to_owned(), key)).or_insert(append);
        if known != append {
            return Err(format!("{} is append {known} and append {append}", name(writer, key)));
        }
        let known = *self.identities.entry((writer.to_owned(), append)).or_insert(key);
        if known != key {
            let (one, other) = (name(writer, known), name(writer, key));
            return Err(format!("append {append} is {one} and {other}"));
        }
        Ok(())
    }
}
