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

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::disk::FileKind;
use crate::error::{Operation, StorageError};
use crate::real::{OPEN_FLAGS, file_kind, only_a_file};

const DIRECTORY_FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

const CONFINED: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// From an open directory to an open file below it, by a path of which all components are names.
type Way = fn(&OwnedFd, &Path, OFlags) -> Result<OwnedFd, Errno>;

/// Opens the regular file `relative` below `root` for reading.
pub(crate) fn open(root: &Path, relative: &Path) -> Result<File, StorageError> {
    open_by(by_either, root, relative)
}

/// Opens the directory `relative` below `root`, for the names in it. An empty path is the root.
pub(crate) fn directory(operation: Operation, root: &Path, relative: &Path) -> Result<OwnedFd, StorageError> {
    let top = retry_on_intr(|| rustix::fs::openat(CWD, root, DIRECTORY_FLAGS, Mode::empty()))
        .map_err(|e| StorageError::io(operation, root, e.into()))?;
    if relative.as_os_str().is_empty() {
        return Ok(top);
    }
    if !is_plain(relative) {
        return Err(StorageError::Outside { root: root.to_owned(), path: relative.to_owned() });
    }
    let flags = DIRECTORY_FLAGS | OFlags::NOFOLLOW;
    by_either(&top, relative, flags)
        .map_err(|error| explained(operation, root, relative, FileKind::Directory, error))
}

fn open_by(way: Way, root: &Path, relative: &Path) -> Result<File, StorageError> {
    if !is_plain(relative) {
        return Err(StorageError::Outside { root: root.to_owned(), path: relative.to_owned() });
    }
    let top = retry_on_intr(|| rustix::fs::openat(CWD, root, DIRECTORY_FLAGS, Mode::empty()))
        .map_err(|e| StorageError::io(Operation::Open, root, e.into()))?;
    let file = File::from(
        way(&top, relative, file_flags())
            .map_err(|error| explained(Operation::Open, root, relative, FileKind::File, error))?,
    );
    only_a_file(&file, &root.join(relative))?;
    Ok(file)
}

/// Whether there are only names in it, and at least one: no `..`, no `/` in front.
fn is_plain(relative: &Path) -> bool {
    let mut parts = relative.components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn by_either(top: &OwnedFd, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    match by_kernel(top, relative, flags) {
        // Filters of older container runtimes refuse what they don't know with EPERM.
        Err(Errno::NOSYS | Errno::PERM) => by_components(top, relative, flags),
        other => other,
    }
}

/// openat2(2), of Linux 5.6.
fn by_kernel(top: &OwnedFd, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat2(top, relative, flags, Mode::empty(), CONFINED))
}

/// What openat2 does, in several calls.
fn by_components(top: &OwnedFd, relative: &Path, wanted: OFlags) -> Result<OwnedFd, Errno> {
    let mut above = top.try_clone().map_err(|_| Errno::MFILE)?;
    let mut names = relative.components().peekable();
    while let Some(name) = names.next() {
        let last = names.peek().is_none();
        let flags = if last { wanted } else { DIRECTORY_FLAGS | OFlags::NOFOLLOW };
        above = retry_on_intr(|| rustix::fs::openat(&above, name.as_os_str(), flags, Mode::empty()))?;
    }
    Ok(above)
}

fn file_flags() -> OFlags {
    OPEN_FLAGS | OFlags::RDONLY | OFlags::CLOEXEC
}

/// The kernel says ELOOP, ENOTDIR, EXDEV or ENXIO; say what lies where instead. This looks at names once more and opens nothing.
/// `wanted` is what the last one must be.
fn explained(
    operation: Operation,
    root: &Path,
    relative: &Path,
    wanted: FileKind,
    error: Errno,
) -> StorageError {
    let strange = matches!(error, Errno::LOOP | Errno::NOTDIR | Errno::XDEV | Errno::NXIO);
    let mut path = root.to_owned();
    let mut names = relative.components().peekable();
    while let Some(name) = names.next().filter(|_| strange) {
        path.push(name);
        let last = names.peek().is_none();
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { break };
        match file_kind(metadata.file_type()) {
            found if last && wanted == FileKind::File && found != FileKind::File => {
                return StorageError::NotAFile { path, found };
            }
            found if !(last && wanted == FileKind::File) && found != FileKind::Directory => {
                return StorageError::NotADirectory { path, found };
            }
            _ => {}
        }
    }
    StorageError::io(operation, &root.join(relative), error.into())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests lay files directly")]
mod tests;
