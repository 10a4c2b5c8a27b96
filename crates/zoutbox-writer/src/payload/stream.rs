//! Bytes of any number from an input to a file, with one buffer's memory.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crc32fast::Hasher;
use zoutbox_storage::{Disk, DiskFile};

use crate::error::{Limit, WriterError};

const MIB: u64 = 1024 * 1024;
/// The least and the most that is written at a time, in bytes.
const PIECE: (u64, u64) = (4 * 1024, MIB);
/// So many bytes are synced at the latest, however many are to come. It bounds what a client keeps dirty in memory (an NFS client writes
/// back when it likes, and a sync at the end of a terabyte would find a full disk only then), and between two syncs nobody notices
/// how much room others have taken. Each one costs a COMMIT and stops the stream for so long: with 64 MiB, some percent.
const SYNC_EVERY: u64 = 64 * MIB;

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) size: u64,
    pub(super) crc: u32,
}

/// The most that is written at a time: one WRITE on the wire, where the mount says how large that is.
pub(super) fn piece(write_size: Option<u64>) -> usize {
    let (least, most) = PIECE;
    usize::try_from(write_size.unwrap_or(most).clamp(least, most)).unwrap_or(usize::MAX)
}

pub(super) fn unreadable(source: io::Error) -> WriterError {
    WriterError::Input { source: Arc::new(source) }
}

/// Reads to the end, for the size and the CRC alone.
pub(super) fn measure(input: &mut dyn Read, piece: usize) -> Result<Measured, WriterError> {
    pieces(input, piece, |_, _| Ok(()))
}

/// Where bytes go.
pub(super) struct Stream<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) directory: &'a Path,
    pub(super) file: &'a dyn DiskFile,
    /// So many bytes stay free on the share.
    pub(super) min_free_space: u64,
}

impl Stream<'_> {
    /// Reads to the end, and writes all of it, durably.
    pub(super) fn write(&self, input: &mut dyn Read, piece: usize) -> Result<Measured, WriterError> {
        let (mut unsynced, mut room) = (0_u64, 0_u64);
        let measured = pieces(input, piece, |bytes, offset| {
            let length = bytes.len() as u64;
            if unsynced.saturating_add(length) > SYNC_EVERY || room < length {
                // First of all: what is not written back yet, a server does not know to be taken.
                if unsynced > 0 {
                    self.file.sync()?;
                }
                unsynced = 0;
                room = self.room(length)?;
            }
            self.file.write_at(bytes, offset)?;
            unsynced = unsynced.saturating_add(length);
            room = room.saturating_sub(length);
            Ok(())
        })?;
        self.file.sync()?;
        Ok(measured)
    }

    /// How much may be written now, which is at least `wanted`. What can't be seen is as if there were no limit on it: a write will
    /// tell soon enough.
    fn room(&self, wanted: u64) -> Result<u64, WriterError> {
        let allowed = self.min_free_space;
        let space = (allowed > 0).then(|| self.disk.space(self.directory).ok()).flatten();
        let Some(space) = space else { return Ok(u64::MAX) };
        let left = space.available.saturating_sub(wanted);
        if left < allowed {
            return Err(WriterError::Full { limit: Limit::FreeSpace, used: left, allowed });
        }
        Ok(space.available.saturating_sub(allowed))
    }
}

/// Reads to the end, in pieces that are full but for the last one, each given to `take` with its offset.
fn pieces(
    input: &mut dyn Read,
    piece: usize,
    mut take: impl FnMut(&[u8], u64) -> Result<(), WriterError>,
) -> Result<Measured, WriterError> {
    let mut buffer = Vec::with_capacity(piece);
    let (mut crc, mut size) = (Hasher::new(), 0_u64);
    loop {
        buffer.clear();
        (&mut *input).take(piece as u64).read_to_end(&mut buffer).map_err(unreadable)?;
        if !buffer.is_empty() {
            crc.update(&buffer);
            take(&buffer, size)?;
            size = size.saturating_add(buffer.len() as u64);
        }
        if buffer.len() < piece {
            return Ok(Measured { size, crc: crc.finalize() });
        }
    }
}
