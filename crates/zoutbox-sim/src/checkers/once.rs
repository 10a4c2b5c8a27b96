//! Each record has its effect once.

use super::{Checker, Seen, name};
use crate::world::ledger::Ledger;

#[derive(Debug)]
pub(super) struct Once;

impl Checker for Once {
    fn name(&self) -> &'static str {
        "once"
    }

    fn see(&mut self, ledger: &Ledger, seen: &Seen<'_>) -> Result<(), String> {
        if let Seen::Applied { writer, key, .. } = *seen
            && ledger.writer(writer).is_some_and(|of| of.applied.contains_key(&key))
        {
            return Err(format!("{} is applied a second time", name(writer, key)));
        }
        Ok(())
    }
}
