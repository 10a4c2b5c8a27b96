//! The active segment: commits become bytes, bytes become durable.
//!
//! A commit of at most `commit_bytes` is exactly one positional write and one sync: over NFS one WRITE, of which no reader
//! ever sees a part with zeros in front. A single larger record goes out in pieces of that size, each synced before the
//! next, so that what is visible is always a prefix.

use std::path::PathBuf;
use std::time::Duration;

use zoutbox_format::frame::{Seal, encode_data, encode_seal};
use zoutbox_format::header::CrcSeed;
use zoutbox_format::{PreviousSegment, SegmentHeader, SegmentId, Sequence};
use zoutbox_storage::{DiskFile, Lock, StorageError};

/// A segment with a name and at least one durable record.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) id: SegmentId,
    /// The very file that is written is locked: that fences a writer that was cut off.
    pub(crate) lock: Lock,
    pub(crate) path: PathBuf,
    pub(crate) seed: CrcSeed,
    /// Behind the last durable frame.
    pub(crate) offset: u64,
    /// Behind the last durable record.
    pub(crate) next_sequence: Sequence,
    /// How far the file is filled with zeros ahead.
    pub(crate) zeroed: u64,
    /// When its first record was durable, by the monotonic clock.
    pub(crate) since: Duration,
}

impl Active {
    /// Where the log has come to, for the header of the segment behind this one.
    pub(crate) fn end(&self) -> PreviousSegment {
        PreviousSegment { id: self.id, end_offset: self.offset, next_sequence: self.next_sequence }
    }

    /// Writes the frames of one commit behind what is there, durably. After an error nothing is known of what lies behind
    /// [`Active::offset`], and nothing may be written to this file any more.
    pub(crate) fn append(
        &mut self,
        frames: &[u8],
        records: u64,
        commit_bytes: usize,
    ) -> Result<(), StorageError> {
        write_durably(self.lock.file(), frames, self.offset, commit_bytes)
            .map_err(|error| self.named(error))?;
        self.offset = self.offset.saturating_add(frames.len() as u64);
        self.next_sequence = Sequence::new(self.next_sequence.get().saturating_add(records));
        Ok(())
    }

    /// The file was opened under the name it was prepared with; an error must tell the one it has now.
    pub(crate) fn named(&self, error: StorageError) -> StorageError {
        match error {
            StorageError::Io { operation, offset, source, .. } => {
                StorageError::Io { operation, path: self.path.clone(), offset, source }
            }
            other => other,
        }
    }

    /// The seal frame that ends it.
    pub(crate) fn seal_frame(&self) -> Vec<u8> {
        let records = self.next_sequence.get().saturating_sub(self.id.first_sequence.get());
        let mut frame = Vec::new();
        encode_seal(&mut frame, self.seed, self.next_sequence, Seal { records, offset: self.offset });
        frame
    }
}

/// Appends the frames of one commit to `out`.
pub(crate) fn encode_commit(out: &mut Vec<u8>, seed: CrcSeed, first: Sequence, bodies: &[Vec<u8>]) {
    let mut sequence = first;
    for (commit_index, body) in (0..).zip(bodies) {
        encode_data(out, seed, sequence, commit_index, body);
        sequence = sequence.next();
    }
}

/// The bytes with which a segment starts: its header and its first commit.
pub(crate) fn encode_start(out: &mut Vec<u8>, header: &SegmentHeader, bodies: &[Vec<u8>]) {
    out.extend_from_slice(&header.encode());
    encode_commit(out, header.crc_seed(), header.id.first_sequence, bodies);
}

pub(crate) fn write_durably(
    file: &dyn DiskFile,
    bytes: &[u8],
    mut offset: u64,
    commit_bytes: usize,
) -> Result<(), StorageError> {
    for piece in bytes.chunks(commit_bytes) {
        file.write_at(piece, offset)?;
        file.sync()?;
        offset = offset.saturating_add(piece.len() as u64);
    }
    Ok(())
}
