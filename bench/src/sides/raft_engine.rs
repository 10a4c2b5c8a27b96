//! raft-engine 0.4: the log below `TiKV`; its writers queue behind a leader that writes and syncs for all of them.
//!
//! Syncs: `Engine::write(_, true)` has the leader of a group call `fdatasync` once for the group before any of it
//! returns (`src/engine.rs`, `src/env/log_fd/unix.rs`); counted with `strace -f -e fdatasync`.

use std::path::Path;

use ::raft_engine::{Config, Engine, LogBatch, ReadableSize};
use anyhow::{Context as _, Result};

use crate::side::AppendSide;

/// The raft-engine side.
#[derive(Default)]
pub(crate) struct RaftEngine {
    engine: Option<Engine>,
}

impl AppendSide for RaftEngine {
    fn name(&self) -> &'static str {
        "raft-engine"
    }

    fn open(&mut self, dir: &Path, _callers: usize) -> Result<()> {
        let config = Config {
            dir: dir.to_str().context("its directory must be UTF-8")?.to_owned(),
            // Off: the payload does not compress, trying would only cost.
            batch_compression_threshold: ReadableSize(0),
            ..Config::default()
        };
        self.engine = Some(Engine::open(config).context("opening the engine")?);
        Ok(())
    }

    /// Each caller puts to a key of its own. The log gets every record; the table in memory, which would otherwise grow
    /// without end, keeps the last.
    fn append(&self, caller: usize, payload: &[u8]) -> Result<()> {
        let mut batch = LogBatch::with_capacity(1);
        batch.put(caller as u64 + 1, b"record".to_vec(), payload.to_vec()).context("filling a batch")?;
        self.engine.as_ref().context("not open")?.write(&mut batch, true).context("writing")?;
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.engine = None;
        Ok(())
    }
}
