//! The real disk, but that calls on some names do not come back until they are let go: as calls do whose server is away. Included by
//! the tests of other crates as well.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use zoutbox_storage::mount::Mount;
use zoutbox_storage::{
    Disk, DiskFile, Entry, FileSystem, Mapping, Metadata, OpenMode, RealDisk, Space, StorageError,
};

#[derive(Debug, Default)]
struct Held {
    /// Part of the paths that are held.
    name: Option<String>,
    /// How many calls wait, and how many ever did.
    waiting: usize,
    ever: usize,
}

/// Clones share what is held.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeldDisk(Arc<(Mutex<Held>, Condvar)>);

impl HeldDisk {
    /// From now on, calls on paths that contain `name` wait.
    pub(crate) fn hold(&self, name: &str) {
        self.0.0.lock().unwrap().name = Some(name.to_owned());
    }

    pub(crate) fn let_go(&self) {
        self.0.0.lock().unwrap().name = None;
        self.0.1.notify_all();
    }

    /// How many calls wait, and how many ever had to.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let held = self.0.0.lock().unwrap();
        (held.waiting, held.ever)
    }

    fn pass(&self, path: &Path) {
        let held =
            |held: &mut Held| held.name.as_ref().is_some_and(|name| path.to_string_lossy().contains(name));
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        if held(&mut state) {
            state.waiting += 1;
            state.ever += 1;
            state = changed.wait_while(state, held).unwrap();
            state.waiting -= 1;
        }
    }
}

impl Disk for HeldDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, StorageError> {
        self.pass(path);
        RealDisk.open(path, mode)
    }

    fn open_beneath(&self, root: &Path, relative: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        self.pass(&root.join(relative));
        RealDisk.open_beneath(root, relative)
    }

    fn map(&self, path: &Path) -> Result<Mapping, StorageError> {
        self.pass(path);
        RealDisk.map(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.pass(to);
        RealDisk.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.pass(to);
        RealDisk.link(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        self.pass(path);
        RealDisk.remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.pass(path);
        RealDisk.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.pass(path);
        RealDisk.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.pass(path);
        RealDisk.sync_dir(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError> {
        self.pass(path);
        RealDisk.list(path)
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, StorageError> {
        self.pass(path);
        RealDisk.metadata(path)
    }

    fn space(&self, path: &Path) -> Result<Space, StorageError> {
        self.pass(path);
        RealDisk.space(path)
    }

    fn file_system(&self, path: &Path) -> Result<FileSystem, StorageError> {
        self.pass(path);
        RealDisk.file_system(path)
    }

    fn mount(&self, path: &Path) -> Result<Mount, StorageError> {
        self.pass(path);
        RealDisk.mount(path)
    }
}
