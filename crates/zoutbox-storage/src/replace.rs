//! Replacing a small file so that every reader, and every crash, sees the old content or the new one.
//!
//! ```text
//!   write name.<random>.tmp → sync it → rename it to name → sync the directory
//!        │                      │              │                  │
//!        └ crash: a leftover, swept later      │                  └ now durable
//!                                              └ crash: old or new, never a mixture
//! ```

use std::path::{Path, PathBuf};

use zoutbox_format::layout::TEMPORARY_SUFFIX;

use crate::disk::{FileKind, OpenMode};
use crate::error::StorageError;
use crate::system::System;

/// Replaces (or makes) `path` with `bytes`, durably.
///
/// # Errors
/// What the calls of [`crate::Disk`] say. If it was the rename or the directory's sync that failed, either content may be
/// there afterwards; before that, the old one is, and the temporary file has been removed as far as that was possible.
pub fn replace(system: &System, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let temporary = write_temporary(system, path, bytes)?;
    system.disk.rename(&temporary, path)?;
    sync_parent(system, path)
}

/// Makes `path` with `bytes`, durably and only if the name is free; `false` when it is taken.
///
/// # Errors
/// As [`replace`].
pub fn create(system: &System, path: &Path, bytes: &[u8]) -> Result<bool, StorageError> {
    let temporary = write_temporary(system, path, bytes)?;
    let linked = system.disk.link(&temporary, path);
    system.disk.remove_file(&temporary)?;
    match linked {
        Err(StorageError::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
            Ok(false)
        }
        Err(error) => Err(error),
        Ok(()) => sync_parent(system, path).map(|()| true),
    }
}

/// Removes what a crash in [`replace`] or [`create`] left in `directory`; returns how many files it was.
///
/// # Errors
/// What [`crate::Disk::list`] says. A file that can't be removed is left for the next time.
pub fn sweep(system: &System, directory: &Path) -> Result<usize, StorageError> {
    let leftovers = system.disk.list(directory)?.into_iter().filter(|entry| {
        let name = entry.name.to_string_lossy();
        entry.kind == FileKind::File && name.ends_with(TEMPORARY_SUFFIX)
    });
    let removed = leftovers.filter(|entry| system.disk.remove_file(&directory.join(&entry.name)).is_ok());
    Ok(removed.count())
}

fn write_temporary(system: &System, path: &Path, bytes: &[u8]) -> Result<PathBuf, StorageError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{:016x}{TEMPORARY_SUFFIX}", system.random()?));
    let temporary = path.with_file_name(name);
    let file = system.disk.open(&temporary, OpenMode::CreateNew)?;
    let written = file.write_at(bytes, 0).and_then(|()| file.sync());
    if let Err(error) = written {
        // The first error is the one to tell; a leftover is swept later.
        drop(system.disk.remove_file(&temporary));
        return Err(error);
    }
    Ok(temporary)
}

fn sync_parent(system: &System, path: &Path) -> Result<(), StorageError> {
    system.disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}
