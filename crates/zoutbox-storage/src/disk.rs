//! The disk as zoutbox uses it: positional, explicit about durability, and asking the server where caches would lie.

use std::ffi::OsString;
use std::fmt::{self, Debug};
use std::path::Path;

use zoutbox_format::ReadAt;

use crate::access::Access;
use crate::error::{Operation, StorageError};
use crate::mapping::Mapping;
use crate::mount::Mount;

/// How a file is opened. Links are never followed, and only regular files are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading, a file that exists.
    Read,
    /// For writing only, a file that must not exist yet (`O_EXCL`). Write-only, because on NFS 4 an open for both may get a
    /// delegation, which makes other hosts wait for a whole lease when this one is cut off.
    CreateNew,
    /// For writing only, a file that exists.
    Write,
    /// For reading and writing, made if it is not there: lock files.
    ReadWriteCreate,
}

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link, device, FIFO or socket: nothing zoutbox ever makes.
    Other,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Other => "a link or special file",
        })
    }
}

/// A directory entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// What it is.
    pub kind: FileKind,
}

/// What the server says of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Its length in bytes.
    pub length: u64,
    /// When its content last changed: nanoseconds since 1970-01-01 UTC, by the server's clock. Only good for noticing
    /// that something changed, and for telling roughly how long ago.
    pub modified_ns: u64,
}

/// Room on the file system, in bytes, as an unprivileged process sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What can still be written.
    pub available: u64,
}

/// Kinds of file system that zoutbox treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext2, ext3, ext4.
    Ext,
    /// XFS.
    Xfs,
    /// tmpfs.
    Tmpfs,
    /// NFS, any version.
    Nfs,
    /// Anything else, by its `statfs` type.
    Other(i64),
}

impl FileSystem {
    /// Whether a sync is cheaper when the file's blocks were written (as zeros) before: no allocation is journalled then.
    /// So it is on journalling file systems that write in place, and not on copy-on-write ones or over NFS.
    #[must_use]
    pub const fn rewards_zeroed_files(self) -> bool {
        matches!(self, Self::Ext | Self::Xfs)
    }
}

/// Everything zoutbox does to names.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// [`StorageError::NotAFile`] for anything else than a regular file; otherwise what open(2) says.
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, StorageError>;

    /// Opens a regular file for reading whose name came from a network: `relative` leads nowhere but below `root`. The root itself may be
    /// a link; below it none is followed, not even to another place below it.
    ///
    /// # Errors
    /// [`StorageError::Outside`] for a path with anything but names in it; [`StorageError::NotAFile`] and
    /// [`StorageError::NotADirectory`] for a link, or anything else that may not be there, on the way; otherwise what openat2(2) says.
    fn open_beneath(&self, root: &Path, relative: &Path) -> Result<Box<dyn DiskFile>, StorageError>;

    /// Maps a sealed segment. A mapping of a file that shrinks raises SIGBUS, so nothing else may be mapped, and only by
    /// programs that may die of it.
    ///
    /// # Errors
    /// What open(2) and mmap(2) say.
    fn map(&self, path: &Path) -> Result<Mapping, StorageError>;

    /// Gives a file another name, replacing what has it. Durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// What rename(2) says.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError>;

    /// Gives a file a further name, which must be free: the one way to publish a file exclusively that NFS has too.
    ///
    /// # Errors
    /// What link(2) says.
    fn link(&self, from: &Path, to: &Path) -> Result<(), StorageError>;

    /// Removes a file.
    ///
    /// # Errors
    /// What unlink(2) says.
    fn remove_file(&self, path: &Path) -> Result<(), StorageError>;

    /// Makes a directory; one that exists is fine, also for who may not make one there. In a directory with the set-group-id bit the
    /// mode follows from that directory's, and elsewhere from the umask; with files it is the same.
    ///
    /// # Errors
    /// What mkdir(2) says; [`StorageError::NotAFile`] is never among it.
    fn create_dir(&self, path: &Path) -> Result<(), StorageError>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// What rmdir(2) says.
    fn remove_dir(&self, path: &Path) -> Result<(), StorageError>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What open(2) and fsync(2) say.
    fn sync_dir(&self, path: &Path) -> Result<(), StorageError>;

    /// Lists a directory as the server has it now, in no order.
    ///
    /// # Errors
    /// What open(2), statx(2) and readdir(3) say.
    fn list(&self, path: &Path) -> Result<Vec<Entry>, StorageError>;

    /// As [`Disk::list`], one entry after the other: a directory of somebody else's may have more than fit into memory.
    ///
    /// # Errors
    /// As [`Disk::list`]; some entries may have been shown then.
    fn each_entry(&self, path: &Path, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
        self.list(path)?.into_iter().for_each(each);
        Ok(())
    }

    /// Sets owner, group and mode of a file or directory; links are not followed.
    ///
    /// # Errors
    /// What open(2), fchown(2) and fchmod(2) say; that it can't be done on a disk that knows of no users.
    fn set_access(&self, path: &Path, access: Access) -> Result<(), StorageError> {
        let Access { mode, .. } = access;
        let source = std::io::Error::other(format!("no mode {mode:o}: this disk knows of no users"));
        Err(StorageError::io(Operation::SetAccess, path, source))
    }

    /// Asks the server for a name's attributes; links are not followed.
    ///
    /// # Errors
    /// What statx(2) says.
    fn metadata(&self, path: &Path) -> Result<Metadata, StorageError>;

    /// The room left.
    ///
    /// # Errors
    /// What statvfs(3) says.
    fn space(&self, path: &Path) -> Result<Space, StorageError>;

    /// The kind of file system.
    ///
    /// # Errors
    /// What statfs(2) says.
    fn file_system(&self, path: &Path) -> Result<FileSystem, StorageError>;

    /// How the file system that really holds `path` is mounted.
    ///
    /// # Errors
    /// What statx(2) says of the path; [`StorageError::UnknownMount`] when the kernel does not tell.
    fn mount(&self, path: &Path) -> Result<Mount, StorageError>;
}

/// An open file. Closing it proves nothing; dropping it releases its lock.
pub trait DiskFile: Debug + Send + Sync {
    /// The path it was opened by.
    fn path(&self) -> &Path;

    /// Reads what is there, 0 only at the end.
    ///
    /// # Errors
    /// What pread(2) says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError>;

    /// Writes all of `bytes`. Durable only after [`DiskFile::sync`].
    ///
    /// # Errors
    /// What pwrite(2) says. How much was written is then unknown.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError>;

    /// Makes the file's content and length durable.
    ///
    /// # Errors
    /// What fdatasync(2) says. The page cache can't be trusted afterwards: a second sync may report success for bytes that
    /// are gone.
    fn sync(&self) -> Result<(), StorageError>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// What ftruncate(2) says.
    fn set_length(&self, length: u64) -> Result<(), StorageError>;

    /// Asks the server for the file's attributes, so that the next read sees what other hosts wrote.
    ///
    /// That is not always enough. A server that has no counter of a file's changes tells them by the time of the last one (`time_to_chattr` in the
    /// kernel's `include/linux/iversion.h`), and its clock moves in ticks: a change in the same tick as the one before looks like none, and what was
    /// cached in between stays. So it was with OpenZFS until January 2026 (openzfs/zfs#18097). See [`DiskFile::forget_cached`].
    ///
    /// # Errors
    /// What statx(2) says.
    fn metadata(&self) -> Result<Metadata, StorageError>;

    /// Drops what this host has cached of the file's content, so that the next read asks the server for it, whatever the attributes say. For
    /// files that this host does not write. Where nothing is cached, nothing.
    ///
    /// # Errors
    /// What `posix_fadvise(2)` says.
    fn forget_cached(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Tries to lock the file exclusively, for as long as this value lives. Never waits: on NFS a waiting lock call can get
    /// the lock half a minute late, so callers poll.
    ///
    /// # Errors
    /// What fcntl(2) says; a lock held by another is `Ok(false)`.
    fn try_lock(&self) -> Result<bool, StorageError>;
}

impl ReadAt for dyn DiskFile + '_ {
    type Error = StorageError;

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        DiskFile::read_at(self, buffer, offset)
    }
}
