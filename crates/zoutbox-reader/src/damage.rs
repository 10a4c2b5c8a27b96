//! Damage, reported so that a person can act on it: which file, from which byte, and exactly which records.

use std::fmt;
use std::path::PathBuf;

use zoutbox_format::{HeaderError, InvalidFrame, SegmentId, Sequence, WriterId};

/// Acknowledged records that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Whose records.
    pub writer: WriterId,
    /// In which segment; for a missing one, the segment behind the hole.
    pub segment: SegmentId,
    /// The file.
    pub path: PathBuf,
    /// Where in it the damage starts, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub reason: DamageReason,
    /// The first sequence that can't be read.
    pub lost_from: Sequence,
    /// The first sequence behind the damage; equal to `lost_from` if no record is lost. `None` as long as nothing sound follows.
    pub lost_until: Option<Sequence>,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageReason {
    /// The header can't be read.
    Header(HeaderError),
    /// The header is sound and names another share, writer or segment: the file does not belong here.
    Foreign,
    /// Bytes that are no frame, or not the one that follows.
    Frame(InvalidFrame),
    /// Zeros where records had been acknowledged.
    Zeros,
    /// The file ends before the segment does.
    Cut,
    /// Whole segments are not there any more.
    Missing,
}

impl DamageReason {
    /// Whether it was written by a newer zoutbox and may be perfectly sound: to pass it by would lose records that an update can read.
    #[must_use]
    pub const fn is_newer_format(&self) -> bool {
        matches!(self, Self::Header(HeaderError::Newer(_)) | Self::Frame(InvalidFrame::Kind(_)))
    }
}

impl fmt::Display for DamageReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => error.fmt(f),
            Self::Foreign => f.write_str("the segment belongs to another share, writer or epoch"),
            Self::Frame(error) => error.fmt(f),
            Self::Zeros => f.write_str("zeros where records must be"),
            Self::Cut => f.write_str("the file ends before its records do"),
            Self::Missing => f.write_str("segments are missing"),
        }
    }
}

impl Damage {
    /// Which records are lost, for people.
    #[must_use]
    pub fn lost(&self) -> String {
        match self.lost_until {
            None => format!("from sequence {} on", self.lost_from),
            Some(until) if until <= self.lost_from => "no record".into(),
            Some(until) if until == self.lost_from.next() => format!("sequence {}", self.lost_from),
            Some(until) => format!("sequences {} to {}", self.lost_from, until.get() - 1),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, reason, .. } = self;
        write!(f, "{} is damaged at offset {offset} ({reason}): lost {}", path.display(), self.lost())
    }
}
