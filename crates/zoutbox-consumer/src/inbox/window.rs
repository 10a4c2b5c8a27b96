//! Which records of one writer were applied: exactly, and in little space. No I/O.
//!
//! # Which identities are different records
//!
//! A record is `(epoch, sequence)` of its writer, and **both numbers count**:
//!
//! - Within an epoch a sequence is used once. A commit that is written again after a failed sync keeps its identities, since it holds the
//!   same records.
//! - An epoch may begin with sequences that the one before it had used. Those were the tail of a commit that was never acknowledged: its
//!   sync failed, or its host died. Yet a relay reads what is visible, so it may have published that tail before it published the records
//!   that took its numbers. `1/11` and `2/11` are then both delivered, and are different records. (Which epochs begin where, FORMAT.md
//!   says under "From segment to segment".)
//!
//! So a sequence alone tells nothing, and neither does "lower than the highest one seen". Nor does the place at which an epoch was first
//! seen: after `1/11 … 1/15` and `3/16` it is possible that `2/11 … 2/15` are acknowledged records still to come (those of epoch 1 were
//! an unacknowledged tail, the broker gave out epoch 2 late), and it is possible that epoch 2 has no records at all. No rule over
//! identities can tell these two apart, so every rule that closes an epoch because of a later one loses a record in one of the cases.
//!
//! # What is kept
//!
//! The set of applied identities itself, as runs of consecutive sequences of one epoch, in the order of the log:
//!
//! ```text
//!   horizon          1: 1──────40   42──55     2: 51─────────────────97    │ next in order: extends the last run
//!      │                          ▲                ▲                       └ watermark of the newest epoch
//!   below it: forgotten        41 is missing    51 to 55 were used twice
//! ```
//!
//! A writer that is delivered in order costs one run an epoch, however many records that is; each gap costs one more. The number of runs is
//! bounded. Beyond the bound the lowest run is dropped, and the **horizon** rises to its end. Above the horizon the set is exact. At or
//! below it, what no run holds may or may not have been applied: [`Seen::Forgotten`], which is refused, never dropped and never
//! applied. So the bound costs memory of the distant past, and never a record.
//!
//! # Encoding
//!
//! ```text
//!   version (1 byte: 1)
//!   horizon: epoch, sequence (both 0: none)
//!   number of runs
//!   for each: epoch minus that of the run before (of the horizon, for the first)
//!             first sequence; in the epoch of the run before: first minus that run's last
//!             last minus first
//!   CRC-32 of all that, 4 bytes little-endian, continued from the CRC of share id and writer id
//! ```
//!
//! Numbers are LEB128: seven bits a byte, the lowest first, the highest bit set in all bytes but the last, and no longer than needed.

mod encoding;
#[cfg(test)]
mod tests;

pub(crate) use encoding::seed;

/// The most runs that a window may ever have: a bound for what is read from a database.
pub(crate) const MOST_RUNS: usize = 65_536;

/// Why bytes are no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Of a newer version.
    #[error("state version {0}, this zoutbox reads {version}: update it", version = encoding::VERSION)]
    Newer(u8),
    /// Not what was saved.
    #[error("the saved state is damaged, or is another writer's")]
    Damaged,
}

/// Which record of a writer. Ordered as the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
}

/// Whether a record was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    No,
    Yes,
    /// It lies at or below this horizon: can't be told any more.
    Forgotten(Place),
}

/// Consecutive sequences of one epoch, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    epoch: u64,
    first: u64,
    last: u64,
}

impl Run {
    const fn start(&self) -> Place {
        Place { epoch: self.epoch, sequence: self.first }
    }

    const fn end(&self) -> Place {
        Place { epoch: self.epoch, sequence: self.last }
    }

    /// Whether it goes on with `place`.
    fn precedes(&self, place: Place) -> bool {
        self.epoch == place.epoch && self.last.checked_add(1) == Some(place.sequence)
    }
}

/// The records of one writer that were applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Window {
    horizon: Option<Place>,
    /// In order, not overlapping, not touching, all above the horizon.
    runs: Vec<Run>,
}

impl Window {
    pub(crate) fn look(&self, place: Place) -> Seen {
        let before = self.behind(place).checked_sub(1).and_then(|index| self.runs.get(index));
        if before.is_some_and(|run| place <= run.end()) {
            return Seen::Yes;
        }
        match self.horizon {
            Some(horizon) if place <= horizon => Seen::Forgotten(horizon),
            _ => Seen::No,
        }
    }

    /// Adds a record that [`Window::look`] said `No` about, and drops the lowest runs beyond `most`.
    pub(crate) fn mark(&mut self, place: Place, most: usize) {
        if self.look(place) == Seen::No {
            self.insert(place);
        }
        let surplus = self.runs.len().saturating_sub(most);
        if let Some(dropped) = self.runs.drain(..surplus).next_back() {
            self.horizon = Some(dropped.end());
        }
    }

    fn insert(&mut self, place: Place) {
        let index = self.behind(place);
        let (before, behind) = self.runs.split_at_mut(index);
        let before = before.last_mut().filter(|run| run.precedes(place));
        let single = Run { epoch: place.epoch, first: place.sequence, last: place.sequence };
        let behind = behind.first_mut().filter(|run| single.precedes(run.start()));
        match (before, behind) {
            (Some(before), Some(behind)) => {
                before.last = behind.last;
                self.runs.remove(index);
            }
            (Some(before), None) => before.last = place.sequence,
            (None, Some(behind)) => behind.first = place.sequence,
            (None, None) => self.runs.insert(index, single),
        }
    }

    /// The index of the first run that starts behind `place`.
    fn behind(&self, place: Place) -> usize {
        self.runs.partition_point(|run| run.start() <= place)
    }
}
