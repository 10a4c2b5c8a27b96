//! How a directory is mounted, and what that means for the promises.
//!
//! ```text
//!   /proc/self/mountinfo ─ parse ─▶ Mount ─ judge ─▶ Finding: fine, costs, or breaks a promise
//!                                                        │
//!                                     doctor shows all ──┴── trust refuses what breaks one
//! ```
//!
//! `parse`, `judge` and `refuse` are pure: they are tested over lines of mounts that no machine has all of.

mod judge;
mod parse;
mod trust;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

pub use judge::{Finding, Level, Promise, judge};
pub use parse::{Wanted, find, parse};
pub use trust::{Trusted, refuse, trust};

/// One mount, as a line of `/proc/self/mountinfo` tells it (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The kernel's number for it; statx(2) tells the same for every path.
    pub id: u64,
    /// The device's major and minor number.
    pub device: (u32, u32),
    /// Which directory of the file system is mounted: not `/` for a bind mount or a subvolume.
    pub inside: OsString,
    /// Where.
    pub point: PathBuf,
    /// `ext4`, `nfs4`, `zfs`, `fuse.sshfs`, …
    pub kind: String,
    /// A device, `server:/export`, or a dataset's name.
    pub source: OsString,
    /// All options in their order, those of the mount before those of the file system: name, and value if there is one.
    pub options: Vec<(String, Option<String>)>,
}

impl Mount {
    /// Whether an option is there, with or without a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(option, _)| option == name)
    }

    /// The value of an option.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(option, _)| option == name)?.1.as_deref()
    }

    /// Whether it is an NFS client's mount.
    #[must_use]
    pub fn is_nfs(&self) -> bool {
        matches!(self.kind.as_str(), "nfs" | "nfs4")
    }

    /// The version of NFS, major and minor: what the mount says, or what its type implies.
    #[must_use]
    pub fn nfs_version(&self) -> Option<(u32, u32)> {
        if !self.is_nfs() {
            return None;
        }
        let said = self.value("vers").or_else(|| self.value("nfsvers")).and_then(version);
        let implied = if self.kind == "nfs4" { (4, 0) } else { (3, 0) };
        Some(said.unwrap_or(implied))
    }

    /// The most bytes that one WRITE carries, where the mount says so.
    #[must_use]
    pub fn write_size(&self) -> Option<u64> {
        self.value("wsize")?.parse().ok().filter(|_| self.is_nfs())
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `nfs4 server:/tank/outbox at /mnt/outbox`
impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.kind, self.source.display(), self.point.display())?;
        if self.inside == "/" { Ok(()) } else { write!(f, " (its {})", self.inside.display()) }
    }
}
