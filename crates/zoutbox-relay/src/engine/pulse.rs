//! For jobs of many calls: which of them takes long is what matters, not how long the job does. Each call that begins or comes back shows
//! that the share answers.

use std::path::Path;
use std::sync::Arc;

use zoutbox_storage::mount::Mount;
use zoutbox_storage::{
    Clock, Disk, DiskFile, Entry, FileSystem, Mapping, Metadata, OpenMode, Space, StorageError, System,
};

use super::calls::Calls;
use super::jobs::tell;

/// The system, as a job uses it that is under way under this number.
pub(super) fn with_pulse(system: &System, calls: &Calls, id: u64) -> System {
    let pulse = Pulse { calls: calls.clone(), id, clock: Arc::clone(&system.clock) };
    let disk = PulseDisk { disk: Arc::clone(&system.disk), pulse };
    System { disk: Arc::new(disk), ..system.clone() }
}

#[derive(Debug, Clone)]
struct Pulse {
    calls: Calls,
    id: u64,
    clock: Arc<dyn Clock>,
}

impl Pulse {
    fn around<T>(&self, call: impl FnOnce() -> T) -> T {
        self.beat();
        let result = call();
        self.beat();
        result
    }

    fn beat(&self) {
        let now = self.clock.monotonic();
        if let Some(news) = self.calls.goes_on(self.id, now) {
            tell(&news, now);
        }
    }
}

#[derive(Debug)]
struct PulseDisk {
    disk: Arc<dyn Disk>,
    pulse: Pulse,
}

impl Disk for PulseDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, StorageError> {
        let file = self.pulse.around(|| self.disk.open(path, mode))?;
        Ok(Box::new(PulseFile { file, pulse: self.pulse.clone() }))
    }

    fn open_beneath(&self, root: &Path, relative: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        let file = self.pulse.around(|| self.disk.open_beneath(root, relative))?;
        Ok(Box::new(PulseFile { file, pulse: self.pulse.clone() }))
    }

    fn map(&self, path: &Path) -> Result<Mapping, StorageError> {
        self.pulse.around(|| self.disk.map(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.pulse.around(|| self.disk.rename(from, to))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.pulse.around(|| self.disk.link(from, to))
    }

    fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        self.pulse.around(|| self.disk.remove_file(path))
    }

    fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.pulse.around(|| self.disk.create_dir(path))
    }

    fn remove_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.pulse.around(|| self.disk.remove_dir(path))
    }

    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.pulse.around(|| self.disk.sync_dir(path))
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError> {
        self.pulse.around(|| self.disk.list(path))
    }

    fn each_entry(&self, path: &Path, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
        self.pulse.around(|| self.disk.each_entry(path, each))
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, StorageError> {
        self.pulse.around(|| self.disk.metadata(path))
    }

    fn space(&self, path: &Path) -> Result<Space, StorageError> {
        self.pulse.around(|| self.disk.space(path))
    }

    fn file_system(&self, path: &Path) -> Result<FileSystem, StorageError> {
        self.pulse.around(|| self.disk.file_system(path))
    }

    fn mount(&self, path: &Path) -> Result<Mount, StorageError> {
        self.pulse.around(|| self.disk.mount(path))
    }
}

#[derive(Debug)]
struct PulseFile {
    file: Box<dyn DiskFile>,
    pulse: Pulse,
}

impl DiskFile for PulseFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        self.pulse.around(|| self.file.read_at(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        self.pulse.around(|| self.file.write_at(bytes, offset))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.pulse.around(|| self.file.sync())
    }

    fn set_length(&self, length: u64) -> Result<(), StorageError> {
        self.pulse.around(|| self.file.set_length(length))
    }

    fn metadata(&self) -> Result<Metadata, StorageError> {
        self.pulse.around(|| self.file.metadata())
    }

    fn forget_cached(&self) -> Result<(), StorageError> {
        self.pulse.around(|| self.file.forget_cached())
    }

    fn try_lock(&self) -> Result<bool, StorageError> {
        self.pulse.around(|| self.file.try_lock())
    }
}
