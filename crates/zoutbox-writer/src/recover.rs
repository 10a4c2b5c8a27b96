//! Opening a writer: what the one before left behind becomes a closed past, and a new epoch starts behind it.
//!
//! ```text
//!   marker ─▶ writer.lock ─▶ sweep next-* ─▶ newest segment: lock, sync, read ─▶ claim the new epoch
//!                                             │
//!                sound frames, past damage ───┤ end = behind the last sound frame
//!                header unreadable ───────────┘ end = the whole file; sequences skipped for all it could hold
//! ```
//!
//! Old segments are never written to, cut or repaired; the header of the next segment says where the newest one ended. Two
//! ends would be wrong: one in front of an acknowledged record, which would cut it off silently, and one that lets a sequence
//! below an acknowledged one be used again. So:
//!
//! - A gap with sound frames of a later commit behind it is damage to acknowledged records, and the log goes on behind it.
//! - Where nothing can be told from the frames (the header, and with it the seed of their CRCs, is damaged), the end is the end of
//!   the file, and the next sequence lies behind as many records as the file could hold. Readers then report all of that as
//!   lost: more than was there, but never less.
//! - A lock file that names a later sequence than the frames do means that a tail is gone: the new segment starts at that
//!   sequence, and readers report the gap.

use std::path::Path;
use std::time::Duration;

use zoutbox_format::frame::{FRAME_HEADER_LENGTH, Parsed, SEAL_LENGTH, parse};
use zoutbox_format::header::HEADER_LENGTH;
use zoutbox_format::layout::{SegmentName, is_prepared_name};
use zoutbox_format::scan::read_full;
use zoutbox_format::{
    Epoch, FrameKind, Gap, HeaderError, Holder, InvalidFrame, PreviousSegment, Scanner, SegmentHeader,
    SegmentId, Sequence, Step, WriterId,
};
use zoutbox_storage::{DiskFile, Lock, OpenMode, Share, StorageError, System};

use crate::aside::checkpoint;
use crate::claim::{Claim, poll_lock};
use crate::context::Context;
use crate::error::WriterError;
use crate::log::Start;
use crate::options::{Options, ZeroAhead};

/// How long the newest segment may stay locked when the writer's own lock was free: until the lease of a host that was cut off
/// is over, the server hands out neither.
const SEGMENT_PATIENCE: Duration = Duration::from_secs(5);

/// What an open found and claimed.
pub(crate) struct Recovered {
    pub(crate) context: Context,
    pub(crate) start: Start,
    /// The ends of all segments there are, in order; only if the limit on unconfirmed bytes is in use.
    pub(crate) segments: Vec<(SegmentId, u64)>,
}

pub(crate) fn recover(
    system: System,
    share: Share,
    writer: &WriterId,
    options: Options,
) -> Result<Recovered, WriterError> {
    let directory = share.layout.writer(writer);
    system.disk.create_dir(&share.layout.writers())?;
    system.disk.create_dir(&directory)?;
    system.disk.sync_dir(&share.layout.writers())?;
    let (claim, before) = Claim::take(&system, writer, share.layout.writer_lock(writer))?;
    let zero_ahead = match options.zero_ahead {
        ZeroAhead::Always => true,
        ZeroAhead::Never => false,
        ZeroAhead::Auto => system.disk.file_system(&directory)?.rewards_zeroed_files(),
    };
    let writer = writer.clone();
    let context = Context { system, share, writer, directory, options, claim, zero_ahead };
    let (names, prepared) = sweep(&context)?;
    // Names may be visible without being durable: those that the next header refers to, and the lock file's, which keeps the epochs.
    context.system.disk.sync_dir(&context.directory)?;
    let newest = names.last().map(|name| read_end(&context, *name)).transpose()?;
    let ends = ends(&context, &names, newest.as_ref().map(|found| found.end_offset))?;
    let start = claim_epoch(&context, before.as_ref(), newest, prepared)?;
    Ok(Recovered { context, start, segments: ends })
}

/// The epoch behind every one that was ever used, and the sequence behind every record that was ever acknowledged.
fn claim_epoch(
    context: &Context,
    before: Option<&Holder>,
    newest: Option<PreviousSegment>,
    prepared: Option<Epoch>,
) -> Result<Start, WriterError> {
    let confirmed = checkpoint(context).map(|checkpoint| checkpoint.position);
    let epochs = [
        before.map(|holder| holder.epoch),
        newest.map(|found| found.id.epoch),
        confirmed.map(|position| position.segment.epoch),
        prepared,
    ];
    let epoch = epochs.into_iter().flatten().max().map_or(Epoch::FIRST, Epoch::next);
    let claimed = before.and_then(|holder| holder.next_sequence).unwrap_or(Sequence::FIRST);
    let (next_sequence, previous) = match newest {
        Some(found) => {
            let next_sequence = found.next_sequence.max(claimed);
            (next_sequence, Some(PreviousSegment { next_sequence, ..found }))
        }
        // Somebody has removed the segments; what the checkpoint and the lock file say is all there is to go by.
        None => (confirmed.map_or(claimed, |position| position.next_sequence.max(claimed)), None),
    };
    context.claim.take_epoch(epoch, next_sequence)?;
    Ok(Start { epoch, next_sequence, previous })
}

/// Lists the segments in order, and removes what was prepared and never used, so that nobody can give it a name any more. Listed
/// again after that, since one may have got its name in between.
fn sweep(context: &Context) -> Result<(Vec<SegmentName>, Option<Epoch>), WriterError> {
    let disk = &context.system.disk;
    let mut highest = None;
    loop {
        let mut names = Vec::new();
        let mut prepared = Vec::new();
        for entry in disk.list(&context.directory)? {
            let name = entry.name.to_string_lossy();
            names.extend(SegmentName::parse(&name));
            if is_prepared_name(&name) {
                let epoch = name.rsplit('-').next().and_then(|epoch| epoch.parse().ok()).map(Epoch::new);
                highest = highest.max(epoch);
                prepared.push(context.directory.join(&entry.name));
            }
        }
        if prepared.is_empty() {
            names.sort_unstable();
            // Both names of a segment can show for a while after it was sealed.
            names.dedup_by(|sealed, open| {
                sealed.id == open.id && {
                    *open = *sealed;
                    true
                }
            });
            return Ok((names, highest));
        }
        for path in prepared {
            match lock_segment(context, &path)
                .and_then(|lock| disk.remove_file(&path).map(|()| drop(lock)).map_err(WriterError::from))
            {
                Err(WriterError::Storage(error)) if error.is_missing() => {}
                other => other?,
            }
        }
    }
}

/// Takes the lock of a file that the writer before may still have open: then it can't become durable behind our back.
fn lock_segment(context: &Context, path: &Path) -> Result<Lock, WriterError> {
    let lock = poll_lock(&context.system, path, OpenMode::Write, SEGMENT_PATIENCE)?;
    lock.ok_or_else(|| WriterError::Locked {
        writer: context.writer.clone(),
        path: path.to_owned(),
        holder: None,
    })
}

/// Where the newest segment ends. Everything in front of that is durable afterwards.
fn read_end(context: &Context, name: SegmentName) -> Result<PreviousSegment, WriterError> {
    let path = context.directory.join(name.file_name());
    // Before anything is read: whoever was cut off with this file open can't write to it any more.
    let lock = lock_segment(context, &path)?;
    // What is visible may be another host's unsynced data: what is not made durable before it is counted can be gone when it is.
    lock.file().sync()?;
    let file = context.system.disk.open(&path, OpenMode::Read)?;
    let length = DiskFile::metadata(&*file)?.length;
    let found = match read_header(context, &*file, name.id) {
        Ok(header) => read_frames(&path, &*file, &header, length)?,
        Err(Unreadable::Storage(error)) => return Err(error.into()),
        Err(Unreadable::Header(source @ HeaderError::Newer(_))) => {
            return Err(WriterError::Segment { path, source });
        }
        Err(Unreadable::Header(source)) => {
            tracing::error!(segment = %path.display(), %source, "unreadable; skipping all it could hold");
            unreadable(&*file, name.id, name.id.first_sequence, HEADER_LENGTH as u64, length)?
        }
    };
    // What came while it was read.
    lock.file().sync()?;
    if found.sealed && !name.sealed {
        let sealed = context.directory.join(SegmentName::sealed(name.id).file_name());
        context.system.disk.rename(&path, &sealed)?;
        context.system.disk.sync_dir(&context.directory)?;
    }
    Ok(PreviousSegment { id: name.id, end_offset: found.offset, next_sequence: found.next_sequence })
}

/// The end of a segment.
struct End {
    offset: u64,
    next_sequence: Sequence,
    sealed: bool,
}

enum Unreadable {
    Storage(StorageError),
    Header(HeaderError),
}

fn read_header(context: &Context, file: &dyn DiskFile, id: SegmentId) -> Result<SegmentHeader, Unreadable> {
    let mut bytes = [0; HEADER_LENGTH];
    let length = read_full(file, &mut bytes, 0).map_err(Unreadable::Storage)?;
    let header = SegmentHeader::decode(bytes.get(..length).unwrap_or_default());
    let header = header.map_err(Unreadable::Header)?;
    let ours = header.share == context.share.id && header.writer == context.writer && header.id == id;
    if ours { Ok(header) } else { Err(Unreadable::Header(HeaderError::Field("identity"))) }
}

/// Reads to behind the last sound frame, past damage.
fn read_frames(
    path: &Path,
    file: &dyn DiskFile,
    header: &SegmentHeader,
    length: u64,
) -> Result<End, WriterError> {
    let mut scanner = Scanner::from_start(header);
    loop {
        let sealed = match scanner.step(file)? {
            Step::Record(_) => continue,
            Step::Sealed(_) => true,
            Step::Invalid(InvalidFrame::Kind(kind)) => {
                return Err(WriterError::NewerFrame {
                    path: path.to_owned(),
                    offset: scanner.offset(),
                    kind,
                });
            }
            Step::Unwritten | Step::Partial | Step::Invalid(_) | Step::End => false,
        };
        let end = End { offset: scanner.offset(), next_sequence: scanner.next_sequence(), sealed };
        if sealed {
            return Ok(end);
        }
        match scanner.classify_gap(file, false)? {
            Gap::Torn => return Ok(end),
            Gap::Damaged { resume_offset, resume_sequence } => {
                tracing::error!(segment = %path.display(), offset = end.offset,
                    lost_from = %end.next_sequence, lost_until = %resume_sequence, "damaged");
                scanner.resume(resume_offset, resume_sequence);
            }
            Gap::Unresolved => {
                return unreadable(file, header.id, end.next_sequence, end.offset, length);
            }
        }
    }
}

/// The end of a segment whose frames behind `offset` can't be told: the end of the file, and as many records as it could hold.
fn unreadable(
    file: &dyn DiskFile,
    id: SegmentId,
    next: Sequence,
    offset: u64,
    length: u64,
) -> Result<End, WriterError> {
    let written = written_end(file, length)?;
    // A frame has a body: the smallest record takes more than its header.
    let most = written.saturating_sub(offset) / (FRAME_HEADER_LENGTH as u64 + 1);
    // A segment has its name because a record in it was durable.
    let least = id.first_sequence.next();
    let next_sequence = Sequence::new(next.get().saturating_add(most).saturating_add(1)).max(least);
    Ok(End { offset: length.max(HEADER_LENGTH as u64), next_sequence, sealed: false })
}

/// Behind the last byte that is not zero.
fn written_end(file: &dyn DiskFile, length: u64) -> Result<u64, StorageError> {
    let mut buffer = vec![0; 256 * 1024];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let size = usize::try_from(end - start).unwrap_or(usize::MAX);
        let piece = buffer.get_mut(..size).unwrap_or_default();
        let read = read_full(file, piece, start)?;
        let last = piece.get(..read).and_then(|piece| piece.iter().rposition(|byte| *byte != 0));
        if let Some(last) = last {
            return Ok(start.saturating_add(last as u64).saturating_add(1));
        }
        end = start;
    }
    Ok(0)
}

/// Finishes seals that a crash interrupted before the rename, and tells where the segments end, if anybody wants to know.
fn ends(
    context: &Context,
    names: &[SegmentName],
    newest: Option<u64>,
) -> Result<Vec<(SegmentId, u64)>, WriterError> {
    let mut ends = Vec::new();
    let (last, older) = names.split_last().map_or((None, names), |(last, older)| (Some(last), older));
    for name in older {
        let path = context.directory.join(name.file_name());
        if !name.sealed && is_sealed(context, *name, &path).unwrap_or(false) {
            let sealed = context.directory.join(SegmentName::sealed(name.id).file_name());
            context.system.disk.rename(&path, &sealed)?;
        }
        if context.options.unconfirmed_limit.is_some() {
            let paths = [SegmentName::open(name.id), SegmentName::sealed(name.id)];
            let length = paths.iter().find_map(|name| {
                context.system.disk.metadata(&context.directory.join(name.file_name())).ok()
            });
            ends.extend(length.map(|metadata| (name.id, metadata.length)));
        }
    }
    ends.extend(last.map(|name| name.id).zip(newest));
    Ok(ends)
}

/// Whether an older segment ends in its seal, so that only its name is behind.
fn is_sealed(context: &Context, name: SegmentName, path: &Path) -> Result<bool, StorageError> {
    let file = context.system.disk.open(path, OpenMode::Read)?;
    let Ok(header) = read_header(context, &*file, name.id) else { return Ok(false) };
    let Some(start) = DiskFile::metadata(&*file)?.length.checked_sub(SEAL_LENGTH) else { return Ok(false) };
    let mut bytes = vec![0; usize::try_from(SEAL_LENGTH).unwrap_or_default()];
    let length = read_full(&*file, &mut bytes, start)?;
    let tail = bytes.get(..length).unwrap_or_default();
    let sealed =
        matches!(parse(tail, header.crc_seed()), Parsed::Frame(frame) if frame.kind == FrameKind::Seal);
    if sealed {
        // What is visible may not be durable.
        context.system.disk.open(path, OpenMode::Write)?.sync()?;
    }
    Ok(sealed)
}
