//! Removing what was published: the only place that removes segments. Which ones may go, [`zoutbox_relay_core::Reclaim`] decides.
//!
//! ```text
//!   deleted    its payloads that nobody else names ─▶ directory synced ─▶ the segment
//!   archived   moved to archive/; its payloads stay
//!   set aside  a mark …-….held in archive/ ─▶ the segment moved there; deleted there when nobody needs it any more
//! ```
//!
//! A crash anywhere in between is harmless: the segment is still there, and all of it is done again.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use zoutbox_format::checkpoint::Position;
use zoutbox_format::layout::{SegmentName, held_name, parse_held_name};
use zoutbox_format::{PayloadName, RecordRef, SegmentId, WriterId};
use zoutbox_reader::{Mark, Sifted, places, sift};
use zoutbox_relay_core::{Due, Need, Needs};
use zoutbox_storage::{OpenMode, Share, StorageError, System};

use crate::error::RelayError;
use crate::keep::has_damage;
use crate::payloads::Payloads;
use crate::references::named;
use crate::upkeep::{Removed, Upkeep};

/// So many payloads are taken away together.
const TOGETHER: usize = 1024;

/// What happens to segments that were published, and to what belongs to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long a segment is kept after all of it was confirmed, in this relay's sight.
    pub keep: Duration,
    /// Whether it is then moved to `archive/`, and not deleted.
    pub archive: bool,
    /// Whether any topic is published as pointers, so that consumers come back for what was published.
    pub pointers: bool,
    /// How long a segment is kept at least if so.
    pub keep_pointed: Duration,
    /// How old a large payload must be that nothing names before it is swept.
    pub sweep_after: Duration,
}

impl Retention {
    /// How long a segment is kept after all of it was confirmed.
    #[must_use]
    pub fn longest(&self) -> Duration {
        if self.pointers { self.keep.max(self.keep_pointed) } else { self.keep }
    }
}

impl Upkeep {
    /// Removes what may go. `needs` is what consumers need, as they said a moment ago.
    ///
    /// # Errors
    /// When the share can't be read or changed. What was removed before is removed.
    pub fn remove(
        &mut self,
        system: &System,
        share: &Share,
        durable: Position,
        needs: &Needs,
        retention: Retention,
    ) -> Result<Removed, RelayError> {
        let names = zoutbox_reader::segments(system, share, &self.writer)?;
        let ids: Vec<SegmentId> = names.iter().map(|name| name.id).collect();
        let mut need = needs.of(&self.writer);
        let (keep, now) = (retention.longest(), system.clock.monotonic());
        self.find_held(system, share)?;
        let due = self.reclaim.due(&ids, durable, &need, keep, now);
        if due.is_empty() && self.held().is_empty() {
            return Ok(Removed::default());
        }
        self.letters.look(system, share, &self.writer)?;
        need.add(&self.letters.need());
        let due = self.reclaim.due(&ids, durable, &need, keep, now);
        let mut removed = Removed { segments: due.len(), ..Removed::default() };
        for Due { segment, aside } in &due {
            if retention.archive || has_damage(system, share, &self.writer, *segment)? {
                self.archive(system, share, *segment)?;
            } else if *aside {
                self.set_aside(system, share, *segment)?;
            } else {
                let directory = share.layout.writer(&self.writer);
                removed.payloads += self.delete(system, share, &directory, *segment)?;
            }
        }
        if !due.is_empty() {
            system.disk.sync_dir(&share.layout.writer(&self.writer))?;
        }
        removed.payloads += self.release(system, share, &need, retention.archive)?;
        Ok(removed)
    }

    /// Deletes a segment, and before that what only it names.
    fn delete(
        &mut self,
        system: &System,
        share: &Share,
        directory: &Path,
        segment: SegmentId,
    ) -> Result<usize, RelayError> {
        let payloads = self.remove_payloads(system, share, segment)?;
        in_both_names(segment, |name| system.disk.remove_file(&directory.join(name)))?;
        Ok(payloads)
    }

    /// Removes the large payloads that this segment names and nothing else does. Where that can't be told exactly, all of them are left
    /// to the sweep.
    fn remove_payloads(
        &mut self,
        system: &System,
        share: &Share,
        segment: SegmentId,
    ) -> Result<usize, RelayError> {
        let writer = self.writer.clone();
        if !(Payloads { system, share, writer: &writer }).are_there()? {
            return Ok(0);
        }
        self.references.update(system, share, &writer)?;
        if !self.sees() || !self.references.are_known_of(segment) {
            return Ok(0);
        }
        let places = places(system, share, &writer)?;
        let Some(index) = places.iter().position(|place| place.name.id == segment) else { return Ok(0) };
        let (Some(place), Some(later)) = (places.get(index), places.get(index + 1..)) else { return Ok(0) };
        let (mut removed, mut from): (usize, Option<Mark>) = (0, None);
        loop {
            let mut names = Vec::new();
            let sifted = sift(system, share, &writer, place, later, from, |record| {
                self.gather(record, segment, &mut names)
            })?;
            removed += self.take_away(system, share, names, Some(segment))?;
            match sifted {
                Sifted::Left { mark } => from = Some(mark),
                Sifted::Vanished | Sifted::Unusable(_) | Sifted::Read { .. } => return Ok(removed),
            }
        }
    }

    fn gather(
        &self,
        record: &RecordRef<'_>,
        segment: SegmentId,
        names: &mut Vec<PayloadName>,
    ) -> ControlFlow<()> {
        let name = named(record, &self.writer);
        names.extend(name.filter(|name| !self.is_named(name, Some(segment))));
        if names.len() < TOGETHER { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn archive(&mut self, system: &System, share: &Share, segment: SegmentId) -> Result<(), StorageError> {
        let directory = make_archive(system, share, &self.writer)?;
        // Archived for good, whatever was intended before.
        if self.held().contains(&segment) {
            self.unmark(system, share, segment)?;
        }
        self.move_to(system, share, &directory, segment)
    }

    /// Moves a segment out of the log that somebody needs for itself.
    fn set_aside(&mut self, system: &System, share: &Share, segment: SegmentId) -> Result<(), StorageError> {
        let directory = make_archive(system, share, &self.writer)?;
        match system.disk.open(&directory.join(held_name(segment)), OpenMode::CreateNew) {
            Err(StorageError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {}
            other => other?.sync()?,
        }
        system.disk.sync_dir(&directory)?;
        self.held.get_or_insert_default().insert(segment);
        self.move_to(system, share, &directory, segment)
    }

    fn move_to(
        &self,
        system: &System,
        share: &Share,
        directory: &Path,
        segment: SegmentId,
    ) -> Result<(), StorageError> {
        let from = share.layout.writer(&self.writer);
        in_both_names(segment, |name| system.disk.rename(&from.join(name), &directory.join(name)))?;
        system.disk.sync_dir(directory)
    }

    /// Deletes what was set aside and is needed by nobody any more; or, if segments are archived now, leaves it there for good.
    fn release(
        &mut self,
        system: &System,
        share: &Share,
        need: &Need,
        archive: bool,
    ) -> Result<usize, RelayError> {
        let directory = share.layout.archive(&self.writer);
        let mut payloads = 0;
        for segment in self.held().clone().into_iter().filter(|segment| !need.needs(*segment)) {
            if !archive {
                payloads += self.delete(system, share, &directory, segment)?;
                system.disk.sync_dir(&directory)?;
            }
            self.unmark(system, share, segment)?;
        }
        Ok(payloads)
    }

    fn unmark(&mut self, system: &System, share: &Share, segment: SegmentId) -> Result<(), StorageError> {
        let directory = share.layout.archive(&self.writer);
        match system.disk.remove_file(&directory.join(held_name(segment))) {
            Err(error) if error.is_missing() => {}
            other => other?,
        }
        system.disk.sync_dir(&directory)?;
        self.held.get_or_insert_default().remove(&segment);
        Ok(())
    }

    fn held(&self) -> &BTreeSet<SegmentId> {
        const NONE: &BTreeSet<SegmentId> = &BTreeSet::new();
        self.held.as_ref().unwrap_or(NONE)
    }

    fn find_held(&mut self, system: &System, share: &Share) -> Result<(), StorageError> {
        if self.held.is_some() {
            return Ok(());
        }
        let entries = match system.disk.list(&share.layout.archive(&self.writer)) {
            Err(error) if error.is_missing() => Vec::new(),
            other => other?,
        };
        let marked = entries.iter().filter_map(|entry| parse_held_name(entry.name.to_str()?));
        self.held = Some(marked.collect());
        Ok(())
    }
}

/// For a while after a rename both names may show, or only the old one.
fn in_both_names(
    segment: SegmentId,
    act: impl Fn(&str) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    for sealed in [true, false] {
        match act(&SegmentName { id: segment, sealed }.file_name()) {
            Err(error) if error.is_missing() => {}
            other => other?,
        }
    }
    Ok(())
}

fn make_archive(
    system: &System,
    share: &Share,
    writer: &WriterId,
) -> Result<std::path::PathBuf, StorageError> {
    let directory = share.layout.archive(writer);
    system.disk.create_dir(&share.layout.archives())?;
    system.disk.create_dir(&directory)?;
    system.disk.sync_dir(&share.layout.archives())?;
    Ok(directory)
}

#[cfg(test)]
mod tests;
