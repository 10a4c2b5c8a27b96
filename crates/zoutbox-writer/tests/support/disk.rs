//! A disk in memory that keeps two versions of everything: what is visible, and what would survive a power cut.
//!
//! Its syncs behave like Linux's: one that fails drops what it should have written, so that the next one succeeds without it.

mod calls;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use zoutbox_storage::{Operation, StorageError};

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Debug, Default, Clone)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    locked_by: Option<u64>,
}

/// A failure to come.
#[derive(Debug, Clone)]
struct Fault {
    operation: Operation,
    name: String,
    skip: usize,
    times: usize,
    error: io::ErrorKind,
    /// The call takes effect, and only then reports the error.
    after: bool,
    panics: bool,
}

/// What somebody else does to the disk in front of a call: told how many calls there were before.
type Meddler = Box<dyn FnMut(usize) + Send>;

#[derive(Default)]
struct Meddling {
    meddler: Option<Meddler>,
    /// It is at work now: neither faults nor a death are meant for it.
    works: bool,
}

impl fmt::Debug for Meddling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meddling").field("works", &self.works).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    directories: BTreeSet<PathBuf>,
    durable_directories: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
    /// What was done, in order: for tests of order.
    calls: Vec<(Operation, String)>,
    handles: u64,
    /// Handles below this have lost their locks: their writes succeed, their syncs fail.
    cut_off: u64,
    /// Handles below this are of a process that is gone.
    dead: u64,
    /// Bytes that all files together may hold.
    capacity: Option<u64>,
    /// After so many calls the process is dead: no call does anything any more.
    life: Option<usize>,
    meddling: Meddling,
    /// Such a call waits until nothing is held any more.
    held: Option<(Operation, String)>,
    ignore_sync: bool,
    ignore_sync_dir: bool,
    /// The length of the longest write.
    most_written: usize,
    /// The line of /proc/self/mountinfo that tells how the disk is mounted.
    mount: String,
}

#[derive(Debug, Clone)]
pub(crate) struct MemoryDisk(Arc<Mutex<State>>);

impl Default for MemoryDisk {
    fn default() -> Self {
        let mount = "30 1 8:1 / /share rw,relatime - ext4 /dev/sda1 rw".to_owned();
        let root = BTreeSet::from([PathBuf::from("/")]);
        let (directories, durable_directories) = (root.clone(), root);
        Self(Arc::new(Mutex::new(State { directories, durable_directories, mount, ..State::default() })))
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, data) => {
            let start = usize::try_from(*offset).unwrap();
            let end = start + data.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[start..end].copy_from_slice(data);
        }
        Change::Length(length) => bytes.resize(usize::try_from(*length).unwrap(), 0),
    }
}

fn failed(operation: Operation, path: &Path, error: io::ErrorKind) -> StorageError {
    StorageError::Io { operation, path: path.to_owned(), offset: None, source: error.into() }
}

impl MemoryDisk {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The next `times` calls of `operation` on a path that contains `name` fail, after `skip` that don't.
    pub(crate) fn fail(
        &self,
        operation: Operation,
        name: &str,
        skip: usize,
        times: usize,
        error: io::ErrorKind,
    ) {
        let name = name.to_owned();
        let fault = Fault { operation, name, skip, times, error, after: false, panics: false };
        self.state().faults.push(fault);
    }

    /// The next such call takes effect and then reports an error.
    pub(crate) fn fail_after(&self, operation: Operation, name: &str) {
        let (name, error) = (name.to_owned(), io::ErrorKind::TimedOut);
        let fault = Fault { operation, name, skip: 0, times: 1, error, after: true, panics: false };
        self.state().faults.push(fault);
    }

    /// The next such call panics.
    pub(crate) fn panic_at(&self, operation: Operation, name: &str) {
        let (name, error) = (name.to_owned(), io::ErrorKind::Other);
        let fault = Fault { operation, name, skip: 0, times: 1, error, after: false, panics: true };
        self.state().faults.push(fault);
    }

    /// From now on such calls hang; `None` lets them go on.
    pub(crate) fn hold(&self, call: Option<(Operation, &str)>) {
        self.state().held = call.map(|(operation, name)| (operation, name.to_owned()));
    }

    /// Runs `work` without any faults; they are still to come afterwards.
    pub(crate) fn undisturbed<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut state = self.state();
        let (faults, life) = (std::mem::take(&mut state.faults), state.life.take());
        drop(state);
        let result = work();
        let mut state = self.state();
        (state.faults, state.life) = (faults, life);
        result
    }

    /// The process dies after `calls` more calls. Until [`MemoryDisk::revive`], none does anything.
    pub(crate) fn die_after(&self, calls: usize) {
        self.state().life = Some(calls);
    }

    /// Another process lives. Says whether the one before died.
    pub(crate) fn revive(&self) -> bool {
        self.state().life.take() == Some(0)
    }

    /// In front of every call, somebody else gets to do something.
    pub(crate) fn meddle(&self, meddler: impl FnMut(usize) + Send + 'static) {
        self.state().meddling.meddler = Some(Box::new(meddler));
    }

    pub(crate) fn meddle_no_more(&self) {
        self.state().meddling.meddler = None;
    }

    pub(crate) fn heal(&self) {
        self.state().faults.clear();
    }

    pub(crate) fn most_written(&self) -> usize {
        self.state().most_written
    }

    /// Mounted like this from now on.
    pub(crate) fn set_mount(&self, line: &str) {
        line.clone_into(&mut self.state().mount);
    }

    pub(crate) fn set_capacity(&self, capacity: Option<u64>) {
        self.state().capacity = capacity;
    }

    /// From now on file syncs (and directory syncs) do nothing and say that all is well.
    pub(crate) fn lie(&self, about_files: bool, about_directories: bool) {
        let mut state = self.state();
        state.ignore_sync = about_files;
        state.ignore_sync_dir = about_directories;
    }

    pub(crate) fn sync_everything(&self) {
        let mut state = self.state();
        for inode in &mut state.inodes {
            inode.durable = inode.live.clone();
            inode.unsynced.clear();
        }
        state.durable_names = state.names.clone();
        let state = &mut *state;
        state.durable_directories.clone_from(&state.directories);
    }

    /// The power is cut. Of what was not synced, `survives` says change by change whether it is there afterwards; of a write, it
    /// may be any part. Whoever had files open is gone.
    pub(crate) fn crash(&self, mut survives: impl FnMut() -> u8) {
        self.lose_data(&mut survives);
        self.lose_names(|| survives().is_multiple_of(2));
    }

    /// The power is cut, and the names survive although nothing says that they do; what was not synced of the files' content does not.
    pub(crate) fn crash_keeping_names(&self) {
        self.lose_data(&mut || 3);
        self.lose_names(|| true);
    }

    /// The power is cut, and all content survives although nothing says so; names that were not synced do not.
    pub(crate) fn crash_keeping_content(&self) {
        self.lose_data(&mut || 0);
        self.lose_names(|| false);
    }

    fn lose_data(&self, survives: &mut impl FnMut() -> u8) {
        let mut state = self.state();
        let state = &mut *state;
        for inode in &mut state.inodes {
            let mut bytes = std::mem::take(&mut inode.durable);
            for change in inode.unsynced.drain(..) {
                match (survives() % 4, &change) {
                    (0, _) => apply(&mut bytes, &change),
                    (1, Change::Write(offset, data)) => {
                        let part = data.len() * usize::from(survives()) / 256;
                        apply(&mut bytes, &Change::Write(*offset, data[..part].to_vec()));
                    }
                    (2, Change::Write(offset, data)) => {
                        let skip = data.len() * usize::from(survives()) / 256;
                        let end = offset + data.len() as u64;
                        bytes.resize(bytes.len().max(usize::try_from(end).unwrap()), 0);
                        apply(&mut bytes, &Change::Write(offset + skip as u64, data[skip..].to_vec()));
                    }
                    _ => {}
                }
            }
            inode.live.clone_from(&bytes);
            inode.durable = bytes;
            inode.locked_by = None;
        }
        state.dead = state.handles;
    }

    fn lose_names(&self, survive: impl FnOnce() -> bool) {
        let mut state = self.state();
        let state = &mut *state;
        if survive() {
            state.durable_names = state.names.clone();
            state.durable_directories.clone_from(&state.directories);
        }
        // What a directory held that is gone is gone with it. Sorted as they are, parents come first.
        let mut kept = BTreeSet::new();
        for directory in &state.durable_directories {
            if directory.parent().is_none_or(|parent| kept.contains(parent)) {
                kept.insert(directory.clone());
            }
        }
        state.durable_names.retain(|name, _| name.parent().is_some_and(|parent| kept.contains(parent)));
        state.names = state.durable_names.clone();
        state.directories.clone_from(&kept);
        state.durable_directories = kept;
        state.life = None;
    }

    /// Nothing that was not synced survives.
    pub(crate) fn crash_hard(&self) {
        self.crash(|| 3);
    }

    /// The server has given up on every client that has files open: their locks are gone, and their syncs fail from now on.
    pub(crate) fn expire_locks(&self) {
        let mut state = self.state();
        state.cut_off = state.handles;
        state.inodes.iter_mut().for_each(|inode| inode.locked_by = None);
    }

    pub(crate) fn calls(&self) -> Vec<(Operation, String)> {
        self.state().calls.clone()
    }

    pub(crate) fn forget_calls(&self) {
        self.state().calls.clear();
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.state().names.keys().map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn content(&self, path: &str) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[Path::new(path)]].live.clone()
    }

    /// Puts a file there, durably, as nobody's doing.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = Inode { live: bytes.to_vec(), durable: bytes.to_vec(), ..Inode::default() };
        state.inodes.push(inode);
        let number = state.inodes.len() - 1;
        state.names.insert(path.into(), number);
        state.durable_names.insert(path.into(), number);
        for directory in Path::new(path).ancestors().skip(1) {
            state.directories.insert(directory.to_owned());
            state.durable_directories.insert(directory.to_owned());
        }
    }

    /// Whether two names are of one file.
    pub(crate) fn is_same(&self, one: &str, other: &str) -> bool {
        let state = self.state();
        state.names.get(Path::new(one)).is_some_and(|inode| state.names.get(Path::new(other)) == Some(inode))
    }

    pub(crate) fn directories(&self) -> Vec<String> {
        self.state().directories.iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn remove(&self, path: &str) {
        let mut state = self.state();
        state.names.remove(Path::new(path));
        state.durable_names.remove(Path::new(path));
    }

    fn enter(&self, operation: Operation, path: &Path) -> Result<Option<StorageError>, StorageError> {
        let text = path.to_str().unwrap().to_owned();
        while self.state().held.as_ref().is_some_and(|(op, name)| *op == operation && text.contains(name)) {
            std::thread::yield_now();
        }
        let mut state = self.state();
        if state.meddling.works {
            return Ok(None);
        }
        if let Some(mut meddler) = state.meddling.meddler.take() {
            let calls = state.calls.len();
            state.meddling.works = true;
            drop(state);
            meddler(calls);
            state = self.state();
            state.meddling = Meddling { meddler: Some(meddler), works: false };
        }
        state.calls.push((operation, text.clone()));
        if let Some(life) = &mut state.life {
            if *life == 0 {
                return Err(failed(operation, path, io::ErrorKind::BrokenPipe));
            }
            *life -= 1;
        }
        let due = state.faults.iter_mut().find_map(|fault| {
            if fault.operation != operation || !text.contains(&fault.name) || fault.times == 0 {
                return None;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                return None;
            }
            fault.times -= 1;
            Some(fault.clone())
        });
        drop(state);
        match due {
            None => Ok(None),
            Some(fault) if fault.panics => panic!("the disk was told to panic"),
            Some(fault) if fault.after => Ok(Some(failed(operation, path, fault.error))),
            Some(fault) => Err(failed(operation, path, fault.error)),
        }
    }
}
