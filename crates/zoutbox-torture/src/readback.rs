//! What lies on the share, read as any other program would: through the mount, by `zoutbox-reader`.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use zoutbox_format::checkpoint::Position;
use zoutbox_format::layout::SegmentName;
use zoutbox_format::{RecordId, RecordRef, WriterId};
use zoutbox_reader::{LogRecord, Stop, StoredCheckpoint, Tail, checkpoint, segments};
use zoutbox_storage::{OpenMode, Share, System};

use crate::content::{large, number_of};
use crate::ledger::Found;
use crate::victim::{LARGE, WRITER};

/// How many bytes are read at a time.
const BUDGET: usize = 1024 * 1024;

/// The share as its reader sees it.
pub(crate) struct Reader {
    system: System,
    share: Share,
    writer: WriterId,
}

impl Reader {
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let system = System::real();
        let share = Share::open(&system, root)?;
        Ok(Self { system, share, writer: WriterId::new(WRITER)? })
    }

    /// The whole log. Damage is an error: there is no fault here that may damage what was acknowledged.
    pub(crate) fn log(&self) -> Result<Vec<Found>> {
        let mut tail = Tail::new(self.system.clone(), self.share.clone(), self.writer.clone(), None);
        let mut log = Vec::new();
        loop {
            let batch = tail.read(BUDGET)?;
            for record in &batch.records {
                log.push(self.found(record)?);
            }
            match batch.stop {
                Stop::CaughtUp => return Ok(log),
                Stop::Damaged(damage) => bail!("{damage}"),
                Stop::Budget | Stop::Repeats { .. } => {}
            }
        }
    }

    fn found(&self, record: &LogRecord) -> Result<Found> {
        let LogRecord { epoch, sequence, .. } = *record;
        let id = RecordId { writer: self.writer.clone(), epoch, sequence }.to_string();
        let decoded = RecordRef::decode(&record.body).with_context(|| id.clone())?;
        let number = match decoded.large_payload() {
            None => number_of(decoded.payload()),
            Some(reference) => {
                let path = self.share.layout.payload(&reference.name);
                let file =
                    self.system.disk.open(&path, OpenMode::Read).with_context(|| {
                        format!("{id} names a payload that is not there: {}", path.display())
                    })?;
                let mut bytes = vec![0; LARGE + 1];
                let read = zoutbox_format::scan::read_full(&*file, &mut bytes, 0)?;
                bytes.truncate(read);
                let sound = bytes == large(reference.name.id(), LARGE)
                    && reference.size == bytes.len() as u64
                    && reference.crc == crc32fast::hash(&bytes);
                sound.then(|| decoded.key?.parse().ok()).flatten()
            }
        };
        Ok(Found { id, sequence: sequence.get(), number })
    }

    /// The segments that are there, in order.
    pub(crate) fn segments(&self) -> Result<Vec<SegmentName>> {
        Ok(segments(&self.system, &self.share, &self.writer)?)
    }

    /// Up to where the relay says that the broker has everything.
    pub(crate) fn checkpoint(&self) -> Result<Option<Position>> {
        match checkpoint(&self.system, &self.share, &self.writer)? {
            StoredCheckpoint::None => Ok(None),
            StoredCheckpoint::Found(checkpoint) => Ok(Some(checkpoint.position)),
            StoredCheckpoint::Damaged { path, reason } => {
                Err(anyhow!("{} is damaged: {reason}", path.display()))
            }
        }
    }
}
