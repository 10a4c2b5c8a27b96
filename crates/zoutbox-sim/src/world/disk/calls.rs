//! The calls on names, as a program on one host makes them.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use zoutbox_storage::mount::Mount;
use zoutbox_storage::{
    Disk, DiskFile, Entry, FileKind, FileSystem, Mapping, Metadata, OpenMode, Operation, Space, StorageError,
};

use super::file::SimFile;
use super::names::{Node, Op, settle, split};
use super::{Handle, Ino, Inode};
use crate::world::faults::{Fate, failed};
use crate::world::knobs::Broken;
use crate::world::{State, World};

/// Room for everything but the relay's ballast, which takes longer to make than all else.
const LITTLE: u64 = 8 * 1024 * 1024;
/// For how long a host may believe what it looked up.
const NAMES_KEPT: Duration = Duration::from_secs(30);

/// The disk, as one process sees it.
#[derive(Debug)]
pub struct SimDisk {
    pub(in crate::world) world: World,
    pub(in crate::world) process: usize,
}

impl SimDisk {
    /// Makes a call that changes names: `work` says how.
    fn change(
        &self,
        operation: Operation,
        path: &Path,
        work: impl FnOnce(&mut State, usize) -> Result<(), io::ErrorKind>,
    ) -> Result<(), StorageError> {
        let fate = self.world.enter(self.process, operation, path)?;
        if let Fate::Fails(error) = fate {
            return Err(failed(operation, path, error));
        }
        let mut state = self.world.lock();
        let host = state.host_of(self.process);
        work(&mut state, host).map_err(|error| failed(operation, path, error))?;
        match fate {
            Fate::FailsLate(error) => Err(failed(operation, path, error)),
            _ => Ok(()),
        }
    }

    /// Makes a call that changes nothing.
    fn ask<T>(
        &self,
        operation: Operation,
        path: &Path,
        work: impl FnOnce(&mut State, usize) -> Result<T, io::ErrorKind>,
    ) -> Result<T, StorageError> {
        match self.world.enter(self.process, operation, path)? {
            Fate::Works => {}
            Fate::Fails(error) | Fate::FailsLate(error) => return Err(failed(operation, path, error)),
        }
        let mut state = self.world.lock();
        let host = state.host_of(self.process);
        work(&mut state, host).map_err(|error| failed(operation, path, error))
    }
}

impl State {
    pub(super) fn host_of(&self, process: usize) -> usize {
        self.processes.get(process).map_or(0, |process| process.host)
    }

    /// What a host finds under a name: what is there, or what it remembers of it.
    fn look_up(&mut self, host: usize, path: &Path) -> Option<Node> {
        let there = self.disk.tree.get(path);
        if self.knobs.local || there == Some(Node::Directory) {
            return there;
        }
        let now = self.now;
        let stale = self.random.chance(500);
        let Some(names) = self.hosts.get_mut(host).map(|host| &mut host.names) else { return there };
        let kept = names.get(path).filter(|(_, since)| stale && now.saturating_sub(*since) < NAMES_KEPT);
        match (kept, there) {
            (Some((None, _)), Some(_)) => return None,
            (Some((Some(ino), _)), _) if self.disk.inodes.get(ino).is_some_and(|inode| inode.links > 0) => {
                return Some(Node::File(ino));
            }
            _ => {}
        }
        let found = match there {
            Some(Node::File(ino)) => Some(ino),
            _ => None,
        };
        names.remember(path, found, now);
        there
    }

    /// Changes names on the server; the host that did it knows.
    fn change_names(&mut self, host: usize, op: Op) {
        for (directory, name, node) in &op.0 {
            let path = Path::new(directory).join(name);
            if let Some(Node::File(ino)) = self.disk.tree.get(&path) {
                self.relink(ino, false);
            }
            if let Some(Node::File(ino)) = node {
                self.relink(*ino, true);
            }
            if let Some(host) = self.hosts.get_mut(host) {
                host.names.forget(&path);
            }
        }
        self.disk.tree.apply(&op);
        self.disk.journal.push(op);
    }

    fn relink(&mut self, ino: Ino, more: bool) {
        if let Some(inode) = self.disk.inodes.get_mut(ino) {
            inode.links = if more { inode.links + 1 } else { inode.links.saturating_sub(1) };
        }
    }

    fn within(&self, path: &Path) -> Result<(), io::ErrorKind> {
        let (directory, _) = split(path);
        if self.disk.tree.get(Path::new(&directory)) == Some(Node::Directory) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound)
        }
    }

    fn create(&mut self, host: usize, path: &Path) -> Result<Ino, io::ErrorKind> {
        self.within(path)?;
        if self.disk.capacity.is_some_and(|capacity| self.disk.used() >= capacity) {
            return Err(io::ErrorKind::StorageFull);
        }
        let ino = self.disk.inodes.len();
        self.disk.inodes.push(Inode { modified: self.now, ..Inode::default() });
        self.change_names(host, Op::set(path, Some(Node::File(ino))));
        Ok(ino)
    }

    fn file_at(&self, path: &Path) -> Result<Ino, io::ErrorKind> {
        match self.disk.tree.get(path) {
            Some(Node::File(ino)) => Ok(ino),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory),
            None => Err(io::ErrorKind::NotFound),
        }
    }

    fn rename(&mut self, host: usize, from: &Path, to: &Path) -> Result<(), io::ErrorKind> {
        let ino = self.file_at(from)?;
        self.within(to)?;
        let replaced = self.disk.tree.get(to);
        if replaced == Some(Node::Directory) {
            return Err(io::ErrorKind::IsADirectory);
        }
        // Two names of one file: rename(2) does nothing then.
        if replaced != Some(Node::File(ino)) {
            self.change_names(host, Op::set(from, None).and(to, Some(Node::File(ino))));
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, StorageError> {
        let operation = if mode == OpenMode::CreateNew { Operation::Create } else { Operation::Open };
        let fate = self.world.enter(self.process, operation, path)?;
        if let Fate::Fails(error) | Fate::FailsLate(error) = fate {
            return Err(failed(operation, path, error));
        }
        let mut state = self.world.lock();
        let host = state.host_of(self.process);
        let exists = matches!(mode, OpenMode::Read | OpenMode::Write);
        let found = if exists { state.look_up(host, path) } else { state.disk.tree.get(path) };
        let ino = match (found, mode) {
            (Some(Node::Directory), _) => {
                return Err(StorageError::NotAFile { path: path.to_owned(), found: FileKind::Directory });
            }
            (Some(Node::File(_)), OpenMode::CreateNew) => Err(io::ErrorKind::AlreadyExists),
            (Some(Node::File(ino)), _) => Ok(ino),
            (None, OpenMode::Read | OpenMode::Write) => Err(io::ErrorKind::NotFound),
            (None, OpenMode::CreateNew | OpenMode::ReadWriteCreate) => state.create(host, path),
        };
        let ino = ino.map_err(|error| failed(operation, path, error))?;
        // To open is to ask for the attributes.
        if let Some(inode) = state.disk.inodes.get_mut(ino) {
            inode.cached.insert(host, Arc::clone(&inode.server));
        }
        state.disk.next_handle += 1;
        let handle = state.disk.next_handle;
        state.disk.handles.insert(handle, Handle { process: self.process, host, ino, lost: false });
        drop(state);
        Ok(Box::new(SimFile::new(self.world.clone(), self.process, path.to_owned(), handle, mode)))
    }

    fn open_beneath(&self, root: &Path, relative: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if plain {
            self.open(&root.join(relative), OpenMode::Read)
        } else {
            Err(StorageError::Outside { root: root.to_owned(), path: relative.to_owned() })
        }
    }

    fn map(&self, path: &Path) -> Result<Mapping, StorageError> {
        Err(failed(Operation::Map, path, io::ErrorKind::Unsupported))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.change(Operation::Rename, from, |state, host| {
            state.leaves_log(self.process, from);
            state.rename(host, from, to)?;
            state.appears(to);
            Ok(())
        })
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.change(Operation::Link, to, |state, host| {
            let ino = state.file_at(from)?;
            state.within(to)?;
            if state.disk.tree.get(to).is_some() {
                return Err(io::ErrorKind::AlreadyExists);
            }
            state.change_names(host, Op::set(to, Some(Node::File(ino))));
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        self.change(Operation::Remove, path, |state, host| {
            state.file_at(path)?;
            state.leaves_log(self.process, path);
            state.change_names(host, Op::set(path, None));
            Ok(())
        })
    }

    fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.change(Operation::CreateDirectory, path, |state, host| match state.disk.tree.get(path) {
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory),
            None => {
                state.within(path)?;
                state.change_names(host, Op::set(path, Some(Node::Directory)));
                Ok(())
            }
        })
    }

    fn remove_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.change(Operation::RemoveDirectory, path, |state, host| {
            let entries = state.disk.tree.entries(path).ok_or(io::ErrorKind::NotFound)?;
            if !entries.is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty);
            }
            state.change_names(host, Op::set(path, None));
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.change(Operation::SyncDirectory, path, |state, _| {
            state.disk.tree.entries(path).ok_or(io::ErrorKind::NotFound)?;
            if state.broken == Broken::DirectorySync {
                return Ok(());
            }
            for op in settle(&mut state.disk.journal, path.as_os_str()) {
                state.disk.stable.apply(&op);
            }
            state.letters_last(path);
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError> {
        self.ask(Operation::List, path, |state, host| {
            if let Some(host) = state.hosts.get_mut(host) {
                host.names.forget_in(path);
            }
            let entries = state.disk.tree.entries(path).ok_or(io::ErrorKind::NotFound)?;
            let entry = |(name, node): (&OsString, &Node)| {
                let kind = if *node == Node::Directory { FileKind::Directory } else { FileKind::File };
                Entry { name: name.clone(), kind }
            };
            let mut entries: Vec<Entry> = entries.iter().map(entry).collect();
            let turn = state.random.index(entries.len());
            entries.rotate_left(turn);
            Ok(entries)
        })
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, StorageError> {
        self.ask(Operation::Inspect, path, |state, host| match state.look_up(host, path) {
            Some(Node::Directory) => {
                if let Some(host) = state.hosts.get_mut(host) {
                    host.names.forget_in(path);
                }
                Ok(Metadata { kind: FileKind::Directory, length: 0, modified_ns: 0 })
            }
            Some(Node::File(ino)) => state.metadata_of(host, ino).ok_or(io::ErrorKind::NotFound),
            None => Err(io::ErrorKind::NotFound),
        })
    }

    fn space(&self, path: &Path) -> Result<Space, StorageError> {
        self.ask(Operation::Space, path, |state, _| {
            let total = state.disk.capacity.unwrap_or(if state.knobs.plenty { u64::MAX / 2 } else { LITTLE });
            Ok(Space { total, available: total.saturating_sub(state.disk.used()) })
        })
    }

    fn file_system(&self, path: &Path) -> Result<FileSystem, StorageError> {
        self.ask(Operation::Inspect, path, |state, _| {
            Ok(if state.knobs.local { FileSystem::Ext } else { FileSystem::Nfs })
        })
    }

    fn mount(&self, path: &Path) -> Result<Mount, StorageError> {
        let mount = self.ask(Operation::Mount, path, |state, _| Ok(state.disk.mount.clone()))?;
        let reason = "the simulation's own line does not parse".to_owned();
        mount.ok_or(StorageError::UnknownMount { path: path.to_owned(), reason })
    }
}
