//! The real disk, but that it can die after any call that changes something, that what was not synced is lost then if a test says so, and
//! that a test can act in front of every call.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use zoutbox_storage::mount::Mount;
use zoutbox_storage::{
    Disk, DiskFile, Entry, FileSystem, Mapping, Metadata, OpenMode, Operation, RealDisk, Space, StorageError,
};

/// How a change of names is taken back, and the directories of which one must be synced for it to last.
struct Change {
    undo: Undo,
    directories: Vec<PathBuf>,
}

enum Undo {
    Rename { now: PathBuf, before: PathBuf },
    Remove(PathBuf),
    RemoveDirectory(PathBuf),
    MakeDirectory(PathBuf),
}

type Hook = Box<dyn FnMut(&Path) + Send>;

#[derive(Default)]
struct State {
    /// Where removed files are until the removal lasts.
    removed: PathBuf,
    /// Names that were changed and are not durable, the oldest first.
    changes: Vec<Change>,
    /// How many more changes it lives for.
    life: Option<usize>,
    dead: bool,
    calls: usize,
    hook: Option<Hook>,
    /// What the next call of this kind, on a path that ends so, fails with.
    fault: Option<(Operation, String, io::ErrorKind)>,
}

/// Clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct TestDisk(Arc<Mutex<State>>);

impl fmt::Debug for TestDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestDisk")
    }
}

impl TestDisk {
    pub(crate) fn new(removed: &Path) -> Self {
        std::fs::create_dir(removed).unwrap();
        let disk = Self::default();
        disk.state().removed = removed.to_owned();
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// After so many changes nothing works any more, as for a process that is killed.
    pub(crate) fn die_after(&self, changes: usize) {
        self.state().life = Some(changes);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// How many changes of names are not durable.
    pub(crate) fn unsynced(&self) -> usize {
        self.state().changes.len()
    }

    /// A new process; `lost` of the last changes that were not synced are lost, as after a power cut.
    pub(crate) fn restart(&self, lost: usize) {
        let mut state = self.state();
        for _ in 0..lost {
            state.changes.pop().map(|change| change.undo).unwrap().run();
        }
        state.changes.clear();
        state.dead = false;
        state.life = None;
    }

    /// Calls this in front of every call, with its path; `None` no more.
    pub(crate) fn hook(&self, hook: Option<Hook>) {
        self.state().hook = hook;
    }

    /// How many calls there were since this was asked before.
    pub(crate) fn calls(&self) -> usize {
        std::mem::take(&mut self.state().calls)
    }

    /// The next such call on a path that ends like this fails.
    pub(crate) fn fail(&self, operation: Operation, end: &str) {
        self.fail_with(operation, end, io::ErrorKind::Other);
    }

    /// The same, in a certain way.
    pub(crate) fn fail_with(&self, operation: Operation, end: &str, kind: io::ErrorKind) {
        self.state().fault = Some((operation, end.to_owned(), kind));
    }

    fn enter(&self, operation: Operation, path: &Path) -> Result<(), StorageError> {
        let mut state = self.state();
        state.calls += 1;
        if let Some(mut hook) = state.hook.take() {
            drop(state);
            hook(path);
            state = self.state();
            state.hook = Some(hook);
        }
        let hit = |(fails, end, _): &mut (Operation, String, io::ErrorKind)| {
            *fails == operation && path.to_string_lossy().ends_with(end.as_str())
        };
        let source = match state.fault.take_if(hit) {
            Some((_, _, kind)) => io::Error::new(kind, "the test says so"),
            None if state.dead => io::Error::other("the process is dead"),
            None => return Ok(()),
        };
        Err(StorageError::Io { operation, path: path.to_owned(), offset: None, source })
    }

    fn changed(&self, undo: Undo, paths: &[&Path]) {
        let mut state = self.state();
        let directories = paths.iter().map(|path| path.parent().unwrap().to_owned()).collect();
        state.changes.push(Change { undo, directories });
        if let Some(life) = &mut state.life {
            *life -= 1;
            state.dead = *life == 0;
        }
    }

    /// Where a file goes that is replaced or removed.
    fn grave(&self) -> PathBuf {
        let state = self.state();
        let number = std::fs::read_dir(&state.removed).unwrap().count();
        state.removed.join(number.to_string())
    }
}

impl Undo {
    fn run(self) {
        match self {
            Self::Rename { now, before } => std::fs::rename(now, before),
            Self::Remove(path) => std::fs::remove_file(path),
            Self::RemoveDirectory(path) => std::fs::remove_dir(path),
            Self::MakeDirectory(path) => std::fs::create_dir(path),
        }
        .unwrap();
    }
}

impl Disk for TestDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, StorageError> {
        self.enter(Operation::Open, path)?;
        let file = RealDisk.open(path, mode)?;
        if mode == OpenMode::CreateNew {
            self.changed(Undo::Remove(path.to_owned()), &[path]);
        }
        Ok(Box::new(TestFile { file, disk: self.clone() }))
    }

    fn open_beneath(&self, root: &Path, relative: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        self.enter(Operation::Open, &root.join(relative))?;
        let file = RealDisk.open_beneath(root, relative)?;
        Ok(Box::new(TestFile { file, disk: self.clone() }))
    }

    fn map(&self, path: &Path) -> Result<Mapping, StorageError> {
        RealDisk.map(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.enter(Operation::Rename, from)?;
        assert!(!to.exists() || to.to_string_lossy().ends_with(".swept"), "{} is replaced", to.display());
        RealDisk.rename(from, to)?;
        self.changed(Undo::Rename { now: to.to_owned(), before: from.to_owned() }, &[from, to]);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.enter(Operation::Link, from)?;
        RealDisk.link(from, to)?;
        self.changed(Undo::Remove(to.to_owned()), &[to]);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        self.enter(Operation::Remove, path)?;
        let grave = self.grave();
        let failed = |source| StorageError::Io {
            operation: Operation::Remove,
            path: path.to_owned(),
            offset: None,
            source,
        };
        std::fs::rename(path, &grave).map_err(failed)?;
        self.changed(Undo::Rename { now: grave, before: path.to_owned() }, &[path]);
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.enter(Operation::CreateDirectory, path)?;
        let new = !path.exists();
        RealDisk.create_dir(path)?;
        if new {
            self.changed(Undo::RemoveDirectory(path.to_owned()), &[path]);
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.enter(Operation::RemoveDirectory, path)?;
        RealDisk.remove_dir(path)?;
        self.changed(Undo::MakeDirectory(path.to_owned()), &[path]);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.enter(Operation::SyncDirectory, path)?;
        RealDisk.sync_dir(path)?;
        self.state().changes.retain(|change| !change.directories.iter().any(|directory| directory == path));
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError> {
        self.enter(Operation::List, path)?;
        RealDisk.list(path)
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, StorageError> {
        self.enter(Operation::Inspect, path)?;
        RealDisk.metadata(path)
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

#[derive(Debug)]
struct TestFile {
    file: Box<dyn DiskFile>,
    disk: TestDisk,
}

impl DiskFile for TestFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        self.disk.enter(Operation::Read, self.path())?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        self.disk.enter(Operation::Write, self.path())?;
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.disk.enter(Operation::Sync, self.path())?;
        self.file.sync()
    }

    fn set_length(&self, length: u64) -> Result<(), StorageError> {
        self.file.set_length(length)
    }

    fn metadata(&self) -> Result<Metadata, StorageError> {
        self.disk.enter(Operation::Inspect, self.path())?;
        self.file.metadata()
    }

    fn try_lock(&self) -> Result<bool, StorageError> {
        self.file.try_lock()
    }
}
