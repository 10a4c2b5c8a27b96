//! An outcome that is unknown may go either way, and no other: what was refused is never seen, and what was told is told once.

use super::{Checker, Seen, name};
use crate::world::ledger::{Ledger, Told};

#[derive(Debug)]
pub(super) struct Unknown;

impl Checker for Unknown {
    fn name(&self) -> &'static str {
        "unknown"
    }

    fn see(&mut self, ledger: &Ledger, seen: &Seen<'_>) -> Result<(), String> {
        match *seen {
            Seen::Accepted { writer, first, content: Some((_, payload)), .. }
            | Seen::Applied { writer, key: first, payload, .. } => {
                let number = Ledger::append_of(payload).unwrap_or(usize::MAX);
                let append = ledger.writer(writer).and_then(|writer| writer.appends.get(number));
                if append.is_some_and(|append| append.told == Told::Refused) {
                    return Err(format!("{} was refused: it can't be there", name(writer, first)));
                }
                Ok(())
            }
            Seen::Told { writer, append, told } => {
                let of = ledger.writer(writer);
                let before = of.and_then(|writer| writer.appends.get(append)).map(|append| append.told);
                if before != Some(Told::Nothing) {
                    return Err(format!("append {append} of {writer} was told {before:?}, and now {told:?}"));
                }
                // It was there already when its producer was told that it is not.
                if told == Told::Refused
                    && of.is_some_and(|of| of.applied.values().any(|other| *other == append))
                {
                    return Err(format!("append {append} of {writer} is refused, and was applied before"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
