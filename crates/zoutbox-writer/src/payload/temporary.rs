//! A file under a name that nobody reads, removed when it is not needed any more.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zoutbox_storage::{Disk, DiskFile};

/// A name that ends in `.tmp`. Dropping it removes what has it.
pub(super) struct Temporary {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    kept: bool,
}

impl Temporary {
    pub(super) fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path, kept: false }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.disk.remove_file(&self.path)
            && !error.is_missing()
        {
            tracing::debug!(path = %self.path.display(), %error, "left for the sweeper");
        }
    }
}

impl fmt::Debug for Temporary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Temporary").field(&self.path).finish()
    }
}

/// A locked file and its temporary name. The fields are dropped in their order: a file that is removed while it is open stays on an
/// NFS server under yet another name until it is closed, and for ever if this host dies before.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) temporary: Temporary,
}

impl Held {
    pub(super) fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// The file has another name now.
    pub(super) fn renamed(self) -> Box<dyn DiskFile> {
        let Self { file, mut temporary } = self;
        temporary.kept = true;
        file
    }
}
