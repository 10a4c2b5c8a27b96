//! The disk for who works in directories that others may change: whatever they put in the way, nothing outside of the share is touched, and
//! nothing of another writer.
//!
//! ```text
//!   remove  <root>/writers/orders/0…1-0…1.seg
//!           └──┬─┘ └─────┬──────┘ └────┬────┘
//!              │         │             └ the call is made for this name, in the directory that is held open
//!              │         └ opened with no link on the way (openat2, see `beneath`), and held
//!              └ may be a link, as an operator made it
//! ```
//!
//! A look before the call (is it a directory, and no link?) would not do: whoever owns `writers/orders` can exchange it for a link to another
//! writer's directory between the look and the call, and would have somebody else's segments removed by a relay that may remove both.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::access::Access;
use crate::beneath;
use crate::disk::{Disk, DiskFile, Entry, FileSystem, Metadata, OpenMode, Space};
use crate::error::{Operation, StorageError};
use crate::mapping::Mapping;
use crate::mount::Mount;
use crate::real::{RealDisk, RealFile, open_file};

/// The real disk, of which nothing below `root` is reached through a link.
#[derive(Debug, Clone)]
pub struct ConfinedDisk {
    root: PathBuf,
}

/// A name in a directory that is held open, as a path that leads nowhere else.
struct Held {
    path: PathBuf,
    _directory: Option<OwnedFd>,
}

impl ConfinedDisk {
    /// Confined below `root`. What lies elsewhere is reached as always.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The name that `path` ends in, in its directory.
    fn name(&self, operation: Operation, path: &Path) -> Result<Held, StorageError> {
        let below = path.strip_prefix(&self.root).ok().filter(|below| !below.as_os_str().is_empty());
        match below.map(|below| (below.parent().unwrap_or(Path::new("")), below.file_name())) {
            None => Ok(Held { path: path.to_owned(), _directory: None }),
            Some((parent, Some(name))) => self.held(operation, parent, Some(name)),
            // It ends in `..`.
            Some((_, None)) => Err(StorageError::Outside { root: self.root.clone(), path: path.to_owned() }),
        }
    }

    /// The directory at `path` itself.
    fn directory(&self, operation: Operation, path: &Path) -> Result<Held, StorageError> {
        match path.strip_prefix(&self.root) {
            Ok(below) if !below.as_os_str().is_empty() => self.held(operation, below, None),
            _ => Ok(Held { path: path.to_owned(), _directory: None }),
        }
    }

    fn held(
        &self,
        operation: Operation,
        directory: &Path,
        name: Option<&OsStr>,
    ) -> Result<Held, StorageError> {
        let held = beneath::directory(operation, &self.root, directory)?;
        // A descriptor's link in /proc leads to what it holds, not to a name.
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
        path.extend(name);
        Ok(Held { path, _directory: Some(held) })
    }
}

/// People know the file by the path that was asked for.
fn known_as<T>(path: &Path, result: Result<T, StorageError>) -> Result<T, StorageError> {
    result.map_err(|error| error.at_path(path))
}

impl Disk for ConfinedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, StorageError> {
        let held = self.name(Operation::Open, path)?;
        let file = known_as(path, open_file(&held.path, mode))?;
        Ok(Box::new(RealFile { file, path: path.to_owned() }))
    }

    fn open_beneath(&self, root: &Path, relative: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        RealDisk.open_beneath(root, relative)
    }

    fn map(&self, path: &Path) -> Result<Mapping, StorageError> {
        let held = self.name(Operation::Map, path)?;
        known_as(path, RealDisk.map(&held.path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let (old, new) = (self.name(Operation::Rename, from)?, self.name(Operation::Rename, to)?);
        known_as(from, RealDisk.rename(&old.path, &new.path))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let (old, new) = (self.name(Operation::Link, from)?, self.name(Operation::Link, to)?);
        known_as(to, RealDisk.link(&old.path, &new.path))
    }

    fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        let held = self.name(Operation::Remove, path)?;
        known_as(path, RealDisk.remove_file(&held.path))
    }

    fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        let held = self.name(Operation::CreateDirectory, path)?;
        known_as(path, RealDisk.create_dir(&held.path))
    }

    fn remove_dir(&self, path: &Path) -> Result<(), StorageError> {
        let held = self.name(Operation::RemoveDirectory, path)?;
        known_as(path, RealDisk.remove_dir(&held.path))
    }

    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        let held = self.directory(Operation::SyncDirectory, path)?;
        known_as(path, RealDisk.sync_dir(&held.path))
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError> {
        let held = self.directory(Operation::List, path)?;
        known_as(path, RealDisk.list(&held.path))
    }

    fn each_entry(&self, path: &Path, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
        let held = self.directory(Operation::List, path)?;
        known_as(path, RealDisk.each_entry(&held.path, each))
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, StorageError> {
        let held = self.name(Operation::Inspect, path)?;
        known_as(path, RealDisk.metadata(&held.path))
    }

    fn set_access(&self, path: &Path, access: Access) -> Result<(), StorageError> {
        let held = self.name(Operation::SetAccess, path)?;
        known_as(path, RealDisk.set_access(&held.path, access))
    }

    fn space(&self, path: &Path) -> Result<Space, StorageError> {
        RealDisk.space(path)
    }

    fn file_system(&self, path: &Path) -> Result<FileSystem, StorageError> {
        RealDisk.file_system(path)
    }

    fn mount(&self, path: &Path) -> Result<Mount, StorageError> {
        RealDisk.mount(path)
    }
}
