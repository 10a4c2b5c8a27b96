//! okaywal 0.3: a write-ahead log whose committers share syncs.
//!
//! Syncs: `EntryWriter::commit` returns after `File::sync_data` by it or by another committer that covered it
//! (`src/log_file.rs`, `synchronize_locked`); counted with `strace -f -e fdatasync`.

use std::path::Path;

use ::okaywal::{Configuration, LogVoid, WriteAheadLog};
use anyhow::{Context as _, Result};

use crate::side::AppendSide;

/// Segments as large as zoutbox's, instead of the default of 1 MiB: no side shall lose by changing files more often.
const SEGMENT_BYTES: u32 = 64 << 20;

/// The okaywal side.
#[derive(Default)]
pub(crate) struct OkayWal {
    log: Option<WriteAheadLog>,
}

impl AppendSide for OkayWal {
    fn name(&self) -> &'static str {
        "okaywal"
    }

    fn open(&mut self, dir: &Path, _callers: usize) -> Result<()> {
        let log = Configuration::default_for(dir)
            .preallocate_bytes(SEGMENT_BYTES)
            .checkpoint_after_bytes(u64::from(SEGMENT_BYTES) / 16 * 15)
            .open(LogVoid)
            .context("opening the log")?;
        self.log = Some(log);
        Ok(())
    }

    fn append(&self, _caller: usize, payload: &[u8]) -> Result<()> {
        let mut entry = self.log.as_ref().context("not open")?.begin_entry().context("beginning an entry")?;
        entry.write_chunk(payload).context("writing")?;
        entry.commit().context("committing")?;
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.log.take().map_or(Ok(()), WriteAheadLog::shutdown).context("shutting down the log")
    }
}
