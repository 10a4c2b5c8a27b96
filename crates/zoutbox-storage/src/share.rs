//! A share that has been checked to be one: every tool starts here.

use std::path::Path;

use zoutbox_format::layout::Layout;
use zoutbox_format::marker::MAX_MARKER;
use zoutbox_format::{Marker, ShareId};

use crate::error::StorageError;
use crate::replace;
use crate::system::System;

/// A root whose marker was read.
#[derive(Debug, Clone)]
pub struct Share {
    /// Where everything lies.
    pub layout: Layout,
    /// Its identity.
    pub id: ShareId,
}

impl Share {
    /// Opens the share at `root`.
    ///
    /// # Errors
    /// [`StorageError::NotAShare`] when there is no marker (an unmounted share, say); [`StorageError::Marker`] when it is damaged
    /// or newer.
    pub fn open(system: &System, root: &Path) -> Result<Self, StorageError> {
        let layout = Layout::new(root);
        let path = layout.marker();
        let bytes = match system.read_small(&path, MAX_MARKER + 1) {
            // Stale: it may well be one, and the server does not tell.
            Err(error) if error.is_missing() && !error.is_stale() => {
                return Err(StorageError::NotAShare { root: root.to_owned() });
            }
            other => other?,
        };
        let marker = Marker::decode(&bytes).map_err(|source| StorageError::Marker { path, source })?;
        Ok(Self { layout, id: marker.share })
    }

    /// Makes a share at `root`, or completes one: directories first, the marker last. The second value tells whether the share
    /// is new. Two hosts that do it at once agree on one identity.
    ///
    /// # Errors
    /// What the calls of [`crate::Disk`] say, and a marker that is there and can't be read.
    pub fn init(system: &System, root: &Path) -> Result<(Self, bool), StorageError> {
        let layout = Layout::new(root);
        create_root(system, root)?;
        match Self::open(system, root) {
            Ok(_) | Err(StorageError::NotAShare { .. }) => {}
            Err(error) => return Err(error),
        }
        for directory in [
            layout.writers(),
            layout.relay(),
            layout.checkpoints(),
            layout.dead_letters(),
            layout.archives(),
            layout.all_payloads(),
            layout.consumers(),
        ] {
            system.disk.create_dir(&directory)?;
        }
        system.disk.sync_dir(&layout.relay())?;
        system.disk.sync_dir(root)?;
        let mut id = [0; 16];
        system.entropy.fill(&mut id)?;
        let marker = Marker { share: ShareId::from_bytes(id) };
        let new = replace::create(system, &layout.marker(), &marker.encode())?;
        Ok((Self::open(system, root)?, new))
    }
}

/// A root that is new needs a name that lasts.
fn create_root(system: &System, root: &Path) -> Result<(), StorageError> {
    match system.disk.metadata(root) {
        Err(error) if error.is_missing() => {}
        there => return there.and_then(|_| system.disk.create_dir(root)),
    }
    system.disk.create_dir(root)?;
    let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty());
    system.disk.sync_dir(parent.unwrap_or(Path::new(".")))
}
