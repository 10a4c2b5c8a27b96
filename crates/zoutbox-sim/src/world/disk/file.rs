//! The calls on an open file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zoutbox_storage::{DiskFile, FileKind, Metadata, OpenMode, Operation, StorageError};

use super::{Change, Held, Ino};
use crate::world::faults::{Fate, failed};
use crate::world::knobs::Broken;
use crate::world::{State, World};

/// An open file, as one process has it.
#[derive(Debug)]
pub(super) struct SimFile {
    world: World,
    process: usize,
    path: PathBuf,
    handle: u64,
    mode: OpenMode,
}

/// Whose call it is, on what.
#[derive(Debug, Clone, Copy)]
struct Call {
    host: usize,
    ino: Ino,
    lost: bool,
}

impl SimFile {
    pub(super) fn new(world: World, process: usize, path: PathBuf, handle: u64, mode: OpenMode) -> Self {
        Self { world, process, path, handle, mode }
    }

    /// Makes a call; `work` gets what was decided of it.
    fn call<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&mut State, Call, Fate) -> Result<T, io::ErrorKind>,
    ) -> Result<T, StorageError> {
        let fate = self.world.enter(self.process, operation, &self.path)?;
        let mut state = self.world.lock();
        let handle = state.disk.handles.get(&self.handle);
        let call = handle.map(|handle| Call { host: handle.host, ino: handle.ino, lost: handle.lost });
        let call = call.ok_or_else(|| failed(operation, &self.path, io::ErrorKind::BrokenPipe))?;
        work(&mut state, call, fate).map_err(|error| failed(operation, &self.path, error))
    }
}

/// The error of a call that has none of its own to add.
fn works(fate: Fate) -> Result<(), io::ErrorKind> {
    match fate {
        Fate::Works => Ok(()),
        Fate::Fails(error) | Fate::FailsLate(error) => Err(error),
    }
}

impl State {
    /// The file's content as a host sees it now.
    fn content(&mut self, host: usize, ino: Ino) -> Option<Arc<Vec<u8>>> {
        let stale = !self.knobs.local && self.random.chance(500);
        let inode = self.disk.inodes.get_mut(ino)?;
        let base = match inode.cached.get(&host) {
            Some(cached) if stale => Arc::clone(cached),
            _ => {
                inode.cached.insert(host, Arc::clone(&inode.server));
                Arc::clone(&inode.server)
            }
        };
        Some(inode.with_dirty(host, base))
    }

    pub(super) fn metadata_of(&mut self, host: usize, ino: Ino) -> Option<Metadata> {
        let inode = self.disk.inodes.get_mut(ino)?;
        inode.cached.insert(host, Arc::clone(&inode.server));
        let content = inode.with_dirty(host, Arc::clone(&inode.server));
        let modified_ns = u64::try_from(inode.modified.as_nanos()).unwrap_or(u64::MAX);
        Some(Metadata { kind: FileKind::File, length: content.len() as u64, modified_ns })
    }

    fn is_stale(&self, ino: Ino) -> bool {
        // The server has no silly names: a file without a name is gone, for every client but on a local disk.
        !self.knobs.local && self.disk.inodes.get(ino).is_none_or(|inode| inode.links == 0)
    }

    fn write(&mut self, call: Call, change: Change) -> Result<(), io::ErrorKind> {
        if call.lost {
            // It goes to this client's cache, and the server refuses it when it is sent.
            return if self.random.chance(700) { Ok(()) } else { Err(io::ErrorKind::Other) };
        }
        let (full, late) = (self.is_full(call.ino, &change), self.knobs.full_at_sync);
        if full && !late {
            return Err(io::ErrorKind::StorageFull);
        }
        let now = self.now;
        let inode = self.disk.inodes.get_mut(call.ino).ok_or(io::ErrorKind::NotFound)?;
        inode.modified = now;
        if inode.dirty.iter().any(|(host, before)| *host == call.host && before.overlaps(&change)) {
            inode.send_all(call.host);
        }
        inode.dirty.push((call.host, change));
        Ok(())
    }

    fn is_full(&self, ino: Ino, change: &Change) -> bool {
        let Some(capacity) = self.disk.capacity else { return false };
        let length = self.disk.inodes.get(ino).map_or(0, |inode| inode.server.len());
        let end = match change {
            Change::Write(offset, data) => offset + data.len(),
            Change::Length(_) => 0,
        };
        end > length && self.disk.used() + (end - length) as u64 > capacity
    }

    fn sync(&mut self, call: Call, fate: Fate) -> Result<(), io::ErrorKind> {
        if call.lost {
            return Err(io::ErrorKind::Other);
        }
        if self.broken == Broken::FileSync {
            return Ok(());
        }
        let full = {
            let inode = self.disk.inodes.get(call.ino).ok_or(io::ErrorKind::NotFound)?;
            let mut ours = inode.dirty.iter().filter(|(host, _)| *host == call.host);
            self.knobs.full_at_sync && ours.any(|(_, change)| self.is_full(call.ino, change))
        };
        let stale = self.is_stale(call.ino);
        let inode = self.disk.inodes.get_mut(call.ino).ok_or(io::ErrorKind::NotFound)?;
        let failure = match fate {
            Fate::Fails(error) | Fate::FailsLate(error) => Some(error),
            Fate::Works if full => Some(io::ErrorKind::QuotaExceeded),
            Fate::Works if stale => Some(io::ErrorKind::StaleNetworkFileHandle),
            Fate::Works => None,
        };
        let Some(error) = failure else {
            inode.send_all(call.host);
            inode.settle();
            return Ok(());
        };
        // The pages count as clean from now on; some of them may have got there.
        let (ours, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut inode.dirty).into_iter().partition(|(host, _)| *host == call.host);
        inode.dirty = others;
        for (host, change) in ours {
            if let Some(torn) = change.torn(&mut self.random).filter(|_| !full && !stale) {
                inode.send(host, torn);
            }
        }
        for (host, _) in inode.unstable.iter_mut().filter(|(host, _)| *host == call.host) {
            *host = usize::MAX;
        }
        inode.cached.remove(&call.host);
        Err(error)
    }

    fn lock_file(&mut self, call: Call, handle: u64) -> Result<bool, io::ErrorKind> {
        if call.lost {
            return Err(io::ErrorKind::Other);
        }
        let (now, broken) = (self.now, self.broken);
        let inode = self.disk.inodes.get_mut(call.ino).ok_or(io::ErrorKind::NotFound)?;
        let lapsed = match inode.lock {
            None => None,
            Some(held) if held.handle == handle => return Ok(true),
            Some(held) if held.until.is_some_and(|until| until <= now) => Some(held.handle),
            Some(_) if broken == Broken::Locks => return Ok(true),
            Some(_) => return Ok(false),
        };
        inode.lock = Some(Held { handle, until: None });
        if let Some(holder) = lapsed {
            self.lose_lock(holder);
        }
        Ok(true)
    }
}

impl super::Inode {
    fn with_dirty(&self, host: usize, base: Arc<Vec<u8>>) -> Arc<Vec<u8>> {
        if !self.dirty.iter().any(|(of, _)| *of == host) {
            return base;
        }
        let mut bytes = Vec::clone(&base);
        for (_, change) in self.dirty.iter().filter(|(of, _)| *of == host) {
            change.apply(&mut bytes);
        }
        Arc::new(bytes)
    }
}

impl DiskFile for SimFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        self.call(Operation::Read, |state, call, fate| {
            works(fate)?;
            if call.lost {
                return Err(io::ErrorKind::Other);
            }
            if state.is_stale(call.ino) {
                return Err(io::ErrorKind::StaleNetworkFileHandle);
            }
            let content = state.content(call.host, call.ino).ok_or(io::ErrorKind::NotFound)?;
            let rest =
                usize::try_from(offset).ok().and_then(|offset| content.get(offset..)).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
                to.copy_from_slice(from);
            }
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        assert!(self.mode != OpenMode::Read, "a write through a file that was opened for reading");
        self.call(Operation::Write, |state, call, fate| {
            works(fate)?;
            let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
            state.write(call, Change::Write(offset, bytes.into()))
        })
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.call(Operation::Sync, State::sync)
    }

    fn set_length(&self, length: u64) -> Result<(), StorageError> {
        self.call(Operation::SetLength, |state, call, fate| {
            works(fate)?;
            let length = usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
            state.write(call, Change::Length(length))
        })
    }

    fn metadata(&self) -> Result<Metadata, StorageError> {
        self.call(Operation::Inspect, |state, call, fate| {
            works(fate)?;
            if state.is_stale(call.ino) {
                return Err(io::ErrorKind::StaleNetworkFileHandle);
            }
            state.metadata_of(call.host, call.ino).ok_or(io::ErrorKind::NotFound)
        })
    }

    fn try_lock(&self) -> Result<bool, StorageError> {
        self.call(Operation::Lock, |state, call, fate| {
            works(fate)?;
            state.lock_file(call, self.handle)
        })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        let Some(handle) = state.disk.handles.remove(&self.handle) else { return };
        if let Some(inode) = state.disk.inodes.get_mut(handle.ino)
            && inode.lock.is_some_and(|held| held.handle == self.handle)
        {
            inode.lock = None;
        }
    }
}
