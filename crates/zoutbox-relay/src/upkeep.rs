//! Keeping one writer's part of the share small: what was published and what nobody needs goes, and nothing else.
//!
//! ```text
//!   consumers/*  ──▶ Needs ─┐
//!   dead/<writer>/*  ───────┼─▶ Reclaim ──▶ segments: removed, archived, or set aside      (remove)
//!   checkpoint, clock ──────┘                  └ their large payloads with them
//!   payloads/<writer>/…  ──▶ named by no segment and no letter for long: swept             (sweep)
//! ```
//!
//! One value a writer, handed from job to job, so that two of them never work on one writer at once. What it knows of the share is only
//! kept so that not everything is read again each time.

use std::collections::BTreeSet;

use zoutbox_format::{PayloadName, SegmentId, WriterId};
use zoutbox_relay_core::Reclaim;
use zoutbox_storage::{Share, System};

use crate::error::RelayError;
use crate::letters::Letters;
use crate::payloads::Payloads;
use crate::references::References;

/// What is kept of one writer, and what is known of it.
#[derive(Debug)]
pub struct Upkeep {
    pub(crate) writer: WriterId,
    pub(crate) reclaim: Reclaim,
    pub(crate) letters: Letters,
    pub(crate) references: References,
    /// The segments in the archive that are there only while somebody needs them; `None` before they were looked for.
    pub(crate) held: Option<BTreeSet<SegmentId>>,
    pub(crate) blindness: Option<String>,
}

/// What a round came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// Segments that left the log, archived ones among them.
    pub segments: usize,
    /// Large payloads that are not there any more.
    pub payloads: usize,
    /// Temporary files of payloads that were never finished.
    pub temporary: usize,
}

impl Upkeep {
    /// Nothing known yet.
    #[must_use]
    pub fn new(writer: WriterId) -> Self {
        Self {
            writer,
            reclaim: Reclaim::new(),
            letters: Letters::default(),
            references: References::default(),
            held: None,
            blindness: None,
        }
    }

    /// Why more is kept than was asked for, where a person has to do something about it.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        let letters = self.letters.trouble().map(|what| format!("nothing of it is removed: {what}"));
        let payloads = self.blindness.as_ref().map(|what| format!("large payloads of it are kept: {what}"));
        letters.into_iter().chain(payloads)
    }

    /// Whether it can be told which payloads are named; and if not, that is noted.
    pub(crate) fn sees(&mut self) -> bool {
        self.blindness = self.references.blindness();
        self.blindness.is_none() && self.letters.are_known()
    }

    /// Whether a segment other than `except`, or a letter, names this payload.
    pub(crate) fn is_named(&self, name: &PayloadName, except: Option<SegmentId>) -> bool {
        self.references.name(name, except) || self.letters.hold(name)
    }

    /// Takes payloads away that nobody but the segment `except` names, by the steps that [`crate::payloads`] tells of. Returns how many.
    pub(crate) fn take_away(
        &mut self,
        system: &System,
        share: &Share,
        names: Vec<PayloadName>,
        except: Option<SegmentId>,
    ) -> Result<usize, RelayError> {
        let writer = self.writer.clone();
        let payloads = Payloads { system, share, writer: &writer };
        let aside = payloads.set_aside(names)?;
        self.settle(&payloads, &aside, except)
    }

    /// Looks again who names what is aside, and goes by that.
    pub(crate) fn settle(
        &mut self,
        payloads: &Payloads<'_>,
        aside: &[PayloadName],
        except: Option<SegmentId>,
    ) -> Result<usize, RelayError> {
        if aside.is_empty() {
            return Ok(0);
        }
        let aside = payloads.lock(aside)?;
        let updated = self.references.update(payloads.system, payloads.share, payloads.writer);
        let sees = updated.is_ok() && self.sees();
        let settled = payloads.settle(aside, |name| !sees || self.is_named(name, except));
        updated?;
        Ok(settled?)
    }
}
