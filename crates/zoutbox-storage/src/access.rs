//! Who may do what with what lies on a share that several users work on, whatever their umasks are.
//!
//! ```text
//!   root              relay : producers   rwxr-x---    who is neither gets no further
//!   ├ zoutbox.json    relay : relay       rw-r--r--
//!   ├ writers/        relay : relay       rwxrwsrwt    any producer may make a directory; nobody may rename or remove another's
//!   │  └ orders/      producer : relay    rwxrws---    its files rw-rw----: another producer can't even open them
//!   ├ payloads/       as writers/
//!   ├ consumers/      relay : relay       rwxrws--T
//!   ├ relay/          relay : relay       rwxr-s--x
//!   │  └ checkpoints/ relay : relay       rwxr-sr-x    its files rw-r--r--: a producer reads its own there
//!   └ dead/ archive/  relay : relay       rwxr-s---
//! ```
//!
//! The set-group-id bit of a directory is what tells that its modes are meant to be handed on: what is made in such a directory gets the group
//! (the kernel does that) and the mode (that is done here) that follow from it. Without the bit everything is as the umask says.
//!
//! Who can open a file can lock it, if only for reading, and keep its owner from locking it. So nobody gets to open another's segments and
//! locks who is not trusted with them.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};

const SET_GROUP: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const GROUP_WRITE: u32 = 0o020;
const OTHERS: u32 = 0o007;
const OTHERS_WRITE: u32 = 0o002;

/// Owner, group and mode of a name; what is `None` stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The owner's uid.
    pub owner: Option<u32>,
    /// The gid.
    pub group: Option<u32>,
    /// Mode bits, as of chmod(2).
    pub mode: u32,
}

/// Who works on a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// The relay's uid; `None`: this process's.
    pub relay: Option<u32>,
    /// The relay's group: that of consumers as well, and of nobody who is not trusted with all records.
    pub relay_group: u32,
    /// The producers' group: who is in it may use the share at all.
    pub producers: u32,
}

impl Ownership {
    /// Of the relay's directories and files.
    pub(crate) const fn of_relay(self, mode: u32) -> Access {
        Access { owner: self.relay, group: Some(self.relay_group), mode }
    }

    /// Of the root.
    pub(crate) const fn of_root(self) -> Access {
        Access { owner: self.relay, group: Some(self.producers), mode: 0o750 }
    }
}

/// The mode of a directory made in one with `parent`'s mode; `None`: as the umask says.
pub(crate) const fn of_directory(parent: u32) -> Option<u32> {
    if parent & SET_GROUP == 0 {
        return None;
    }
    // In a directory for all, each gets one of its own.
    let others = if parent & STICKY == 0 { parent & OTHERS & !OTHERS_WRITE } else { 0 };
    Some(SET_GROUP | parent & 0o770 | others)
}

/// The mode of a file made in a directory with `parent`'s mode; `None`: as the umask says.
pub(crate) const fn of_file(parent: u32) -> Option<u32> {
    if parent & SET_GROUP == 0 {
        return None;
    }
    // In a directory for all, a file is its owner's alone to change.
    let group_write = if parent & STICKY == 0 { 0 } else { GROUP_WRITE };
    Some(parent & 0o666 & !OTHERS_WRITE & !group_write)
}

/// The mode of the directory that `path` lies in.
pub(crate) fn mode_of_parent(path: &Path) -> io::Result<u32> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    #[expect(clippy::disallowed_methods, reason = "this is the disk")]
    Ok(std::fs::metadata(parent)?.mode())
}

/// Gives a file that was just made the mode that it should have.
pub(crate) fn settle_file(file: &File, mode: u32) -> io::Result<()> {
    if file.metadata()?.mode() & 0o777 == mode {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// Makes a directory with exactly this mode.
///
/// Not by chmod(2) afterwards: that takes the set-group-id bit away from whoever is not in the group. The umask belongs to the whole process,
/// and other threads may be making files; so a thread gets one of its own.
pub(crate) fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    let outcome = std::thread::scope(|scope| {
        let make = || {
            // Refused by some containers; then the process's umask has to do.
            if unshare(CloneFlags::CLONE_FS).is_ok() {
                umask(Mode::empty());
            }
            rustix::fs::mkdir(path, rustix::fs::Mode::from_raw_mode(mode & 0o777))
        };
        scope.spawn(make).join()
    });
    outcome.unwrap_or(Err(rustix::io::Errno::AGAIN))?;
    let got = std::fs::symlink_metadata(path)?.mode();
    if got & mode == mode {
        return Ok(());
    }
    // Nobody else can have put anything there that counts.
    drop(std::fs::remove_dir(path));
    Err(io::Error::other(format!(
        "it would have mode {:o} and needs {mode:o}, which the umask does not allow: start with umask 007",
        got & 0o7777
    )))
}

/// Sets owner, group and mode of a file or directory; a link is not followed.
pub(crate) fn set(path: &Path, access: Access) -> io::Result<()> {
    let flags = crate::real::OPEN_FLAGS | rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?);
    let there = file.metadata()?;
    let owner = access.owner.filter(|owner| *owner != there.uid());
    let group = access.group.filter(|group| *group != there.gid());
    if owner.is_some() || group.is_some() {
        std::os::unix::fs::fchown(&file, owner, group)?;
    }
    file.set_permissions(Permissions::from_mode(access.mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_handed_on_only_where_the_directory_says_so() {
        for (parent, directory, file) in [
            (0o40755, None, None),
            (0o41777, None, None),
            (0o43777, Some(0o2770), Some(0o644)),
            (0o42770, Some(0o2770), Some(0o660)),
            (0o43770, Some(0o2770), Some(0o640)),
            (0o42751, Some(0o2751), Some(0o640)),
            (0o42755, Some(0o2755), Some(0o644)),
            (0o42750, Some(0o2750), Some(0o640)),
            (0o42777, Some(0o2775), Some(0o664)),
        ] {
            assert_eq!((of_directory(parent), of_file(parent)), (directory, file), "{parent:o}");
        }
    }
}
