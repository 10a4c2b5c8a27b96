//! Which large payloads the segments of a writer name: an index, so that each segment is read once and not at every question.
//!
//! ```text
//!   …01.seg  …02.seg  …03.seg   …04.open
//!   ├─────── read once ─────┤   ├ read ┤──▶ from here on again, at the next look
//! ```
//!
//! It keeps a number for each name, not the name: 8 bytes. Two names with one number make a payload stay that could go, and never the
//! other way round. What can't be read may name anything: then the index is **blind**, and nothing may be taken for unnamed.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;

use zoutbox_format::{PayloadName, RecordRef, SegmentId, WriterId};
use zoutbox_reader::{Mark, Place, ReaderError, Sifted, places, sift};
use zoutbox_storage::{Share, System};

/// So many names of a writer are kept at most: 32 MiB of them.
const MAX_NAMES: usize = 4 * 1024 * 1024;

/// A number for a payload's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Print(u64);

impl Print {
    pub(crate) fn of(name: &PayloadName) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// What the segments of one writer name, those in the archive included.
#[derive(Debug)]
pub(crate) struct References {
    segments: BTreeMap<SegmentId, Known>,
    /// How many names may be kept; some segments are not read as long as there are more.
    room: usize,
    unread: bool,
}

#[derive(Debug, Default)]
struct Known {
    /// Sorted.
    prints: Vec<Print>,
    /// How far it was read.
    mark: Option<Mark>,
    /// Nothing new can come.
    done: bool,
    archived: bool,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Whole,
    Damaged,
    /// A part of it only a newer zoutbox can read.
    Newer,
}

impl Default for References {
    fn default() -> Self {
        Self::with_room(MAX_NAMES)
    }
}

impl References {
    fn with_room(room: usize) -> Self {
        Self { segments: BTreeMap::new(), room, unread: false }
    }

    /// Takes in what the segments name now: all that was durable when this began.
    ///
    /// # Errors
    /// When the share can't be read; the index then knows no less than before.
    pub(crate) fn update(
        &mut self,
        system: &System,
        share: &Share,
        writer: &WriterId,
    ) -> Result<(), ReaderError> {
        let places = places(system, share, writer)?;
        self.retain(&places);
        self.unread = false;
        let archive = share.layout.archive(writer);
        let mut names: usize = self.segments.values().map(|known| known.prints.len()).sum();
        for (index, place) in places.iter().enumerate() {
            let known = self.segments.entry(place.name.id).or_default();
            known.archived = place.directory == archive;
            if known.done {
                continue;
            }
            if names > self.room {
                self.unread = true;
                break;
            }
            names -= known.prints.len();
            let later = places.get(index + 1..).unwrap_or_default();
            names += self.read(system, share, writer, place, later)?;
        }
        Ok(())
    }

    /// Reads on in one segment; returns how many names are known of it.
    fn read(
        &mut self,
        system: &System,
        share: &Share,
        writer: &WriterId,
        place: &Place,
        later: &[Place],
    ) -> Result<usize, ReaderError> {
        let known = self.segments.entry(place.name.id).or_default();
        let mut found = Vec::new();
        let mut each = |record: &RecordRef<'_>| {
            found.extend(named(record, writer).map(|name| Print::of(&name)));
            ControlFlow::Continue(())
        };
        let mut sifted = sift(system, share, writer, place, later, known.mark, &mut each)?;
        if sifted == Sifted::Vanished {
            // It may have been moved since it was listed.
            let directory = share.layout.archive(writer);
            let moved = Place { directory, name: place.name };
            sifted = sift(system, share, writer, &moved, later, known.mark, &mut each)?;
        }
        match sifted {
            Sifted::Vanished => {
                self.segments.remove(&place.name.id);
                return Ok(0);
            }
            Sifted::Unusable(reason) => {
                known.state = if reason.is_newer_format() { State::Newer } else { State::Damaged };
            }
            Sifted::Left { mark } => known.mark = Some(mark),
            Sifted::Read { mark, whole, newer } => {
                known.mark = Some(mark);
                known.state = match (whole, newer) {
                    (_, true) => State::Newer,
                    (false, _) => State::Damaged,
                    _ => State::Whole,
                };
            }
        }
        // The newest one grows until it is sealed; a damaged one may be restored, but from the archive nobody reads.
        let ended = place.name.sealed || !later.is_empty();
        known.done =
            ended && (known.state == State::Whole || known.archived && known.state == State::Damaged);
        known.prints.append(&mut found);
        known.prints.sort_unstable();
        known.prints.dedup();
        known.prints.shrink_to_fit();
        Ok(known.prints.len())
    }

    /// Forgets the segments that are not there any more. Reads none.
    ///
    /// # Errors
    /// When the share can't be read.
    pub(crate) fn forget_missing(
        &mut self,
        system: &System,
        share: &Share,
        writer: &WriterId,
    ) -> Result<(), ReaderError> {
        if self.segments.is_empty() {
            return Ok(());
        }
        self.retain(&places(system, share, writer)?);
        Ok(())
    }

    fn retain(&mut self, places: &[Place]) {
        let there = |id: &SegmentId| places.binary_search_by_key(id, |place| place.name.id).is_ok();
        self.segments.retain(|id, _| there(id));
    }

    /// Why it can't be told what is named, if it can't. Damage in the archive is passed by: its loss was told and accepted when it was
    /// still part of the log.
    pub(crate) fn blindness(&self) -> Option<String> {
        if self.unread {
            return Some(format!("its segments name more than {} large payloads", self.room));
        }
        let blinds = |known: &Known| match known.state {
            State::Whole => false,
            State::Damaged => !known.archived,
            State::Newer => true,
        };
        let (id, known) = self.segments.iter().find(|(_, known)| blinds(known))?;
        let what = if known.state == State::Newer { "was written by a newer zoutbox" } else { "is damaged" };
        Some(format!("segment {id} {what}, and nobody knows which ones it names"))
    }

    /// Whether a segment other than `except` names this payload, as far as they were read.
    pub(crate) fn name(&self, payload: &PayloadName, except: Option<SegmentId>) -> bool {
        let print = Print::of(payload);
        let others = self.segments.iter().filter(|(id, _)| Some(**id) != except);
        others.map(|(_, known)| &known.prints).any(|prints| prints.binary_search(&print).is_ok())
    }

    /// Whether this segment names some, and all that it names are known.
    pub(crate) fn are_known_of(&self, id: SegmentId) -> bool {
        let whole = |known: &Known| known.state == State::Whole && !known.prints.is_empty();
        self.segments.get(&id).is_some_and(whole)
    }

    /// How many segments are not read again.
    #[cfg(test)]
    fn done(&self) -> usize {
        self.segments.values().filter(|known| known.done).count()
    }
}

/// The payload that a record names. One of another writer is none: no reader follows that.
pub(crate) fn named(record: &RecordRef<'_>, writer: &WriterId) -> Option<PayloadName> {
    record.large_payload().map(|reference| reference.name).filter(|name| name.writer() == writer)
}

#[cfg(test)]
mod tests;
