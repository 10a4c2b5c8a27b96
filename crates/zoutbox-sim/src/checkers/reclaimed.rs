//! What is reclaimed was confirmed, and a durable checkpoint says so, which never goes back in front of what was reclaimed.

use super::{Checker, Seen, name};
use crate::world::ledger::Ledger;

#[derive(Debug)]
pub(super) struct Reclaimed;

impl Checker for Reclaimed {
    fn name(&self) -> &'static str {
        "reclaimed"
    }

    fn see(&mut self, ledger: &Ledger, seen: &Seen<'_>) -> Result<(), String> {
        match *seen {
            Seen::Removed { writer, segment, only_here, durable } => {
                if let Some(key) = only_here.first() {
                    return Err(format!("{} was removed and not confirmed", name(writer, *key)));
                }
                if durable.is_none_or(|durable| durable.segment <= segment) {
                    return Err(format!(
                        "{writer}: {segment:?} is removed, and the durable checkpoint is {durable:?}"
                    ));
                }
                Ok(())
            }
            Seen::Checkpoint { writer, position } => {
                let removed = ledger.writer(writer).and_then(|writer| writer.removed);
                match removed.filter(|removed| position.segment <= *removed) {
                    Some(removed) => Err(format!(
                        "{writer}: {removed:?} was removed, and the checkpoint goes back to {position:?}"
                    )),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
