//! zoutbox itself, through one shared writer: each caller a thread that waits, or a task that awaits.
//!
//! With a thread a caller, putting each to sleep and waking it again is most of the cost. Tasks do not pay that; nor does the
//! bare loop.
//!
//! Syncs: a ticket resolves after the `fdatasync` that covers its record; counted with `strace -f -e fdatasync`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use zoutbox_format::Record;
use zoutbox_storage::{Share, System};
use zoutbox_writer::{Options, Writer};

use crate::side::AppendSide;

/// The writer's id.
pub(crate) const WRITER: &str = "bench";
/// Every record's topic.
pub(crate) const TOPIC: &str = "bench";
/// How many records each task appends, one after the other, before anybody looks at the time.
const APPENDS_A_TASK: usize = 32;

/// A thread a caller.
#[derive(Default)]
pub(crate) struct Threads {
    writer: Option<Writer>,
    segments: PathBuf,
}

/// A task a caller, on a runtime with a thread a processor.
pub(crate) struct Tasks {
    callers: usize,
    runtime: Option<Runtime>,
    writer: Option<Arc<Writer>>,
    segments: PathBuf,
}

impl Tasks {
    /// That many tasks.
    pub(crate) fn new(callers: usize) -> Self {
        Self { callers, runtime: None, writer: None, segments: PathBuf::new() }
    }
}

fn open(dir: &Path) -> Result<(Writer, PathBuf)> {
    let (share, _) = Share::init(&System::real(), dir).context("making a share")?;
    let writer = Writer::open(dir, WRITER, Options::default()).context("opening the writer")?;
    Ok((writer, share.layout.writer(&WRITER.parse()?)))
}

/// Removes what is sealed, as a relay would that has published it.
fn remove_sealed(segments: &Path) -> Result<()> {
    for entry in std::fs::read_dir(segments).context("listing the segments")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            std::fs::remove_file(&path).context("removing a sealed segment")?;
        }
    }
    Ok(())
}

impl AppendSide for Threads {
    fn name(&self) -> &'static str {
        "zoutbox"
    }

    fn open(&mut self, dir: &Path, _callers: usize) -> Result<()> {
        let (writer, segments) = open(dir)?;
        (self.writer, self.segments) = (Some(writer), segments);
        Ok(())
    }

    fn begin_round(&mut self) -> Result<()> {
        remove_sealed(&self.segments)
    }

    fn append(&self, _caller: usize, payload: &[u8]) -> Result<()> {
        let writer = self.writer.as_ref().context("not open")?;
        let ticket = writer.append(&Record::new(TOPIC, payload)).context("appending")?;
        ticket.wait().context("waiting for a ticket")?;
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.writer.take().map_or(Ok(()), Writer::close).context("closing the writer")
    }
}

impl AppendSide for Tasks {
    fn name(&self) -> &'static str {
        "zoutbox-tasks"
    }

    fn threads(&self, _callers: usize) -> usize {
        1
    }

    fn records_per_append(&self) -> u64 {
        (self.callers * APPENDS_A_TASK) as u64
    }

    fn open(&mut self, dir: &Path, _callers: usize) -> Result<()> {
        let (writer, segments) = open(dir)?;
        (self.writer, self.segments) = (Some(Arc::new(writer)), segments);
        self.runtime = Some(Runtime::new().context("starting a runtime")?);
        Ok(())
    }

    fn begin_round(&mut self) -> Result<()> {
        remove_sealed(&self.segments)
    }

    fn append(&self, _caller: usize, payload: &[u8]) -> Result<()> {
        let (writer, runtime) = self.writer.as_ref().zip(self.runtime.as_ref()).context("not open")?;
        let payload: Arc<[u8]> = payload.into();
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for _ in 0..self.callers {
                let (writer, payload) = (writer.clone(), payload.clone());
                tasks.spawn(async move {
                    for _ in 0..APPENDS_A_TASK {
                        let ticket = writer.append(&Record::new(TOPIC, &*payload)).context("appending")?;
                        ticket.await.context("awaiting a ticket")?;
                    }
                    anyhow::Ok(())
                });
            }
            while let Some(task) = tasks.join_next().await {
                task.context("a task failed")??;
            }
            Ok(())
        })
    }

    fn close(&mut self) -> Result<()> {
        self.runtime = None;
        let writer = self.writer.take().map(Arc::into_inner);
        writer.flatten().map_or(Ok(()), Writer::close).context("closing the writer")
    }
}
