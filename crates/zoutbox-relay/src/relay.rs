//! From standby to relay: waits for the lease, then runs the engine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use zoutbox_storage::mount::trust;
use zoutbox_storage::{ErrorKind, Share, System};

use crate::ballast::Ballast;
use crate::doorbell::Ear;
use crate::engine::{Engine, EngineOptions};
use crate::error::RelayError;
use crate::lease::Lease;
use crate::publisher::Publisher;

/// Locks are polled: on NFS a lock call that waits can get the lock half a minute late.
const POLL: Duration = Duration::from_millis(250);
/// An orderly stop takes its doorbell out of the lease, but does not wait longer than this for it.
const WITHDRAWAL: Duration = Duration::from_millis(500);

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
    let beginning = async {
        let lease = Arc::new(wait_for_lease(&system, &share).await?);
        // Only who relays listens: a standby would answer nobody, and keep the port from who does.
        let ear = Ear::open(&system, &share, options.doorbell).await;
        if let Some(ear) = &ear {
            announce(&lease, Some(ear.announced)).await;
        }
        Ok::<_, RelayError>((lease, ear))
    };
    let (lease, ear) = tokio::select! {
        begun = beginning => begun?,
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    };
    tracing::info!("relaying {} as epoch {}", share.layout.root().display(), lease.epoch());
    let announced = ear.is_some();
    let ended = Engine::new(system, share, Arc::clone(&lease), publisher, ear, options).run(stop).await;
    if announced && !matches!(ended, Err(RelayError::Fenced { .. })) {
        // Writers would go on sending to a port that another program may get.
        drop(tokio::time::timeout(WITHDRAWAL, announce(&lease, None)).await);
    }
    ended
}

/// Never needed, so its failure is only told.
async fn announce(lease: &Arc<Lease>, doorbell: Option<SocketAddr>) {
    let lease = Arc::clone(lease);
    let written = tokio::task::spawn_blocking(move || lease.announce(doorbell)).await;
    if let Ok(Err(error)) = written {
        tracing::info!("the lease does not say where the doorbell is: {error}");
    }
}

async fn wait_for_lease(system: &System, share: &Share) -> Result<Lease, RelayError> {
    let (mut told, mut told_full) = (None, false);
    let ballast = Ballast::new(system, share);
    loop {
        let (system, share) = (system.clone(), share.clone());
        let taken = tokio::task::spawn_blocking(move || Lease::try_take(&system, &share)).await;
        let holder = match taken {
            Ok(Ok(Ok(lease))) => return Ok(lease),
            Ok(Ok(Err(holder))) => holder,
            Ok(Err(error)) if error.kind() == ErrorKind::Full => {
                if !told_full {
                    tracing::warn!("waiting for room to take the lease: {error}");
                    told_full = true;
                }
                let ballast = ballast.clone();
                let released =
                    tokio::task::spawn_blocking(move || ballast.release_if_full(error.kind())).await;
                drop(released);
                tokio::time::sleep(POLL).await;
                continue;
            }
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
