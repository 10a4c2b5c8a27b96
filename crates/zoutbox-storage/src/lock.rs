//! An exclusive lock as a value: whoever has it holds the lock, and dropping it lets go.

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::StorageError;
use std::path::Path;

/// A file that is exclusively locked, across processes and, on NFS 4, across hosts.
///
/// It is an open-file-description lock (fcntl(2), `F_OFD_SETLK`): held by the open file, not by the process, so that closing
/// another descriptor of the same file does not drop it. When an NFS server has given the lock to another host, every later
/// write and sync through this value fails (`nfs.recover_lost_locks=0`, the default): that is what fences its holder.
#[derive(Debug)]
pub struct Lock {
    file: Box<dyn DiskFile>,
}

impl Lock {
    /// Locks an open file; `None` when somebody else holds it.
    ///
    /// # Errors
    /// What [`DiskFile::try_lock`] says.
    pub fn try_file(file: Box<dyn DiskFile>) -> Result<Option<Self>, StorageError> {
        let locked = file.try_lock()?;
        Ok(locked.then_some(Self { file }))
    }

    /// Opens a lock file, making it if it is not there, and locks it; `None` when somebody else holds it.
    ///
    /// # Errors
    /// What [`Disk::open`] and [`DiskFile::try_lock`] say.
    pub fn try_path(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, StorageError> {
        Self::try_file(disk.open(path, OpenMode::ReadWriteCreate)?)
    }

    /// Whether somebody has locked a file that is there. For that moment, nobody else can lock it.
    ///
    /// # Errors
    /// What [`Disk::open`] and [`DiskFile::try_lock`] say.
    pub fn is_held(disk: &dyn Disk, path: &Path) -> Result<bool, StorageError> {
        Ok(Self::try_file(disk.open(path, OpenMode::Write)?)?.is_none())
    }

    /// The locked file.
    #[must_use]
    pub fn file(&self) -> &dyn DiskFile {
        &*self.file
    }
}
