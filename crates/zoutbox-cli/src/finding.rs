//! Damage as the operator's tool tells it: which file, from which byte, why, and exactly which records of whom.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use zoutbox_format::layout::SegmentName;
use zoutbox_format::{RecordError, SegmentId, Sequence, WriterId};
use zoutbox_reader::{Damage, LogRecord};
use zoutbox_storage::{Share, System};

/// One damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) writer: Option<WriterId>,
    pub(crate) file: PathBuf,
    pub(crate) offset: u64,
    pub(crate) reason: String,
    pub(crate) lost: Lost,
}

/// Records that can't be read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    Nothing,
    /// From the first to the last of them.
    Range(Sequence, Sequence),
    /// From this one on, and nothing tells how far.
    From(Sequence),
}

impl Lost {
    fn of(damage: &Damage) -> Self {
        match damage.lost_until {
            None => Self::From(damage.lost_from),
            Some(until) if until <= damage.lost_from => Self::Nothing,
            Some(until) => Self::Range(damage.lost_from, Sequence::new(until.get().saturating_sub(1))),
        }
    }
}

impl Finding {
    /// Damage the reader met. A segment that lies in the archive is named there.
    pub(crate) fn damage(system: &System, share: &Share, damage: &Damage) -> Self {
        let file = match damage.path.strip_prefix(share.layout.writers()) {
            Ok(below) if system.disk.metadata(&damage.path).is_err() => {
                let archived = share.layout.archives().join(below);
                if system.disk.metadata(&archived).is_ok() { archived } else { damage.path.clone() }
            }
            _ => damage.path.clone(),
        };
        Self {
            writer: Some(damage.writer.clone()),
            file,
            offset: damage.offset,
            reason: damage.reason.to_string(),
            lost: Lost::of(damage),
        }
    }

    /// A sound frame whose body is no record.
    pub(crate) fn body(
        system: &System,
        share: &Share,
        writer: &WriterId,
        record: &LogRecord,
        error: &RecordError,
    ) -> Self {
        Self {
            writer: Some(writer.clone()),
            file: locate(system, share, writer, record.after.segment),
            offset: record.offset,
            reason: error.to_string(),
            lost: Lost::Range(record.sequence, record.sequence),
        }
    }

    /// A large payload that is not what its record says: without it, the record is as good as lost.
    pub(crate) fn payload(writer: &WriterId, file: PathBuf, record: Sequence, reason: String) -> Self {
        Self { writer: Some(writer.clone()), file, offset: 0, reason, lost: Lost::Range(record, record) }
    }

    /// Something beside the log: no record is lost with it.
    pub(crate) fn aside(
        writer: Option<&WriterId>,
        file: PathBuf,
        offset: u64,
        reason: impl Into<String>,
    ) -> Self {
        Self { writer: writer.cloned(), file, offset, reason: reason.into(), lost: Lost::Nothing }
    }

    pub(crate) fn json(&self) -> FindingJson {
        let (lost_from, lost_to, lost_records) = match self.lost {
            Lost::Nothing => (None, None, Some(0)),
            Lost::Range(first, last) => {
                let records = last.get().saturating_sub(first.get()).saturating_add(1);
                (Some(first.get()), Some(last.get()), Some(records))
            }
            Lost::From(first) => (Some(first.get()), None, None),
        };
        FindingJson {
            writer: self.writer.as_ref().map(ToString::to_string),
            file: self.file.display().to_string(),
            offset: self.offset,
            reason: self.reason.clone(),
            lost_from,
            lost_to,
            lost_records,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: offset {}: {}: ", self.file.display(), self.offset, self.reason)?;
        match self.lost {
            Lost::Nothing => return f.write_str("no record lost"),
            Lost::Range(first, last) if first == last => write!(f, "lost sequence {first}")?,
            Lost::Range(first, last) => write!(f, "lost sequences {first} to {last}")?,
            Lost::From(first) => write!(f, "lost sequences {first} and on")?,
        }
        self.writer.iter().try_for_each(|writer| write!(f, " of {writer}"))
    }
}

/// A [`Finding`] as `--json` has it.
#[derive(Debug, Serialize)]
pub(crate) struct FindingJson {
    writer: Option<String>,
    file: String,
    offset: u64,
    reason: String,
    lost_from: Option<u64>,
    lost_to: Option<u64>,
    lost_records: Option<u64>,
}

/// Where a segment lies now: sealed or open, live or archived.
pub(crate) fn locate(system: &System, share: &Share, writer: &WriterId, id: SegmentId) -> PathBuf {
    let live = share.layout.writer(writer);
    let sealed = SegmentName::sealed(id).file_name();
    let places = [
        live.join(&sealed),
        live.join(SegmentName::open(id).file_name()),
        share.layout.archive(writer).join(&sealed),
    ];
    let found = places.iter().find(|path| system.disk.metadata(path).is_ok());
    found.or(places.first()).cloned().unwrap_or(live)
}
