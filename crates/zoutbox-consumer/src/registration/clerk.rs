//! The thread that touches the share for a registration, so that nobody else waits when the share does not answer.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use zoutbox_format::checkpoint::CHECKPOINT_LENGTH;
use zoutbox_format::progress::MAX_PROGRESS_LENGTH;
use zoutbox_format::{Checkpoint, Progress, WriterId};
use zoutbox_storage::{Share, StorageError, System};

use super::tracker::Confirmed;

/// What is to be done, and what came of it.
#[derive(Debug, Default)]
struct Desk {
    write: Option<Progress>,
    read: bool,
    end: bool,
    /// What was read, and when that was over.
    found: Option<(Confirmed, Instant)>,
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Clerk {
    desk: Arc<(Mutex<Desk>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Clerk {
    pub(super) fn start(system: System, share: Share, path: PathBuf) -> std::io::Result<Self> {
        let desk = Arc::<(Mutex<Desk>, Condvar)>::default();
        let own = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("zoutbox-registration".into())
            .spawn(move || work(&own, &mut Ground { system, share, path, complaint: None, unread: None }))?;
        Ok(Self { desk, thread: Some(thread) })
    }

    fn tell(&self, change: impl FnOnce(&mut Desk)) {
        let (desk, bell) = &*self.desk;
        change(&mut lock(desk));
        bell.notify_one();
    }

    /// Writes this as soon as it can, and nothing older that is not written yet.
    pub(super) fn write(&self, progress: Progress) {
        self.tell(|desk| desk.write = Some(progress));
    }

    /// Reads the relay's checkpoints.
    pub(super) fn read(&self) {
        self.tell(|desk| desk.read = true);
    }

    /// What was read, once.
    pub(super) fn found(&self) -> Option<(Confirmed, Instant)> {
        lock(&self.desk.0).found.take()
    }

    /// Waits until all is written.
    pub(super) fn end(&mut self) {
        self.tell(|desk| desk.end = true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the registration's thread panicked");
        }
    }
}

/// Without [`Clerk::end`] nobody waits for the thread.
impl Drop for Clerk {
    fn drop(&mut self) {
        self.tell(|desk| desk.end = true);
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work((desk, bell): &(Mutex<Desk>, Condvar), ground: &mut Ground) {
    loop {
        let mut open = lock(desk);
        while open.write.is_none() && !open.read && !open.end {
            open = bell.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
        let (write, read, end) = (open.write.take(), std::mem::take(&mut open.read), open.end);
        drop(open);
        if let Some(progress) = write {
            ground.write(progress);
        }
        if end {
            return;
        }
        if read && let Some(confirmed) = ground.confirmed() {
            lock(desk).found = Some((confirmed, tokio::time::Instant::now().into_std()));
        }
    }
}

struct Ground {
    system: System,
    share: Share,
    path: PathBuf,
    /// What is wrong, so that it is said once.
    complaint: Option<String>,
    unread: Option<String>,
}

impl Ground {
    /// Loud, and nothing else: a consumer goes on without.
    fn write(&mut self, progress: Progress) {
        match write(&self.system, &self.path, progress) {
            Ok(()) => {
                if self.complaint.take().is_some() {
                    tracing::info!("{} is written again", self.path.display());
                }
            }
            Err(error) => {
                let text = error.to_string();
                if self.complaint.as_ref() != Some(&text) {
                    tracing::error!(
                        "how far this consumer is can't be said on the share, and after a while what it needs may be removed: {text}"
                    );
                    self.complaint = Some(text);
                }
            }
        }
    }

    fn confirmed(&mut self) -> Option<Confirmed> {
        match confirmed(&self.system, &self.share) {
            Ok(confirmed) => {
                self.unread = None;
                Some(confirmed)
            }
            Err(error) => {
                let text = error.to_string();
                if self.unread.as_ref() != Some(&text) {
                    tracing::warn!("what the relay has confirmed can't be read: {text}");
                    self.unread = Some(text);
                }
                None
            }
        }
    }
}

/// Writers that there is no room for are left out: nothing of those is removed.
pub(super) fn write(system: &System, path: &Path, mut progress: Progress) -> Result<(), StorageError> {
    let mut bytes = progress.encode();
    while bytes.len() > MAX_PROGRESS_LENGTH {
        let kept = progress.writers.len() / 2;
        let first_left_out = progress.writers.keys().nth(kept).cloned();
        if let Some(first) = first_left_out {
            progress.writers.split_off(&first);
        }
        bytes = progress.encode();
    }
    zoutbox_storage::replace::replace(system, path, &bytes)
}

/// How far the relay is with each writer. Checkpoints that can't be used say nothing.
fn confirmed(system: &System, share: &Share) -> Result<Confirmed, StorageError> {
    let directory = share.layout.checkpoints();
    // So that names which other hosts have made are there.
    system.disk.metadata(&directory)?;
    let mut confirmed = Confirmed::new();
    for entry in system.disk.list(&directory)? {
        let Some(writer) = entry.name.to_str().and_then(|name| WriterId::new(name).ok()) else { continue };
        let bytes = match system.read_small(&share.layout.checkpoint(&writer), CHECKPOINT_LENGTH + 1) {
            Err(error) if error.is_missing() => continue,
            other => other?,
        };
        let Ok(found) = Checkpoint::decode(&bytes) else { continue };
        if found.share == share.id && found.writer == writer {
            confirmed.insert(writer, found.position.segment);
        }
    }
    Ok(confirmed)
}
