//! The one channel that all lanes share: how much may be in flight, and what is certain.

use std::collections::HashMap;

use zoutbox_relay_core::{Key, Outcome, Resolution, Settlement};

use crate::publisher::Undeliverable;

/// A message of a lane: its record, of several the first.
pub(super) type LaneKey = (usize, Key);

/// How much may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Messages, published and not resolved.
    pub messages: usize,
    /// Bytes of them; what a pointer leads to does not count. One is published even if it is larger.
    pub bytes: usize,
}

pub(super) struct Channel {
    window: WindowSize,
    up: bool,
    blocked: bool,
    held: bool,
    settlement: Settlement<LaneKey, Undeliverable>,
    sizes: HashMap<u64, usize>,
    /// How many records a message stands for, if it is more than one.
    records: HashMap<LaneKey, u32>,
    bytes: usize,
    /// How many records still go one at a time: a record among them made the broker close the channel, and only alone can it be
    /// told from the others.
    careful: usize,
    last: Option<LaneKey>,
}

impl Channel {
    pub(super) fn new(window: WindowSize) -> Self {
        Self {
            window,
            up: false,
            blocked: false,
            held: false,
            settlement: Settlement::new(),
            sizes: HashMap::new(),
            records: HashMap::new(),
            bytes: 0,
            careful: 0,
            last: None,
        }
    }

    pub(super) fn up(&mut self) {
        self.up = true;
        self.blocked = false;
    }

    pub(super) fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
    }

    /// Whether nothing is to be published for now.
    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    pub(super) fn has_room(&self) -> bool {
        let uncertain = self.settlement.uncertain();
        let fits = self.settlement.in_flight() < self.window.messages
            && self.bytes < self.window.bytes
            // A confirm that never comes holds back the certainty of all that follow; they are bounded too.
            && uncertain < self.window.messages.saturating_mul(4);
        self.up && !self.blocked && !self.held && fits && (self.careful == 0 || uncertain == 0)
    }

    pub(super) fn published(&mut self, key: LaneKey, size: usize, records: u32) -> u64 {
        let tag = self.settlement.published(key);
        self.sizes.insert(tag, size);
        if records > 1 {
            self.records.insert(key, records);
        }
        self.bytes += size;
        self.last = Some(key);
        tag
    }

    pub(super) fn resolved(
        &mut self,
        tag: u64,
        resolution: Resolution,
        returned: Option<(LaneKey, Undeliverable)>,
    ) {
        if let Some(size) = self.sizes.remove(&tag) {
            self.bytes -= size;
        }
        self.settlement.resolved(tag, resolution, returned);
    }

    /// The next outcome that is certain, and how many records it is of.
    pub(super) fn poll(&mut self) -> Option<(Outcome<LaneKey, Undeliverable>, u32)> {
        let outcome = self.settlement.poll()?;
        self.careful = self.careful.saturating_sub(1);
        let records = self.records.remove(&outcome.key).unwrap_or(1);
        Some((outcome, records))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.settlement.in_flight()
    }

    /// The connection is gone. If the broker blames a record and only one was in flight, it is that one.
    pub(super) fn down(&mut self, blame: Option<Undeliverable>) -> Option<(LaneKey, Undeliverable)> {
        let uncertain = self.settlement.uncertain();
        let fresh = Self { careful: self.careful, ..Self::new(self.window) };
        let last = std::mem::replace(self, fresh).last;
        match (blame, last) {
            (Some(blame), Some(last)) if uncertain == 1 => {
                self.careful = self.careful.saturating_sub(1);
                Some((last, blame))
            }
            (Some(_), _) => {
                self.careful = self.careful.max(uncertain);
                None
            }
            (None, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zoutbox_format::{Epoch, Sequence};

    const WINDOW: WindowSize = WindowSize { messages: 3, bytes: 100 };

    fn key(sequence: u64) -> LaneKey {
        (0, Key { epoch: Epoch::FIRST, sequence: Sequence::new(sequence) })
    }

    fn up() -> Channel {
        let mut channel = Channel::new(WINDOW);
        channel.up();
        channel
    }

    #[test]
    fn the_window_is_bounded_in_messages_and_in_bytes_and_closed_while_blocked_or_held() {
        let mut channel = up();
        for sequence in 1..=3 {
            assert!(channel.has_room());
            channel.published(key(sequence), 1, 1);
        }
        assert!(!channel.has_room());
        channel.resolved(1, Resolution::Confirmed, None);
        assert!(channel.has_room(), "resolved, though nothing is certain yet");
        channel.set_blocked(true);
        assert!(!channel.has_room());
        channel.set_blocked(false);
        channel.hold(true);
        assert!(!channel.has_room());
        channel.hold(false);
        channel.published(key(4), 100, 1);
        channel.resolved(2, Resolution::Confirmed, None);
        assert!(!channel.has_room());
    }

    #[test]
    fn the_record_that_closes_the_channel_is_found_by_sending_one_at_a_time() {
        let blame = || Some(Undeliverable::Rejected("too large".into()));
        let mut channel = up();
        channel.published(key(1), 1, 1);
        channel.published(key(2), 1, 1);
        assert_eq!(channel.down(blame()), None);
        channel.up();
        channel.published(key(1), 1, 1);
        assert!(!channel.has_room(), "one at a time");
        channel.resolved(1, Resolution::Confirmed, None);
        assert!(channel.poll().is_some());
        channel.published(key(2), 1, 1);
        assert_eq!(channel.down(blame()).map(|(key, _)| key), Some(key(2)));
        channel.up();
        channel.published(key(3), 1, 1);
        assert!(channel.has_room(), "found: full speed again");
        assert_eq!(channel.down(None), None);
    }
}
