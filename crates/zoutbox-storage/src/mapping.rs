//! Memory maps of sealed segments: the one module with `unsafe` in it.
//!
//! A mapping is undefined behaviour when somebody changes the file under it, and raises SIGBUS when somebody cuts it. Sealed
//! segments are never changed or cut by zoutbox, only removed, which is harmless to a mapping on a local disk; on NFS the
//! removal by another host makes the next page fault fail. So only programs that may die of it map anything: the operator's
//! tools, never the relay.

use std::fmt;
use std::fs::File;
use std::io;

use memmap2::Mmap;

/// The bytes of a sealed segment.
pub struct Mapping(Mmap);

impl Mapping {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        // SAFETY: the file is a sealed segment, which no zoutbox program writes to or truncates (the seal is the writer's last
        // write, and recovery never touches an old segment). `Mmap` is read-only and private to this value.
        unsafe { Mmap::map(file) }.map(Self)
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.0.len())
    }
}
