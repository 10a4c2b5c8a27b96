//! What jobs came to, handed to the lanes.

use std::time::Duration;

use zoutbox_format::checkpoint::Position;
use zoutbox_reader::ReaderError;
use zoutbox_relay_core::{Input, Output};
use zoutbox_storage::StorageError;

use super::Engine;
use super::jobs::{Discovered, Done};
use super::slot::{Reader, Slot};
use super::source::{Gathered, ReadOrder, Source};
use crate::error::RelayError;
use crate::lease::PROVE_EVERY;
use crate::publisher::Publisher;

const UNPROVEN: &str = "the lease can't be proven";
const UNSEEN: &str = "can't look for writers";

/// After a proof that failed without saying that the lease is lost.
const PROVE_AGAIN: Duration = Duration::from_secs(1);

impl<P: Publisher> Engine<P> {
    pub(super) fn done(&mut self, done: Done) {
        let now = self.now();
        match done {
            Done::Discovered(result) => self.discovered(result, now),
            Done::Proven(result) => self.proven(result, now),
            Done::Read { lane, generation, source, gathered } => {
                self.read(lane, generation, source, gathered, now);
            }
            Done::Saved { lane, position, result } => self.saved(lane, position, result, now),
            Done::DeadLettered { lane, key, records, result } => {
                let Some(slot) = self.slots.get_mut(lane) else { return };
                let input = match result {
                    Ok(()) => {
                        self.report.dead.count(records);
                        Input::DeadLettered(key)
                    }
                    Err(error) => {
                        slot.complain(format!("a dead letter can't be written: {error}"));
                        Input::DeadLetterFailed(key)
                    }
                };
                slot.lane.handle(input, now);
            }
            Done::Quarantined { lane, result } => {
                let Some(slot) = self.slots.get_mut(lane) else { return };
                let failed = result.map_err(|e| slot.complain(format!("a report can't be written: {e}")));
                slot.lane.handle(failed.map_or(Input::QuarantineFailed, |()| Input::Quarantined), now);
            }
            Done::Looked(looked) => self.looked(looked, now),
            Done::Removed { lane, upkeep, result, swept } => {
                if let Some(slot) = self.slots.get_mut(lane) {
                    slot.upkeep = Some(*upkeep);
                }
                self.removed(lane, result, swept, now);
            }
        }
    }

    fn read(
        &mut self,
        lane: usize,
        generation: u64,
        source: Box<Source>,
        gathered: Result<Gathered, ReaderError>,
        now: Duration,
    ) {
        self.reads -= 1;
        let Some(slot) = self.slots.get_mut(lane) else { return };
        let reader = std::mem::replace(&mut slot.reader, Reader::Here(Some(source)));
        let input = match gathered {
            Ok(Gathered { items, end, damage }) => {
                slot.complaint.clear();
                slot.damage = damage.or_else(|| slot.damage.take());
                Input::Read { generation, items, end }
            }
            Err(error) => {
                slot.complain(format!("can't be read: {error}"));
                Input::ReadFailed { generation }
            }
        };
        slot.lane.handle(input, now);
        if let Reader::Away { then: Some(order) } = reader {
            let ReadOrder { generation, from, skip_damage, budget, single } = order;
            self.execute(lane, Output::Read { generation, from, skip_damage, budget, single }, now);
        }
    }

    fn saved(&mut self, lane: usize, position: Position, result: Result<(), RelayError>, now: Duration) {
        let Some(slot) = self.slots.get_mut(lane) else { return };
        match result {
            Ok(()) => slot.lane.handle(Input::CheckpointSaved(position), now),
            Err(error @ RelayError::Fenced { .. }) => self.fail(error),
            Err(error) => {
                slot.complain(format!("its checkpoint can't be saved: {error}"));
                slot.lane.handle(Input::CheckpointFailed, now);
            }
        }
    }

    fn proven(&mut self, result: Result<(), RelayError>, now: Duration) {
        // It is trusted from when the proof was begun, however long that took.
        let next = self.jobs.lease.proven() + PROVE_EVERY;
        self.next_proof = Some(if result.is_ok() { next.max(now) } else { now + PROVE_AGAIN });
        match result {
            Ok(()) => self.report.recovered(UNPROVEN),
            Err(
                error @ (RelayError::Fenced { .. } | RelayError::Storage(StorageError::NotAShare { .. })),
            ) => self.fail(error),
            Err(error) => self.report.complain(UNPROVEN, error.to_string()),
        }
    }

    fn discovered(&mut self, result: Result<Discovered, RelayError>, now: Duration) {
        let again = std::mem::take(&mut self.discover_again);
        self.next_discovery = Some(if again { now } else { now + self.options.discover_every });
        match result {
            Ok(Discovered { new, ignored, omitted }) => {
                self.discovered = true;
                self.report.recovered(UNSEEN);
                for name in ignored.iter().filter(|name| !self.ignored.contains(name)) {
                    tracing::warn!("writers/{name} is no writer's directory: ignored");
                }
                if omitted > 0 && !self.flooded {
                    tracing::warn!(
                        "writers/ has {omitted} more entries that are no writer's directory: ignored"
                    );
                }
                self.flooded = omitted > 0;
                self.ignored = ignored;
                let found = !new.is_empty();
                for (writer, start) in new {
                    tracing::info!("found writer {writer}");
                    self.by_writer.insert(writer.clone(), self.slots.len());
                    if let Some(bell) = &self.bell {
                        bell.rings().know(writer.clone(), self.slots.len());
                    }
                    let mut slot = Slot::new(writer, self.options.lane.clone(), start);
                    if self.stopping.is_some() {
                        slot.lane.handle(Input::Stop, now);
                    }
                    self.slots.push(slot);
                }
                if found {
                    self.share_looks();
                }
            }
            Err(
                error @ (RelayError::NewerCheckpoint { .. }
                | RelayError::Storage(StorageError::NotAShare { .. })),
            ) => self.fail(error),
            Err(error) => self.report.complain(UNSEEN, error.to_string()),
        }
    }
    /// A look is calls to the server; what a thousand idle writers cost it must not grow to what ten thousand would.
    fn share_looks(&mut self) {
        let lanes = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let round = Duration::from_secs(1).saturating_mul(lanes) / self.options.poll_rate.get();
        let longest = self.options.lane.poll_slow.max(round);
        self.slots.iter_mut().for_each(|slot| slot.lane.set_poll_slow(longest));
    }
}
