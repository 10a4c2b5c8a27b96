//! What can go wrong with a writer, and what its caller can do about it.
//!
//! The same error can be the outcome of many tickets, so it can be cloned.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use zoutbox_format::payload::PayloadError;
use zoutbox_format::{HeaderError, IdentityError, RecordError, RecordId, WriterId};
use zoutbox_storage::{ErrorKind, StorageError};

/// Which byte limit stops appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// [`crate::Options::memory_limit`]
    Memory,
    /// [`crate::Options::unconfirmed_limit`]
    Unconfirmed,
    /// [`crate::Options::min_free_space`]
    FreeSpace,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory_limit (bytes not yet durable)",
            Self::Unconfirmed => "unconfirmed_limit (bytes on the share not yet confirmed)",
            Self::FreeSpace => "min_free_space (bytes free on the share)",
        })
    }
}

/// An error of the writer.
///
/// Every error on a ticket or from an append means: definitely not written; but not one of
/// [kind unknown](zoutbox_storage::ErrorKind::Unknown).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WriterError {
    /// An option can't be what it is.
    #[error("option {option}: {reason}")]
    InvalidOption {
        /// Which one.
        option: &'static str,
        /// Why.
        reason: String,
    },
    /// The writer's id is none.
    #[error(transparent)]
    WriterId(#[from] IdentityError),
    /// The record is beyond a limit of the format.
    #[error("record refused: {0}")]
    Record(#[from] RecordError),
    /// The record's id can't be the name of its payload.
    #[error("record refused: {0}")]
    PayloadId(#[from] PayloadError),
    /// The input that the payload comes from can't be read.
    #[error("the payload's input can't be read: {source}")]
    Input {
        /// Why.
        source: Arc<io::Error>,
    },
    /// A file of the record's id is there, and holds something else than what came: an id names one payload for ever.
    #[error("{} is another payload of the same id: it has {found} bytes, the one that came has {given}", path.display())]
    OtherPayload {
        /// The file that is there.
        path: PathBuf,
        /// Its bytes.
        found: u64,
        /// The bytes that came.
        given: u64,
    },
    /// Somebody else is at work on the payload of the same id: another append, or a sweep. Try again.
    #[error("{} is in use by another append of the same id, or by a sweep", path.display())]
    PayloadBusy {
        /// The file.
        path: PathBuf,
    },
    /// The record is durable, and the payload it names was removed by somebody meanwhile. Append the payload again.
    #[error("record {record} is durable, but its payload {} is not there as it was: {source}", path.display())]
    PayloadGone {
        /// The record.
        record: RecordId,
        /// The file it names.
        path: PathBuf,
        /// What was found instead.
        source: Box<WriterError>,
    },
    /// Another live process has the writer id open.
    #[error("writer '{writer}' is open elsewhere{}: {} is locked", held_by(holder.as_ref()), path.display())]
    Locked {
        /// The writer.
        writer: WriterId,
        /// The file whose lock is held.
        path: PathBuf,
        /// Host and process id of the holder, if the lock file tells.
        holder: Option<(String, u32)>,
    },
    /// Another process has taken the writer over; this one can never write again.
    #[error("writer '{writer}' was taken over by another process or lost its lock: {reason}")]
    Fenced {
        /// The writer.
        writer: WriterId,
        /// How that showed.
        reason: Arc<FenceReason>,
    },
    /// A byte limit is reached.
    #[error("full: {limit} is {allowed}, now {used}")]
    Full {
        /// Which limit.
        limit: Limit,
        /// What it is now, in bytes.
        used: u64,
        /// What it may be (for free space: must be at least), in bytes.
        allowed: u64,
    },
    /// The records may or may not be there, and may or may not be published.
    #[error("whether records {from} to {} were written is not known: {source}{}", to.sequence, taken_over(fenced.as_deref()))]
    Unknown {
        /// The first of them.
        from: RecordId,
        /// The last of them.
        to: RecordId,
        /// What went wrong.
        source: Arc<StorageError>,
        /// That this process can never write again either, and how that showed: see [`WriterError::Fenced`].
        fenced: Option<Arc<FenceReason>>,
    },
    /// The writer was closed.
    #[error("the writer is closed")]
    Closed,
    /// The committing thread ended by a bug of zoutbox. What was being written at that moment is unknown; the rest was not written.
    #[error("the writer's commit thread ended unexpectedly{}", if *unknown { "; whether the record was written is not known" } else { "" })]
    Stopped {
        /// Whether the record was being written.
        unknown: bool,
    },
    /// The newest segment can't be continued.
    #[error("{}: {source}", path.display())]
    Segment {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: HeaderError,
    },
    /// A frame was written by a newer zoutbox.
    #[error("{} at offset {offset}: frame kind {kind} is of a newer zoutbox: update this one", path.display())]
    NewerFrame {
        /// In which segment.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// Its kind.
        kind: u8,
    },
    /// A call to the share failed.
    #[error(transparent)]
    Storage(Arc<StorageError>),
}

/// How it showed that a writer is fenced.
#[derive(Debug, thiserror::Error)]
pub enum FenceReason {
    /// The lock file names a later epoch.
    #[error("{} names epoch {found}, this process had {own}", path.display())]
    Epoch {
        /// The lock file.
        path: PathBuf,
        /// What it names.
        found: zoutbox_format::Epoch,
        /// What this process took.
        own: zoutbox_format::Epoch,
    },
    /// A file it has locked can't be written any more: that is what a lost NFS lock looks like.
    #[error(transparent)]
    Storage(StorageError),
}

fn taken_over(fenced: Option<&FenceReason>) -> String {
    let why = |reason| format!("; the writer was taken over by another process or lost its lock: {reason}");
    fenced.map(why).unwrap_or_default()
}

fn held_by(holder: Option<&(String, u32)>) -> String {
    holder.map(|(host, pid)| format!(" (host {host}, process {pid})")).unwrap_or_default()
}

impl From<StorageError> for WriterError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

impl WriterError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidOption { .. }
            | Self::WriterId(_)
            | Self::Record(_)
            | Self::PayloadId(_)
            | Self::Input { .. }
            | Self::OtherPayload { .. }
            | Self::Closed => ErrorKind::Invalid,
            Self::Locked { .. } | Self::PayloadBusy { .. } => ErrorKind::Retry,
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::Full { .. } => ErrorKind::Full,
            Self::Unknown { .. } | Self::PayloadGone { .. } | Self::Stopped { unknown: true } => {
                ErrorKind::Unknown
            }
            Self::Stopped { unknown: false } | Self::Segment { .. } | Self::NewerFrame { .. } => {
                ErrorKind::Fatal
            }
            Self::Storage(error) => error.kind(),
        }
    }
}
