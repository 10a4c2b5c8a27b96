//! A share that has been checked to be one: every tool starts here.

use std::path::{Path, PathBuf};

use zoutbox_format::layout::Layout;
use zoutbox_format::marker::MAX_MARKER;
use zoutbox_format::{Marker, ShareId};

use crate::access::{Access, Ownership};
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
        Self::init_for(system, root, None)
    }

    /// As [`Share::init`], for several users: sets owner, group and mode of the root, of all directories that it makes or finds there, and of the
    /// marker. On a share that is one already it sets them anew. What writers have made stays as it is.
    ///
    /// # Errors
    /// As [`Share::init`]; and when this process may not give things to that owner or group.
    pub fn init_for(
        system: &System,
        root: &Path,
        ownership: Option<Ownership>,
    ) -> Result<(Self, bool), StorageError> {
        let layout = Layout::new(root);
        create_root(system, root)?;
        match Self::open(system, root) {
            Ok(_) | Err(StorageError::NotAShare { .. }) => {}
            Err(error) => return Err(error),
        }
        let set = |path: &Path, access: AccessOf| {
            ownership.map_or(Ok(()), |ownership| system.disk.set_access(path, access(ownership)))
        };
        for (directory, access) in directories(&layout) {
            system.disk.create_dir(&directory)?;
            set(&directory, access)?;
        }
        system.disk.sync_dir(&layout.relay())?;
        system.disk.sync_dir(root)?;
        let mut id = [0; 16];
        system.entropy.fill(&mut id)?;
        let marker = Marker { share: ShareId::from_bytes(id) };
        let new = replace::create(system, &layout.marker(), &marker.encode())?;
        set(&layout.marker(), |ownership| ownership.of_relay(0o644))?;
        // Last: before, nobody else gets in.
        set(root, Ownership::of_root)?;
        Ok((Self::open(system, root)?, new))
    }
}

/// Who may do what with one of them.
type AccessOf = fn(Ownership) -> Access;

/// The directories of a share, and who may do what in them; see [`crate::access`].
fn directories(layout: &Layout) -> [(PathBuf, AccessOf); 7] {
    [
        (layout.writers(), |ownership| ownership.of_relay(0o3777)),
        (layout.relay(), |ownership| ownership.of_relay(0o2751)),
        (layout.checkpoints(), |ownership| ownership.of_relay(0o2755)),
        (layout.dead_letters(), |ownership| ownership.of_relay(0o2750)),
        (layout.archives(), |ownership| ownership.of_relay(0o2750)),
        (layout.all_payloads(), |ownership| ownership.of_relay(0o3777)),
        (layout.consumers(), |ownership| ownership.of_relay(0o3770)),
    ]
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
