//! Each probe notices a disk that lies about what it is for.

use std::path::Path;
use std::sync::Arc;

use zoutbox_storage::mount::{Level, Mount};
use zoutbox_storage::{
    Disk, DiskFile, Entry, FileSystem, Mapping, Metadata, Operation, RealDisk, Space, System,
};
use zoutbox_test_support::test_roots;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    /// A name can be made as often as one likes.
    Exclusive,
    /// A link replaces what is there.
    Link,
    /// Everybody gets the lock.
    Locks,
    /// No lock at all.
    NoLocks,
    /// Lengths are those of the first look.
    Lengths,
    /// What is replaced is away for a moment.
    Rename,
    /// What is replaced is written in place.
    Torn,
    Full,
}

#[derive(Debug)]
struct Lying(Lie);

#[derive(Debug)]
struct LyingFile(Lie, Box<dyn DiskFile>);

fn refused(operation: Operation, path: &Path, kind: ErrorKind) -> StorageError {
    StorageError::Io { operation, path: path.to_owned(), offset: None, source: kind.into() }
}

#[expect(clippy::disallowed_methods, reason = "this is a disk")]
impl Disk for Lying {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, StorageError> {
        let again = self.0 == Lie::Exclusive && mode == OpenMode::CreateNew;
        let mode = if again { OpenMode::ReadWriteCreate } else { mode };
        Ok(Box::new(LyingFile(self.0, RealDisk.open(path, mode)?)))
    }
    fn open_beneath(&self, root: &Path, relative: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        Ok(Box::new(LyingFile(self.0, RealDisk.open_beneath(root, relative)?)))
    }
    fn map(&self, path: &Path) -> Result<Mapping, StorageError> {
        RealDisk.map(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let bytes = std::fs::read(from).expect("a file");
        match self.0 {
            Lie::Rename => {
                drop(RealDisk.remove_file(to));
                thread::yield_now();
            }
            Lie::Torn if to.exists() => {
                for (at, byte) in bytes.chunks(1024).enumerate() {
                    let file = RealDisk.open(to, OpenMode::Write)?;
                    file.write_at(byte, at as u64 * 1024)?;
                    thread::yield_now();
                }
                return RealDisk.remove_file(from);
            }
            _ => {}
        }
        RealDisk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        if self.0 == Lie::Link {
            drop(RealDisk.remove_file(to));
        }
        RealDisk.link(from, to)
    }
    fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        RealDisk.remove_file(path)
    }
    fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        RealDisk.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> Result<(), StorageError> {
        RealDisk.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        RealDisk.sync_dir(path)
    }
    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError> {
        RealDisk.list(path)
    }
    fn metadata(&self, path: &Path) -> Result<Metadata, StorageError> {
        let real = RealDisk.metadata(path)?;
        Ok(if self.0 == Lie::Lengths { Metadata { length: real.length.min(3), ..real } } else { real })
    }
    fn space(&self, path: &Path) -> Result<Space, StorageError> {
        let real = RealDisk.space(path)?;
        Ok(if self.0 == Lie::Full { Space { available: 1 << 20, ..real } } else { real })
    }
    fn file_system(&self, path: &Path) -> Result<FileSystem, StorageError> {
        RealDisk.file_system(path)
    }
    fn mount(&self, path: &Path) -> Result<Mount, StorageError> {
        RealDisk.mount(path)
    }
}

impl DiskFile for LyingFile {
    fn path(&self) -> &Path {
        self.1.path()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        self.1.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        match self.0 {
            Lie::Full => Err(refused(Operation::Write, self.path(), ErrorKind::QuotaExceeded)),
            _ => self.1.write_at(bytes, offset),
        }
    }
    fn sync(&self) -> Result<(), StorageError> {
        self.1.sync()
    }
    fn set_length(&self, length: u64) -> Result<(), StorageError> {
        self.1.set_length(length)
    }
    fn metadata(&self) -> Result<Metadata, StorageError> {
        self.1.metadata()
    }
    fn try_lock(&self) -> Result<bool, StorageError> {
        match self.0 {
            Lie::Locks => Ok(true),
            Lie::NoLocks => Err(refused(Operation::Lock, self.path(), ErrorKind::Unsupported)),
            _ => self.1.try_lock(),
        }
    }
}

/// What each probe says on a disk that tells this lie, but for the lock's, which needs the real program.
fn levels(lie: Lie, skipped: &[&str]) -> Vec<(&'static str, Level)> {
    let root = test_roots().swap_remove(0);
    let system = System { disk: Arc::new(Lying(lie)), ..System::real() };
    let ground = Ground::new(&system, &root).expect("ground");
    let tried = ALL.iter().filter(|(what, ..)| !skipped.contains(what));
    let found = tried.map(|(what, promise, probe)| {
        let finding = probe(&ground).unwrap_or_else(|error| super::super::failed(what, *promise, &error));
        (*what, finding.level)
    });
    found.filter(|(_, level)| *level != Level::Fine).collect()
}

#[test]
fn each_lie_is_found_out_by_the_probe_that_is_for_it_alone() {
    let others = [locks::WHAT];
    let in_order = Level::Breaks(Promise::InOrder);
    let identity = Level::Breaks(Promise::Identity);
    let no_repair = Level::Breaks(Promise::NoRepair);
    assert_eq!(levels(Lie::None, &others), []);
    assert_eq!(levels(Lie::Exclusive, &others), [("exclusive creation", identity)]);
    assert_eq!(levels(Lie::Link, &others), [("hard link", identity)]);
    assert_eq!(levels(Lie::Locks, &[]), [(locks::WHAT, in_order)]);
    assert_eq!(levels(Lie::NoLocks, &[]), [(locks::WHAT, in_order)]);
    assert_eq!(levels(Lie::Lengths, &others), [("forced refresh", in_order)]);
    assert_eq!(levels(Lie::Rename, &others), [("rename", no_repair)]);
    assert_eq!(levels(Lie::Torn, &others), [("rename", no_repair)]);
}

#[test]
fn a_full_share_costs_and_breaks_nothing() {
    let found = levels(Lie::Full, &[locks::WHAT]);
    let full = ["hard link", "rename", "forced refresh", "sync latency", "free space"];
    assert_eq!(found, full.map(|what| (what, Level::Costs)));
}
