//! The system calls alone: frame a batch, write it at its offset, `fdatasync`. Nothing that promises durability on the
//! same directory can do less.
//!
//! Syncs: one `fdatasync` for each append, straight from this module.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

use crate::side::AppendSide;

/// The bare side whose file grows with each write.
pub(crate) const BARE_GROWING: &str = "bare-growing";
/// The bare side whose file was filled with zeros and synced beforehand.
pub(crate) const BARE_ZEROED: &str = "bare-zeroed";

/// A file that is filled beforehand starts over at this size. Overwriting a record costs what overwriting a zero does:
/// no block is allocated, no size changes.
const ZEROED_BYTES: u64 = 64 << 20;
/// What a small record has in front of its payload here: as much as zoutbox has, so that both write the same number of bytes.
const HEADER_BYTES: usize = 51;

/// A bare loop over one file.
pub(crate) struct Bare {
    zeroed: bool,
    batch: usize,
    path: PathBuf,
    log: Mutex<Option<Log>>,
}

struct Log {
    file: File,
    offset: u64,
    sequence: u64,
    buffer: Vec<u8>,
}

impl Bare {
    /// Writes batches of `batch` records at the end of a file.
    pub(crate) fn growing(batch: usize) -> Self {
        Self { zeroed: false, batch, path: PathBuf::new(), log: Mutex::new(None) }
    }

    /// Writes batches of `batch` records over zeros.
    pub(crate) fn zeroed(batch: usize) -> Self {
        Self { zeroed: true, ..Self::growing(batch) }
    }
}

impl AppendSide for Bare {
    fn name(&self) -> &'static str {
        if self.zeroed { BARE_ZEROED } else { BARE_GROWING }
    }

    fn open(&mut self, dir: &Path, _callers: usize) -> Result<()> {
        self.path = dir.join("log");
        let file =
            OpenOptions::new().write(true).create_new(true).open(&self.path).context("creating a file")?;
        if self.zeroed {
            let zeros = vec![0; 1 << 20];
            for offset in (0..ZEROED_BYTES).step_by(zeros.len()) {
                file.write_all_at(&zeros, offset).context("filling a file with zeros")?;
            }
        }
        file.sync_all().context("syncing a new file")?;
        File::open(dir).and_then(|dir| dir.sync_all()).context("syncing a directory")?;
        *self.log.get_mut().unwrap_or_else(PoisonError::into_inner) =
            Some(Log { file, offset: 0, sequence: 0, buffer: Vec::new() });
        Ok(())
    }

    fn begin_round(&mut self) -> Result<()> {
        let log = self.log.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = log.as_mut().filter(|_| !self.zeroed) {
            log.file.set_len(0).context("emptying a file")?;
            log.file.sync_all().context("syncing an emptied file")?;
            log.offset = 0;
        }
        Ok(())
    }

    fn threads(&self, _callers: usize) -> usize {
        1
    }

    fn records_per_append(&self) -> u64 {
        self.batch as u64
    }

    fn append(&self, _caller: usize, payload: &[u8]) -> Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let log = log.as_mut().context("not open")?;
        log.buffer.clear();
        for _ in 0..self.batch {
            log.frame(payload);
        }
        let len = log.buffer.len() as u64;
        if self.zeroed && log.offset + len > ZEROED_BYTES {
            log.offset = 0;
        }
        log.file.write_all_at(&log.buffer, log.offset).context("writing")?;
        log.file.sync_data().context("syncing")?;
        log.offset += len;
        Ok(())
    }
}

impl Log {
    /// Adds one record to the buffer: sequence, length, checksum, room for the rest of a header, payload.
    fn frame(&mut self, payload: &[u8]) {
        self.sequence += 1;
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&self.sequence.to_le_bytes());
        self.buffer.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        self.buffer.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
        self.buffer.resize(start + HEADER_BYTES, 0);
        self.buffer.extend_from_slice(payload);
    }
}

#[cfg(test)]
mod tests {
    use zoutbox_format::Record;
    use zoutbox_format::frame::FRAME_HEADER_LENGTH;

    use super::HEADER_BYTES;
    use crate::sides::zoutbox::TOPIC;

    #[test]
    fn zoutbox_writes_as_many_bytes_as_the_bare_loop() -> anyhow::Result<()> {
        let (mut body, payload) = (Vec::new(), crate::payload(1024));
        Record::new(TOPIC, payload.as_slice()).borrowed(u64::MAX).encode(&mut body)?;
        assert_eq!(HEADER_BYTES, FRAME_HEADER_LENGTH + body.len() - payload.len());
        Ok(())
    }
}
