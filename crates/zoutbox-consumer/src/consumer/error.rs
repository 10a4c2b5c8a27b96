//! Why a consumer ends.

use zoutbox_storage::ErrorKind;

use crate::inbox::InboxError;

/// Why a consumer ended without being told to. What it held is delivered again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// An option can't be what it is.
    #[error("{0}")]
    Option(String),
    /// The broker refused at the first attempt, at all of its addresses: credentials, permissions, a queue that is declared otherwise.
    #[error("the broker at {broker} refuses: {reason}")]
    Refused {
        /// Which, without credentials.
        broker: String,
        /// What it says.
        reason: String,
    },
    /// The connection broke, or did not come up. Only [`unpark`](super::unpark) ends with it.
    #[error("the broker at {broker}: {reason}")]
    Broker {
        /// Which, without credentials.
        broker: String,
        /// What happened.
        reason: String,
    },
    /// The inbox can't be used, and waiting does not help.
    #[error(transparent)]
    Inbox(#[from] InboxError),
    /// Too many records are parked: something is wrong with more than single records.
    #[error(
        "{parked} records are parked already, and most_parked is {most}; the next one would be {record}: {reason}"
    )]
    TooManyParked {
        /// How many.
        parked: usize,
        /// The bound.
        most: usize,
        /// The record that is not parked.
        record: String,
        /// Why it should be.
        reason: String,
    },
    /// The handler panicked, or the observer's thread or the handler's did not start.
    #[error("{0}")]
    Thread(String),
}

impl ConsumerError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Option(_) => ErrorKind::Invalid,
            Self::Broker { .. } => ErrorKind::Retry,
            Self::Inbox(error) => error.kind(),
            Self::Refused { .. } | Self::Thread(_) => ErrorKind::Fatal,
            Self::TooManyParked { .. } => ErrorKind::Full,
        }
    }
}
