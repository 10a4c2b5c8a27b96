//! The directories of payloads, one per hour: made when they are needed, and durable before anything in them is.
//!
//! A relay removes directories that have become empty, at any moment. So whether one is there is never taken from memory: what is to
//! be done in it is tried, and if it is gone, it is made again. What is remembered is that the name of a directory which is there is
//! durable. Only this writer makes it, and makes it durable before it lets go of the lock here, so no file can come into one that is not;
//! and a directory with a file in it can't be removed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use zoutbox_format::layout::Layout;
use zoutbox_storage::{FileKind, Metadata, StorageError, System};

/// payloads, writer, year, month, day, hour.
const LEVELS: usize = 6;
/// How often a directory is made again that somebody removed in between.
const ATTEMPTS: usize = 10;

#[derive(Debug)]
pub(super) struct Hours {
    system: System,
    root: PathBuf,
    /// The directory that was used last.
    durable: Mutex<Option<PathBuf>>,
}

impl Hours {
    pub(super) fn new(system: &System, layout: &Layout) -> Self {
        Self { system: system.clone(), root: layout.root().to_owned(), durable: Mutex::new(None) }
    }

    /// Does `act`, which makes a file in `directory`. Where that says that something is missing, the directory is made again, a few times.
    pub(super) fn within<T>(
        &self,
        directory: &Path,
        act: impl Fn() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let there = if durable.as_deref() == Some(directory) { Ok(()) } else { self.make(directory) };
            *durable = None;
            match there.and_then(|()| act()) {
                Err(error) if error.is_missing() && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
                Ok(done) => {
                    *durable = Some(directory.to_owned());
                    return Ok(done);
                }
            }
        }
    }

    /// Makes the directories down to `directory`, durably. One that is there may have been made by a process that died before it had
    /// made that durable.
    fn make(&self, directory: &Path) -> Result<(), StorageError> {
        let disk = &self.system.disk;
        let mut chain: Vec<_> =
            directory.ancestors().take(LEVELS).take_while(|path| *path != self.root).collect();
        chain.reverse();
        for path in &chain {
            // Asked first: a server may refuse to make what is there to who may not make anything beside it. And no link is followed.
            match disk.metadata(path) {
                Ok(found) if found.kind == FileKind::Directory => {}
                Ok(Metadata { kind: found, .. }) => {
                    return Err(StorageError::NotADirectory { path: path.to_path_buf(), found });
                }
                Err(error) if error.is_missing() => disk.create_dir(path)?,
                Err(error) => return Err(error),
            }
        }
        chain.iter().filter_map(|path| path.parent()).try_for_each(|parent| disk.sync_dir(parent))
    }
}
