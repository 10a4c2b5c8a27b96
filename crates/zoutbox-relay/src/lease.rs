//! The right to relay: a lock on `relay/lease`, and an epoch that every checkpoint carries.
//!
//! The lock keeps honest relays apart. It can't stop a rename by one that lost it and does not know (NFS locks are per file), so the
//! epoch catches that one: before each checkpoint it proves the lease by writing and syncing the locked file, which fails for a
//! holder the server has given up on, and it stops at any checkpoint of a newer epoch.

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

/// A proof is good for this long.
const PROOF: Duration = Duration::from_secs(1);

/// The lease, held.
#[derive(Debug)]
pub struct Lease {
    system: System,
    share: Share,
    lock: Lock,
    epoch: Epoch,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the lease was last proven.
    proven: Duration,
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
            state: Mutex::new(State { proven: system.clock.monotonic(), doorbell: None }),
        };
        lease.write(&lease.state())?;
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, state: &State) -> Result<(), StorageError> {
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
        let mut state = self.state();
        state.doorbell = doorbell;
        self.write(&state)
    }

    /// Proves that the lease is still held, by a write that is synced; a recent proof counts.
    fn prove(&self) -> Result<(), RelayError> {
        let mut state = self.state();
        let now = self.system.clock.monotonic();
        if now.saturating_sub(state.proven) < PROOF {
            return Ok(());
        }
        match self.write(&state) {
            Ok(()) => state.proven = now,
            Err(error) if matches!(error.kind(), ErrorKind::Retry | ErrorKind::Full) => {
                return Err(error.into());
            }
            Err(error) => {
                let found = format!("the lease is lost, so that another relay may have taken over: {error}");
                return Err(RelayError::Fenced { own: self.epoch, found });
            }
        }
        Ok(())
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
