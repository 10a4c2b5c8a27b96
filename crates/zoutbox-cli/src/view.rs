//! A share with its archive laid over it, so that what reads a log reads all of it that is still there.
//!
//! ```text
//!   writers/orders/  ……………………………………   …03.seg   …04.open        what producers and relay see
//!   archive/orders/  …01.seg   …02.seg                           what the relay has moved away
//!   the view         …01.seg   …02.seg   …03.seg   …04.open
//! ```
//!
//! Looks only: everything that would change something is refused. On demand, sealed segments are mapped into memory instead of read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zoutbox_format::ReadAt;
use zoutbox_format::layout::SegmentName;
use zoutbox_storage::mount::Mount;
use zoutbox_storage::{
    Disk, DiskFile, Entry, FileKind, FileSystem, Mapping, Metadata, OpenMode, Operation, Share, Space,
    StorageError, System,
};

/// Whether sealed segments are mapped. A mapping raises SIGBUS when its file goes away on another host, or can't be read:
/// for programs that may die of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sealed {
    Read,
    Mapped,
}

/// The system, with a disk on which the archive lies over the writers' directories.
pub(crate) fn with_archive(system: &System, share: &Share, sealed: Sealed) -> System {
    let inner = system.disk.clone();
    let (writers, archives) = (share.layout.writers(), share.layout.archives());
    System { disk: Arc::new(View { inner, writers, archives, sealed }), ..system.clone() }
}

#[derive(Debug)]
struct View {
    inner: Arc<dyn Disk>,
    writers: PathBuf,
    archives: PathBuf,
    sealed: Sealed,
}

impl View {
    /// The same path in the archive.
    fn archived(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.writers).ok().map(|below| self.archives.join(below))
    }

    /// Does it in the archive if it is not there among the writers.
    fn either<T>(
        &self,
        path: &Path,
        act: impl Fn(&Path) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        match (act(path), self.archived(path)) {
            (Err(error), Some(archived)) if error.is_missing() => match act(&archived) {
                Err(in_archive) if in_archive.is_missing() => Err(error),
                other => other,
            },
            (live, _) => live,
        }
    }
}

impl Disk for View {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, StorageError> {
        if mode != OpenMode::Read {
            return Err(refused(Operation::Open, path));
        }
        let name = path.file_name().and_then(|name| SegmentName::parse(name.to_str()?));
        let mapped = self.sealed == Sealed::Mapped && name.is_some_and(|name| name.sealed);
        self.either(path, |path| {
            if mapped {
                let mapping = self.inner.map(path)?;
                Ok(Box::new(MappedFile { mapping, path: path.to_owned() }) as Box<dyn DiskFile>)
            } else {
                self.inner.open(path, mode)
            }
        })
    }

    fn open_beneath(&self, root: &Path, relative: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        self.either(&root.join(relative), |path| match path.strip_prefix(root) {
            Ok(below) => self.inner.open_beneath(root, below),
            Err(_) => Err(refused(Operation::Open, path)),
        })
    }

    fn map(&self, path: &Path) -> Result<Mapping, StorageError> {
        self.either(path, |path| self.inner.map(path))
    }

    fn rename(&self, from: &Path, _: &Path) -> Result<(), StorageError> {
        Err(refused(Operation::Rename, from))
    }

    fn link(&self, _: &Path, to: &Path) -> Result<(), StorageError> {
        Err(refused(Operation::Link, to))
    }

    fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        Err(refused(Operation::Remove, path))
    }

    fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        Err(refused(Operation::CreateDirectory, path))
    }

    fn remove_dir(&self, path: &Path) -> Result<(), StorageError> {
        Err(refused(Operation::RemoveDirectory, path))
    }

    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        Err(refused(Operation::SyncDirectory, path))
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError> {
        let Some(archived) = self.archived(path) else { return self.inner.list(path) };
        // The archive last: what is moved there between the two looks is then seen at least once.
        let live = self.inner.list(path);
        let mut entries = absent_is_none(self.inner.list(&archived))?.unwrap_or_default();
        match (live, entries.is_empty()) {
            (Err(error), false) if error.is_missing() => {}
            (live, _) => entries.extend(live?),
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|a, b| a.name == b.name);
        Ok(entries)
    }

    /// As it is, so that a path can be told apart from its twin in the archive.
    fn metadata(&self, path: &Path) -> Result<Metadata, StorageError> {
        self.inner.metadata(path)
    }

    fn space(&self, path: &Path) -> Result<Space, StorageError> {
        self.inner.space(path)
    }

    fn file_system(&self, path: &Path) -> Result<FileSystem, StorageError> {
        self.inner.file_system(path)
    }

    fn mount(&self, path: &Path) -> Result<Mount, StorageError> {
        self.inner.mount(path)
    }
}

/// What is not there, as a value.
pub(crate) fn absent_is_none<T>(result: Result<T, StorageError>) -> Result<Option<T>, StorageError> {
    match result {
        Err(error) if error.is_missing() => Ok(None),
        other => other.map(Some),
    }
}

fn refused(operation: Operation, path: &Path) -> StorageError {
    let source = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
    StorageError::Io { operation, path: path.to_owned(), offset: None, source }
}

#[derive(Debug)]
struct MappedFile {
    mapping: Mapping,
    path: PathBuf,
}

impl DiskFile for MappedFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        let Ok(count) = ReadAt::read_at(self.mapping.as_ref(), buffer, offset);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> Result<(), StorageError> {
        Err(refused(Operation::Write, &self.path))
    }

    fn sync(&self) -> Result<(), StorageError> {
        Err(refused(Operation::Sync, &self.path))
    }

    fn set_length(&self, _: u64) -> Result<(), StorageError> {
        Err(refused(Operation::SetLength, &self.path))
    }

    fn metadata(&self) -> Result<Metadata, StorageError> {
        let length = u64::try_from(self.mapping.as_ref().len()).unwrap_or(u64::MAX);
        // A sealed segment never changes.
        Ok(Metadata { kind: FileKind::File, length, modified_ns: 0 })
    }

    fn try_lock(&self) -> Result<bool, StorageError> {
        Err(refused(Operation::Lock, &self.path))
    }
}
