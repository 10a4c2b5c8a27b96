//! Why a message's records can't be had, and what its consumer can do about it.

use zoutbox_storage::{ErrorKind, StorageError};

/// An error of the resolver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// What the message leads to was removed.
    #[error("{what} is gone")]
    Expired {
        /// What it is.
        what: Box<str>,
    },
    /// This host's mount does not show it yet.
    #[error("{what} is not to be seen on this host yet")]
    NotYet {
        /// What it is.
        what: Box<str>,
    },
    /// The share could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ResolveError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Expired { .. } => ErrorKind::Missing,
            Self::NotYet { .. } => ErrorKind::Retry,
            Self::Storage(error) => error.kind(),
        }
    }
}
