//! A small file that the relay can do without, so that it can still work on a share that is full.
//!
//! The relay is what frees space: it publishes, saves checkpoints, and removes what is behind them. On a full share it could not
//! save the checkpoint that lets it remove anything. So it keeps a file for that moment.
//!
//! ```text
//!   kept ──the share is full──▶ released: the next tries find room ──room again──▶ kept
//! ```

use std::path::PathBuf;

use zoutbox_storage::{ErrorKind, OpenMode, Share, StorageError, System};

/// Many checkpoints.
const SIZE: usize = 1024 * 1024;
/// Made only where there is plenty of room besides, in bytes.
const PLENTY: u64 = 16 * 1024 * 1024;

/// The file.
#[derive(Debug, Clone)]
pub(crate) struct Ballast {
    system: System,
    directory: PathBuf,
    path: PathBuf,
}

impl Ballast {
    pub(crate) fn new(system: &System, share: &Share) -> Self {
        let directory = share.layout.relay();
        Self { system: system.clone(), path: directory.join("ballast"), directory }
    }

    /// Makes the file if it is not there and there is room for it. Random bytes: others would be compressed to nothing.
    ///
    /// # Errors
    /// What the calls say. A file that is only partly written is removed.
    pub(crate) fn keep(&self) -> Result<(), StorageError> {
        let disk = &self.system.disk;
        match disk.metadata(&self.path) {
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
            Ok(there) if there.length >= SIZE as u64 => return Ok(()),
            // Of a relay that was killed while it wrote.
            Ok(_) => disk.remove_file(&self.path)?,
        }
        if disk.space(&self.directory)?.available < PLENTY {
            return Ok(());
        }
        let mut bytes = vec![0; SIZE];
        self.system.entropy.fill(&mut bytes)?;
        let file = disk.open(&self.path, OpenMode::CreateNew)?;
        let written = file.write_at(&bytes, 0).and_then(|()| file.sync());
        if written.is_err() {
            disk.remove_file(&self.path)?;
        }
        written?;
        disk.sync_dir(&self.directory)
    }

    /// If what failed did so because the share is full, removes the file; whoever failed then tries again.
    pub(crate) fn release_if_full(&self, failed: ErrorKind) {
        if failed != ErrorKind::Full {
            return;
        }
        match self.system.disk.remove_file(&self.path) {
            Ok(()) => tracing::warn!("the share is full: gave up {} to go on", self.path.display()),
            Err(error) if error.is_missing() => {}
            Err(error) => tracing::warn!("the share is full, and the ballast can't be removed: {error}"),
        }
    }
}
