//! Finding a segment under whichever name it has by now, and reading what a pointer means in it.
//!
//! ```text
//!   writers/orders/…open ──sealed──▶ writers/orders/…seg ──archived──▶ archive/orders/…seg ──▶ gone
//!        look 1                           look 2                            look 3
//! ```
//!
//! A segment moves only this way, so who looks in this order, each time as the server has it, can't miss it, but for a move between a look
//! and the question before it; hence two rounds. If both find nothing, and the first one's listing shows a later segment, this one was
//! removed: only the relay removes, and never a writer's newest.
//!
//! What an old name still leads to, for half a minute after a renaming, is the same file: its header is the truth.
//!
//! **A segment that a later one follows has ended**: what was acknowledged in it had been durable before the later one got its name, so bytes
//! that are not there then never come. They were of a commit that failed, or they are damaged. Waiting for them would hold up
//! the writer's messages for ever.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zoutbox_format::frame::{Parsed, SEAL_LENGTH, Seal, parse};
use zoutbox_format::header::{CrcSeed, HEADER_LENGTH};
use zoutbox_format::layout::SegmentName;
use zoutbox_format::scan::read_full;
use zoutbox_format::{FrameKind, HeaderError, Pointer, SegmentHeader, SegmentId, WriterId};
use zoutbox_storage::{DiskFile, StorageError};

use super::error::{ByteFault, ResolveError, Unseen};
use super::ground::{Ground, if_there};

/// How often a segment is looked at for one pointer: as it is cached, as the server has it, and the same again if it moved meanwhile.
const MOST_LOOKS: usize = 5;
/// In how many rounds it must not be found to be gone.
const ROUNDS: usize = 2;

/// An open segment whose header is sound.
#[derive(Debug)]
pub(super) struct Segment {
    writer: WriterId,
    id: SegmentId,
    file: Box<dyn DiskFile>,
    pub(super) seed: CrcSeed,
    /// By its name; if not by that, then perhaps by its last bytes.
    sealed: bool,
    /// A later one is there.
    followed: bool,
}

/// Opens segments, and keeps those open that were used last.
#[derive(Debug)]
pub(super) struct Segments {
    ground: Arc<Ground>,
    /// The one used last is the last one.
    open: Vec<Segment>,
    most_open: usize,
}

impl Segments {
    pub(super) fn new(ground: Arc<Ground>, most_open: usize) -> Self {
        Self { ground, open: Vec::new(), most_open }
    }

    /// Fills `buffer` with the bytes that the pointer means, of which the CRC matches.
    pub(super) fn read(&mut self, pointer: &Pointer, buffer: &mut [u8]) -> Result<&Segment, ResolveError> {
        let mut segment = match self.take_open(pointer) {
            Some(segment) => segment,
            None => self.find(pointer)?,
        };
        let mut asked = false;
        for _ in 0..MOST_LOOKS {
            let there = match if_there(segment.read(pointer, buffer))? {
                Some(Ok(())) => return Ok(self.keep(segment)),
                // Read once more: what was read may be older than the later segment.
                Some(Err(_)) if asked && !segment.followed && self.is_followed(pointer)? => {
                    segment.followed = true;
                    if_there(segment.ask())?.is_some()
                }
                Some(Err(fault)) if asked => return Err(self.unreadable(segment, pointer, fault)?),
                // What is cached may be older than the pointer: ask the server, and read once more.
                Some(Err(_)) => if_there(segment.ask())?.is_some(),
                None => false,
            };
            asked = true;
            if !there {
                segment = self.find(pointer)?;
            }
        }
        Err(ResolveError::NotYet { path: segment.file.path().to_owned(), unseen: Unseen::Restless })
    }

    fn is_followed(&self, pointer: &Pointer) -> Result<bool, StorageError> {
        let names = self.ground.segments(&self.ground.below.writer(&pointer.writer))?;
        Ok(names.iter().any(|name| name.id > pointer.segment))
    }

    fn take_open(&mut self, pointer: &Pointer) -> Option<Segment> {
        let same = |open: &Segment| open.id == pointer.segment && open.writer == pointer.writer;
        let index = self.open.iter().rposition(same)?;
        Some(self.open.remove(index))
    }

    fn keep(&mut self, segment: Segment) -> &Segment {
        // The one that is returned counts as well, so at least one is kept.
        while self.open.len() >= self.most_open.max(1) {
            self.open.remove(0);
        }
        self.open.push_mut(segment)
    }

    /// The server was asked, and the bytes are still not those that the pointer means.
    fn unreadable(
        &mut self,
        mut segment: Segment,
        pointer: &Pointer,
        fault: ByteFault,
    ) -> Result<ResolveError, StorageError> {
        let (path, offset, length) = (segment.file.path().to_owned(), pointer.offset, pointer.length);
        segment.sealed = segment.sealed || if_there(segment.ends_in_seal())?.unwrap_or(false);
        if segment.sealed || segment.followed {
            // Not kept: opened afresh, it may show something else.
            return Ok(ResolveError::Bytes { path, offset, length, fault });
        }
        self.keep(segment);
        Ok(ResolveError::NotYet { path, unseen: Unseen::Bytes { offset, fault } })
    }

    /// Opens the pointer's segment: as this host sees it, and if it does not, as the server has it.
    fn find(&self, pointer: &Pointer) -> Result<Segment, ResolveError> {
        if let Some(segment) = self.look(pointer, false)? {
            return Ok(segment);
        }
        let live = self.ground.below.writer(&pointer.writer);
        let mut expired = true;
        for _ in 0..ROUNDS {
            let names = self.ground.segments(&live)?;
            expired = expired && names.iter().any(|name| name.id > pointer.segment);
            if let Some(segment) = self.look(pointer, true)? {
                return Ok(segment);
            }
        }
        self.ground.is_still_there()?;
        let path = self.ground.path(&live.join(SegmentName::sealed(pointer.segment).file_name()));
        Err(if expired {
            ResolveError::Expired { path }
        } else {
            ResolveError::NotYet { path, unseen: Unseen::File }
        })
    }

    fn look(&self, pointer: &Pointer, ask: bool) -> Result<Option<Segment>, ResolveError> {
        let names = [SegmentName::open(pointer.segment), SegmentName::sealed(pointer.segment)];
        let live = self.ground.below.writer(&pointer.writer);
        for name in names {
            if let Some(segment) = self.open(&live, name, pointer)? {
                return Ok(Some(segment));
            }
        }
        let archive = self.ground.below.archive(&pointer.writer);
        if ask {
            self.ground.ask(&archive)?;
        }
        // A segment that was never sealed is archived under the name that it has.
        for name in names {
            if let Some(segment) = self.open(&archive, name, pointer)? {
                return Ok(Some(segment));
            }
        }
        Ok(None)
    }

    fn open(
        &self,
        directory: &Path,
        name: SegmentName,
        pointer: &Pointer,
    ) -> Result<Option<Segment>, ResolveError> {
        let Some(file) = self.ground.look(&directory.join(name.file_name()))? else { return Ok(None) };
        let Some(header) = if_there(read_header(&*file))? else { return Ok(None) };
        let path = || file.path().to_owned();
        let header = header.map_err(|source| unusable(path(), name, source))?;
        let same = header.share == pointer.share
            && header.writer == pointer.writer
            && header.id == pointer.segment
            && header.id == name.id;
        if !same {
            return Err(ResolveError::Foreign { path: path() });
        }
        let (seed, sealed) = (header.crc_seed(), name.sealed);
        Ok(Some(Segment { writer: header.writer, id: header.id, file, seed, sealed, followed: false }))
    }
}

fn unusable(path: PathBuf, name: SegmentName, source: HeaderError) -> ResolveError {
    match source {
        // It was durable before the file had its name: another host may still see the file without it.
        HeaderError::Short | HeaderError::Magic | HeaderError::Crc if !name.sealed => {
            ResolveError::NotYet { path, unseen: Unseen::Header }
        }
        _ => ResolveError::Header { path, source },
    }
}

/// Reads the header, and once more after asking the server if it is not sound.
fn read_header(file: &dyn DiskFile) -> Result<Result<SegmentHeader, HeaderError>, StorageError> {
    let read = || {
        let mut bytes = [0; HEADER_LENGTH];
        let length = read_full(file, &mut bytes, 0)?;
        Ok(SegmentHeader::decode(bytes.get(..length).unwrap_or_default()))
    };
    let seen = read()?;
    if seen.is_ok() {
        return Ok(seen);
    }
    file.metadata()?;
    read()
}

impl Segment {
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Has the next read see what the server has, whatever this host has cached.
    fn ask(&self) -> Result<(), StorageError> {
        self.file.forget_cached()?;
        self.file.metadata().map(drop)
    }

    /// Reads what the pointer means, in one call, and compares its CRC.
    fn read(&self, pointer: &Pointer, buffer: &mut [u8]) -> Result<Result<(), ByteFault>, StorageError> {
        let length = read_full(&*self.file, buffer, pointer.offset)?;
        if length < buffer.len() {
            return Ok(Err(ByteFault::Short(length)));
        }
        let (expected, found) = (pointer.crc, crc32fast::hash(buffer));
        Ok(if expected == found { Ok(()) } else { Err(ByteFault::Crc { expected, found }) })
    }

    /// Whether the file ends in a seal: then nothing in it changes any more, whatever it was called when it was opened.
    fn ends_in_seal(&self) -> Result<bool, StorageError> {
        let Some(offset) = self.file.metadata()?.length.checked_sub(SEAL_LENGTH) else { return Ok(false) };
        let mut bytes = vec![0; usize::try_from(SEAL_LENGTH).unwrap_or_default()];
        let length = read_full(&*self.file, &mut bytes, offset)?;
        Ok(match parse(bytes.get(..length).unwrap_or_default(), self.seed) {
            Parsed::Frame(frame) if frame.kind == FrameKind::Seal => {
                Seal::decode(frame.body).is_some_and(|seal| seal.offset == offset)
            }
            _ => false,
        })
    }
}
