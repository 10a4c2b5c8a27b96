//! What arrives at the doorbell, brought down to what a relay can bear: lanes that should look now, at most every millisecond,
//! and looks for new writers, at most every 100 ms. Pure: told what arrived and what time it is.
//!
//! ```text
//!   datagrams  ││││││││││││││││ │││││││││││││││││││││    any number, any content, from anybody
//!                 hear: each costs the same little, and allocates nothing
//!   lanes      ▲ ┆  ▲    ▲    ▲    ▲    ▲    ▲    ▲      each lane once, however often it was rung for
//!              └─┴ PAUSE at least
//! ```

use std::collections::HashMap;
use std::time::Duration;

use zoutbox_format::{ShareId, WriterId, doorbell};

/// Between two answers to what was rung, at least: what comes meanwhile is answered together.
pub const RING_PAUSE: Duration = Duration::from_millis(1);
/// Between two looks for writers that rang and are not known, at least.
pub const STRANGER_PAUSE: Duration = Duration::from_millis(100);

/// The rings that wait for an answer.
#[derive(Debug)]
pub struct Rings {
    share: ShareId,
    lanes: HashMap<WriterId, usize>,
    /// Which lanes were rung for, each once.
    rung: Vec<usize>,
    /// By lane: whether it is in `rung`.
    waits: Vec<bool>,
    answered: Option<Duration>,
    /// A writer rang that has no lane.
    stranger: bool,
    looked: Option<Duration>,
    taken: u64,
    dropped: u64,
}

impl Rings {
    /// For one share; no writer is known yet.
    #[must_use]
    pub fn new(share: ShareId) -> Self {
        Self {
            share,
            lanes: HashMap::new(),
            rung: Vec::new(),
            waits: Vec::new(),
            answered: None,
            stranger: false,
            looked: None,
            taken: 0,
            dropped: 0,
        }
    }

    /// A writer has a lane now.
    pub fn know(&mut self, writer: WriterId, lane: usize) {
        self.lanes.insert(writer, lane);
        self.waits.resize(self.waits.len().max(lane + 1), false);
        // So that no ring allocates.
        self.rung.reserve(self.waits.len().saturating_sub(self.rung.len()));
    }

    /// Takes in a datagram. Whether whoever answers has to be woken: it is the first since the last answer.
    pub fn hear(&mut self, datagram: &[u8]) -> bool {
        let Some(ring) = doorbell::decode(datagram).filter(|ring| ring.share == self.share) else {
            self.dropped += 1;
            return false;
        };
        self.taken += 1;
        let Some(lane) = self.lanes.get(ring.writer).copied() else {
            return !std::mem::replace(&mut self.stranger, true);
        };
        let Some(waits) = self.waits.get_mut(lane).filter(|waits| !**waits) else { return false };
        *waits = true;
        self.rung.push(lane);
        self.rung.len() == 1
    }

    /// When to answer; `None` when nothing waits.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let after = |last: Option<Duration>, pause| last.map_or(Duration::ZERO, |last| last + pause);
        let lanes = (!self.rung.is_empty()).then(|| after(self.answered, RING_PAUSE));
        let stranger = self.stranger.then(|| after(self.looked, STRANGER_PAUSE));
        lanes.into_iter().chain(stranger).min()
    }

    /// Which lanes should look now. They count as answered.
    pub fn take_lanes(&mut self, now: Duration) -> impl Iterator<Item = usize> {
        let due = self.answered.is_none_or(|last| last + RING_PAUSE <= now);
        let count = if due { self.rung.len() } else { 0 };
        if count > 0 {
            self.answered = Some(now);
            self.waits.fill(false);
        }
        self.rung.drain(..count)
    }

    /// Whether to look for new writers now. It counts as done.
    pub fn take_stranger(&mut self, now: Duration) -> bool {
        let due = self.stranger && self.looked.is_none_or(|last| last + STRANGER_PAUSE <= now);
        if due {
            self.stranger = false;
            self.looked = Some(now);
        }
        due
    }

    /// How many datagrams were rings of this share, and how many were anything else.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.taken, self.dropped)
    }
}

#[cfg(test)]
mod tests;
