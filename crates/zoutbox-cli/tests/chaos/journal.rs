//! What a writer was given, and what it said about it: what the effects are held against.

use std::fmt;

use zoutbox_format::RecordId;

/// CRC and length of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Checksum {
    pub(crate) crc: u32,
    pub(crate) length: u64,
}

impl Checksum {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { crc: crc32fast::hash(bytes), length: bytes.len() as u64 }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.crc, self.length)
    }
}

/// What a writer said about a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged(RecordId),
    /// It died before it could say. The record may be on the share or not, but nothing else.
    Unknown,
}

/// A record that a writer was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) topic: String,
    pub(crate) checksum: Checksum,
    pub(crate) outcome: Outcome,
}

/// All records that a writer was given, over all its processes, in the order in which it was given them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Journal {
    pub(crate) writer: String,
    pub(crate) given: Vec<Given>,
}

impl Journal {
    pub(crate) fn new(writer: impl Into<String>) -> Self {
        Self { writer: writer.into(), given: Vec::new() }
    }
}
