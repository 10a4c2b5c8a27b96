//! How the relay ends, and with which exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use zoutbox_format::{Epoch, MarkerError};
use zoutbox_reader::ReaderError;
use zoutbox_storage::{ErrorKind, Operation, StorageError};

/// Exit codes of `zoutbox-relay`, in the style of sysexits(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// An orderly stop.
    Ok,
    /// A bug.
    Bug,
    /// Wrong usage, or a configuration that can't be.
    Usage,
    /// The root is no share, or is mounted so that a promise does not hold, or a file is not there.
    NotAShare,
    /// The broker refuses: password, permission, unknown exchange, another queue of that name.
    Unavailable,
    /// Something can't be created.
    CantCreate,
    /// An input or output error.
    Io,
    /// Another relay has taken over.
    Temporary,
    /// The share, or a checkpoint, is of a newer format.
    NewerFormat,
}

/// The exit codes as people see them, below `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0   an orderly stop
  1   a bug
  64  wrong usage, or a configuration that can't be
  66  not a share (not mounted?), one mounted so that a promise does not hold, or a file that is not there
  69  the broker refuses: password, permission, unknown exchange, another queue of that name
  73  can't create
  74  input or output error
  75  another relay has taken over; start again as a standby
  76  made by a newer zoutbox: update this one
  137 ended itself by SIGKILL, 10 s after SIGTERM, because the share did not answer

A broker that can't be reached is waited for, at start too. What it refuses at the first connection ends the relay with 69; later
refusals are logged, and tried again for ever.";

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Bug => 1,
            Self::Usage => 64,
            Self::NotAShare => 66,
            Self::Unavailable => 69,
            Self::CantCreate => 73,
            Self::Io => 74,
            Self::Temporary => 75,
            Self::NewerFormat => 76,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a relay ended that should have gone on.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The share could not be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The share could not be read.
    #[error(transparent)]
    Reader(#[from] ReaderError),
    /// An option, or a line of the configuration file, that can't be.
    #[error("{option}: {reason}")]
    Option {
        /// Which option or file.
        option: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The broker refuses what no retry will change.
    #[error("the broker at {broker} refuses: {reason}")]
    Refused {
        /// Where it is, without credentials.
        broker: String,
        /// What it says.
        reason: String,
    },
    /// Another relay has taken over, or may have, since the lease can't be proven.
    #[error("{found}; this one had epoch {own}: stopping")]
    Fenced {
        /// This relay's epoch.
        own: Epoch,
        /// That, and how it shows.
        found: String,
    },
    /// A checkpoint of a newer format.
    #[error("{}: made by a newer zoutbox: update this one", path.display())]
    NewerCheckpoint {
        /// The checkpoint.
        path: PathBuf,
    },
    /// Nobody reads what the `stdout` publisher writes, or it can't be written.
    #[error("can't write to standard output: {0}")]
    Output(std::io::Error),
}

impl RelayError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Storage(error) => error.kind(),
            Self::Reader(error) => error.kind(),
            Self::Option { .. } => ErrorKind::Invalid,
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::Refused { .. } | Self::NewerCheckpoint { .. } | Self::Output(_) => ErrorKind::Fatal,
        }
    }

    /// The exit code that tells it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Storage(error) | Self::Reader(ReaderError::Storage(error)) => storage_exit(error),
            Self::Reader(_) | Self::Output(_) => Exit::Io,
            Self::Option { .. } => Exit::Usage,
            Self::Refused { .. } => Exit::Unavailable,
            Self::Fenced { .. } => Exit::Temporary,
            Self::NewerCheckpoint { .. } => Exit::NewerFormat,
        }
    }
}

fn storage_exit(error: &StorageError) -> Exit {
    match (error, error.kind()) {
        (StorageError::Marker { source: MarkerError::Newer { .. }, .. }, _) => Exit::NewerFormat,
        (_, ErrorKind::Full | ErrorKind::Retry | ErrorKind::Fenced) => Exit::Temporary,
        (StorageError::UnsafeMount { .. } | StorageError::UnknownMount { .. }, _)
        | (_, ErrorKind::Missing) => Exit::NotAShare,
        (StorageError::Io { operation: Operation::Create | Operation::CreateDirectory, .. }, _) => {
            Exit::CantCreate
        }
        _ => Exit::Io,
    }
}
