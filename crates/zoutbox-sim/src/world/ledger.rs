//! What was promised to whom, and what came of it: the truth that the programs under test do not see.

use std::collections::{BTreeMap, BTreeSet};

use zoutbox_format::checkpoint::Position;
use zoutbox_format::{SegmentId, Sequence};
use zoutbox_relay_core::Key;

use crate::checkers::Seen;

/// What a producer was told of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing yet.
    Nothing,
    /// That it is durable, as this record.
    Durable(Key),
    /// That it may or may not be there; or its process died.
    Unknown,
    /// That it is not there, and never will be.
    Refused,
}

/// An append.
#[derive(Debug)]
pub struct Append {
    /// Its topic.
    pub topic: String,
    /// Its payload, which names it.
    pub payload: Vec<u8>,
    /// What became of it.
    pub told: Told,
    /// The process that made it.
    pub process: usize,
}

/// All of one writer id.
#[derive(Debug, Default)]
pub struct Writer {
    /// Its appends, in their order.
    pub appends: Vec<Append>,
    /// The records that were acknowledged, and which append each was.
    pub acknowledged: BTreeMap<Key, usize>,
    /// Those of them that neither the broker has nor a dead letter.
    pub outstanding: BTreeSet<Key>,
    /// What the broker has or had.
    pub accepted: BTreeSet<Key>,
    /// What the broker nacked or returned at least once.
    pub refused: BTreeSet<Key>,
    /// What has a dead letter.
    pub dead: BTreeSet<Key>,
    /// What was applied.
    pub applied: BTreeMap<Key, usize>,
    /// The highest checkpoint that was ever seen.
    pub checkpoint: Option<Position>,
    /// The newest segment that left the log.
    pub removed: Option<SegmentId>,
}

/// All of a share.
#[derive(Debug, Default)]
pub struct Ledger(BTreeMap<String, Writer>);

/// The records of a message, in order.
pub fn keys(first: Key, count: u32) -> impl Iterator<Item = Key> {
    let start = first.sequence.get();
    (start..start.saturating_add(u64::from(count)))
        .map(move |sequence| Key { epoch: first.epoch, sequence: Sequence::new(sequence) })
}

/// Whether a record lies in front of a position.
#[must_use]
pub fn is_below(key: Key, position: Position) -> bool {
    (key.epoch, key.sequence) < (position.segment.epoch, position.next_sequence)
}

impl Ledger {
    /// One writer's part; nothing for one that nobody knows.
    #[must_use]
    pub fn writer(&self, writer: &str) -> Option<&Writer> {
        self.0.get(writer)
    }

    /// All writers.
    pub fn writers(&self) -> impl Iterator<Item = (&String, &Writer)> {
        self.0.iter()
    }

    /// What was acknowledged and is not confirmed, by writer.
    #[must_use]
    pub fn outstanding(&self) -> Vec<(String, BTreeSet<Key>)> {
        self.0.iter().map(|(writer, of)| (writer.clone(), of.outstanding.clone())).collect()
    }

    /// Which append a payload is of, by what it says.
    #[must_use]
    pub fn append_of(payload: &[u8]) -> Option<usize> {
        let text = payload.get(..payload.iter().position(|byte| *byte == b';')?)?;
        std::str::from_utf8(text).ok()?.rsplit('#').next()?.parse().ok()
    }

    /// Writes down what happened.
    pub fn note(&mut self, seen: &Seen<'_>) {
        let Some(writer) = seen.writer() else { return };
        let writer = self.0.entry(writer.to_owned()).or_default();
        match *seen {
            Seen::Appended { topic, payload, process, .. } => {
                let (topic, payload) = (topic.to_owned(), payload.to_vec());
                writer.appends.push(Append { topic, payload, told: Told::Nothing, process });
            }
            Seen::Told { append, told, .. } => {
                if let Some(of) = writer.appends.get_mut(append) {
                    of.told = told;
                }
                if let Told::Durable(key) = told {
                    writer.acknowledged.insert(key, append);
                    if !writer.accepted.contains(&key) && !writer.dead.contains(&key) {
                        writer.outstanding.insert(key);
                    }
                }
            }
            Seen::Accepted { first, count, .. } => {
                for key in keys(first, count) {
                    writer.outstanding.remove(&key);
                    writer.accepted.insert(key);
                }
            }
            Seen::Refused { first, count, .. } => writer.refused.extend(keys(first, count)),
            Seen::Dead { first, count, .. } => {
                for key in keys(first, count) {
                    writer.outstanding.remove(&key);
                    writer.dead.insert(key);
                }
            }
            Seen::Checkpoint { position, .. } => {
                let behind = |other: &Position| {
                    (other.segment.epoch, other.next_sequence)
                        >= (position.segment.epoch, position.next_sequence)
                };
                writer.checkpoint = writer.checkpoint.filter(behind).or(Some(position));
            }
            Seen::Removed { segment, .. } => writer.removed = writer.removed.max(Some(segment)),
            Seen::Applied { key, payload, .. } => {
                writer.applied.insert(key, Self::append_of(payload).unwrap_or(usize::MAX));
            }
            Seen::Published { .. }
            | Seen::Finished { .. }
            | Seen::Stopped
            | Seen::Drained
            | Seen::Stuck { .. } => {}
        }
    }
}
