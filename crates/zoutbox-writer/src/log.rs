//! The log as its one writer sees it: commits go in, and become durable, definitely refused, or unknown.
//!
//! ```text
//!             first commit                    size or age
//!   no segment ──────────▶ active ─────────────────────────▶ no segment (the old one is sealed aside)
//!     ▲  ▲                   │ write or sync failed: poisoned
//!     │  │                   ▼
//!     │  │               rewrite the commit to a new segment, same identities ──ok──▶ active
//!     │  │                   │ no room: owed until there is some ──the same commit again──▶ rewrite …
//!     │  │                   │ failed otherwise, or given up
//!     │  └── new epoch ── in doubt: the commit's outcome is unknown
//!     │                      │ the claim is lost
//!     └ never ──────────── fenced
//! ```
//!
//! No threads and no waiting: the commit thread and a simulator step the same code.

use std::sync::Arc;
use std::time::Duration;

use zoutbox_format::frame::SEAL_LENGTH;
use zoutbox_format::layout::SegmentName;
use zoutbox_format::{Epoch, PreviousSegment, RecordId, SegmentHeader, SegmentId, Sequence};
use zoutbox_storage::{ErrorKind, StorageError};

use crate::aside::Aside;
use crate::context::Context;
use crate::error::{FenceReason, WriterError};
use crate::prepare::{LEAST_ZEROED, Prepared, remove, seal};
use crate::segment::{Active, encode_commit, encode_start, write_durably};

/// How many bytes may be written before the share's free space is looked at again.
const LOOK_EVERY: u64 = 8 * 1024 * 1024;
/// A buffer that grew for a large record is not kept.
const KEEP_BUFFER: usize = 4 * 1024 * 1024;

/// Where a log starts from, as recovery found it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) epoch: Epoch,
    pub(crate) next_sequence: Sequence,
    pub(crate) previous: Option<PreviousSegment>,
}

pub(crate) struct Log {
    context: Arc<Context>,
    aside: Aside,
    epoch: Epoch,
    next_sequence: Sequence,
    /// Where the last segment that was left ends.
    previous: Option<PreviousSegment>,
    active: Option<Active>,
    /// Why the segment was poisoned that may hold the commit for which there is no room elsewhere.
    owed: Option<Arc<StorageError>>,
    /// A commit's outcome is unknown: this epoch must write nothing more, since its sequences will be used again.
    in_doubt: bool,
    fenced: Option<WriterError>,
    buffer: Vec<u8>,
    /// How much is worth zeroing ahead, in bytes: what the last segment held, or more if it would have held more.
    worth_zeroing: u64,
    unlooked: u64,
}

/// How the start of a segment failed.
enum Failed {
    /// It never got a name: nothing in it will ever be read.
    Unnamed(WriterError),
    /// It may have got its name.
    MaybeNamed(Arc<StorageError>),
}

impl From<WriterError> for Failed {
    fn from(error: WriterError) -> Self {
        Self::Unnamed(error)
    }
}

impl Log {
    pub(crate) fn new(context: Arc<Context>, mut aside: Aside, start: Start) -> Self {
        aside.prepare_ahead(start.epoch, LEAST_ZEROED.min(context.options.segment_size));
        Self {
            context,
            aside,
            epoch: start.epoch,
            next_sequence: start.next_sequence,
            previous: start.previous,
            active: None,
            owed: None,
            in_doubt: false,
            fenced: None,
            buffer: Vec::new(),
            worth_zeroing: 4 * LEAST_ZEROED,
            unlooked: 0,
        }
    }

    /// Makes records durable. Returns the epoch and the first one's sequence.
    ///
    /// With an error of kind unknown they may be there; with any other they are not, and never will be. But with one of kind full it
    /// is not decided yet: commit the very same records again, or [give them up](Log::give_up).
    pub(crate) fn commit(&mut self, bodies: &[Vec<u8>]) -> Result<(Epoch, Sequence), WriterError> {
        if let Some(fenced) = &self.fenced {
            return Err(fenced.clone());
        }
        self.leave_doubt()?;
        let bytes: u64 = bodies.iter().map(|body| crate::queue::framed(body)).sum();
        self.rotate_for(bytes);
        let first = self.next_sequence;
        match self.active.take() {
            Some(active) => self.extend(active, bodies)?,
            None => self.start(bodies)?,
        }
        self.next_sequence = Sequence::new(first.get().saturating_add(bodies.len() as u64));
        self.unlooked = self.unlooked.saturating_add(bytes);
        if self.unlooked >= LOOK_EVERY {
            self.look();
        }
        if self.buffer.capacity() > KEEP_BUFFER {
            self.buffer = Vec::new();
        }
        Ok((self.epoch, first))
    }

    /// After a commit failed with `error`, decides that it is not tried again. Returns what is to be told of its records.
    pub(crate) fn give_up(&mut self, bodies: &[Vec<u8>], error: WriterError) -> WriterError {
        match self.owed.take() {
            Some(source) => self.doubt(bodies.len() as u64, source, None),
            None => error,
        }
    }

    /// Does in place what a second thread would do ahead.
    pub(crate) fn prepare_in_place(&mut self) {
        self.aside.prepare_in_place();
    }

    /// The active segment and the end of its durable frames.
    pub(crate) fn end(&self) -> Option<(SegmentId, u64)> {
        self.active.as_ref().map(|active| (active.id, active.offset))
    }

    /// How long until the active segment is too old; zero when it is.
    pub(crate) fn until_aged(&self) -> Option<Duration> {
        let since = self.active.as_ref()?.since;
        let age = self.context.system.clock.monotonic().saturating_sub(since);
        Some(self.context.options.segment_age.saturating_sub(age))
    }

    /// Seals the active segment if it is too old. An idle writer then has none until its next append.
    pub(crate) fn rotate_if_aged(&mut self) {
        if self.until_aged().is_some_and(|rest| rest.is_zero()) {
            self.rotate();
        }
    }

    /// Ends orderly: seals the active segment, if that is asked for, and removes what was prepared.
    ///
    /// All commits were durable before; an error says that the segment was left unsealed.
    pub(crate) fn finish(&mut self, sealed: bool) -> Result<(), WriterError> {
        let active = self.active.take();
        self.aside.finish();
        match active {
            Some(active) if sealed => seal(&self.context, &active).map_err(WriterError::from),
            _ => Ok(()),
        }
    }

    fn rotate_for(&mut self, bytes: u64) {
        let size = self.context.options.segment_size;
        let (full, unzeroed) = self.active.as_ref().map_or((false, false), |active| {
            let grown = active.offset.saturating_add(bytes).saturating_add(SEAL_LENGTH);
            (grown > size, active.zeroed > 0 && grown > active.zeroed)
        });
        if full || (unzeroed && self.aside.is_prepared()) {
            self.rotate();
        } else {
            self.rotate_if_aged();
        }
    }

    fn rotate(&mut self) {
        if let Some(active) = self.active.take() {
            self.previous = Some(active.end());
            let filled = active.zeroed > 0 && active.offset.saturating_add(LEAST_ZEROED) > active.zeroed;
            self.worth_zeroing = if filled { active.zeroed.saturating_mul(4) } else { active.offset };
            self.aside.seal(active);
            self.look();
        }
    }

    fn look(&mut self) {
        self.unlooked = 0;
        if self.context.options.min_free_space > 0 || self.context.options.unconfirmed_limit.is_some() {
            self.aside.look();
        }
    }

    /// One write and one sync behind the active segment's end.
    fn extend(&mut self, mut active: Active, bodies: &[Vec<u8>]) -> Result<(), WriterError> {
        let records = bodies.len() as u64;
        self.buffer.clear();
        encode_commit(&mut self.buffer, active.seed, self.next_sequence, bodies);
        let limit = self.context.options.commit_limit();
        match active.append(&self.buffer, records, limit) {
            Ok(()) => {
                self.active = Some(active);
                Ok(())
            }
            Err(error) => self.rewrite(active, bodies, error),
        }
    }

    /// The page cache of a file whose write or sync failed can't be trusted, and a sync that is tried again may report success for
    /// bytes that are gone. So the file is left for good, and the commit written again from memory, to a new one.
    fn rewrite(
        &mut self,
        poisoned: Active,
        bodies: &[Vec<u8>],
        error: StorageError,
    ) -> Result<(), WriterError> {
        tracing::warn!(segment = %poisoned.path.display(), %error, "poisoned; its commit is written again");
        self.previous = Some(poisoned.end());
        self.owed = Some(Arc::new(error));
        drop(poisoned);
        self.start(bodies)
    }

    /// Starts a segment with a commit, which is owed to its callers if a poisoned segment may hold it already.
    fn start(&mut self, bodies: &[Vec<u8>]) -> Result<(), WriterError> {
        let records = bodies.len() as u64;
        // A failed sync is also what a writer sees that was cut off and taken over.
        let proven = self.owed.as_ref().map_or(Ok(()), |_| self.context.claim.prove());
        let failed = match proven.map_err(Failed::Unnamed).and_then(|()| self.begin(bodies)) {
            Ok(()) => {
                self.owed = None;
                return Ok(());
            }
            // Whether the records are there is open until there is room.
            Err(Failed::Unnamed(error)) if error.kind() == ErrorKind::Full => return Err(error),
            Err(failed) => failed,
        };
        Err(match (failed, self.owed.take()) {
            (Failed::MaybeNamed(source), _) => self.doubt(records, source, None),
            (Failed::Unnamed(error), None) => self.refuse(error),
            (Failed::Unnamed(WriterError::Fenced { writer, reason }), Some(owed)) => {
                let unknown = self.doubt(records, owed, Some(Arc::clone(&reason)));
                self.refuse(WriterError::Fenced { writer, reason });
                unknown
            }
            (Failed::Unnamed(_), Some(owed)) => self.doubt(records, owed, None),
        })
    }

    /// Starts a segment with a commit. Header and commit are durable before the segment gets its name, and the name before this
    /// returns.
    fn begin(&mut self, bodies: &[Vec<u8>]) -> Result<(), Failed> {
        let prepared = self.aside.take_prepared(self.epoch)?;
        let header = SegmentHeader {
            share: self.context.share.id,
            writer: self.context.writer.clone(),
            id: SegmentId { epoch: self.epoch, first_sequence: self.next_sequence },
            created_ms: self.context.system.clock.now_ms(),
            previous: self.previous,
        };
        self.buffer.clear();
        encode_start(&mut self.buffer, &header, bodies);
        let limit = self.context.options.commit_limit();
        if let Err(error) = write_durably(prepared.lock.file(), &self.buffer, 0, limit) {
            remove(&self.context, &prepared.path);
            return Err(Failed::Unnamed(self.why(error)));
        }
        let path = self.name(&prepared, header.id)?;
        self.active = Some(Active {
            id: header.id,
            lock: prepared.lock,
            path,
            seed: header.crc_seed(),
            offset: self.buffer.len() as u64,
            next_sequence: Sequence::new(self.next_sequence.get().saturating_add(bodies.len() as u64)),
            zeroed: prepared.zeroed,
            since: self.context.system.clock.monotonic(),
        });
        let zeros = self.worth_zeroing.max(LEAST_ZEROED).min(self.context.options.segment_size);
        self.aside.prepare_ahead(self.epoch, zeros);
        Ok(())
    }

    /// Gives a written segment its name, durably.
    fn name(&self, prepared: &Prepared, id: SegmentId) -> Result<std::path::PathBuf, Failed> {
        let disk = &self.context.system.disk;
        let path = self.context.directory.join(SegmentName::open(id).file_name());
        if let Err(error) = disk.rename(&prepared.path, &path) {
            // Over NFS an error can mean that only the answer was lost: see what is there.
            match disk.metadata(&path) {
                Ok(_) => {}
                Err(missing) if missing.is_missing() => {
                    remove(&self.context, &prepared.path);
                    return Err(Failed::Unnamed(self.lost(error)));
                }
                Err(_) => return Err(Failed::MaybeNamed(Arc::new(error))),
            }
        }
        disk.sync_dir(&self.context.directory).map_err(|error| Failed::MaybeNamed(Arc::new(error)))?;
        Ok(path)
    }

    /// A file that can't be written any more may have lost its lock together with the claim.
    fn why(&self, error: StorageError) -> WriterError {
        match self.context.claim.prove() {
            Err(fenced @ WriterError::Fenced { .. }) => fenced,
            _ => error.into(),
        }
    }

    /// A prepared file that is gone was swept by whoever has taken over.
    fn lost(&self, error: StorageError) -> WriterError {
        if !error.is_missing() {
            return error.into();
        }
        let reason = Arc::new(FenceReason::Storage(error));
        WriterError::Fenced { writer: self.context.writer.clone(), reason }
    }

    fn refuse(&mut self, error: WriterError) -> WriterError {
        if matches!(error, WriterError::Fenced { .. }) {
            tracing::error!(%error, "nothing more can be appended");
            self.fenced = Some(error.clone());
        }
        error
    }

    fn doubt(
        &mut self,
        records: u64,
        source: Arc<StorageError>,
        fenced: Option<Arc<FenceReason>>,
    ) -> WriterError {
        self.in_doubt = true;
        let id = |sequence| RecordId { writer: self.context.writer.clone(), epoch: self.epoch, sequence };
        let first = self.next_sequence;
        let last = Sequence::new(first.get().saturating_add(records.saturating_sub(1)));
        WriterError::Unknown { from: id(first), to: id(last), source, fenced }
    }

    /// The sequences of the commit in doubt will be used again, so they must get another epoch.
    fn leave_doubt(&mut self) -> Result<(), WriterError> {
        if !self.in_doubt {
            return Ok(());
        }
        let epoch = self.epoch.next();
        self.context.claim.take_epoch(epoch, self.next_sequence).map_err(|error| self.refuse(error))?;
        self.epoch = epoch;
        self.in_doubt = false;
        Ok(())
    }
}
