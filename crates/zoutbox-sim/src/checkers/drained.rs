//! Once the faults stop, everything drains, in a bounded number of steps.

use super::{Checker, Seen};
use crate::world::ledger::Ledger;

#[derive(Debug)]
pub(super) struct Drained;

impl Checker for Drained {
    fn name(&self) -> &'static str {
        "drained"
    }

    fn see(&mut self, _ledger: &Ledger, seen: &Seen<'_>) -> Result<(), String> {
        match *seen {
            Seen::Stuck { what } => Err(what.to_owned()),
            _ => Ok(()),
        }
    }
}
