//! The checkpoint never passes the confirmed prefix: everything acknowledged in front of it is with the broker, or a durable dead letter.

use super::{Checker, Seen, name};
use crate::world::ledger::{Ledger, Told, is_below};

#[derive(Debug)]
pub(super) struct Checkpoint;

impl Checker for Checkpoint {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn see(&mut self, ledger: &Ledger, seen: &Seen<'_>) -> Result<(), String> {
        match *seen {
            Seen::Checkpoint { writer, position } => {
                let first = ledger.writer(writer).and_then(|writer| writer.outstanding.first());
                match first.filter(|key| is_below(**key, position)) {
                    Some(key) => Err(format!(
                        "{} is not confirmed, and the checkpoint is {position:?}",
                        name(writer, *key)
                    )),
                    None => Ok(()),
                }
            }
            Seen::Told { writer, told: Told::Durable(key), .. } => {
                let Some(of) = ledger.writer(writer) else { return Ok(()) };
                let passed = of.checkpoint.is_some_and(|checkpoint| is_below(key, checkpoint));
                if passed && !of.accepted.contains(&key) && !of.dead.contains(&key) {
                    return Err(format!(
                        "{} is acknowledged behind the checkpoint {:?}",
                        name(writer, key),
                        of.checkpoint
                    ));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
