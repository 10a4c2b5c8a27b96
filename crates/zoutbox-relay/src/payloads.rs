//! Taking large payloads away, so that none is lost that a record names, whatever else happens at the same time.
//!
//! ```text
//!   relay                                     a writer whose caller tries an append again
//!   (a) rename <id> to <id>.swept, sync
//!       lock it; a writer has it: give it back
//!   (b) look who names it                     (1) finds <id> finished: writes nothing
//!   (c) nobody: remove <id>.swept             (2) appends the record, durably
//!       somebody: give it its name back       (3) is <id> still there? if not, writes it again
//!                                             (4) acknowledges
//! ```
//!
//! If the record was durable before (b) began, (b) sees it, and the file comes back. If not, (3) comes after (a), and sees that the file
//! is gone. Neither alone is enough. A crash between (a) and (c) leaves `<id>.swept`, and the next sweep goes on with (b).
//!
//! A writer of ours also has the file locked from (1) to (4), under whatever name, and a second name of it that ends in `.tmp`: what is locked
//! is left alone. The lock spares that writer work; the file's safety does not hang on it for programs that take none.
//!
//! Only regular files below directories that are none of them a link are touched, and only under names that the format has.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use zoutbox_format::payload::SWEPT_SUFFIX;
use zoutbox_format::{Hour, PayloadName, WriterId};
use zoutbox_storage::{DiskFile, FileKind, OpenMode, Share, StorageError, System};

/// The large payloads of one writer on its share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payloads<'a> {
    pub(crate) system: &'a System,
    pub(crate) share: &'a Share,
    pub(crate) writer: &'a WriterId,
}

impl Payloads<'_> {
    /// Whether there is a directory of them.
    pub(crate) fn are_there(&self) -> Result<bool, StorageError> {
        let layout = &self.share.layout;
        Ok(self.is_directory(&layout.all_payloads())? && self.is_directory(&layout.payloads(self.writer))?)
    }

    fn is_directory(&self, path: &Path) -> Result<bool, StorageError> {
        self.kind(path).map(|kind| kind == Some(FileKind::Directory))
    }

    fn kind(&self, path: &Path) -> Result<Option<FileKind>, StorageError> {
        match self.system.disk.metadata(path) {
            Ok(metadata) => Ok(Some(metadata.kind)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Step (a). Returns those that were there, which are aside now, durably.
    ///
    /// # Errors
    /// What the disk says. Some may be aside then; the next sweep finds them.
    pub(crate) fn set_aside(&self, names: Vec<PayloadName>) -> Result<Vec<PayloadName>, StorageError> {
        let mut trusted: Option<(Hour, bool)> = None;
        let mut aside = Vec::new();
        for name in names {
            let path = self.share.layout.payload(&name);
            let below = match trusted {
                Some((hour, below)) if hour == name.hour() => below,
                _ => self.is_below(&path)?,
            };
            trusted = Some((name.hour(), below));
            if !below || self.kind(&path)? != Some(FileKind::File) {
                continue;
            }
            match self.system.disk.rename(&path, &swept(&path)) {
                Ok(()) => aside.push(name),
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        self.sync(&aside)?;
        Ok(aside)
    }

    /// Whether all directories in front of a payload are directories and no links.
    fn is_below(&self, path: &Path) -> Result<bool, StorageError> {
        let above = path.ancestors().skip(1).take_while(|above| *above != self.share.layout.root());
        for directory in above.collect::<Vec<_>>().into_iter().rev() {
            if !self.is_directory(directory)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Between (a) and (b): who locks second sees what the other did.
    ///
    /// # Errors
    /// What the disk says. The next sweep goes on.
    pub(crate) fn lock(&self, names: &[PayloadName]) -> Result<Vec<Aside>, StorageError> {
        let lock = |name: &PayloadName| {
            let lock = self.try_lock(&swept(&self.share.layout.payload(name)))?;
            Ok(Aside { name: name.clone(), lock })
        };
        names.iter().map(lock).collect()
    }

    /// The file, locked; `None` when somebody else has it locked, or it is not there.
    pub(crate) fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn DiskFile>>, StorageError> {
        match self.system.disk.open(path, OpenMode::Write) {
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
            Ok(file) => Ok(if file.try_lock()? { Some(file) } else { None }),
        }
    }

    /// Step (c). Returns how many were removed; the others have their names again, or there is a new file under them.
    ///
    /// # Errors
    /// What the disk says. The next sweep goes on.
    pub(crate) fn settle(
        &self,
        aside: Vec<Aside>,
        is_named: impl Fn(&PayloadName) -> bool,
    ) -> Result<usize, StorageError> {
        let mut removed = 0;
        let names: Vec<_> = aside.iter().map(|aside| aside.name.clone()).collect();
        for Aside { name, lock } in aside {
            let path = self.share.layout.payload(&name);
            let stays = lock.is_none() || is_named(&name);
            // An NFS client keeps a file that it has open under yet another name. Who locks it now finds its name gone.
            drop(lock);
            if stays {
                self.give_back(&path)?;
            }
            match self.system.disk.remove_file(&swept(&path)) {
                Ok(()) => removed += usize::from(!stays),
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        self.sync(&names)?;
        Ok(removed)
    }

    /// By a link and not by renaming: it must not replace what a writer has put there meanwhile.
    fn give_back(&self, path: &Path) -> Result<(), StorageError> {
        match self.system.disk.link(&swept(path), path) {
            Err(StorageError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => Err(error),
            // Before the other name goes.
            Ok(()) => self.sync_directory(path.parent()),
        }
    }

    fn sync(&self, names: &[PayloadName]) -> Result<(), StorageError> {
        let paths: Vec<PathBuf> = names.iter().map(|name| self.share.layout.payload(name)).collect();
        let directories: BTreeSet<_> = paths.iter().filter_map(|path| path.parent()).collect();
        directories.into_iter().try_for_each(|directory| self.sync_directory(Some(directory)))
    }

    fn sync_directory(&self, directory: Option<&Path>) -> Result<(), StorageError> {
        match directory.map_or(Ok(()), |directory| self.system.disk.sync_dir(directory)) {
            Err(error) if error.is_missing() => Ok(()),
            other => other,
        }
    }
}

/// A payload that is aside.
pub(crate) struct Aside {
    name: PayloadName,
    /// `None`: a writer has it.
    lock: Option<Box<dyn DiskFile>>,
}

/// Under which name a file is aside.
fn swept(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SWEPT_SUFFIX);
    name.into()
}

#[cfg(test)]
mod tests;
