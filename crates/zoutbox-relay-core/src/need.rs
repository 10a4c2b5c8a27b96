//! Which segments consumers still need: from what they say in their progress to a rule for each writer.
//!
//! ```text
//!   group "billing", two members; segments of one writer
//!        1    2    3    4    5    6
//!        ·    ·    ·    ·    │    ·     member A: passed 5, nothing open
//!        ·    ·    │    ·    ·    ·     member B: open 3
//!        │    ·    ·    ·    ·    ·     member B: parked 1
//!        ■    ·    ■────■────■────■     needed: from the lowest open on, and what is parked
//! ```
//!
//! Who counts as a member is decided elsewhere ([`crate::Consumers`]).

use std::collections::{BTreeMap, BTreeSet};

use zoutbox_format::{Epoch, Place, Progress, SegmentId, Sequence, WriterId};

/// Below every segment there can be.
const FIRST: SegmentId = SegmentId { epoch: Epoch::FIRST, first_sequence: Sequence::FIRST };

/// Which segments of one writer are needed: all from one on, and single ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Need {
    from: Option<SegmentId>,
    single: BTreeSet<SegmentId>,
}

impl Need {
    /// No segment.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Every segment.
    #[must_use]
    pub fn everything() -> Self {
        Self::from_on(FIRST)
    }

    /// Every segment from this one on.
    #[must_use]
    pub fn from_on(from: SegmentId) -> Self {
        Self { from: Some(from), single: BTreeSet::new() }
    }

    /// What a consumer alone needs of a writer with which it is at this place.
    #[must_use]
    pub fn of(place: &Place) -> Self {
        let mut alone = Together::default();
        alone.add(place);
        alone.need()
    }

    /// The segment from which on all are needed, if there is one; every segment's id is at least that of [`Need::everything`].
    #[must_use]
    pub fn from(&self) -> Option<SegmentId> {
        self.from
    }

    /// Whether every segment is needed.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.from == Some(FIRST)
    }

    /// The lowest segment that is needed.
    #[must_use]
    pub fn lowest(&self) -> Option<SegmentId> {
        self.from.into_iter().chain(self.single.first().copied()).min()
    }

    /// Those in front of [`Need::from`] that are needed each for itself.
    pub fn single(&self) -> impl Iterator<Item = SegmentId> {
        self.single.iter().copied().filter(|id| self.from.is_none_or(|from| *id < from))
    }

    /// Whether this segment is needed.
    #[must_use]
    pub fn needs(&self, id: SegmentId) -> bool {
        self.from.is_some_and(|from| id >= from) || self.single.contains(&id)
    }

    /// This one segment as well.
    pub fn hold(&mut self, id: SegmentId) {
        self.single.insert(id);
    }

    /// What `other` needs as well.
    pub fn add(&mut self, other: &Self) {
        self.from = self.from.into_iter().chain(other.from).min();
        self.single.extend(&other.single);
    }
}

/// What all consumers need, for every writer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    everything: bool,
    groups: BTreeMap<WriterId, Group>,
}

/// What the members of a group say, brought together, for each writer that one of them names.
type Group = BTreeMap<WriterId, Together>;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Together {
    /// The lowest.
    open: Option<SegmentId>,
    /// The highest.
    passed: Option<SegmentId>,
    parked: BTreeSet<SegmentId>,
}

impl Needs {
    /// Nobody needs anything.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Everything is needed: there is a consumer of which nobody knows what it needs.
    pub fn hold_everything(&mut self) {
        self.everything = true;
    }

    /// What this consumer needs as well, as a member of its group.
    pub fn add(&mut self, progress: &Progress) {
        let group = self.groups.entry(progress.group.clone()).or_default();
        for (writer, place) in &progress.writers {
            group.entry(writer.clone()).or_default().add(place);
        }
    }

    /// What is needed of one writer.
    #[must_use]
    pub fn of(&self, writer: &WriterId) -> Need {
        let mut need = if self.everything { Need::everything() } else { Need::nothing() };
        for group in self.groups.values() {
            need.add(&group.get(writer).map_or_else(Need::everything, Together::need));
        }
        need
    }
}

impl Together {
    fn add(&mut self, place: &Place) {
        self.open = self.open.into_iter().chain(place.open).min();
        self.passed = self.passed.max(place.passed);
        self.parked.extend(&place.parked);
    }

    fn need(&self) -> Need {
        let from = self.open.or(self.passed).unwrap_or(FIRST);
        Need { from: Some(from), single: self.parked.clone() }
    }
}

#[cfg(test)]
mod tests;
