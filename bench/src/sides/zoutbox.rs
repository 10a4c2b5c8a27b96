//! zoutbox itself: each caller appends through one shared writer and waits for its ticket.
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
#[derive(Default)]
pub(crate) struct Zoutbox {
    writer: Option<Writer>,
    segments: PathBuf,
}

impl AppendSide for Zoutbox {
    fn name(&self) -> &'static str {
        "zoutbox"
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
        writer
            .append(&Record::new(TOPIC, payload))
            .and_then(zoutbox_writer::Ticket::wait)
            .context("appending")?;
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.writer.take().map_or(Ok(()), Writer::close).context("closing the writer")
    }
}
