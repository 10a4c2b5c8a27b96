//! What goes to the broker, and what it says of that, handed to the lanes.
//!
//! ```text
//!   lane ──publish──▶ publisher ──▶ broker
//!   lane ◀─settled, nacked, returned, lost─── settlement ◀── up, down, blocked, confirms, returns
//! ```

use std::time::Duration;

use zoutbox_format::RecordId;
use zoutbox_relay_core::{Input, Item, Key, Verdict};

use super::Engine;
use super::channel::LaneKey;
use super::renewal::Step;
use super::slot::Slot;
use crate::publisher::{Content, Event, Outgoing, Publisher, Returned, Undeliverable};

impl<P: Publisher> Engine<P> {
    /// Tries another connection, if the broker keeps refusing over this one, and it is time.
    pub(super) fn renew(&mut self, now: Duration) {
        let works = self.stopping.is_none() && self.broker.takes();
        let refused = self.slots.iter().filter_map(Slot::refused_since).min().filter(|_| works);
        let step = self.renewal.step(refused, self.channel.in_flight(), now);
        self.channel.hold(step == Step::Hold);
        if step == Step::Renew && self.publisher.renew() {
            self.broker.told(&Event::Down { blame: None }, now);
            self.down(None);
        }
    }

    pub(super) fn publish(&mut self, lane: usize, item: Item<Content>, now: Duration) {
        let Some(slot) = self.slots.get_mut(lane) else { return };
        let (share, id, records) = (self.jobs.share.id, slot.id(item.key), item.body.records());
        match self.publisher.publish(Outgoing { share, id, content: item.body }) {
            Ok(tag) => {
                let ours = self.channel.published((lane, item.key), item.size, records);
                assert_eq!(tag, ours, "publisher and settlement count the same publishes");
                self.silence.published(now);
                self.report.published.count(records);
            }
            Err(reason) => {
                let can_die = reason.can_die();
                slot.lane.handle(Input::Returned { key: item.key, reason, can_die }, now);
            }
        }
    }

    pub(super) fn told(&mut self, event: Event) {
        let now = self.now();
        let waited = self.broker.wait(None, now).is_some();
        self.broker.told(&event, now);
        if waited && self.broker.takes() {
            // That it was away or blocked was told as that: a silence begins now, with what it still has to confirm.
            self.silence.broken(self.channel.in_flight(), now);
        }
        match event {
            Event::Up => {
                self.renewal.up(self.now());
                self.channel.up();
            }
            Event::Down { blame } => {
                self.renewal.lost();
                self.down(blame);
            }
            Event::Blocked(reason) => {
                tracing::warn!("the broker blocks publishers ({reason}): waiting");
                self.channel.set_blocked(true);
            }
            Event::Unblocked => {
                tracing::info!("the broker takes records again");
                self.channel.set_blocked(false);
            }
            Event::Resolved { tag, resolution, returned } => {
                let returned = returned.map(|returned| (self.key_of(&returned), returned.reason));
                self.channel.resolved(tag, resolution, returned);
                self.silence.broken(self.channel.in_flight(), self.now());
                self.settle();
            }
            Event::Failed(error) => self.fail(error),
        }
    }

    /// Which record a return is about. One that is none of ours still tells that returns and confirms were mixed up.
    fn key_of(&self, returned: &Returned) -> LaneKey {
        let id = returned.id.parse::<RecordId>().ok();
        let lane = id.as_ref().and_then(|id| self.by_writer.get(&id.writer)).copied();
        match (id, lane) {
            (Some(id), Some(lane)) => (lane, Key { epoch: id.epoch, sequence: id.sequence }),
            _ => (
                usize::MAX,
                Key { epoch: zoutbox_format::Epoch::FIRST, sequence: zoutbox_format::Sequence::FIRST },
            ),
        }
    }

    fn settle(&mut self) {
        let now = self.now();
        while let Some((outcome, records)) = self.channel.poll() {
            let (lane, key) = outcome.key;
            let Some(slot) = self.slots.get_mut(lane) else { continue };
            let input = match outcome.verdict {
                Verdict::Settled => {
                    self.report.confirmed.count(records);
                    Input::Settled(key)
                }
                Verdict::Nacked => {
                    slot.nacked(key, now);
                    Input::Nacked(key)
                }
                Verdict::Returned(reason) => {
                    slot.taken(key);
                    let can_die = reason.can_die();
                    Input::Returned { key, reason, can_die }
                }
            };
            slot.lane.handle(input, now);
        }
    }

    pub(super) fn down(&mut self, blame: Option<Undeliverable>) {
        let now = self.now();
        if let Some(((lane, key), reason)) = self.channel.down(blame)
            && let Some(slot) = self.slots.get_mut(lane)
        {
            let can_die = reason.can_die();
            slot.lane.handle(Input::Returned { key, reason, can_die }, now);
        }
        for slot in &mut self.slots {
            slot.lane.handle(Input::Lost, now);
        }
    }
}
