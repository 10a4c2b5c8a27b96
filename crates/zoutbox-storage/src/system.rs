//! The world as one value, handed to everything that touches it.

use std::sync::Arc;

use crate::clock::{Clock, Entropy, RealClock, RealEntropy};
use crate::confined::ConfinedDisk;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::StorageError;
use crate::network::{Network, RealNetwork};
use crate::real::RealDisk;
use std::path::Path;

/// Disk, clock, entropy and network, and who this process is. Cheap to clone.
#[derive(Debug, Clone)]
pub struct System {
    /// The file systems.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Datagrams out.
    pub network: Arc<dyn Network>,
    /// This host's name, for lock files.
    pub host: Arc<str>,
    /// This process's id, for lock files.
    pub pid: u32,
}

/// How often a file that is replaced while it is read is opened again.
const STALE_READS: usize = 20;

impl System {
    /// The real world.
    #[must_use]
    pub fn real() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            disk: Arc::new(RealDisk),
            clock: Arc::new(RealClock::default()),
            entropy: Arc::new(RealEntropy),
            network: Arc::new(RealNetwork),
            host: host.into(),
            pid: std::process::id(),
        }
    }

    /// The same, of which nothing below `root` is reached through a link: see [`ConfinedDisk`]. Only for the real world.
    #[must_use]
    pub fn confined_to(self, root: &Path) -> Self {
        Self { disk: Arc::new(ConfinedDisk::new(root)), ..self }
    }

    /// 64 random bits.
    ///
    /// # Errors
    /// What [`Entropy::fill`] says.
    pub fn random(&self) -> Result<u64, StorageError> {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads a small file whole, at most `limit` bytes of it.
    ///
    /// Another host may just have made the file, when its absence is still cached here, or replace it while it is read, which makes
    /// an NFS handle stale. Asking the server for the directory's attributes drops what is cached of its names.
    ///
    /// # Errors
    /// What [`Disk::open`] and [`DiskFile::read_at`] say. Stale only if it was replaced again and again.
    pub fn read_small(&self, path: &Path, limit: usize) -> Result<Vec<u8>, StorageError> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut asked = false;
        for _ in 0..STALE_READS {
            match self.read_once(path, limit) {
                Err(error) if error.is_stale() || error.is_missing() && !asked => {
                    asked = true;
                    if self.disk.metadata(directory.unwrap_or(Path::new("."))).is_err() {
                        return Err(error);
                    }
                }
                other => return other,
            }
        }
        self.read_once(path, limit)
    }

    fn read_once(&self, path: &Path, limit: usize) -> Result<Vec<u8>, StorageError> {
        let file = self.disk.open(path, OpenMode::Read)?;
        // The server is asked, so that a cached older version is not taken for the current one.
        DiskFile::metadata(&*file)?;
        let mut bytes = vec![0; limit];
        let length = zoutbox_format::scan::read_full(&*file, &mut bytes, 0)?;
        bytes.truncate(length);
        Ok(bytes)
    }
}
