//! Everything that touches the share, on threads that may block, so that a call that hangs (NFS waits for ever) stalls one lane and
//! nothing else.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use zoutbox_format::checkpoint::Position;
use zoutbox_format::{RecordId, WriterId};
use zoutbox_reader::{Batch, Damage, ReaderError, Tail};
use zoutbox_relay_core::{Key, Reclaim};
use zoutbox_storage::{Share, StorageError, System};

use super::slot::{ReadOrder, read};
use crate::error::RelayError;
use crate::lease::{Lease, start_of};
use crate::remove::{Retention, remove};
use crate::{keep, publisher::Undeliverable};

/// Reads at once, over all lanes. One that hangs keeps its place.
const READS: usize = 64;
/// Other touches of the share at once.
const OTHERS: usize = 32;

/// What a job came to.
pub(super) enum Done {
    Read { lane: usize, generation: u64, tail: Box<Tail>, batch: Result<Batch, ReaderError> },
    Saved { lane: usize, position: Position, result: Result<(), RelayError> },
    DeadLettered { lane: usize, key: Key, result: Result<(), StorageError> },
    Quarantined { lane: usize, result: Result<(), StorageError> },
    Discovered(Result<Discovered, RelayError>),
    Removed { lane: usize, reclaim: Reclaim, result: Result<usize, RelayError> },
}

/// Writers that were not known before, and where to start with each.
#[derive(Default)]
pub(super) struct Discovered {
    pub(super) new: Vec<(WriterId, Option<Position>)>,
    pub(super) ignored: Vec<String>,
}

pub(super) struct Jobs {
    pub(super) system: System,
    pub(super) share: Share,
    lease: Arc<Lease>,
    reads: Arc<Semaphore>,
    others: Arc<Semaphore>,
    done: mpsc::UnboundedSender<Done>,
}

impl Jobs {
    pub(super) fn new(
        system: System,
        share: Share,
        lease: Arc<Lease>,
    ) -> (Self, mpsc::UnboundedReceiver<Done>) {
        let (done, receiver) = mpsc::unbounded_channel();
        let [reads, others] = [READS, OTHERS].map(|permits| Arc::new(Semaphore::new(permits)));
        (Self { system, share, lease, reads, others, done }, receiver)
    }

    fn run(&self, permits: &Arc<Semaphore>, job: impl FnOnce(&System, &Share) -> Done + Send + 'static) {
        let (system, share, done) = (self.system.clone(), self.share.clone(), self.done.clone());
        let permits = Arc::clone(permits);
        tokio::spawn(async move {
            let Ok(permit) = permits.acquire_owned().await else { return };
            let result = tokio::task::spawn_blocking(move || job(&system, &share)).await;
            drop(permit);
            if let Ok(result) = result {
                // Nobody listens any more when the relay is ending.
                drop(done.send(result));
            }
        });
    }

    pub(super) fn read(&self, lane: usize, writer: WriterId, tail: Option<Box<Tail>>, order: ReadOrder) {
        self.run(&self.reads, move |system, share| {
            let (tail, batch) = read(system, share, &writer, tail, &order);
            Done::Read { lane, generation: order.generation, tail, batch }
        });
    }

    pub(super) fn save(&self, lane: usize, writer: WriterId, position: Position) {
        let lease = Arc::clone(&self.lease);
        self.run(&self.others, move |_, _| Done::Saved {
            lane,
            position,
            result: lease.save(&writer, position),
        });
    }

    pub(super) fn dead_letter(&self, lane: usize, id: RecordId, body: Bytes, reason: &Undeliverable) {
        let reason = reason.to_string();
        self.run(&self.others, move |system, share| {
            let key = Key { epoch: id.epoch, sequence: id.sequence };
            Done::DeadLettered { lane, key, result: keep::dead_letter(system, share, &id, &body, &reason) }
        });
    }

    pub(super) fn quarantine(&self, lane: usize, damage: Damage) {
        self.run(&self.others, move |system, share| Done::Quarantined {
            lane,
            result: keep::quarantine(system, share, &damage),
        });
    }

    pub(super) fn discover(&self, known: HashSet<WriterId>) {
        self.run(&self.others, move |system, share| Done::Discovered(discover(system, share, &known)));
    }

    pub(super) fn remove(
        &self,
        lane: usize,
        writer: WriterId,
        mut reclaim: Reclaim,
        durable: Position,
        retention: Retention,
    ) {
        self.run(&self.others, move |system, share| {
            let result = remove(system, share, &writer, &mut reclaim, durable, retention);
            Done::Removed { lane, reclaim, result }
        });
    }
}

fn discover(system: &System, share: &Share, known: &HashSet<WriterId>) -> Result<Discovered, RelayError> {
    let found = zoutbox_reader::writers(system, share)?;
    let mut discovered = Discovered { new: Vec::new(), ignored: found.ignored };
    for writer in found.writers.into_iter().filter(|writer| !known.contains(writer)) {
        let start = start_of(system, share, &writer)?;
        discovered.new.push((writer, start));
    }
    Ok(discovered)
}
