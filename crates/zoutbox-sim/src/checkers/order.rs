//! Order per writer. What was acknowledged is numbered in the order in which its process appended it; and the broker gets each record for the
//! first time in the order of the log, but for what it nacked or returned before.

use std::collections::BTreeMap;

use zoutbox_relay_core::Key;

use super::{Checker, Seen, name};
use crate::world::ledger::{Ledger, Told, keys};

/// The last of each.
#[derive(Debug, Default)]
pub(super) struct Order {
    acknowledged: BTreeMap<(String, usize), (usize, Key)>,
    accepted: BTreeMap<String, Key>,
}

impl Checker for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn see(&mut self, ledger: &Ledger, seen: &Seen<'_>) -> Result<(), String> {
        match *seen {
            Seen::Told { writer, append, told: Told::Durable(key) } => {
                let Some(of) = ledger.writer(writer).and_then(|writer| writer.appends.get(append)) else {
                    return Err(format!("append {append} of {writer} was never made"));
                };
                let last = self.acknowledged.insert((writer.to_owned(), of.process), (append, key));
                match last {
                    Some((before, _)) if before >= append => Ok(()),
                    Some((before, last)) if last >= key => {
                        Err(format!("append {before} became {last:?}, append {append} {key:?}"))
                    }
                    _ => Ok(()),
                }
            }
            Seen::Accepted { writer, first, count, .. } => self.accepted(ledger, writer, first, count),
            _ => Ok(()),
        }
    }
}

impl Order {
    fn accepted(&mut self, ledger: &Ledger, writer: &str, first: Key, count: u32) -> Result<(), String> {
        let Some(of) = ledger.writer(writer) else { return Ok(()) };
        let Some(last) = keys(first, count).last() else { return Ok(()) };
        let highest = self.accepted.get(writer).copied();
        for key in keys(first, count).filter(|key| !of.accepted.contains(key)) {
            let late = highest.is_some_and(|highest| key < highest);
            if late && !of.refused.contains(&key) && of.acknowledged.contains_key(&key) {
                let highest = highest.map(|key| name(writer, key)).unwrap_or_default();
                return Err(format!("{} comes for the first time behind {highest}", name(writer, key)));
            }
        }
        self.accepted.insert(writer.to_owned(), highest.map_or(last, |highest| highest.max(last)));
        Ok(())
    }
}
