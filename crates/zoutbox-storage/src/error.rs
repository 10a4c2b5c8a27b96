//! What can go wrong at the door, with the path and the offset it went wrong at.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use zoutbox_format::MarkerError;

use crate::mount::Promise;

/// What a caller can do about an error. The same kinds serve every zoutbox library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Passing: the same call may succeed later.
    Retry,
    /// What was asked for is not there.
    Missing,
    /// Bytes on the share are not what they must be.
    Corrupt,
    /// Somebody else holds the lock or has taken over; this process must stop writing.
    Fenced,
    /// No space or no quota left.
    Full,
    /// The caller asked for something that can't be.
    Invalid,
    /// It may or may not have happened. Never to be read as "it did not".
    Unknown,
    /// Nothing else to do than to stop and tell a person.
    Fatal,
}

/// Which call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after its call")]
pub enum Operation {
    Open,
    Create,
    Read,
    Write,
    Sync,
    SetLength,
    Lock,
    Rename,
    Link,
    Remove,
    CreateDirectory,
    SyncDirectory,
    List,
    Inspect,
    Map,
    Space,
    Entropy,
    RemoveDirectory,
    Mount,
    SetAccess,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::SetLength => "set the length of",
            Self::Lock => "lock",
            Self::Rename => "rename",
            Self::Link => "link",
            Self::Remove => "remove",
            Self::CreateDirectory => "create directory",
            Self::SyncDirectory => "sync directory",
            Self::List => "list",
            Self::Inspect => "inspect",
            Self::Map => "map",
            Self::Space => "ask for the free space of",
            Self::Entropy => "get entropy for",
            Self::RemoveDirectory => "remove directory",
            Self::Mount => "ask for the mount of",
            Self::SetAccess => "set owner, group and mode of",
        })
    }
}

/// An error of the storage seam.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A system call failed.
    #[error("can't {operation} {}{}: {source}", path.display(), at(*offset))]
    Io {
        /// Which call.
        operation: Operation,
        /// On what.
        path: PathBuf,
        /// At which byte, where the call has one.
        offset: Option<u64>,
        /// Why.
        source: io::Error,
    },
    /// The root has no marker.
    #[error("{} has no zoutbox.json: it is no zoutbox share, or the share is not mounted there", root.display())]
    NotAShare {
        /// The root.
        root: PathBuf,
    },
    /// The marker is damaged or of a newer format.
    #[error("{}: {source}", path.display())]
    Marker {
        /// The marker.
        path: PathBuf,
        /// Why.
        source: MarkerError,
    },
    /// Something else lies where a regular file must be.
    #[error("{} is {found}, not a file", path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
        /// What lies there.
        found: crate::FileKind,
    },
    /// Something else lies where a directory must be.
    #[error("{} is {found}, not a directory", path.display())]
    NotADirectory {
        /// Where.
        path: PathBuf,
        /// What lies there.
        found: crate::FileKind,
    },
    /// A path that was to stay below a directory does not.
    #[error("{} leads out of {}", path.display(), root.display())]
    Outside {
        /// The directory.
        root: PathBuf,
        /// The path.
        path: PathBuf,
    },
    /// The share is mounted so that a promise does not hold.
    #[error("{broken}; {advice}, or accept it with accept_unsafe_mount (--accept-unsafe-mount)")]
    UnsafeMount {
        /// Where it is mounted, as what, and why that breaks the promise.
        broken: String,
        /// What to do about it.
        advice: String,
        /// Which promise.
        promise: Promise,
    },
    /// How a path is mounted can't be told, so neither whether the promises hold.
    #[error("can't tell how {} is mounted: {reason}; accept_unsafe_mount (--accept-unsafe-mount) goes on without knowing", path.display())]
    UnknownMount {
        /// Whose mount.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

fn at(offset: Option<u64>) -> String {
    offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default()
}

impl StorageError {
    pub(crate) fn io(operation: Operation, path: &Path, source: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), offset: None, source: explained(source) }
    }

    pub(crate) fn io_at(operation: Operation, path: &Path, offset: u64, source: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), offset: Some(offset), source: explained(source) }
    }

    /// The same, of what is known by another path.
    pub(crate) fn at_path(self, known: &Path) -> Self {
        match self {
            Self::Io { operation, offset, source, .. } => {
                Self::Io { operation, path: known.to_owned(), offset, source }
            }
            Self::NotAFile { found, .. } => Self::NotAFile { path: known.to_owned(), found },
            other => other,
        }
    }

    /// What a caller can do about it.
    ///
    /// A failed write or sync is never [`ErrorKind::Unknown`] here: whether anybody was promised something only the caller
    /// knows.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => io_kind(source),
            Self::NotAShare { .. } => ErrorKind::Missing,
            Self::Outside { .. } => ErrorKind::Invalid,
            Self::Marker { source: MarkerError::Newer { .. }, .. }
            | Self::UnsafeMount { .. }
            | Self::UnknownMount { .. } => ErrorKind::Fatal,
            Self::Marker { .. } | Self::NotAFile { .. } | Self::NotADirectory { .. } => ErrorKind::Corrupt,
        }
    }

    /// Whether an open file was removed or replaced by another host.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.is_of(io::ErrorKind::StaleNetworkFileHandle)
    }

    /// Whether access is denied, as it also is by a server that exports the share no more.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.is_of(io::ErrorKind::PermissionDenied)
    }

    fn is_of(&self, kind: io::ErrorKind) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == kind)
    }

    /// Whether what was asked for is not there (any more). A stale NFS handle is a file that another host removed.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.kind() == ErrorKind::Missing
    }
}

/// What a person may not think of: who was denied, and what makes an NFS handle stale. The kind stays.
fn explained(error: io::Error) -> io::Error {
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => denied(),
        io::ErrorKind::StaleNetworkFileHandle => {
            "it was removed or replaced on the server, or the server exports it no more".to_owned()
        }
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}: {why}"))
}

/// On an NFS export with `root_squash` root is nobody; and a Linux server that exports a directory no more may say this too.
fn denied() -> String {
    let user = nix::unistd::geteuid();
    if user.is_root() {
        return "this process is uid 0, which an export with root_squash treats as nobody; or the server exports it no more"
            .to_owned();
    }
    format!("this process is uid {user}")
}

fn io_kind(error: &io::Error) -> ErrorKind {
    use io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound | Io::StaleNetworkFileHandle => ErrorKind::Missing,
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::Full,
        Io::Interrupted | Io::WouldBlock | Io::TimedOut | Io::ResourceBusy | Io::OutOfMemory => {
            ErrorKind::Retry
        }
        Io::InvalidInput | Io::InvalidFilename | Io::FileTooLarge => ErrorKind::Invalid,
        _ => ErrorKind::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: io::ErrorKind) -> StorageError {
        StorageError::io(Operation::Open, Path::new("/mnt/outbox/writers"), io::Error::from(kind))
    }

    #[test]
    fn who_was_denied_is_told_and_the_kind_stays() {
        let error = failed(io::ErrorKind::PermissionDenied);
        let text = error.to_string();
        let user = format!("this process is uid {}", nix::unistd::geteuid());
        assert!(text.starts_with("can't open /mnt/outbox/writers: ") && text.contains(&user), "{text}");
        assert_eq!(error.kind(), ErrorKind::Fatal);
    }

    #[test]
    fn what_makes_a_handle_stale_is_told_and_it_stays_stale() {
        let error = failed(io::ErrorKind::StaleNetworkFileHandle);
        let text = error.to_string();
        assert!(
            text.contains("/mnt/outbox/writers") && text.contains("removed or replaced on the server"),
            "{text}"
        );
        assert!(error.is_stale() && error.is_missing());
        assert!(!failed(io::ErrorKind::NotFound).to_string().contains("server"));
    }
}
