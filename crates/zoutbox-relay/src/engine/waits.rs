//! What is waited for, as `relay/waits` tells it: collected anew at each look, because nothing else has to remember it.

use std::time::Duration;

use zoutbox_format::WriterId;
use zoutbox_format::checkpoint::Position;
use zoutbox_relay_core::Key;

use super::slot::Slot;
use crate::publisher::Event;

/// A broker that is away for less is not worth telling: so is every broker while the relay starts.
const SHORT: Duration = Duration::from_secs(1);

/// A broker that confirms nothing for less is only slow.
const SILENT: Duration = Duration::from_secs(3);

/// A queue that is full all day takes some records now and then; that it does not take others is told this often.
const TELL_NACKS_EVERY: Duration = Duration::from_mins(1);

/// Something that is waited for. Ordered as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wait {
    /// Whose lane waits; `None`: all of them.
    pub(super) writer: Option<WriterId>,
    /// Since when, by the monotonic clock.
    pub(super) since: Duration,
    pub(super) what: String,
}

/// What a lane halted at.
#[derive(Debug)]
pub(super) struct Halt {
    /// The record; `None`: damage.
    pub(super) key: Option<Key>,
    pub(super) wait: Wait,
}

/// The first record of those that the broker did not take.
#[derive(Debug)]
pub(super) struct Nack {
    key: Key,
    told: Duration,
    wait: Wait,
}

/// Whether the broker takes records.
#[derive(Debug)]
pub(super) enum Broker {
    Away { since: Duration },
    Takes,
    Blocks { since: Duration, reason: String },
}

impl Broker {
    pub(super) fn told(&mut self, event: &Event, now: Duration) {
        match event {
            Event::Up | Event::Unblocked => *self = Self::Takes,
            Event::Down { .. } => *self = Self::Away { since: now },
            Event::Blocked(reason) => *self = Self::Blocks { since: now, reason: reason.clone() },
            Event::Resolved { .. } | Event::Failed(_) => {}
        }
    }

    /// Whether it is there, and says nothing else.
    pub(super) fn takes(&self) -> bool {
        matches!(self, Self::Takes)
    }

    /// `trouble`: why it is away, if the publisher knows.
    pub(super) fn wait(&self, trouble: Option<String>, now: Duration) -> Option<Wait> {
        let (since, what) = match self {
            Self::Takes => return None,
            Self::Away { since } => {
                let why = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
                (*since, format!("the broker is not connected{why}"))
            }
            Self::Blocks { since, reason } => (*since, format!("the broker blocks publishers: {reason}")),
        };
        (now.saturating_sub(since) >= SHORT).then_some(Wait { writer: None, since, what })
    }
}

/// Since when a broker that is there has said nothing of what it was sent: so does one whose queue has no leader, if it refuses nothing.
#[derive(Debug, Default)]
pub(super) struct Silence {
    since: Option<Duration>,
}

impl Silence {
    pub(super) fn published(&mut self, now: Duration) {
        self.since.get_or_insert(now);
    }

    /// It said something, and so much is still in flight.
    pub(super) fn broken(&mut self, in_flight: usize, now: Duration) {
        self.since = (in_flight > 0).then_some(now);
    }

    /// Over how many connections that lasts is no matter: what was in flight on one is published again over the next.
    pub(super) fn wait(&self, in_flight: usize, now: Duration) -> Option<Wait> {
        let since = self.since.filter(|since| in_flight > 0 && now.saturating_sub(*since) >= SILENT)?;
        let what = "the broker confirms nothing that it is sent: a queue may have no leader";
        Some(Wait { writer: None, since, what: what.into() })
    }
}

impl Slot {
    /// Notes what the lane halted at; it is shown for as long as the lane says so.
    pub(super) fn halted(&mut self, key: Option<Key>, at: &str, now: Duration) {
        tracing::warn!("writer {} waits at {at}", self.writer);
        let wait = Wait { writer: Some(self.writer.clone()), since: now, what: format!("halted at {at}") };
        self.halts.retain(|halt| halt.key.is_some() != key.is_some());
        self.halts.push(Halt { key, wait });
    }

    /// Notes that the broker did not take a record, which will be tried again.
    pub(super) fn nacked(&mut self, key: Key, now: Duration) {
        if self.is_nacked() {
            // Of a window that comes back together, the first one holds the lane.
            if let Some(nack) = self.nack.as_mut().filter(|nack| key < nack.key) {
                nack.key = key;
            }
            return;
        }
        let what = "the broker does not take its records now: a queue is full, or can't store them";
        let told = self.nack.as_ref().map(|nack| nack.told);
        let told = told.filter(|told| now.saturating_sub(*told) < TELL_NACKS_EVERY).unwrap_or_else(|| {
            tracing::warn!("writer {} waits at {}: {what}", self.writer, self.id(key));
            now
        });
        let wait = Wait { writer: Some(self.writer.clone()), since: now, what: what.into() };
        self.nack = Some(Nack { key, told, wait });
    }

    /// Notes that the broker took a record after all, only to return it.
    pub(super) fn taken(&mut self, key: Key) {
        self.nack.take_if(|nack| nack.key == key);
    }

    /// Since when the broker has not taken a record that it still does not take.
    pub(super) fn refused_since(&self) -> Option<Duration> {
        self.nack.as_ref().filter(|_| self.is_nacked()).map(|nack| nack.wait.since)
    }

    /// Whether a record that the broker did not take is still not taken.
    fn is_nacked(&self) -> bool {
        let Some(nack) = &self.nack else { return false };
        let passed = |position: Position| {
            (nack.key.epoch, nack.key.sequence) < (position.segment.epoch, position.next_sequence)
        };
        !self.lane.watermark().is_some_and(passed)
    }

    /// What it waits for, and what is kept of it that could go.
    pub(super) fn waits(&self) -> impl Iterator<Item = Wait> {
        let nack = self.nack.iter().filter(|_| self.is_nacked()).map(|nack| nack.wait.clone());
        self.halts().chain(nack).chain(self.kept.iter().cloned())
    }

    /// What the lane is halted at.
    fn halts(&self) -> impl Iterator<Item = Wait> {
        let holds = |halt: &&Halt| match halt.key {
            Some(key) => self.lane.halted_at() == Some(key),
            None => self.lane.is_halted_by_damage(),
        };
        self.halts.iter().filter(holds).map(|halt| halt.wait.clone())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use zoutbox_format::{Epoch, SegmentId, Sequence};
    use zoutbox_relay_core::{Input, Item, LaneOptions, Output, ReadEnd};

    use super::*;
    use crate::publisher::{Content, Undeliverable};

    const START: Duration = Duration::from_secs(100);

    #[test]
    fn a_broker_is_told_of_once_it_is_away_for_a_moment_or_blocks() {
        let mut broker = Broker::Away { since: START };
        let refused = || Some("refused".to_owned());
        assert_eq!(broker.wait(refused(), START), None, "it is only starting");
        let wait = |what: &str, since| Some(Wait { writer: None, since, what: what.into() });
        let later = START + SHORT;
        assert_eq!(broker.wait(refused(), later), wait("the broker is not connected: refused", START));
        assert_eq!(broker.wait(None, later), wait("the broker is not connected", START));
        broker.told(&Event::Up, later);
        assert_eq!(broker.wait(refused(), later * 2), None);
        broker.told(&Event::Blocked("low on memory".into()), later);
        let blocks = wait("the broker blocks publishers: low on memory", later);
        assert_eq!(broker.wait(None, later * 2), blocks);
        broker.told(&Event::Unblocked, later);
        assert_eq!(broker.wait(None, later * 2), None);
        broker.told(&Event::Down { blame: None }, later);
        assert_eq!(broker.wait(None, later * 2), wait("the broker is not connected", later));
    }

    #[test]
    fn a_broker_that_confirms_nothing_is_told_of_however_often_the_connection_is_another_one() {
        let mut silence = Silence::default();
        assert_eq!(silence.wait(0, START), None);
        silence.published(START);
        silence.published(START + SHORT);
        assert_eq!(silence.wait(2, START + SHORT), None, "it is only slow");
        let later = START + SILENT;
        let since = |wait: Option<Wait>| wait.map(|wait| (wait.writer, wait.since));
        assert_eq!(since(silence.wait(2, later)), Some((None, START)));
        assert_eq!(silence.wait(0, later), None, "the connection is lost: that is told by another line");
        silence.published(later * 2);
        assert_eq!(since(silence.wait(1, later * 2)), Some((None, START)), "published again");
        silence.broken(1, later * 2);
        assert_eq!(silence.wait(1, later * 2), None);
        assert_eq!(since(silence.wait(1, later * 3)), Some((None, later * 2)));
        silence.broken(0, later * 3);
        silence.published(later * 4);
        assert_eq!(silence.wait(1, later * 4), None, "nothing was waited for in between");
    }

    /// A slot with one record published.
    fn published() -> (Slot, Key) {
        let mut slot = Slot::new(WriterId::new("orders").unwrap(), LaneOptions::default(), None);
        let Some(Output::Read { generation, .. }) = slot.lane.poll(true, true, START) else {
            panic!("a lane reads first")
        };
        let key = Key { epoch: Epoch::FIRST, sequence: Sequence::FIRST };
        let segment = SegmentId { epoch: key.epoch, first_sequence: key.sequence };
        let after = Position { segment, offset: 200, next_sequence: Sequence::new(2) };
        let body = Content::Record(Bytes::from_static(b"x"));
        let item = Item { key, size: 1, span: 1, after, body };
        slot.lane.handle(Input::Read { generation, items: vec![item], end: ReadEnd::CaughtUp }, START);
        assert!(matches!(slot.lane.poll(true, true, START), Some(Output::Publish(_))));
        (slot, key)
    }

    #[test]
    fn a_lane_is_halted_at_a_record_until_that_is_confirmed() {
        let (mut slot, key) = published();
        let reason = Undeliverable::Unroutable("NO_ROUTE".into());
        slot.lane.handle(Input::Returned { key, reason, can_die: true }, START);
        slot.halted(Some(key), "orders/1/1: NO_ROUTE", START);
        let waits: Vec<_> = slot.halts().map(|wait| (wait.what, wait.since)).collect();
        assert_eq!(waits, [("halted at orders/1/1: NO_ROUTE".to_owned(), START)]);
        slot.halted(Some(key), "orders/1/1: NO_ROUTE any more", START * 2);
        assert_eq!(slot.halts().count(), 1, "one record, one wait");

        let (mut resolved, key) = published();
        resolved.halted(Some(key), "orders/1/1: NO_ROUTE", START);
        resolved.lane.handle(Input::Settled(key), START);
        assert_eq!(resolved.halts().count(), 0);
    }

    #[test]
    fn a_record_that_the_broker_does_not_take_is_waited_for_until_it_is_confirmed() {
        let (mut slot, key) = published();
        slot.nacked(key, START);
        slot.nacked(key, START * 2);
        let waits: Vec<_> = slot.waits().map(|wait| (wait.writer, wait.since)).collect();
        assert_eq!(waits, [(Some(slot.writer.clone()), START)], "one wait, since the first time");
        assert_eq!(slot.refused_since(), Some(START));
        slot.lane.handle(Input::Settled(key), START);
        assert_eq!((slot.waits().count(), slot.refused_since()), (0, None));
    }

    #[test]
    fn a_record_that_is_returned_is_not_waited_for_as_one_that_is_not_taken() {
        let (mut slot, key) = published();
        slot.nacked(key, START);
        slot.taken(Key { sequence: key.sequence.next(), ..key });
        assert_eq!(slot.refused_since(), Some(START), "it was another one");
        slot.taken(key);
        assert_eq!((slot.waits().count(), slot.refused_since()), (0, None));
    }
}
