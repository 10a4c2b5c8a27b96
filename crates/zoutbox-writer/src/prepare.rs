//! Work beside the append path: preparing the next segment's file, sealing finished segments.
//!
//! ```text
//!   next-<epoch>  made, locked, zeroed, claim proven     (prepare, ahead of time)
//!        │ header + first commit, sync                   (append path)
//!        ▼ rename, sync directory
//!   <epoch>-<first>.open                                 (commits)
//!        │ seal frame, sync, cut zeros, sync             (seal, afterwards)
//!        ▼ rename, sync directory
//!   <epoch>-<first>.seg
//! ```

use std::path::{Path, PathBuf};

use zoutbox_format::Epoch;
use zoutbox_format::layout::{SegmentName, prepared_name};
use zoutbox_storage::{DiskFile, Lock, OpenMode, StorageError};

use crate::context::Context;
use crate::error::{FenceReason, WriterError};
use crate::segment::Active;

/// Less than this is never worth filling with zeros, in bytes.
pub(crate) const LEAST_ZEROED: u64 = 1024 * 1024;
static ZEROS: [u8; 1024 * 1024] = [0; 1024 * 1024];

/// A locked file without a segment's name. The claim was proven after it had been made and locked: whoever takes the writer
/// over later finds it and its lock.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) epoch: Epoch,
    pub(crate) lock: Lock,
    pub(crate) path: PathBuf,
    /// How far it is filled with zeros.
    pub(crate) zeroed: u64,
}

/// Makes the file for the next segment.
pub(crate) fn prepare(context: &Context, epoch: Epoch, zeros: u64) -> Result<Prepared, WriterError> {
    let path = context.directory.join(prepared_name(epoch));
    let file = create(context, &path)?;
    let prepared = Lock::try_file(file).map_err(WriterError::from).and_then(|lock| {
        let lock = lock.ok_or_else(|| taken(context, &path))?;
        let zeroed = if context.zero_ahead { fill(context, lock.file(), zeros)? } else { 0 };
        context.claim.prove()?;
        Ok(Prepared { epoch, lock, path: path.clone(), zeroed })
    });
    if prepared.is_err() {
        remove(context, &path);
    }
    prepared
}

fn create(context: &Context, path: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
    let disk = &context.system.disk;
    match disk.open(path, OpenMode::CreateNew) {
        // Our own, from a failed attempt: nobody else makes files of this name while the claim is held.
        Err(StorageError::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
            disk.remove_file(path)?;
            disk.open(path, OpenMode::CreateNew)
        }
        other => other,
    }
}

/// Somebody else has locked a file that only the holder of the claim makes.
fn taken(context: &Context, path: &Path) -> WriterError {
    let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
    let operation = zoutbox_storage::Operation::Lock;
    let source = StorageError::Io { operation, path: path.to_owned(), offset: None, source: busy };
    let reason = std::sync::Arc::new(FenceReason::Storage(source));
    WriterError::Fenced { writer: context.writer.clone(), reason }
}

/// Fills the file with zeros, so that later syncs have no blocks to allocate. Only a matter of speed: without room for them
/// the file is left empty, and where that fails the file is given up and another one used without.
fn fill(context: &Context, file: &dyn DiskFile, zeros: u64) -> Result<u64, StorageError> {
    let space = context.system.disk.space(&context.directory)?;
    if space.available < zeros.saturating_add(context.options.min_free_space) {
        return Ok(0);
    }
    let mut offset = 0;
    while offset < zeros {
        let piece = usize::try_from(zeros - offset).unwrap_or(usize::MAX).min(ZEROS.len());
        let written = file.write_at(ZEROS.get(..piece).unwrap_or_default(), offset);
        written.and_then(|()| file.sync())?;
        offset += piece as u64;
    }
    Ok(zeros)
}

/// Removes a prepared file; what can't be removed is swept by the next open.
pub(crate) fn remove(context: &Context, path: &Path) {
    if let Err(error) = context.system.disk.remove_file(path)
        && !error.is_missing()
    {
        tracing::warn!(path = %path.display(), %error, "a prepared segment is left behind");
    }
}

/// Ends a segment: nothing is ever written to it again.
///
/// All its records are durable already. If this fails, the segment keeps its open name, and the header of the segment behind
/// it says where it ends.
pub(crate) fn seal(context: &Context, active: &Active) -> Result<(), StorageError> {
    let file = active.lock.file();
    let frame = active.seal_frame();
    let end = active.offset.saturating_add(frame.len() as u64);
    let written = file.write_at(&frame, active.offset).and_then(|()| file.sync());
    let cut = written.and_then(|()| {
        if active.zeroed > end { file.set_length(end).and_then(|()| file.sync()) } else { Ok(()) }
    });
    cut.map_err(|error| active.named(error))?;
    let sealed = context.directory.join(SegmentName::sealed(active.id).file_name());
    context.system.disk.rename(&active.path, &sealed)?;
    context.system.disk.sync_dir(&context.directory)
}
