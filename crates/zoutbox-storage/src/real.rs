//! The real disk: thin calls, one system call each where that is possible.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, fcntl};
use rustix::fs::{AtFlags, CWD, StatxFlags};

use crate::access::{self, Access};
use crate::beneath;
use crate::disk::{Disk, DiskFile, Entry, FileKind, FileSystem, Metadata, OpenMode, Space};
use crate::error::{Operation, StorageError};
use crate::mapping::Mapping;
use crate::mount::{self, Mount, Wanted};

/// The file systems this machine has mounted.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

#[derive(Debug)]
pub(crate) struct RealFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

/// `O_NONBLOCK` keeps the open of a FIFO from waiting for its other end; it means nothing for regular files.
pub(crate) const OPEN_FLAGS: rustix::fs::OFlags =
    rustix::fs::OFlags::NOFOLLOW.union(rustix::fs::OFlags::NONBLOCK).union(rustix::fs::OFlags::NOCTTY);

/// The mounts that this process can reach.
const MOUNTS: &str = "/proc/self/mountinfo";

pub(crate) fn open_file(path: &Path, mode: OpenMode) -> Result<File, StorageError> {
    let operation = if mode == OpenMode::CreateNew { Operation::Create } else { Operation::Open };
    let file = match open_with_modes(path, mode) {
        Ok(file) => file,
        Err(error) => return Err(open_error(operation, path, error)),
    };
    only_a_file(&file, path)?;
    Ok(file)
}

/// Opens, and gives what is made by that the mode that its directory asks for.
#[expect(clippy::disallowed_methods, reason = "this is the disk")]
fn open_with_modes(path: &Path, mode: OpenMode) -> io::Result<File> {
    if matches!(mode, OpenMode::Read | OpenMode::Write) {
        return options(mode).open(path);
    }
    // Without a directory there is an error to tell, and the open tells it.
    let Some(wanted) = access::mode_of_parent(path).ok().and_then(access::of_file) else {
        return options(mode).open(path);
    };
    match options(mode).create_new(true).open(path) {
        // It is there already, or may not be made: whichever, the plain open tells.
        Err(_) if mode == OpenMode::ReadWriteCreate => options(mode).open(path),
        Err(error) => Err(error),
        Ok(file) => access::settle_file(&file, wanted).map(|()| file),
    }
}

fn options(mode: OpenMode) -> OpenOptions {
    let mut options = OpenOptions::new();
    match mode {
        OpenMode::Read => options.read(true),
        OpenMode::CreateNew => options.write(true).create_new(true),
        OpenMode::Write => options.write(true),
        OpenMode::ReadWriteCreate => options.read(true).write(true).create(true),
    };
    options.custom_flags(i32::try_from(OPEN_FLAGS.bits()).unwrap_or_default());
    options
}

pub(crate) fn only_a_file(file: &File, path: &Path) -> Result<(), StorageError> {
    let kind = file.metadata().map_err(|e| StorageError::io(Operation::Inspect, path, e))?.file_type();
    if kind.is_file() {
        Ok(())
    } else {
        Err(StorageError::NotAFile { path: path.to_owned(), found: file_kind(kind) })
    }
}

/// open(2) says EISDIR, ELOOP or ENXIO for what is no file; say what it is instead.
fn open_error(operation: Operation, path: &Path, error: io::Error) -> StorageError {
    match std::fs::symlink_metadata(path).map(|metadata| file_kind(metadata.file_type())) {
        Ok(found) if found != FileKind::File => StorageError::NotAFile { path: path.to_owned(), found },
        _ => StorageError::io(operation, path, error),
    }
}

pub(crate) fn file_kind(kind: std::fs::FileType) -> FileKind {
    if kind.is_file() {
        FileKind::File
    } else if kind.is_dir() {
        FileKind::Directory
    } else {
        FileKind::Other
    }
}

/// statx(2) with `AT_STATX_FORCE_SYNC`: always asks the server (`nfs_getattr`), also for directories, and drops what is cached
/// if it changed.
fn refreshed(directory: impl std::os::fd::AsFd, path: &Path, flags: AtFlags) -> io::Result<Metadata> {
    let wanted = StatxFlags::TYPE | StatxFlags::SIZE | StatxFlags::MTIME;
    let stat = rustix::fs::statx(directory, path, flags | AtFlags::STATX_FORCE_SYNC, wanted)?;
    let kind = match rustix::fs::FileType::from_raw_mode(u32::from(stat.stx_mode)) {
        rustix::fs::FileType::RegularFile => FileKind::File,
        rustix::fs::FileType::Directory => FileKind::Directory,
        _ => FileKind::Other,
    };
    let seconds = u64::try_from(stat.stx_mtime.tv_sec).unwrap_or_default();
    let modified_ns = seconds.saturating_mul(1_000_000_000).saturating_add(u64::from(stat.stx_mtime.tv_nsec));
    Ok(Metadata { kind, length: stat.stx_size, modified_ns })
}

#[expect(clippy::disallowed_methods, reason = "this is the disk")]
fn make_directory(path: &Path) -> io::Result<()> {
    match access::mode_of_parent(path).ok().and_then(access::of_directory) {
        Some(mode) => access::make_directory(path, mode),
        None => std::fs::create_dir(path),
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, StorageError> {
        let file = open_file(path, mode)?;
        Ok(Box::new(RealFile { file, path: path.to_owned() }))
    }

    fn open_beneath(&self, root: &Path, relative: &Path) -> Result<Box<dyn DiskFile>, StorageError> {
        let file = beneath::open(root, relative)?;
        Ok(Box::new(RealFile { file, path: root.join(relative) }))
    }

    fn map(&self, path: &Path) -> Result<Mapping, StorageError> {
        let file = open_file(path, OpenMode::Read)?;
        Mapping::of(&file).map_err(|e| StorageError::io(Operation::Map, path, e))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk")]
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        std::fs::rename(from, to).map_err(|e| StorageError::io(Operation::Rename, from, e))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        std::fs::hard_link(from, to).map_err(|e| StorageError::io(Operation::Link, to, e))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk")]
    fn remove_file(&self, path: &Path) -> Result<(), StorageError> {
        std::fs::remove_file(path).map_err(|e| StorageError::io(Operation::Remove, path, e))
    }

    fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        // First: over NFS, who may not make one there is told so, and not that it is there.
        if path.is_dir() {
            return Ok(());
        }
        match make_directory(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other.map_err(|e| StorageError::io(Operation::CreateDirectory, path, e)),
        }
    }

    fn remove_dir(&self, path: &Path) -> Result<(), StorageError> {
        std::fs::remove_dir(path).map_err(|e| StorageError::io(Operation::RemoveDirectory, path, e))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk")]
    fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        let synced = File::open(path).and_then(|directory| directory.sync_all());
        synced.map_err(|e| StorageError::io(Operation::SyncDirectory, path, e))
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError> {
        let mut entries = Vec::new();
        self.each_entry(path, &mut |entry| entries.push(entry))?;
        Ok(entries)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk")]
    fn each_entry(&self, path: &Path, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
        let failed = |e| StorageError::io(Operation::List, path, e);
        refreshed(CWD, path, AtFlags::empty()).map_err(failed)?;
        // A fresh descriptor: over NFS a rewound one shows the old listing for up to half a minute.
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            match entry.file_type() {
                Ok(kind) => each(Entry { name: entry.file_name(), kind: file_kind(kind) }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    fn set_access(&self, path: &Path, access: Access) -> Result<(), StorageError> {
        access::set(path, access).map_err(|e| StorageError::io(Operation::SetAccess, path, e))
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, StorageError> {
        refreshed(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| StorageError::io(Operation::Inspect, path, e))
    }

    fn space(&self, path: &Path) -> Result<Space, StorageError> {
        let stat =
            rustix::fs::statvfs(path).map_err(|e| StorageError::io(Operation::Space, path, e.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { total: bytes(stat.f_blocks), available: bytes(stat.f_bavail) })
    }

    fn file_system(&self, path: &Path) -> Result<FileSystem, StorageError> {
        let stat =
            rustix::fs::statfs(path).map_err(|e| StorageError::io(Operation::Space, path, e.into()))?;
        // The numbers are those of statfs(2).
        Ok(match stat.f_type {
            0xEF53 => FileSystem::Ext,
            0x5846_5342 => FileSystem::Xfs,
            0x0102_1994 => FileSystem::Tmpfs,
            0x6969 => FileSystem::Nfs,
            other => FileSystem::Other(other),
        })
    }

    fn mount(&self, path: &Path) -> Result<Mount, StorageError> {
        let failed = |e: io::Error| StorageError::io(Operation::Mount, path, e);
        // Not refreshed: the number is the kernel's own, and a server that is away must not keep it.
        let flags = AtFlags::STATX_DONT_SYNC;
        let stat = rustix::fs::statx(CWD, path, flags, StatxFlags::MNT_ID).map_err(|e| failed(e.into()))?;
        let numbered = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        let resolved = path.canonicalize().map_err(failed)?;
        let wanted = Wanted {
            id: numbered.then_some(stat.stx_mnt_id),
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            path: &resolved,
        };
        let unknown = |reason| StorageError::UnknownMount { path: path.to_owned(), reason };
        #[expect(clippy::disallowed_methods, reason = "this is the disk")]
        let table =
            std::fs::read(MOUNTS).map_err(|error| unknown(format!("can't read {MOUNTS}: {error}")))?;
        mount::find(mount::parse(&table), wanted)
            .ok_or_else(|| unknown(format!("{MOUNTS} has no mount that holds it")))
    }
}

impl DiskFile for RealFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        loop {
            match FileExt::read_at(&self.file, buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(|e| self.failed_at(Operation::Read, offset, e)),
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        self.file.write_all_at(bytes, offset).map_err(|e| self.failed_at(Operation::Write, offset, e))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(|e| self.failed(Operation::Sync, e))
    }

    fn set_length(&self, length: u64) -> Result<(), StorageError> {
        self.file.set_len(length).map_err(|e| self.failed_at(Operation::SetLength, length, e))
    }

    fn metadata(&self) -> Result<Metadata, StorageError> {
        refreshed(&self.file, Path::new(""), AtFlags::EMPTY_PATH)
            .map_err(|e| self.failed(Operation::Inspect, e))
    }

    fn forget_cached(&self) -> Result<(), StorageError> {
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)
            .map_err(|e| self.failed(Operation::Inspect, e.into()))
    }

    fn try_lock(&self) -> Result<bool, StorageError> {
        let whole_file = nix::libc::flock {
            l_type: i16::try_from(nix::libc::F_WRLCK).unwrap_or_default(),
            l_whence: i16::try_from(nix::libc::SEEK_SET).unwrap_or_default(),
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file)) {
            Ok(_) => Ok(true),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
            Err(error) => Err(self.failed(Operation::Lock, error.into())),
        }
    }
}

impl RealFile {
    fn failed(&self, operation: Operation, source: io::Error) -> StorageError {
        StorageError::io(operation, &self.path, source)
    }

    fn failed_at(&self, operation: Operation, offset: u64, source: io::Error) -> StorageError {
        StorageError::io_at(operation, &self.path, offset, source)
    }
}
