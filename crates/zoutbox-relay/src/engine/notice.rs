//! Keeps `relay/waits`, the file from which `zoutbox status` tells what the relay waits for.
//!
//! ```text
//!   the engine, once a second ──▶ the latest waits ──▶ one task ──▶ one thread at a time: replace or remove the file
//! ```
//!
//! The share whose silence is to be told may keep the telling from being written. So nobody ever waits for it: a write that hangs holds
//! one thread and leaves the file as it was, and of what comes meanwhile only the latest is kept. Nothing fails because of it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use zoutbox_format::{Epoch, Wait as WrittenWait, Waits};
use zoutbox_storage::{Share, StorageError, System, replace};

use super::waits::Wait;

/// After a write that failed: on a full share, say.
const AGAIN: Duration = Duration::from_secs(10);
/// An orderly stop takes the file away, but does not wait longer than this for it.
const WITHDRAWAL: Duration = Duration::from_millis(500);

/// The file, and the task that keeps it.
pub(super) struct Notice {
    wanted: watch::Sender<Vec<Wait>>,
    keeping: JoinHandle<()>,
}

#[derive(Clone)]
struct File {
    system: System,
    share: Share,
    relay_epoch: Epoch,
}

impl Notice {
    /// Begins without waits: what a relay before left is removed.
    pub(super) fn begin(system: System, share: Share, relay_epoch: Epoch) -> Self {
        let (wanted, latest) = watch::channel(Vec::new());
        let keeping = tokio::spawn(keep(File { system, share, relay_epoch }, latest));
        Self { wanted, keeping }
    }

    /// Says what is waited for now. Writes only if that is something else than before.
    pub(super) fn show(&self, mut waits: Vec<Wait>) {
        waits.sort_unstable();
        self.wanted.send_if_modified(|shown| {
            let changed = *shown != waits;
            *shown = waits;
            changed
        });
    }

    /// Takes the file away; unless `ours` is false: then it is another relay's by now.
    pub(super) async fn withdraw(self, ours: bool) {
        if !ours {
            self.keeping.abort();
        }
        drop(self.wanted);
        if tokio::time::timeout(WITHDRAWAL, self.keeping).await.is_err() {
            tracing::info!("relay/waits stays: it could not be removed in time");
        }
    }
}

async fn keep(file: File, mut latest: watch::Receiver<Vec<Wait>>) {
    let mut complained = false;
    loop {
        let waits = latest.borrow_and_update().clone();
        let kept = file.clone().in_thread(waits).await;
        if !kept && !std::mem::replace(&mut complained, true) {
            tracing::info!("zoutbox status can't tell what this relay waits for");
        }
        let changed = if kept {
            complained = false;
            latest.changed().await
        } else {
            tokio::time::timeout(AGAIN, latest.changed()).await.unwrap_or(Ok(()))
        };
        if changed.is_err() {
            break;
        }
    }
    file.in_thread(Vec::new()).await;
}

impl File {
    /// Whether the file says this now.
    async fn in_thread(self, waits: Vec<Wait>) -> bool {
        let written = tokio::task::spawn_blocking(move || {
            let written = if waits.is_empty() { self.remove() } else { self.write(waits) };
            written.inspect_err(|error| tracing::debug!("{error}")).is_ok()
        });
        written.await.unwrap_or(false)
    }

    fn write(&self, waits: Vec<Wait>) -> Result<(), StorageError> {
        let clock = &self.system.clock;
        let (now, now_ms) = (clock.monotonic(), clock.now_ms());
        let since_ms = |since: Duration| {
            let ago = now.saturating_sub(since).as_millis();
            now_ms.saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX))
        };
        let written =
            |wait: Wait| WrittenWait { writer: wait.writer, what: wait.what, since_ms: since_ms(wait.since) };
        let waits = Waits {
            relay_epoch: self.relay_epoch,
            written_ms: now_ms,
            waits: waits.into_iter().map(written).collect(),
            omitted: 0,
        };
        replace::replace(&self.system, &self.share.layout.waits(), &waits.encode())
    }

    fn remove(&self) -> Result<(), StorageError> {
        // Of a relay that was killed while it wrote.
        replace::sweep(&self.system, &self.share.layout.relay())?;
        match self.system.disk.remove_file(&self.share.layout.waits()) {
            Err(error) if error.is_missing() => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests;
