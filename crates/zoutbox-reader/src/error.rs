//! What can go wrong while reading. Damage is not among it: that is a result, with a range.

use zoutbox_storage::{ErrorKind, StorageError};

/// An error of the reader.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The share could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The kernel refuses to watch the share; polling goes on without.
    #[error("can't watch {path} for changes: {source}")]
    Watch {
        /// What was to be watched.
        path: String,
        /// Why it can't be.
        source: notify::Error,
    },
}

impl ReaderError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Storage(error) => error.kind(),
            Self::Watch { .. } => ErrorKind::Retry,
        }
    }
}
