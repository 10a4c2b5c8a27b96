//! Opening what a name from a network leads to, and never anything outside of the share.
//!
//! ```text
//!   root ── writers ── orders ── 0…1-0…1.seg        the root may be a link, as an operator made it; nothing below it may
//!    │         └ each a real directory     └ a regular file
//!    └ openat2(RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS), in one system call
//!      where the kernel or a container's filter lacks it: openat(O_NOFOLLOW) for one component after the other
//! ```
//!
//! Both ways hold descriptors on what they have passed, so a directory that is exchanged for a link meanwhile changes nothing.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::disk::FileKind;
use crate::error::{Operation, StorageError};
use crate::real::{OPEN_FLAGS, file_kind, only_a_file};

const DIRECTORY_FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

const CONFINED: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// openat2(2), of Linux 5.6.
    Kernel,
    /// What openat2 does, in several calls.
    Components,
}

/// Opens the regular file `relative` below `root` for reading.
pub(crate) fn open(root: &Path, relative: &Path) -> Result<File, StorageError> {
    match open_by(Way::Kernel, root, relative)? {
        Some(file) => Ok(file),
        None => {
            let path = root.join(relative);
            let lacking = || StorageError::io(Operation::Open, &path, io::ErrorKind::Unsupported.into());
            open_by(Way::Components, root, relative)?.ok_or_else(lacking)
        }
    }
}

/// `None` when there is no such way here.
fn open_by(way: Way, root: &Path, relative: &Path) -> Result<Option<File>, StorageError> {
    let names = plain(relative)
        .ok_or_else(|| StorageError::Outside { root: root.to_owned(), path: relative.to_owned() })?;
    let top = retry_on_intr(|| rustix::fs::openat(CWD, root, DIRECTORY_FLAGS, Mode::empty()))
        .map_err(|e| StorageError::io(Operation::Open, root, e.into()))?;
    let opened = match way {
        Way::Kernel => match by_kernel(&top, relative) {
            // Filters of older container runtimes refuse what they don't know with EPERM.
            Err(Errno::NOSYS | Errno::PERM) => return Ok(None),
            other => other,
        },
        Way::Components => by_components(top, &names),
    };
    let file = File::from(opened.map_err(|error| explained(root, &names, error))?);
    only_a_file(&file, &root.join(relative))?;
    Ok(Some(file))
}

/// The path's components, if all of them are names: no `..`, no `/` in front.
fn plain(relative: &Path) -> Option<Vec<&OsStr>> {
    let name = |component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    };
    let names: Vec<_> = relative.components().map(name).collect::<Option<_>>()?;
    (!names.is_empty()).then_some(names)
}

fn file_flags() -> OFlags {
    OPEN_FLAGS | OFlags::RDONLY | OFlags::CLOEXEC
}

fn by_kernel(top: impl AsFd, relative: &Path) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat2(&top, relative, file_flags(), Mode::empty(), CONFINED))
}

fn by_components(top: OwnedFd, names: &[&OsStr]) -> Result<OwnedFd, Errno> {
    let mut at = top;
    for (index, name) in names.iter().enumerate() {
        let last = index + 1 == names.len();
        let flags = if last { file_flags() } else { DIRECTORY_FLAGS | OFlags::NOFOLLOW };
        at = retry_on_intr(|| rustix::fs::openat(&at, *name, flags, Mode::empty()))?;
    }
    Ok(at)
}

/// The kernel says ELOOP, ENOTDIR, EXDEV or ENXIO; say what lies where instead. This looks at names once more and opens nothing.
fn explained(root: &Path, names: &[&OsStr], error: Errno) -> StorageError {
    let mut path = root.to_owned();
    let strange = matches!(error, Errno::LOOP | Errno::NOTDIR | Errno::XDEV | Errno::NXIO);
    for (index, name) in names.iter().enumerate() {
        path.push(name);
        let last = index + 1 == names.len();
        let found = strange.then(|| std::fs::symlink_metadata(&path)).and_then(Result::ok);
        match found.map(|metadata| file_kind(metadata.file_type())) {
            Some(found) if last && found != FileKind::File => return StorageError::NotAFile { path, found },
            Some(found) if !last && found != FileKind::Directory => {
                return StorageError::NotADirectory { path, found };
            }
            _ => {}
        }
    }
    StorageError::io(Operation::Open, &path, error.into())
}

#[cfg(test)]
mod tests;
