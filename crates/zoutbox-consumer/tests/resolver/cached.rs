//! The real disk as a host sees it over NFS: names that are absent stay absent, files stay as long and as full as they were, until the server
//! is asked. What another host removed is stale. (What is cached of a directory is dropped only if the directory changed.)

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use zoutbox_storage::mount::Mount;
use zoutbox_storage::{
    Disk, DiskFile, Entry, FileSystem, Mapping, Metadata, OpenMode, Operation, RealDisk, Space, StorageError,
    System,
};

type Names = BTreeSet<PathBuf>;
type Action = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    /// Names that were not there, with what was there then.
    absent: BTreeMap<PathBuf, Names>,
    /// Names that were there, and the files that they led to.
    known: BTreeMap<PathBuf, Arc<File>>,
    calls: Vec<String>,
    /// What another host does just before a call.
    before: Vec<(String, Action)>,
}

#[derive(Clone, Default)]
pub(crate) struct CachedDisk(Arc<Mutex<State>>);

impl std::fmt::Debug for CachedDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CachedDisk")
    }
}

/// A file whose content is what it was when the server was asked last.
#[derive(Debug)]
struct CachedFile {
    disk: CachedDisk,
    path: PathBuf,
    file: Arc<File>,
    seen: Mutex<Vec<u8>>,
}

impl CachedDisk {
    pub(crate) fn system(&self) -> System {
        System { disk: Arc::new(self.clone()), ..System::real() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What was called since this was asked last, as `call name`.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state().calls)
    }

    /// Does something just before the next call of which the description ends like this.
    pub(crate) fn before(&self, call: &str, action: impl FnOnce() + Send + 'static) {
        self.state().before.push((call.to_owned(), Box::new(action)));
    }

    /// Whether everything that was to happen has happened.
    pub(crate) fn is_done(&self) -> bool {
        self.state().before.is_empty()
    }

    fn enter(&self, call: &str, path: &Path) {
        let call = format!("{call} {}", path.display());
        let mut state = self.state();
        let due = state.before.iter().position(|(when, _)| call.ends_with(when.as_str()));
        let action = due.map_or_else(|| -> Action { Box::new(|| ()) }, |index| state.before.remove(index).1);
        state.calls.push(call);
        drop(state);
        action();
    }

    /// Drops what is cached of a directory's names, if they changed.
    fn ask(&self, directory: &Path) -> Result<(), StorageError> {
        self.is_not_absent(directory)?;
        let mut state = self.state();
        let now = names(directory);
        state.absent.retain(|path, then| path.parent() != Some(directory) || *then == now);
        state.known.retain(|path, _| path.parent() != Some(directory) || now.contains(path));
        Ok(())
    }

    fn is_not_absent(&self, path: &Path) -> Result<(), StorageError> {
        let state = self.state();
        match path.ancestors().find(|above| state.absent.contains_key(*above)) {
            Some(_) => Err(failed(Operation::Open, path, io::ErrorKind::NotFound)),
            None => Ok(()),
        }
    }

    /// From now on the first name on the way that is not there is known not to be.
    fn remember_absence(&self, path: &Path) {
        let mut all: Vec<_> = path.ancestors().collect();
        all.reverse();
        if let Some(absent) = all.into_iter().find(|path| path.symlink_metadata().is_err()) {
            let then = names(absent.parent().unwrap());
            self.state().absent.insert(absent.to_owned(), then);
        }
    }
}

fn names(directory: &Path) -> Names {
    fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// Without the dots that name a directory itself.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

fn failed(operation: Operation, path: &Path, error: io::ErrorKind) -> StorageError {
    StorageError::Io { operation, path: path.to_owned(), offset: None, source: error.into() }
}

fn refused<T>(path: &Path) -> Result<T, StorageError> {
    Err(failed(Operation::Write, path, io::ErrorKind::ReadOnlyFilesystem))
}

fn whole(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0).unwrap();
    bytes
}

impl Disk for CachedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, StorageError> {
        RealDisk.open(path, mode)
    }
    fn open_beneath(&self, root: &Path, relative: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        let path = root.join(relative);
        self.enter("open", &path);
        self.is_not_absent(&path)?;
        let known = self.state().known.get(&path).cloned();
        let file = match known {
            Some(file) => file,
            None => match RealDisk.open_beneath(root, relative) {
                Ok(_) => Arc::new(File::open(&path).unwrap()),
                Err(error) => {
                    self.remember_absence(&path);
                    return Err(error);
                }
            },
        };
        self.state().known.insert(path.clone(), Arc::clone(&file));
        let seen = Mutex::new(whole(&file));
        Ok(Box::new(CachedFile { disk: self.clone(), path, file, seen }))
    }
    fn map(&self, path: &Path) -> Result<Mapping, StorageError> {
        refused(path)
    }
    fn rename(&self, from: &Path, _: &Path) -> Result<(), StorageError> {
        refused(from)
    }
    fn link(&self, _: &Path, to: &Path) -> Result<(), StorageError> {
        refused(to)
    }
    fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        refused(path)
    }
    fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        refused(path)
    }
    fn remove_dir(&self, path: &Path) -> Result<(), StorageError> {
        refused(path)
    }
    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        refused(path)
    }
    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError> {
        self.enter("list", path);
        self.ask(&plain(path))?;
        RealDisk.list(path)
    }
    fn metadata(&self, path: &Path) -> Result<Metadata, StorageError> {
        self.enter("ask", &plain(path));
        self.ask(&plain(path))?;
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

impl CachedFile {
    fn is_there(&self, operation: Operation) -> Result<(), StorageError> {
        let removed = self.file.metadata().unwrap().nlink() == 0;
        let stale = failed(operation, &self.path, io::ErrorKind::StaleNetworkFileHandle);
        if removed { Err(stale) } else { Ok(()) }
    }
}

impl DiskFile for CachedFile {
    fn path(&self) -> &Path {
        &self.path
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        self.disk.enter("read", &self.path);
        self.is_there(Operation::Read)?;
        let seen = self.seen.lock().unwrap();
        let rest = seen.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
    fn write_at(&self, _: &[u8], _: u64) -> Result<(), StorageError> {
        refused(&self.path)
    }
    fn sync(&self) -> Result<(), StorageError> {
        refused(&self.path)
    }
    fn set_length(&self, _: u64) -> Result<(), StorageError> {
        refused(&self.path)
    }
    fn metadata(&self) -> Result<Metadata, StorageError> {
        self.disk.enter("refresh", &self.path);
        self.is_there(Operation::Inspect)?;
        *self.seen.lock().unwrap() = whole(&self.file);
        let length = self.file.metadata().unwrap().len();
        Ok(Metadata { kind: zoutbox_storage::FileKind::File, length, modified_ns: 0 })
    }
    fn try_lock(&self) -> Result<bool, StorageError> {
        refused(&self.path)
    }
}
