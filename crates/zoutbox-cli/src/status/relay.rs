//! What is known of the relay: who took the lease last, and what it says that it waits for.

use std::net::SocketAddr;

use serde::Serialize;
use zoutbox_format::Waits;
use zoutbox_format::waits::MAX_WAITS_LENGTH;
use zoutbox_storage::{Share, StorageError, System};

use super::read_holder;
use crate::exit::Failure;

/// The relay, as `--json` has it. When its files do not answer, nobody knows anything of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct RelayJson {
    pub(super) epoch: Option<u64>,
    pub(super) host: Option<String>,
    pub(super) pid: Option<u32>,
    pub(super) doorbell: Option<SocketAddr>,
    pub(super) answers: bool,
    pub(super) waits: Vec<WaitJson>,
}

/// A wait, as `--json` has it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct WaitJson {
    pub(super) what: String,
    pub(super) since_ms: u64,
    /// Of the relay that says so; `None`: this program does.
    pub(super) relay_epoch: Option<u64>,
}

/// What a look at the relay's files gave.
#[derive(Debug)]
pub(super) struct Seen {
    /// `None` if no relay ever took the lease.
    pub(super) relay: Option<RelayJson>,
    /// What it says that it waits for.
    pub(super) waits: Option<Waits>,
    pub(super) notes: Vec<String>,
}

/// Looks at the relay's files.
pub(super) fn look(system: &System, share: &Share) -> Result<Seen, Failure> {
    // The waits first: those of a relay that is replaced meanwhile are then older than the lease.
    let (waits, notes) = match read_waits(system, share) {
        Ok(waits) => (waits, Vec::new()),
        Err(note) => (None, vec![note]),
    };
    let holder = read_holder(system, &share.layout.lease())?;
    let epoch = holder.as_ref().map(|holder| holder.epoch);
    let waits = waits.filter(|waits| epoch.is_some_and(|epoch| waits.relay_epoch >= epoch));
    let relay = holder.map(|holder| RelayJson {
        epoch: Some(holder.epoch.get()),
        host: Some(holder.host),
        pid: Some(holder.pid),
        doorbell: holder.doorbell,
        answers: true,
        waits: Vec::new(),
    });
    Ok(Seen { relay, waits, notes })
}

/// A file that can't be understood is worth a note and nothing else.
fn read_waits(system: &System, share: &Share) -> Result<Option<Waits>, String> {
    let path = share.layout.waits();
    match system.read_small(&path, MAX_WAITS_LENGTH + 1) {
        Ok(bytes) => match Waits::decode(&bytes) {
            None => Err(format!("{} is damaged: ignored", path.display())),
            waits => Ok(waits),
        },
        Err(error) if error.is_missing() => Ok(None),
        Err(error @ StorageError::NotAFile { .. }) => Err(format!("{error}: ignored")),
        Err(error) => Err(error.to_string()),
    }
}
