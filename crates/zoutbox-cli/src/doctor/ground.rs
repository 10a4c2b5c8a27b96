//! A private directory below `ROOT/.doctor`, and its removal: at the end, at a signal, or by the next doctor.
//!
//! Whoever made a directory there holds the lock of the file `alive` in it. A leftover of this host whose lock is free is removed
//! by the next doctor; one of another host only after an hour by the server's clock, since its lock may not be one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zoutbox_storage::{FileKind, Lock, StorageError, System};

use super::BELOW;

const ALIVE: &str = "alive";
const OLD: Duration = Duration::from_hours(1);
/// Made and locked are two steps, and this is longer than lies between them.
const YOUNG: Duration = Duration::from_secs(5);
/// Another doctor that ends removes the directory above.
const TRIES: usize = 20;

/// Removed when dropped.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) system: System,
    pub(crate) directory: PathBuf,
    above: PathBuf,
    alive: Option<Lock>,
}

impl Ground {
    pub(crate) fn new(system: &System, root: &Path) -> Result<Self, StorageError> {
        let above = root.join(BELOW);
        let name = format!("{}-{}-{:016x}", host(system), system.pid, system.random()?);
        let directory = above.join(name);
        within(system, &above, || system.disk.create_dir(&directory))?;
        let alive = live_in(system, &directory);
        let ground = Self { system: system.clone(), directory, above, alive };
        sweep(system, &ground.above, &ground.directory)?;
        Ok(ground)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Over NFS a file that is removed while it is open stays under another name until it is closed.
        drop(self.alive.take());
        remove_tree(&self.system, &self.directory);
        // It stays while somebody else is in it.
        drop(self.system.disk.remove_dir(&self.above));
    }
}

/// Does something below `.doctor`, making it before, and again when another doctor has removed it in between.
pub(crate) fn within<T>(
    system: &System,
    above: &Path,
    mut act: impl FnMut() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    let mut tries = 0;
    loop {
        system.disk.create_dir(above)?;
        let found = system.disk.metadata(above)?.kind;
        if found != FileKind::Directory {
            // A link could lead anywhere.
            return Err(StorageError::NotADirectory { path: above.to_owned(), found });
        }
        tries += 1;
        match act() {
            Err(error) if error.is_missing() && tries < TRIES => {}
            other => return other,
        }
    }
}

/// Removes a directory and what is in it, as far as that works.
pub(crate) fn remove_tree(system: &System, directory: &Path) {
    for entry in system.disk.list(directory).unwrap_or_default() {
        let path = directory.join(&entry.name);
        if entry.kind == FileKind::Directory {
            remove_tree(system, &path);
        } else {
            drop(system.disk.remove_file(&path));
        }
    }
    drop(system.disk.remove_dir(directory));
}

/// Holds a directory's lock; `None` where there are no locks.
pub(crate) fn live_in(system: &System, directory: &Path) -> Option<Lock> {
    Lock::try_path(&*system.disk, &directory.join(ALIVE)).ok().flatten()
}

/// Removes what the dead left below `above`.
pub(crate) fn sweep(system: &System, above: &Path, own: &Path) -> Result<(), StorageError> {
    let now = system.disk.metadata(own)?.modified_ns;
    for entry in system.disk.list(above)? {
        let path = above.join(&entry.name);
        let Some(name) = entry.name.to_str().filter(|_| entry.kind == FileKind::Directory) else { continue };
        let Ok(then) = system.disk.metadata(&path) else { continue };
        let age = Duration::from_nanos(now.saturating_sub(then.modified_ns));
        let ours = name.starts_with(&format!("{}-", host(system))) || super::pair::is_of_host(system, &path);
        if path == own || age < if ours { YOUNG } else { OLD } {
            continue;
        }
        // What can't be locked lives.
        if let Some(dead) = live_in(system, &path) {
            drop(dead);
            remove_tree(system, &path);
        }
    }
    Ok(())
}

/// This host's name, as part of a file's name.
fn host(system: &System) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
    system.host.chars().map(kept).collect()
}
