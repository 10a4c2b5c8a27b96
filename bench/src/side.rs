//! What every side of a comparison has to offer.

use std::path::Path;

use anyhow::Result;

/// One way of making records durable.
///
/// A side is opened once for a whole run and takes many short turns, alternating with the others, so that a slow minute
/// of the machine hits all of them.
pub(crate) trait AppendSide: Send + Sync {
    /// The name in the table and for `--sides`.
    fn name(&self) -> &'static str;

    /// Prepares to append below `dir`, which is empty and this side's own. `callers` is the highest number of threads
    /// that will append at the same time.
    fn open(&mut self, dir: &Path, callers: usize) -> Result<()>;

    /// Called before each turn, outside the measured time: drop what the last turn left, if it costs space or time.
    fn begin_round(&mut self) -> Result<()> {
        Ok(())
    }

    /// How many threads append when there are `callers` callers. The bare loop, which is its own group commit, and tasks need
    /// fewer.
    fn threads(&self, callers: usize) -> usize {
        callers
    }

    /// How many records one [`append`](Self::append) makes durable.
    fn records_per_append(&self) -> u64 {
        1
    }

    /// Appends `payload` for the caller with this number, below the `callers` given to `open`. What was appended is
    /// durable when this returns.
    fn append(&self, caller: usize, payload: &[u8]) -> Result<()>;

    /// Ends whatever `open` started. The directory is removed afterwards.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
