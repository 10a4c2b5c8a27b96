//! The right to relay: a lock on `relay/lease`, and an epoch that every checkpoint carries.
//!
//! The lock keeps honest relays apart. It can't stop a rename by one that lost it and does not know (NFS locks are per file), so the
//! epoch catches that one: before each checkpoint it proves the lease by writing and syncing the locked file, which fails for a
//! holder the server has given up on, and it stops at any checkpoint of a newer epoch.
//!
//! ```text
//!   proof ──────────── 5 s ───────────▶ the next one is due ── 10 s ──▶ not trusted: nothing is published until a proof succeeds
//! ```
//!
//! Publishing asks for less: a proof that is younger than any server's lease. So a relay that slept through its lease, stopped or cut
//! off, finds out before it publishes again, and what it may publish twice is what it had in flight. All of this is measured by the
//! monotonic clock: a wall clock that jumps changes nothing.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zoutbox_format::checkpoint::CHECKPOINT_LENGTH;
use zoutbox_format::checkpoint::Position;
use zoutbox_format::holder::HOLDER_LENGTH;
use zoutbox_format::{Checkpoint, Epoch, Holder, WriterId};
use zoutbox_reader::{BadCheckpoint, StoredCheckpoint};
use zoutbox_storage::{ErrorKind, Lock, Share, StorageError, System, replace};

use crate::error::RelayError;

/// A proof is good for this long, for a checkpoint.
const PROOF: Duration = Duration::from_secs(1);
/// While no checkpoint asks for a proof, there is one this often.
pub(crate) const PROVE_EVERY: Duration = Duration::from_secs(5);
/// For publishing, a proof is good for this long: no longer than the shortest lease that a Linux server can be told to grant (10 s:
/// `write_leasetime` in the kernel's `fs/nfsd/nfsctl.c`; 90 s unless it is told).
const TRUST: Duration = Duration::from_secs(10);

/// The lease, held.
#[derive(Debug)]
pub struct Lease {
    system: System,
    share: Share,
    lock: Lock,
    epoch: Epoch,
    /// What the lease says. Held while it is written, which may hang.
    written: Mutex<Written>,
    /// When the last proof that succeeded was begun. Never held for long.
    proven: Mutex<Duration>,
}

#[derive(Debug)]
struct Written {
    doorbell: Option<SocketAddr>,
}

impl Lease {
    /// Tries to take the lease; `Err(holder)` inside tells who has it, as far as is known.
    ///
    /// # Errors
    /// When the lease or the checkpoints can't be read or written, or a checkpoint is of a newer format.
    pub fn try_take(system: &System, share: &Share) -> Result<Result<Self, Option<Holder>>, RelayError> {
        let path = share.layout.lease();
        let Some(lock) = Lock::try_path(&*system.disk, &path)? else {
            let bytes = system.read_small(&path, HOLDER_LENGTH)?;
            return Ok(Err(Holder::decode(&bytes)));
        };
        let mut bytes = vec![0; HOLDER_LENGTH];
        let length = zoutbox_format::scan::read_full(lock.file(), &mut bytes, 0)?;
        bytes.truncate(length);
        let last = Holder::decode(&bytes).map_or(0, |holder| holder.epoch.get());
        let epoch = Epoch::new(last.max(newest_epoch(system, share)?)).next();
        let lease = Self {
            system: system.clone(),
            share: share.clone(),
            lock,
            epoch,
            written: Mutex::new(Written { doorbell: None }),
            proven: Mutex::new(system.clock.monotonic()),
        };
        lease.write(&lease.written())?;
        system.disk.sync_dir(&share.layout.relay())?;
        // What a relay before renamed into place may not be durable yet, and segments are removed by it.
        system.disk.sync_dir(&share.layout.checkpoints())?;
        replace::sweep(system, &share.layout.checkpoints())?;
        Ok(Ok(lease))
    }

    /// This relay's epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the last proof that succeeded was begun, by the monotonic clock.
    #[must_use]
    pub fn proven(&self) -> Duration {
        *self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was proven so lately that this relay may publish at `now`. Never waits for the share.
    #[must_use]
    pub fn is_trusted(&self, now: Duration) -> bool {
        now.saturating_sub(self.proven()) < TRUST
    }

    fn write(&self, state: &Written) -> Result<(), StorageError> {
        let holder = Holder {
            epoch: self.epoch,
            next_sequence: None,
            host: self.system.host.to_string(),
            pid: self.system.pid,
            doorbell: state.doorbell,
        };
        self.lock.file().write_at(&holder.encode(), 0)?;
        self.lock.file().sync()
    }

    /// Says in the lease where writers may ring; `None`: nowhere any more.
    ///
    /// # Errors
    /// What the disk says; the next proof of the lease then says it.
    pub fn announce(&self, doorbell: Option<SocketAddr>) -> Result<(), StorageError> {
        let mut written = self.written();
        written.doorbell = doorbell;
        self.write(&written)
    }

    /// Proves that the lease is still held: by a write that is synced, and by what the share shows as the lease. A recent proof counts.
    ///
    /// # Errors
    /// [`RelayError::Fenced`] when it is lost; otherwise what the disk says, and it may be tried again.
    pub fn prove(&self) -> Result<(), RelayError> {
        self.prove_unless(|_| false)
    }

    /// As [`Lease::prove`], but a share that lets nobody in is no proof that the lease is lost: nothing is at stake yet, and it may come back.
    ///
    /// # Errors
    /// As [`Lease::prove`].
    pub fn prove_in_peace(&self) -> Result<(), RelayError> {
        self.prove_unless(StorageError::is_denied)
    }

    fn prove_unless(&self, proves_nothing: fn(&StorageError) -> bool) -> Result<(), RelayError> {
        let asked = self.system.clock.monotonic();
        let written = self.written();
        let now = self.system.clock.monotonic();
        // One that was begun while this one waited for it counts, however long it took.
        if self.proven() >= asked || now.saturating_sub(self.proven()) < PROOF {
            return Ok(());
        }
        let full = match self.write(&written) {
            Ok(()) => None,
            // Who says that there is no room has looked first whose the lock is.
            Err(error) if error.kind() == ErrorKind::Full => Some(error),
            Err(error) if error.kind() == ErrorKind::Retry || proves_nothing(&error) => {
                return Err(error.into());
            }
            Err(error) => {
                return Err(self.lost(&format!("so that another relay may have taken over: {error}")));
            }
        };
        self.find()?;
        *self.proven.lock().unwrap_or_else(PoisonError::into_inner) = now;
        full.map_or(Ok(()), |error| Err(error.into()))
    }

    /// That the file which the share shows as the lease is this one. Another one could be locked by another relay.
    fn find(&self) -> Result<(), RelayError> {
        let path = self.share.layout.lease();
        let shown = match self.system.read_small(&path, HOLDER_LENGTH) {
            Err(error) if error.is_missing() => {
                // With the whole share gone, that is what there is to say.
                Share::open(&self.system, self.share.layout.root())?;
                return Err(self.lost(&format!("since {} was removed", path.display())));
            }
            other => Holder::decode(&other?),
        };
        match shown {
            // With the lease removed before the first checkpoint, another relay may have the same epoch.
            Some(Holder { epoch, host, pid, .. })
                if (epoch, pid) == (self.epoch, self.system.pid) && *host == *self.system.host =>
            {
                Ok(())
            }
            Some(holder) => {
                let Holder { epoch, host, pid, .. } = holder;
                let who = format!("to the relay on host {host}, process {pid}, with epoch {epoch}");
                Err(self.lost(&who))
            }
            None => Err(self.lost(&format!("since {} does not say whose it is", path.display()))),
        }
    }

    fn lost(&self, how: &str) -> RelayError {
        RelayError::Fenced { own: self.epoch, found: format!("the lease is lost, {how}") }
    }

    /// Saves a writer's checkpoint, durably.
    ///
    /// # Errors
    /// [`RelayError::Fenced`] when the lease is lost or a newer relay has saved one; otherwise what the disk says, and it may
    /// be tried again.
    pub fn save(&self, writer: &WriterId, position: Position) -> Result<(), RelayError> {
        self.prove()?;
        let path = self.share.layout.checkpoint(writer);
        if let StoredCheckpoint::Found(stored) =
            zoutbox_reader::checkpoint(&self.system, &self.share, writer)?
            && stored.relay_epoch > self.epoch
        {
            let found =
                format!("another relay has taken over: {} has epoch {}", path.display(), stored.relay_epoch);
            return Err(RelayError::Fenced { own: self.epoch, found });
        }
        let checkpoint = Checkpoint {
            share: self.share.id,
            writer: writer.clone(),
            relay_epoch: self.epoch,
            position,
            saved_ms: self.system.clock.now_ms(),
        };
        Ok(replace::replace(&self.system, &path, &checkpoint.encode())?)
    }
}

/// The newest relay epoch in any checkpoint, also of writers whose directories are gone; 0 without one.
fn newest_epoch(system: &System, share: &Share) -> Result<u64, RelayError> {
    let directory = share.layout.checkpoints();
    let mut newest = 0;
    for entry in system.disk.list(&directory)? {
        let path = directory.join(&entry.name);
        let Some(Ok(_)) = entry.name.to_str().map(WriterId::new) else { continue };
        let Ok(bytes) = system.read_small(&path, CHECKPOINT_LENGTH + 1) else { continue };
        match Checkpoint::decode(&bytes) {
            Ok(checkpoint) => newest = newest.max(checkpoint.relay_epoch.get()),
            Err(zoutbox_format::CheckpointError::Newer(_)) => {
                return Err(RelayError::NewerCheckpoint { path });
            }
            Err(_) => {}
        }
    }
    Ok(newest)
}

/// Where a lane starts: behind a writer's checkpoint. A damaged one is told, and everything is published again: never skipped.
pub(crate) fn start_of(
    system: &System,
    share: &Share,
    writer: &WriterId,
) -> Result<Option<Position>, RelayError> {
    match zoutbox_reader::checkpoint(system, share, writer)? {
        StoredCheckpoint::None => Ok(None),
        StoredCheckpoint::Found(checkpoint) => Ok(Some(checkpoint.position)),
        StoredCheckpoint::Damaged { path, reason } => {
            if let BadCheckpoint::Content(zoutbox_format::CheckpointError::Newer(_)) = reason {
                return Err(RelayError::NewerCheckpoint { path });
            }
            tracing::warn!(
                "checkpoint {} can't be used ({reason}): publishing writer {writer} again from its oldest segment",
                path.display()
            );
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests;
