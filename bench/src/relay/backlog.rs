//! A share with a backlog, appended once by the real writer and given out again and again.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use zoutbox_format::layout::Layout;
use zoutbox_format::{Record, Sequence, WriterId};
use zoutbox_storage::{Share, System};
use zoutbox_writer::{Options, Writer};

use super::broker::QUEUE;

/// The one writer's id.
const WRITER: &str = "bench";
/// Appends that wait for durability at the same time while the backlog is made.
const IN_FLIGHT: u64 = 4096;

/// A share that nobody touches: each round gets a copy.
pub(crate) struct Backlog {
    root: PathBuf,
    writer: WriterId,
    /// How many segments they lie in.
    pub(crate) segments: usize,
    /// The sequence behind the last record: where a relay's checkpoint ends.
    pub(crate) end: Sequence,
}

impl Backlog {
    /// Appends `records` records with `payload` to a new share at `root`, `per_segment` in a segment if that is given.
    pub(crate) fn make(root: &Path, records: u64, payload: &[u8], per_segment: Option<u64>) -> Result<Self> {
        Share::init(&System::real(), root).context("making a share")?;
        let record = Record::new(QUEUE, payload);
        let options = match per_segment {
            Some(records) => Options { segment_size: segment_size(&record, records)?, ..Options::default() },
            None => Options::default(),
        };
        let writer = Writer::open(root, WRITER, options).context("opening the writer")?;
        let mut end = None;
        // A commit never spans segments: waiting for each segment's records makes segments of exactly that many.
        let burst = per_segment.unwrap_or(IN_FLIGHT).min(IN_FLIGHT);
        let mut left = records;
        while left > 0 {
            let tickets: Vec<_> =
                (0..burst.min(left)).map(|_| writer.append(&record)).collect::<Result<_, _>>()?;
            left -= burst.min(left);
            for ticket in tickets {
                end = Some(ticket.wait().context("appending")?.sequence.next());
            }
        }
        writer.close().context("closing the writer")?;
        let writer: WriterId = WRITER.parse()?;
        let segments = segments(&Layout::new(root).writer(&writer))?;
        Ok(Self { root: root.to_owned(), writer, segments: segments.len(), end: end.context("no records")? })
    }

    /// A share of its own with the same backlog and nothing published, at `root`. Segments are hard links: a relay only
    /// reads, renames and removes them.
    pub(crate) fn replay(&self, root: &Path) -> Result<()> {
        let (from, to) = (Layout::new(&self.root), Layout::new(root));
        Share::init(&System::real(), root).context("making a share")?;
        std::fs::copy(from.marker(), to.marker()).context("copying the share's marker")?;
        std::fs::create_dir(to.writer(&self.writer))?;
        std::fs::copy(from.writer_lock(&self.writer), to.writer_lock(&self.writer))?;
        for path in segments(&from.writer(&self.writer))? {
            let name = path.file_name().context("a segment without a name")?;
            std::fs::hard_link(&path, to.writer(&self.writer).join(name)).context("linking a segment")?;
        }
        Ok(())
    }

    /// Where the relay of the share at `root` keeps what is confirmed.
    pub(crate) fn checkpoint(&self, root: &Path) -> PathBuf {
        Layout::new(root).checkpoint(&self.writer)
    }
}

fn segments(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))?;
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let sealed = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    let paths: Vec<_> = paths.into_iter().filter(sealed).collect();
    ensure!(!paths.is_empty(), "no sealed segments in {}", directory.display());
    Ok(paths)
}

/// A segment that holds this many of these records, and not one more.
fn segment_size(record: &Record, records: u64) -> Result<u64> {
    let mut body = Vec::new();
    record.borrowed(u64::MAX).encode(&mut body)?;
    let frame = (zoutbox_format::frame::FRAME_HEADER_LENGTH + body.len()) as u64;
    let header = zoutbox_format::header::HEADER_LENGTH as u64;
    Ok(header + frame * records + zoutbox_format::frame::SEAL_LENGTH)
}
