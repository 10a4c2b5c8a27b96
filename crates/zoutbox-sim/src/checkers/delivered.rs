//! What was acknowledged is delivered: applied by the consumer, or a dead letter.

use super::{Checker, Seen, name};
use crate::world::ledger::Ledger;

#[derive(Debug)]
pub(super) struct Delivered;

impl Checker for Delivered {
    fn name(&self) -> &'static str {
        "delivered"
    }

    fn see(&mut self, ledger: &Ledger, seen: &Seen<'_>) -> Result<(), String> {
        if !matches!(seen, Seen::Drained) {
            return Ok(());
        }
        for (writer, of) in ledger.writers() {
            let lost = |key: &&_| !of.applied.contains_key(*key) && !of.dead.contains(*key);
            if let Some(key) = of.acknowledged.keys().find(lost) {
                return Err(format!("{} was acknowledged, and is nowhere", name(writer, *key)));
            }
        }
        Ok(())
    }
}
