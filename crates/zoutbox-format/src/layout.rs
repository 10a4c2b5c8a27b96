//! Where everything lies on a share, as pure names. The only place that knows a path.
//!
//! ```text
//! <root>/zoutbox.json
//!        writers/<writer>/writer.lock
//!                         <epoch>-<first sequence>.open | .seg
//!                         next-<epoch>            prepared, not a segment yet
//!        relay/lease, relay/ballast, relay/waits
//!        relay/checkpoints/<writer>
//!        dead/<writer>/<epoch>-<sequence>.json
//!        archive/<writer>/<epoch>-<first sequence>.seg
//!                         <epoch>-<first sequence>.held    set aside, not archived for good
//!        payloads/<writer>/<yyyy>/<mm>/<dd>/<hh>/<id>
//!        consumers/<name>
//! ```
//!
//! Numbers in segment names are decimal and padded to 20 digits, so that a plain listing is in order.

use std::path::{Path, PathBuf};

use crate::identity::{Epoch, SegmentId, Sequence, WriterId};
use crate::payload::PayloadName;

/// The share marker's name below the root.
pub const MARKER: &str = "zoutbox.json";
/// The writer's lock within its directory.
pub const WRITER_LOCK: &str = "writer.lock";
/// What follows a file's name while it is not complete; swept by who writes it.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

const OPEN: &str = ".open";
const SEALED: &str = ".seg";
const HELD: &str = ".held";
const DEAD_LETTER: &str = ".json";

/// Paths below one share root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The share's root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The share marker.
    #[must_use]
    pub fn marker(&self) -> PathBuf {
        self.root.join(MARKER)
    }

    /// The directory that holds one directory per writer.
    #[must_use]
    pub fn writers(&self) -> PathBuf {
        self.root.join("writers")
    }

    /// One writer's directory.
    #[must_use]
    pub fn writer(&self, writer: &WriterId) -> PathBuf {
        self.writers().join(writer.as_str())
    }

    /// The file whose lock makes a writer the only live one of its id.
    #[must_use]
    pub fn writer_lock(&self, writer: &WriterId) -> PathBuf {
        self.writer(writer).join(WRITER_LOCK)
    }

    /// The relay's directory.
    #[must_use]
    pub fn relay(&self) -> PathBuf {
        self.root.join("relay")
    }

    /// The file whose lock makes a relay the one that publishes.
    #[must_use]
    pub fn lease(&self) -> PathBuf {
        self.relay().join("lease")
    }

    /// What the relay waits for, for people.
    #[must_use]
    pub fn waits(&self) -> PathBuf {
        self.relay().join("waits")
    }

    /// The directory of checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.relay().join("checkpoints")
    }

    /// One writer's checkpoint.
    #[must_use]
    pub fn checkpoint(&self, writer: &WriterId) -> PathBuf {
        self.checkpoints().join(writer.as_str())
    }

    /// The directory that holds one directory of dead letters per writer.
    #[must_use]
    pub fn dead_letters(&self) -> PathBuf {
        self.root.join("dead")
    }

    /// One writer's dead letters.
    #[must_use]
    pub fn dead(&self, writer: &WriterId) -> PathBuf {
        self.dead_letters().join(writer.as_str())
    }

    /// The directory that holds one directory of archived segments per writer.
    #[must_use]
    pub fn archives(&self) -> PathBuf {
        self.root.join("archive")
    }

    /// One writer's archived segments.
    #[must_use]
    pub fn archive(&self, writer: &WriterId) -> PathBuf {
        self.archives().join(writer.as_str())
    }

    /// The directory that holds one directory of large payloads per writer.
    #[must_use]
    pub fn all_payloads(&self) -> PathBuf {
        self.root.join("payloads")
    }

    /// One writer's large payloads.
    #[must_use]
    pub fn payloads(&self, writer: &WriterId) -> PathBuf {
        self.all_payloads().join(writer.as_str())
    }

    /// A large payload.
    #[must_use]
    pub fn payload(&self, name: &PayloadName) -> PathBuf {
        self.root.join(name.to_string())
    }

    /// The directory of the consumers that registered.
    #[must_use]
    pub fn consumers(&self) -> PathBuf {
        self.root.join("consumers")
    }

    /// One consumer's progress. A consumer's name has the form of a writer id.
    #[must_use]
    pub fn consumer(&self, name: &WriterId) -> PathBuf {
        self.consumers().join(name.as_str())
    }
}

/// A segment's file, as its name tells it. The name is a hint; the header and the seal are the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// Which segment.
    pub id: SegmentId,
    /// Whether the name says that it is sealed.
    pub sealed: bool,
}

impl SegmentName {
    /// The name of a segment that is being written.
    #[must_use]
    pub const fn open(id: SegmentId) -> Self {
        Self { id, sealed: false }
    }

    /// The name of a sealed segment.
    #[must_use]
    pub const fn sealed(id: SegmentId) -> Self {
        Self { id, sealed: true }
    }

    /// Reads a directory entry's name; `None` for what is no segment's name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, sealed) = match (name.strip_suffix(OPEN), name.strip_suffix(SEALED)) {
            (Some(stem), _) => (stem, false),
            (None, Some(stem)) => (stem, true),
            (None, None) => return None,
        };
        let (epoch, first_sequence) = padded_pair(stem)?;
        Some(Self { id: SegmentId { epoch, first_sequence }, sealed })
    }

    /// The file name.
    #[must_use]
    pub fn file_name(&self) -> String {
        let suffix = if self.sealed { SEALED } else { OPEN };
        format!("{:020}-{:020}{suffix}", self.id.epoch, self.id.first_sequence)
    }
}

/// The name under which the writer of `epoch` prepares its next segment.
#[must_use]
pub fn prepared_name(epoch: Epoch) -> String {
    format!("next-{epoch:020}")
}

/// Whether a directory entry is a prepared segment (of any epoch).
#[must_use]
pub fn is_prepared_name(name: &str) -> bool {
    name.strip_prefix("next-").is_some_and(|rest| padded(rest).is_some())
}

/// The file name of a dead letter.
#[must_use]
pub fn dead_letter_name(epoch: Epoch, sequence: Sequence) -> String {
    format!("{epoch:020}-{sequence:020}{DEAD_LETTER}")
}

/// Reads the file name of a dead letter: the record's epoch and sequence.
#[must_use]
pub fn parse_dead_letter_name(name: &str) -> Option<(Epoch, Sequence)> {
    padded_pair(name.strip_suffix(DEAD_LETTER)?)
}

/// The name of the mark beside an archived segment which says that it is there only for as long as somebody needs it.
#[must_use]
pub fn held_name(id: SegmentId) -> String {
    format!("{:020}-{:020}{HELD}", id.epoch, id.first_sequence)
}

/// Reads the name of such a mark.
#[must_use]
pub fn parse_held_name(name: &str) -> Option<SegmentId> {
    let (epoch, first_sequence) = padded_pair(name.strip_suffix(HELD)?)?;
    Some(SegmentId { epoch, first_sequence })
}

fn padded_pair(stem: &str) -> Option<(Epoch, Sequence)> {
    let (epoch, sequence) = stem.split_once('-')?;
    Some((Epoch::new(padded(epoch)?), Sequence::new(padded(sequence)?)))
}

/// A positive number of exactly 20 decimal digits.
fn padded(text: &str) -> Option<u64> {
    let plain = text.len() == 20 && text.bytes().all(|c| c.is_ascii_digit());
    if plain { text.parse().ok().filter(|n| *n > 0) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_name_reads_back_and_sorts_in_order() {
        let id = |e, s| SegmentId { epoch: Epoch::new(e), first_sequence: Sequence::new(s) };
        let names =
            [SegmentName::open(id(1, 9)), SegmentName::sealed(id(1, 10)), SegmentName::open(id(2, 1))];
        let files: Vec<_> = names.iter().map(SegmentName::file_name).collect();
        assert!(files.is_sorted());
        for (name, file) in names.iter().zip(&files) {
            assert_eq!(SegmentName::parse(file), Some(*name));
        }
        for bad in ["1-2.open", "x", "next-00000000000000000001", ".open", "writer.lock", "-.seg"] {
            assert_eq!(SegmentName::parse(bad), None, "{bad}");
        }
        assert!(is_prepared_name(&prepared_name(Epoch::FIRST)));
    }

    #[test]
    fn the_names_of_letters_and_marks_read_back_and_are_no_segments() {
        let (epoch, first_sequence) = (Epoch::new(3), Sequence::new(u64::MAX));
        let id = SegmentId { epoch, first_sequence };
        assert_eq!(
            parse_dead_letter_name(&dead_letter_name(epoch, first_sequence)),
            Some((epoch, first_sequence))
        );
        assert_eq!(parse_held_name(&held_name(id)), Some(id));
        assert_eq!(
            (SegmentName::parse(&held_name(id)), parse_dead_letter_name(&held_name(id))),
            (None, None)
        );
        for bad in ["damage-1-1-0.json", "1-2.json", ".json", "1-2.held", "x"] {
            assert_eq!((parse_dead_letter_name(bad), parse_held_name(bad)), (None, None), "{bad}");
        }
    }
}
