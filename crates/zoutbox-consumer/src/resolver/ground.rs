//! The share as the resolver may see it: only names from the layout, only below the root, and no cached answer where it counts.
//!
//! An NFS client keeps names and attributes for up to a minute, also that a name does not exist. Asking the server for a directory's
//! attributes drops what is cached of its names if they changed. So the usual look costs nothing extra, and whoever does not
//! find something asks for every directory on the way, from the root down, and looks again.

use std::path::{Path, PathBuf};

use zoutbox_format::ShareId;
use zoutbox_format::layout::{Layout, SegmentName};
use zoutbox_storage::{DiskFile, ErrorKind, Share, StorageError, System};

use super::error::ResolveError;

/// The share that was opened.
#[derive(Debug)]
pub(super) struct Ground {
    system: System,
    share: Share,
    /// The same layout without a root in front: paths below it.
    pub(super) below: Layout,
}

impl Ground {
    pub(super) fn open(system: System, root: &Path) -> Result<Self, StorageError> {
        let share = Share::open(&system, root)?;
        Ok(Self { system, share, below: Layout::new("") })
    }

    pub(super) const fn id(&self) -> ShareId {
        self.share.id
    }

    fn root(&self) -> &Path {
        self.share.layout.root()
    }

    pub(super) fn path(&self, relative: &Path) -> PathBuf {
        self.root().join(relative)
    }

    /// Opens a file as this host sees it; `None` if it does not.
    pub(super) fn look(&self, relative: &Path) -> Result<Option<Box<dyn DiskFile>>, StorageError> {
        if_there(self.system.disk.open_beneath(self.root(), relative))
    }

    /// Asks the server for every directory from the root down to this one, as far as there are any.
    pub(super) fn ask(&self, directory: &Path) -> Result<(), StorageError> {
        // With the dot the root is looked at itself, also if it is a link.
        let mut path = self.root().join(".");
        let mut names = directory.components();
        loop {
            if if_there(self.system.disk.metadata(&path))?.is_none() {
                return Ok(());
            }
            match names.next() {
                Some(name) => path.push(name),
                None => return Ok(()),
            }
        }
    }

    /// The segments in a directory, as the server has them; none if there is no such directory.
    pub(super) fn segments(&self, directory: &Path) -> Result<Vec<SegmentName>, StorageError> {
        self.ask(directory)?;
        let entries = if_there(self.system.disk.list(&self.path(directory)))?.unwrap_or_default();
        Ok(entries.iter().filter_map(|entry| SegmentName::parse(entry.name.to_str()?)).collect())
    }

    /// What is not to be found says nothing while the share itself is away.
    pub(super) fn is_still_there(&self) -> Result<(), ResolveError> {
        let gone = |why| ResolveError::ShareGone { root: self.root().to_owned(), why };
        match Share::open(&self.system, self.root()) {
            Ok(share) if share.id == self.share.id => Ok(()),
            Ok(other) => Err(gone(format!("it is share {}, and was {}", other.id, self.share.id))),
            Err(error) if error.kind() == ErrorKind::Missing => Err(gone(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }
}

/// What is not there (any more), as a value.
pub(super) fn if_there<T>(result: Result<T, StorageError>) -> Result<Option<T>, StorageError> {
    match result {
        Err(error) if error.is_missing() => Ok(None),
        other => other.map(Some),
    }
}
