//! Why a message's records can't be had, and what its consumer can do about it.

use std::path::PathBuf;

use zoutbox_format::{HeaderError, InvalidFrame, PointerError, RecordError, RecordId, Sequence, ShareId};
use zoutbox_storage::{ErrorKind, StorageError};

use crate::inbox::Identity;

/// An error of the resolver. No message that causes one may be acknowledged as if its records had been applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// What the message leads to was removed: for good, unless somebody puts it back.
    #[error("{} was removed: the message that leads to it came too late", path.display())]
    Expired {
        /// The segment or payload.
        path: PathBuf,
    },
    /// This host's mount does not show what the message leads to. It may soon: other hosts' files and bytes arrive late, and in any order.
    #[error("{} is not ready on this host: {unseen}", path.display())]
    NotYet {
        /// The segment or payload.
        path: PathBuf,
        /// What of it.
        unseen: Unseen,
    },
    /// The share is not where it was when the resolver was opened: not mounted any more, or another one is.
    #[error("{} is not the share any more that was opened: {why}", root.display())]
    ShareGone {
        /// Where it was.
        root: PathBuf,
        /// What is there now.
        why: String,
    },
    /// The resolver was made without a share.
    #[error(
        "{identity}: its {what} lies on the share, and this consumer reads none: mount it, and name its root"
    )]
    NoShare {
        /// The first record of the message.
        identity: Box<Identity>,
        /// What lies there.
        what: &'static str,
    },
    /// The message is of another share.
    #[error("the message is of share {found}, and this consumer reads share {ours}")]
    OtherShare {
        /// The message's.
        found: ShareId,
        /// The resolver's.
        ours: ShareId,
    },
    /// The message does not say which record it is of, or contradicts itself: no relay published it like this.
    #[error("not a message of a zoutbox relay: {0}")]
    Message(String),
    /// Its body should be a pointer.
    #[error("{record}: {source}")]
    Pointer {
        /// Which record its headers name.
        record: RecordId,
        /// Why it is none.
        source: PointerError,
    },
    /// The pointer leads to more than this consumer reads at once.
    #[error("{record}: the pointer leads to {length} bytes, the limit is {limit} (max_bytes)")]
    TooLong {
        /// The first record.
        record: RecordId,
        /// How many bytes.
        length: u32,
        /// How many there may be.
        limit: u32,
    },
    /// The segment's header can't be read.
    #[error("{}: {source}", path.display())]
    Header {
        /// The segment.
        path: PathBuf,
        /// What is wrong.
        source: HeaderError,
    },
    /// The file with the segment's name is another segment.
    #[error("{}: its header says that it is another segment", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A segment that has ended, since it is sealed or a later one follows it, does not hold the bytes that the pointer means: they are damaged, the
    /// pointer is forged, or it was published for a commit that failed.
    #[error("{} has ended, and is at offset {offset} not what the pointer means: {fault} (it should be {length} bytes)", path.display())]
    Bytes {
        /// The segment.
        path: PathBuf,
        /// Where they should be.
        offset: u64,
        /// How many.
        length: u32,
        /// What is wrong.
        fault: ByteFault,
    },
    /// The bytes are those that the pointer means, and not the records that it says: it is forged, or made by a broken program.
    #[error("{} at offset {offset}: the pointer is forged or wrong: {fault}", path.display())]
    Frames {
        /// The segment.
        path: PathBuf,
        /// Where it first is.
        offset: u64,
        /// In which way.
        fault: FrameFault,
    },
    /// A sound frame whose body is no record: a fault of the program that wrote it.
    #[error("{record} in {}: {source}", path.display())]
    Record {
        /// Which record.
        record: RecordId,
        /// The segment.
        path: PathBuf,
        /// What is wrong.
        source: RecordError,
    },
    /// A large payload is not what its record says.
    #[error("{}: {fault}", path.display())]
    Payload {
        /// The payload.
        path: PathBuf,
        /// What is wrong.
        fault: PayloadFault,
    },
    /// The share could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What is not to be seen yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unseen {
    /// The file.
    #[error("it is not there yet")]
    File,
    /// The segment's header.
    #[error("its header is not there yet")]
    Header,
    /// The bytes that the pointer means.
    #[error("at offset {offset}, {fault}")]
    Bytes {
        /// Where they should be.
        offset: u64,
        /// What is there.
        fault: ByteFault,
    },
    /// The file is moved or replaced whenever it is looked at.
    #[error("it was moved or replaced at every look")]
    Restless,
    /// A large payload whose record's segment is there.
    #[error("it is not there, though its record is: the mount is late, or somebody removed it")]
    Payload,
}

/// What is there in place of the bytes that a pointer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ByteFault {
    /// Too few.
    #[error("only {0} bytes are there")]
    Short(usize),
    /// Others.
    #[error("CRC {found:08x} instead of {expected:08x}")]
    Crc {
        /// That of the pointer.
        expected: u32,
        /// That of the bytes.
        found: u32,
    },
}

/// What a pointer's bytes are instead of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameFault {
    /// Something else than a frame.
    #[error("{0}")]
    Invalid(#[from] InvalidFrame),
    /// The bytes end within a frame, or in front of one.
    #[error("its bytes end before record {0} does")]
    Ends(Sequence),
    /// The seal.
    #[error("the segment is sealed there")]
    Seal,
    /// There are more bytes than those of the records.
    #[error("its bytes go on behind its last record")]
    Longer,
}

/// In which way a large payload is not what its record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadFault {
    /// Another length.
    #[error("{found} bytes long, its record says {expected}")]
    Size {
        /// That of the record.
        expected: u64,
        /// That of the file.
        found: u64,
    },
    /// Other bytes.
    #[error("CRC {found:08x}, its record says {expected:08x}")]
    Crc {
        /// That of the record.
        expected: u32,
        /// That of the bytes.
        found: u32,
    },
}

impl ResolveError {
    /// What a caller can do about it: the crate's front page has a table.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Expired { .. } => ErrorKind::Missing,
            Self::NotYet { .. } | Self::ShareGone { .. } => ErrorKind::Retry,
            Self::NoShare { .. } | Self::Header { source: HeaderError::Newer(_), .. } => ErrorKind::Fatal,
            // Nothing that comes from a network stops a consumer: not even a pointer of a newer version, which anyone can forge.
            Self::OtherShare { .. }
            | Self::Message(_)
            | Self::Pointer { .. }
            | Self::TooLong { .. }
            | Self::Frames { .. } => ErrorKind::Invalid,
            Self::Header { .. }
            | Self::Foreign { .. }
            | Self::Bytes { .. }
            | Self::Record { .. }
            | Self::Payload { .. } => ErrorKind::Corrupt,
            Self::Storage(error) => error.kind(),
        }
    }
}
