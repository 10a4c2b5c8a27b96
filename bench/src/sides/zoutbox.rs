//! zoutbox itself, through one shared writer: each caller on a thread of its own, or all of them on one thread.
//!
//! With a thread a caller, putting each to sleep and waking it again is most of the cost. A producer that awaits its tickets
//! in tasks, or appends several records before it waits, does not pay that; nor does the bare loop.
//!
//! Syncs: a ticket resolves after the `fdatasync` that covers its record; counted with `strace -f -e fdatasync`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use zoutbox_format::Record;
use zoutbox_storage::{Share, System};
use zoutbox_writer::{Options, Writer};

use crate::side::AppendSide;

/// The writer's id.
pub(crate) const WRITER: &str = "bench";
/// Every record's topic.
pub(crate) const TOPIC: &str = "bench";

/// The zoutbox side.
pub(crate) struct Zoutbox {
    /// How many records one thread appends before it waits for all of them; with one, there is a thread a caller.
    together: usize,
    name: &'static str,
    writer: Option<Writer>,
    segments: PathBuf,
}

impl Zoutbox {
    /// A thread a caller.
    pub(crate) fn threads() -> Self {
        Self { together: 1, name: "zoutbox", writer: None, segments: PathBuf::new() }
    }

    /// All of this many callers on one thread.
    pub(crate) fn one_thread(callers: usize) -> Self {
        Self { together: callers, name: "zoutbox-1thr", ..Self::threads() }
    }
}

impl AppendSide for Zoutbox {
    fn name(&self) -> &'static str {
        self.name
    }

    fn threads(&self, callers: usize) -> usize {
        callers / self.together
    }

    fn records_per_append(&self) -> u64 {
        self.together as u64
    }

    fn open(&mut self, dir: &Path, _callers: usize) -> Result<()> {
        let (share, _) = Share::init(&System::real(), dir).context("making a share")?;
        self.segments = share.layout.writer(&WRITER.parse()?);
        self.writer = Some(Writer::open(dir, WRITER, Options::default()).context("opening the writer")?);
        Ok(())
    }

    /// Removes what is sealed, as a relay would that has published it.
    fn begin_round(&mut self) -> Result<()> {
        for entry in std::fs::read_dir(&self.segments).context("listing the segments")? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "seg") {
                std::fs::remove_file(&path).context("removing a sealed segment")?;
            }
        }
        Ok(())
    }

    fn append(&self, _caller: usize, payload: &[u8]) -> Result<()> {
        let writer = self.writer.as_ref().context("not open")?;
        let tickets: Vec<_> = (0..self.together)
            .map(|_| writer.append(&Record::new(TOPIC, payload)))
            .collect::<Result<_, _>>()
            .context("appending")?;
        for ticket in tickets {
            ticket.wait().context("waiting for a ticket")?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.writer.take().map_or(Ok(()), Writer::close).context("closing the writer")
    }
}
