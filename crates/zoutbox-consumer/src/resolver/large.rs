//! Large payloads, streamed from the share: never in memory as a whole, and never as if they were whole when they are not.

use std::io::{self, Read};
use std::sync::Arc;

use zoutbox_format::{PayloadReference, RecordId, SegmentId};
use zoutbox_storage::{DiskFile, StorageError};

use super::error::{PayloadFault, ResolveError, Unseen};
use super::ground::{Ground, if_there};

/// A payload in a file of its own.
#[derive(Debug)]
pub struct Large<'a> {
    ground: &'a Arc<Ground>,
    reference: PayloadReference,
    record: RecordId,
    segment: Option<SegmentId>,
}

/// The payload of a record, and where that record lies: by its segment if a pointer led to it.
#[derive(Debug, Clone)]
struct Sought {
    ground: Arc<Ground>,
    reference: PayloadReference,
    record: RecordId,
    segment: Option<SegmentId>,
}

impl<'a> Large<'a> {
    pub(super) const fn new(
        ground: &'a Arc<Ground>,
        reference: PayloadReference,
        record: RecordId,
        segment: Option<SegmentId>,
    ) -> Self {
        Self { ground, reference, record, segment }
    }

    /// Where it lies below the share's root, how many bytes it has, and their CRC.
    #[must_use]
    pub const fn reference(&self) -> &PayloadReference {
        &self.reference
    }

    /// The segment that holds the payload's record, and with which the payload goes; `None` if it is not there any more. Of an inline message
    /// it is looked for in the names of the writer's segments. Blocks.
    ///
    /// # Errors
    /// [`ResolveError::Storage`] and [`ResolveError::ShareGone`] when the share can't be read.
    pub fn segment(&self) -> Result<Option<SegmentId>, ResolveError> {
        if self.segment.is_some() {
            return Ok(self.segment);
        }
        let (layout, writer) = (&self.ground.below, &self.record.writer);
        let live = self.ground.segments(&layout.writer(writer))?;
        let archived = self.ground.segments(&layout.archive(writer))?;
        self.ground.is_still_there()?;
        let at = SegmentId { epoch: self.record.epoch, first_sequence: self.record.sequence };
        let before = live.iter().chain(&archived).map(|name| name.id).filter(|id| *id <= at).max();
        Ok(before.filter(|id| id.epoch == at.epoch))
    }

    /// Opens it for reading from the front. Blocks, as reading does.
    ///
    /// # Errors
    /// [`ResolveError::Expired`] when it was removed together with the segment of its record; [`ResolveError::NotYet`] when it is not to be
    /// seen although that segment is; [`ResolveError::Payload`] when it has another length than its record says.
    pub fn open(&self) -> Result<LargeReader, ResolveError> {
        let sought = Sought {
            ground: Arc::clone(self.ground),
            reference: self.reference.clone(),
            record: self.record.clone(),
            segment: self.segment,
        };
        let file = sought.open()?;
        let hasher = crc32fast::Hasher::new();
        let reader = LargeReader { sought, file, hasher, offset: 0, failed: false };
        // Of an empty payload no read has a last byte to withhold.
        if reader.rest() == 0 {
            reader.check()?;
        }
        Ok(reader)
    }
}

impl Sought {
    fn open(&self) -> Result<Box<dyn DiskFile>, ResolveError> {
        let path = self.ground.below.payload(&self.reference.name);
        for asked in [false, true] {
            if asked && let Some(directory) = path.parent() {
                self.ground.ask(directory)?;
            }
            let Some(file) = self.ground.look(&path)? else { continue };
            // Asked of the server, so that a length cached here is not taken for the file's.
            let Some(metadata) = if_there(file.metadata())? else { continue };
            let (expected, found) = (self.reference.size, metadata.length);
            if found != expected {
                return Err(self.fault(PayloadFault::Size { expected, found }));
            }
            return Ok(file);
        }
        Err(self.missing()?)
    }

    fn fault(&self, fault: PayloadFault) -> ResolveError {
        ResolveError::Payload {
            path: self.ground.path(&self.ground.below.payload(&self.reference.name)),
            fault,
        }
    }

    /// A payload is there before its record is, and removed only after all that name it. So it was removed if its record was; and if that is
    /// still there, this host does not see the payload yet, or somebody else than the relay removed it, which only a person can know.
    fn missing(&self) -> Result<ResolveError, ResolveError> {
        let (layout, writer) = (&self.ground.below, &self.record.writer);
        let path = self.ground.path(&layout.payload(&self.reference.name));
        let live = self.ground.segments(&layout.writer(writer))?;
        let archived = self.ground.segments(&layout.archive(writer))?;
        self.ground.is_still_there()?;
        let at = SegmentId { epoch: self.record.epoch, first_sequence: self.record.sequence };
        let may_hold = |id: SegmentId| match self.segment {
            Some(segment) => id == segment,
            None => id.epoch == at.epoch && id <= at,
        };
        let record_is_there = live.iter().chain(&archived).any(|name| may_hold(name.id));
        let later = live.iter().any(|name| name.id > self.segment.unwrap_or(at));
        Ok(if later && !record_is_there {
            ResolveError::Expired { path }
        } else {
            ResolveError::NotYet { path, unseen: Unseen::Payload }
        })
    }
}

/// Streams a large payload; it needs neither the records nor the resolver any more.
///
/// The read that would give the last bytes fails instead if CRC or size are not as the record says, and so does every read after it: what
/// was read until its end is what was appended. An error of [`Read::read`] that is the resolver's own has a [`ResolveError`] inside
/// ([`std::io::Error::get_ref`]).
#[derive(Debug)]
pub struct LargeReader {
    sought: Sought,
    file: Box<dyn DiskFile>,
    hasher: crc32fast::Hasher,
    /// How much was given out and went into the CRC.
    offset: u64,
    failed: bool,
}

impl LargeReader {
    fn rest(&self) -> u64 {
        self.sought.reference.size.saturating_sub(self.offset)
    }

    /// Reads what is there; none before the end is asked for once more, and then an error.
    fn fill(&self, buffer: &mut [u8]) -> Result<usize, ResolveError> {
        let read = |buffer: &mut [u8]| self.known(self.file.read_at(buffer, self.offset));
        match read(buffer)? {
            0 => {}
            count => return Ok(count),
        }
        self.known(self.file.metadata())?;
        match read(buffer)? {
            0 => Err(self
                .sought
                .fault(PayloadFault::Size { expected: self.sought.reference.size, found: self.offset })),
            count => Ok(count),
        }
    }

    /// A file that went away while it was read: the same question as if it had not been there.
    fn known<T>(&self, result: Result<T, StorageError>) -> Result<T, ResolveError> {
        match if_there(result)? {
            Some(value) => Ok(value),
            None => Err(self.sought.missing()?),
        }
    }

    /// At the end: nothing behind it, and the CRC of all that was read.
    fn check(&self) -> Result<(), ResolveError> {
        let PayloadReference { size, crc, .. } = self.sought.reference;
        if self.known(self.file.read_at(&mut [0], size))? > 0 {
            let found = self.known(self.file.metadata())?.length;
            return Err(self.sought.fault(PayloadFault::Size { expected: size, found }));
        }
        let found = self.hasher.clone().finalize();
        if found == crc { Ok(()) } else { Err(self.sought.fault(PayloadFault::Crc { expected: crc, found })) }
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, ResolveError> {
        let most = usize::try_from(self.rest()).unwrap_or(usize::MAX).min(buffer.len());
        let Some(wanted) = buffer.get_mut(..most).filter(|wanted| !wanted.is_empty()) else { return Ok(0) };
        let count = self.fill(wanted)?;
        self.hasher.update(wanted.get(..count).unwrap_or_default());
        self.offset = self.offset.saturating_add(count as u64);
        if self.rest() == 0 {
            self.check()?;
        }
        Ok(count)
    }
}

impl Read for LargeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::other("this payload could not be read before"));
        }
        self.next(buffer).map_err(|error| {
            self.failed = true;
            io::Error::other(error)
        })
    }
}
