//! A relay that was stopped in good order publishes nothing again when it is started.

use zoutbox_relay_core::Key;

use super::{Checker, Seen, name};
use crate::world::ledger::{Ledger, keys};

/// Whether such a stop was the last thing that happened.
#[derive(Debug, Default)]
pub(super) struct Restart {
    stopped: bool,
}

impl Checker for Restart {
    fn name(&self) -> &'static str {
        "restart"
    }

    fn see(&mut self, ledger: &Ledger, seen: &Seen<'_>) -> Result<(), String> {
        match *seen {
            Seen::Stopped => self.stopped = true,
            Seen::Published { writer, first, count, .. } if self.stopped => {
                let accepted = |key: &Key| ledger.writer(writer).is_some_and(|of| of.accepted.contains(key));
                if let Some(key) = keys(first, count).find(accepted) {
                    return Err(format!("{} is published again", name(writer, key)));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
