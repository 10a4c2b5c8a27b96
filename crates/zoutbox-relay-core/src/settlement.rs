//! When a confirm may be believed.
//!
//! A broker confirms an unroutable message like any other; that it went nowhere is told by a *return*, sent on the same channel before
//! the confirm. lapin (4.12, `acknowledgement.rs` and `returned_messages.rs`) keeps returns in one queue and hands the oldest one
//! to whichever publish completes next; which that is, where the broker confirms many at once, depends on the order of a hash map.
//! So the confirm that carries the return of `u` (its *carrier*) is in general not the confirm of `u`, and a confirm without a return
//! proves nothing by itself. A record is **settled** only when its return can't be on the way any more.
//!
//! # When that is
//!
//! lapin's I/O thread handles frames in the order of the wire. It does two things that matter here: a return is appended to the
//! queue; the completion of a tag takes the oldest return from the queue, if there is one, and then makes the result visible to
//! us. Say a tag is *owed* when its return was queued and the tag has not completed.
//!
//! 1. *The queue never holds more returns than there are owed tags.* Queuing a return adds one to both. A completion takes one off the
//!    queue if that is not empty, and at most one off the owed tags.
//! 2. *`u` completed without carrying anything:* the queue was empty then, and the return of `u`, if there was one, was queued earlier.
//!    So its carrier completed before `u`, and so was published before we saw `u` complete: its tag is at most `P`, the highest
//!    tag published by then. Once every tag up to `P` was seen resolved, the carrier was.
//! 3. *`u` completed carrying the return of another record:* the return of `u` may still be in the queue, among `k` of them. By (1) at
//!    least `k` owed tags are open at that moment, all of them at most `P`. When every tag up to `P` is resolved, at least `k`
//!    completions have happened since, so the return of `u` was taken, if not by one of these tags then by one published later. Let
//!    `P'` be the highest tag published when we saw that: the carrier is at most `P'`. Once every tag up to `P'` was seen
//!    resolved, the carrier was. So this case takes two rounds.
//!
//! In both cases it does not matter in which order results are polled, nor how late. What does matter:
//!
//! - [`Settlement::published`] is called before the publish reaches lapin, in the order in which lapin allots its tags;
//! - no publish is abandoned: lapin would keep the result of a dropped confirm, with the return it carries, in a list of its own
//!   (`dropped_confirms`). Whoever gives one up gives up the connection, and everything not settled is published again;
//! - returns are matched by the message's id, never by what carried them.
//!
//! How many messages are in flight counts what is not *resolved*, so that the wait for settling costs the watermark a round trip
//! and throughput nothing.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// How a publish ended, as the broker told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Confirmed.
    Confirmed,
    /// The broker could not take it.
    Nacked,
}

/// What is certain about a published record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<R> {
    /// Confirmed, and not returned.
    Settled,
    /// Not taken: it must be published again.
    Nacked,
    /// Returned, for this reason: no queue has it.
    Returned(R),
}

/// A record whose outcome is certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<K, R> {
    /// Which record.
    pub key: K,
    /// Its outcome.
    pub verdict: Verdict<R>,
}

/// Tracks the publishes of one channel, from the first to its loss.
///
/// `K` names a record, `R` is a reason for a return.
#[derive(Debug)]
pub struct Settlement<K, R> {
    /// From the first tag that is not resolved, or is resolved and stands behind one that is not.
    entries: VecDeque<Entry<K>>,
    /// The tag of the first entry: every lower one is resolved.
    first_unresolved: u64,
    next_tag: u64,
    unresolved: usize,
    /// Resolved and not certain, in the order they were seen, so with horizons that never go back.
    waiting: VecDeque<Waiting<K>>,
    returned: HashMap<K, R>,
    trust: Trust,
}

#[derive(Debug)]
struct Entry<K> {
    key: K,
    resolved: bool,
}

#[derive(Debug)]
struct Waiting<K> {
    key: K,
    resolution: Resolution,
    /// Every tag up to this one must be resolved.
    horizon: u64,
    rounds: u8,
}

/// How far confirms are trusted. Anything but the default is what tests use to show what goes wrong then.
#[derive(Debug, Clone, Copy)]
struct Trust {
    /// Whether a confirm is believed at once, without waiting for a carrier.
    at_once: bool,
    /// How many rounds to wait when the confirm carried another record's return.
    foreign_rounds: u8,
}

const PROVEN: Trust = Trust { at_once: false, foreign_rounds: 2 };

impl<K, R> Default for Settlement<K, R> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            first_unresolved: 1,
            next_tag: 1,
            unresolved: 0,
            waiting: VecDeque::new(),
            returned: HashMap::new(),
            trust: PROVEN,
        }
    }
}

impl<K: Copy + Eq + Hash, R> Settlement<K, R> {
    /// A channel on which nothing was published yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `key` is about to be published; returns its tag. No record may be published again before its outcome was given out.
    pub fn published(&mut self, key: K) -> u64 {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.unresolved += 1;
        self.entries.push_back(Entry { key, resolved: false });
        tag
    }

    /// The publish with `tag` was seen to end. `returned` is the record whose return it carried, and why it was returned.
    /// A tag that is unknown or was seen before is ignored.
    pub fn resolved(&mut self, tag: u64, resolution: Resolution, returned: Option<(K, R)>) {
        let index = tag.checked_sub(self.first_unresolved).and_then(|index| usize::try_from(index).ok());
        let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) else { return };
        if entry.resolved {
            return;
        }
        entry.resolved = true;
        let key = entry.key;
        self.unresolved -= 1;
        let foreign = returned.as_ref().is_some_and(|(carried, _)| *carried != key);
        if let Some((carried, reason)) = returned {
            self.returned.insert(carried, reason);
        }
        let rounds = if foreign { self.trust.foreign_rounds } else { 1 };
        self.waiting.push_back(Waiting { key, resolution, horizon: self.next_tag - 1, rounds });
        while self.entries.front().is_some_and(|entry| entry.resolved) {
            self.entries.pop_front();
            self.first_unresolved += 1;
        }
    }

    /// The next record whose outcome is certain now.
    pub fn poll(&mut self) -> Option<Outcome<K, R>> {
        loop {
            let front = self.waiting.front()?;
            if self.first_unresolved <= front.horizon && !self.trust.at_once {
                return None;
            }
            let mut waiting = self.waiting.pop_front()?;
            waiting.rounds -= 1;
            if waiting.rounds > 0 {
                waiting.horizon = self.next_tag - 1;
                self.waiting.push_back(waiting);
                continue;
            }
            let verdict = match (self.returned.remove(&waiting.key), waiting.resolution) {
                (Some(reason), _) => Verdict::Returned(reason),
                (None, Resolution::Nacked) => Verdict::Nacked,
                (None, Resolution::Confirmed) => Verdict::Settled,
            };
            return Some(Outcome { key: waiting.key, verdict });
        }
    }

    /// How many publishes are not resolved: the ones in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.unresolved
    }

    /// How many publishes have no certain outcome yet; at least [`Settlement::in_flight`].
    #[must_use]
    pub fn uncertain(&self) -> usize {
        self.unresolved + self.waiting.len()
    }
}

#[cfg(test)]
mod tests;
