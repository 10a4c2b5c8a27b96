//! The disk's calls, as the writer makes them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use zoutbox_storage::mount::{Mount, parse};
use zoutbox_storage::{
    Disk, DiskFile, Entry, FileKind, FileSystem, Mapping, Metadata, OpenMode, Operation, Space, StorageError,
};

use super::{Change, Inode, MemoryDisk, State, apply, failed};

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    inode: usize,
    handle: u64,
    writable: bool,
}

fn then(late: Option<StorageError>) -> Result<(), StorageError> {
    late.map_or(Ok(()), Err)
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, StorageError> {
        let operation = if mode == OpenMode::CreateNew { Operation::Create } else { Operation::Open };
        let late = self.enter(operation, path)?;
        let mut state = self.state();
        let there = state.names.get(path).copied();
        let inode = match (there, mode) {
            (Some(_), OpenMode::CreateNew) => {
                return Err(failed(operation, path, io::ErrorKind::AlreadyExists));
            }
            (Some(inode), _) => inode,
            (None, OpenMode::Read | OpenMode::Write) => {
                return Err(failed(operation, path, io::ErrorKind::NotFound));
            }
            (None, _) => {
                state.within(operation, path)?;
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.names.insert(path.to_owned(), inode);
                inode
            }
        };
        state.handles += 1;
        let handle = state.handles;
        drop(state);
        then(late)?;
        let writable = mode != OpenMode::Read;
        Ok(Box::new(MemoryFile { disk: self.clone(), path: path.to_owned(), inode, handle, writable }))
    }

    fn open_beneath(&self, root: &Path, relative: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        let path = root.join(relative);
        if plain {
            self.open(&path, OpenMode::Read)
        } else {
            Err(StorageError::Outside { root: root.to_owned(), path: relative.to_owned() })
        }
    }

    fn map(&self, path: &Path) -> Result<Mapping, StorageError> {
        Err(failed(Operation::Map, path, io::ErrorKind::Unsupported))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let late = self.enter(Operation::Rename, from)?;
        let mut state = self.state();
        state.within(Operation::Rename, to)?;
        let inode = *state.names.get(from).ok_or(failed(Operation::Rename, from, io::ErrorKind::NotFound))?;
        let replaced = state.names.get(to).copied();
        let segment = !to.starts_with("/share/payloads");
        assert!(!segment || replaced.is_none(), "a segment was renamed onto {}", to.display());
        // Two names of one file: rename(2) does nothing then.
        if replaced != Some(inode) {
            state.names.remove(from);
            state.names.insert(to.to_owned(), inode);
        }
        drop(state);
        then(late)
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let late = self.enter(Operation::Link, from)?;
        let mut state = self.state();
        let inode = *state.names.get(from).ok_or(failed(Operation::Link, to, io::ErrorKind::NotFound))?;
        state.within(Operation::Link, to)?;
        if state.names.contains_key(to) {
            return Err(failed(Operation::Link, to, io::ErrorKind::AlreadyExists));
        }
        state.names.insert(to.to_owned(), inode);
        then(late)
    }

    fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        let late = self.enter(Operation::Remove, path)?;
        self.state().names.remove(path).ok_or(failed(Operation::Remove, path, io::ErrorKind::NotFound))?;
        then(late)
    }

    fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        let late = self.enter(Operation::CreateDirectory, path)?;
        let mut state = self.state();
        state.within(Operation::CreateDirectory, path)?;
        state.directories.insert(path.to_owned());
        then(late)
    }

    fn remove_dir(&self, path: &Path) -> Result<(), StorageError> {
        let late = self.enter(Operation::RemoveDirectory, path)?;
        let mut state = self.state();
        let within = state.names.keys().chain(&state.directories);
        if within.filter(|name| name.parent() == Some(path)).count() > 0 {
            return Err(failed(Operation::RemoveDirectory, path, io::ErrorKind::DirectoryNotEmpty));
        }
        state.directories.remove(path);
        then(late)
    }

    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        let late = self.enter(Operation::SyncDirectory, path)?;
        let mut state = self.state();
        let state = &mut *state;
        if !state.directories.contains(path) {
            return Err(failed(Operation::SyncDirectory, path, io::ErrorKind::NotFound));
        }
        if !state.ignore_sync_dir {
            state.durable_directories.retain(|name| name.parent() != Some(path));
            let within = state.directories.iter().filter(|name| name.parent() == Some(path));
            state.durable_directories.extend(within.cloned());
            state.durable_names.retain(|name, _| name.parent() != Some(path));
            let within = state.names.iter().filter(|(name, _)| name.parent() == Some(path));
            state.durable_names.extend(within.map(|(name, inode)| (name.clone(), *inode)));
        }
        then(late)
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError> {
        self.enter(Operation::List, path)?;
        let state = self.state();
        if !state.directories.contains(path) {
            return Err(failed(Operation::List, path, io::ErrorKind::NotFound));
        }
        let entry = |name: &PathBuf, kind| {
            let within = name.parent() == Some(path);
            within.then(|| Entry { name: OsString::from(name.file_name().unwrap()), kind })
        };
        let files = state.names.keys().filter_map(|name| entry(name, FileKind::File));
        let directories = state.directories.iter().filter_map(|name| entry(name, FileKind::Directory));
        Ok(files.chain(directories).collect())
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, StorageError> {
        self.enter(Operation::Inspect, path)?;
        let state = self.state();
        if state.directories.contains(path) {
            return Ok(Metadata { kind: FileKind::Directory, length: 0, modified_ns: 0 });
        }
        let inode = state.names.get(path).ok_or(failed(Operation::Inspect, path, io::ErrorKind::NotFound))?;
        let length = state.inodes[*inode].live.len() as u64;
        Ok(Metadata { kind: FileKind::File, length, modified_ns: 0 })
    }

    fn space(&self, path: &Path) -> Result<Space, StorageError> {
        self.enter(Operation::Space, path)?;
        let state = self.state();
        let total = state.capacity.unwrap_or(u64::MAX);
        Ok(Space { total, available: total.saturating_sub(state.used()) })
    }

    fn file_system(&self, _path: &Path) -> Result<FileSystem, StorageError> {
        Ok(FileSystem::Other(0))
    }

    fn mount(&self, path: &Path) -> Result<Mount, StorageError> {
        self.enter(Operation::Mount, path)?;
        let line = self.state().mount.clone();
        let reason = "it is in nobody's table".to_owned();
        let unknown = StorageError::UnknownMount { path: path.to_owned(), reason };
        parse(line.as_bytes()).pop().ok_or(unknown)
    }
}

impl State {
    /// A name needs a directory to be in.
    fn within(&self, operation: Operation, path: &Path) -> Result<(), StorageError> {
        let there = path.parent().is_some_and(|parent| self.directories.contains(parent));
        if there { Ok(()) } else { Err(failed(operation, path, io::ErrorKind::NotFound)) }
    }

    fn used(&self) -> u64 {
        let inodes: BTreeSet<_> = self.names.values().collect();
        inodes.into_iter().map(|inode| self.inodes[*inode].live.len() as u64).sum()
    }

    fn check(&self, handle: u64, operation: Operation, path: &Path) -> Result<(), StorageError> {
        let gone = handle <= self.dead || (handle <= self.cut_off && operation == Operation::Sync);
        if gone { Err(failed(operation, path, io::ErrorKind::Other)) } else { Ok(()) }
    }
}

impl DiskFile for MemoryFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        self.disk.enter(Operation::Read, &self.name())?;
        let state = self.disk.state();
        state.check(self.handle, Operation::Read, &self.path)?;
        let live = &state.inodes[self.inode].live;
        let rest = live.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        assert!(self.writable, "a write through a handle opened for reading");
        let late = self.disk.enter(Operation::Write, &self.name())?;
        let mut state = self.disk.state();
        state.check(self.handle, Operation::Write, &self.path)?;
        if self.handle <= state.cut_off {
            // It goes to this client's cache, and the server will refuse it.
            return Ok(());
        }
        let length = state.inodes[self.inode].live.len() as u64;
        let growth = (offset + bytes.len() as u64).saturating_sub(length);
        if growth > 0 && state.capacity.is_some_and(|capacity| state.used() + growth > capacity) {
            return Err(failed(Operation::Write, &self.path, io::ErrorKind::StorageFull));
        }
        state.most_written = state.most_written.max(bytes.len());
        let inode = &mut state.inodes[self.inode];
        let change = Change::Write(offset, bytes.to_vec());
        apply(&mut inode.live, &change);
        inode.unsynced.push(change);
        drop(state);
        then(late)
    }

    fn sync(&self) -> Result<(), StorageError> {
        let allowed = self.disk.enter(Operation::Sync, &self.name());
        let mut state = self.disk.state();
        let allowed = allowed.and_then(|late| {
            state.check(self.handle, Operation::Sync, &self.path)?;
            Ok(late)
        });
        let ignore = state.ignore_sync;
        let inode = &mut state.inodes[self.inode];
        let changes = if ignore { Vec::new() } else { std::mem::take(&mut inode.unsynced) };
        // After an error the pages count as clean: nobody writes them any more.
        let late = allowed?;
        for change in &changes {
            apply(&mut inode.durable, change);
        }
        drop(state);
        then(late)
    }

    fn set_length(&self, length: u64) -> Result<(), StorageError> {
        let late = self.disk.enter(Operation::SetLength, &self.name())?;
        let mut state = self.disk.state();
        state.check(self.handle, Operation::SetLength, &self.path)?;
        let inode = &mut state.inodes[self.inode];
        apply(&mut inode.live, &Change::Length(length));
        inode.unsynced.push(Change::Length(length));
        drop(state);
        then(late)
    }

    fn metadata(&self) -> Result<Metadata, StorageError> {
        self.disk.enter(Operation::Inspect, &self.name())?;
        let length = self.disk.state().inodes[self.inode].live.len() as u64;
        Ok(Metadata { kind: FileKind::File, length, modified_ns: 0 })
    }

    fn try_lock(&self) -> Result<bool, StorageError> {
        self.disk.enter(Operation::Lock, &self.name())?;
        let mut state = self.disk.state();
        state.check(self.handle, Operation::Lock, &self.path)?;
        let lock = &mut state.inodes[self.inode].locked_by;
        if lock.is_none() {
            *lock = Some(self.handle);
        }
        Ok(*lock == Some(self.handle))
    }
}

impl MemoryFile {
    /// The name the file has now: it may have been renamed since it was opened.
    fn name(&self) -> PathBuf {
        let state = self.disk.state();
        let name = state.names.iter().find(|(_, inode)| **inode == self.inode);
        name.map_or(self.path.clone(), |(name, _)| name.clone())
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        let lock = &mut state.inodes[self.inode].locked_by;
        if *lock == Some(self.handle) {
            *lock = None;
        }
    }
}
