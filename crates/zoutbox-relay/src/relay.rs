//! From standby to relay: waits for the lease, then runs the engine.

use std::time::Duration;

use tokio::sync::watch;
use zoutbox_storage::mount::trust;
use zoutbox_storage::{Share, System};

use crate::engine::{Engine, EngineOptions};
use crate::error::RelayError;
use crate::lease::Lease;
use crate::publisher::Publisher;

/// Locks are polled: on NFS a lock call that waits can get the lock half a minute late.
const POLL: Duration = Duration::from_millis(250);

/// Refuses a share that is mounted so that a promise does not hold. What is accepted all the same is logged.
///
/// # Errors
/// [`zoutbox_storage::StorageError::UnsafeMount`] and, when the mount can't be seen, its `UnknownMount`; neither with
/// `accept_unsafe`.
pub fn check_mounts(system: &System, share: &Share, accept_unsafe: bool) -> Result<(), RelayError> {
    // Writers and relay can have file systems of their own.
    let mut told = Vec::new();
    for directory in [share.layout.writers(), share.layout.relay()] {
        for warning in trust(&*system.disk, &directory, accept_unsafe)?.warnings {
            if !told.contains(&warning) {
                tracing::warn!("{warning}");
                told.push(warning);
            }
        }
    }
    Ok(())
}

/// Waits for the share's lease, then relays until `stop` turns true.
///
/// # Errors
/// See [`Engine::run`]; and when the lease can't be taken for another reason than that another relay holds it.
pub async fn relay<P: Publisher>(
    system: System,
    share: Share,
    publisher: P,
    options: EngineOptions,
    mut stop: watch::Receiver<bool>,
) -> Result<(), RelayError> {
    let waiting = wait_for_lease(&system, &share);
    let lease = tokio::select! {
        lease = waiting => lease?,
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    };
    tracing::info!("relaying {} as epoch {}", share.layout.root().display(), lease.epoch());
    Engine::new(system, share, lease, publisher, options).run(stop).await
}

async fn wait_for_lease(system: &System, share: &Share) -> Result<Lease, RelayError> {
    let mut told = None;
    loop {
        let (system, share) = (system.clone(), share.clone());
        let taken = tokio::task::spawn_blocking(move || Lease::try_take(&system, &share)).await;
        let holder = match taken {
            Ok(Ok(Ok(lease))) => return Ok(lease),
            Ok(Ok(Err(holder))) => holder,
            Ok(Err(error)) => return Err(error),
            Err(_) => None,
        };
        if told.as_ref() != Some(&holder) {
            let who = holder.as_ref().map_or_else(
                || "another relay".to_owned(),
                |holder| format!("the relay on host {}, process {}", holder.host, holder.pid),
            );
            tracing::info!("standby: waiting for {who}");
            told = Some(holder);
        }
        tokio::time::sleep(POLL).await;
    }
}
