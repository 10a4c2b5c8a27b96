//! The claim: `writer.lock`, held for the writer's life, and the epochs taken in it.
//!
//! The lock keeps a second process out. What the file says survives its holder: the last epoch that was taken, so that no
//! epoch is ever used twice, and the first sequence that did not exist then, so that a lost tail is noticed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zoutbox_format::holder::HOLDER_LENGTH;
use zoutbox_format::scan::read_full;
use zoutbox_format::{Epoch, Holder, Sequence, WriterId};
use zoutbox_storage::{DiskFile, ErrorKind, Lock, OpenMode, StorageError, System};

use crate::error::{FenceReason, WriterError};

/// How long a lock may be held by somebody else before the open fails: a process that was just killed takes a moment to let go.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(20);

/// The held lock. Dropping it lets the next writer in.
#[derive(Debug)]
pub(crate) struct Claim {
    writer: WriterId,
    path: PathBuf,
    lock: Lock,
    /// What the file says. Two threads write it: one proves the claim, the other takes epochs.
    holder: Mutex<Holder>,
}

impl Claim {
    /// Locks the lock file, making it if need be. What it said before comes with it.
    pub(crate) fn take(
        system: &System,
        writer: &WriterId,
        path: PathBuf,
    ) -> Result<(Self, Option<Holder>), WriterError> {
        let Some(lock) = poll_lock(system, &path, OpenMode::ReadWriteCreate, PATIENCE)? else {
            let holder = read(&*system.disk.open(&path, OpenMode::Read)?)?;
            let holder = holder.map(|holder| (holder.host, holder.pid));
            return Err(WriterError::Locked { writer: writer.clone(), path, holder });
        };
        let before = read(lock.file())?;
        let holder = Mutex::new(Holder {
            epoch: before.as_ref().map_or(Epoch::new(0), |holder| holder.epoch),
            next_sequence: None,
            host: system.host.to_string(),
            pid: system.pid,
            doorbell: None,
        });
        Ok((Self { writer: writer.clone(), path, lock, holder }, before))
    }

    /// Takes an epoch, durably.
    pub(crate) fn take_epoch(&self, epoch: Epoch, next_sequence: Sequence) -> Result<(), WriterError> {
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = Holder { epoch, next_sequence: Some(next_sequence), ..holder.clone() };
        self.rewrite(&holder, &wanted)?;
        *holder = wanted;
        Ok(())
    }

    /// Shows that the lock is still held, by reading and writing through it: after another host has taken it, both fail.
    pub(crate) fn prove(&self) -> Result<(), WriterError> {
        let holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        self.rewrite(&holder, &holder)
    }

    fn rewrite(&self, own: &Holder, wanted: &Holder) -> Result<(), WriterError> {
        let file = self.lock.file();
        let there = read(file).map_err(|error| self.fenced_by(error))?;
        if let Some(found) = there.map(|holder| holder.epoch).filter(|epoch| *epoch > wanted.epoch) {
            let reason = FenceReason::Epoch { path: self.path.clone(), found, own: own.epoch };
            return Err(WriterError::Fenced { writer: self.writer.clone(), reason: Arc::new(reason) });
        }
        let written = file.write_at(&wanted.encode(), 0).and_then(|()| file.sync());
        written.map_err(|error| self.fenced_by(error))
    }

    /// A lock file that can't be written any more means that its lock is lost, unless there is a plainer reason.
    fn fenced_by(&self, error: StorageError) -> WriterError {
        let read_only = matches!(&error, StorageError::Io { source, .. }
            if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem);
        if read_only || matches!(error.kind(), ErrorKind::Full | ErrorKind::Retry) {
            return error.into();
        }
        let reason = Arc::new(FenceReason::Storage(error));
        WriterError::Fenced { writer: self.writer.clone(), reason }
    }
}

fn read(file: &dyn DiskFile) -> Result<Option<Holder>, StorageError> {
    let mut bytes = [0; HOLDER_LENGTH];
    let length = read_full(file, &mut bytes, 0)?;
    Ok(Holder::decode(bytes.get(..length).unwrap_or_default()))
}

/// Tries for a lock until `patience` is over; `None` when somebody else still holds it then. Polls, because a waiting lock call
/// gets an NFS lock up to half a minute late.
pub(crate) fn poll_lock(
    system: &System,
    path: &Path,
    mode: OpenMode,
    patience: Duration,
) -> Result<Option<Lock>, StorageError> {
    let start = system.clock.monotonic();
    loop {
        if let Some(lock) = Lock::try_file(system.disk.open(path, mode)?)? {
            return Ok(Some(lock));
        }
        if system.clock.monotonic().saturating_sub(start) >= patience {
            return Ok(None);
        }
        system.clock.sleep(POLL);
    }
}
