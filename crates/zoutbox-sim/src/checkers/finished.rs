//! A relay that ends by itself once everything that was there is published (`--once`) ends no sooner.

use super::{Checker, Seen, name};
use crate::world::ledger::Ledger;

#[derive(Debug)]
pub(super) struct Finished;

impl Checker for Finished {
    fn name(&self) -> &'static str {
        "finished"
    }

    fn see(&mut self, ledger: &Ledger, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Finished { there } = *seen else { return Ok(()) };
        for (writer, keys) in there {
            let outstanding = ledger.writer(writer).map(|of| &of.outstanding);
            let left = outstanding.and_then(|outstanding| keys.intersection(outstanding).next());
            if let Some(key) = left {
                return Err(format!(
                    "a relay ended with everything published, and {} is not",
                    name(writer, *key)
                ));
            }
        }
        Ok(())
    }
}
