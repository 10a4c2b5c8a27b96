//! The records above the watermark, in log order, and what became of each.
//!
//! ```text
//!            settled   published  published  queued   queued
//!   ▲                                        ▲
//!   watermark: moves while the first one is  next to publish
//!   settled, and never otherwise
//! ```

use std::collections::VecDeque;

use zoutbox_format::checkpoint::Position;
use zoutbox_format::{Epoch, Sequence};

/// Which record of a writer. Ordered as the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its sequence.
    pub sequence: Sequence,
}

/// What becomes one message: a record, or a run of them, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<B> {
    /// Which record, of several the first.
    pub key: Key,
    /// How many bytes it holds in memory, and its message has about.
    pub size: usize,
    /// How many bytes of the log it stands for.
    pub span: usize,
    /// In front of the record behind it.
    pub after: Position,
    /// Its content. Cloned for publishing, so a counted reference.
    pub body: B,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Queued,
    Published,
    /// Returned; its dead letter is being written.
    Dying,
    Settled,
}

#[derive(Debug)]
struct Slot<B> {
    item: Item<B>,
    state: State,
}

#[derive(Debug)]
pub(crate) struct Window<B> {
    slots: VecDeque<Slot<B>>,
    next_publish: usize,
    bytes: usize,
    queued_span: usize,
    published: usize,
    dying: usize,
}

impl<B> Default for Window<B> {
    fn default() -> Self {
        Self { slots: VecDeque::new(), next_publish: 0, bytes: 0, queued_span: 0, published: 0, dying: 0 }
    }
}

impl<B: Clone> Window<B> {
    pub(crate) fn push(&mut self, item: Item<B>) {
        assert!(
            self.slots.back().is_none_or(|last| last.item.key < item.key),
            "records come in the order of the log"
        );
        self.bytes += item.size;
        self.queued_span += item.span;
        self.slots.push_back(Slot { item, state: State::Queued });
    }

    /// Forgets everything above the watermark: it will be read again.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether everything in front of it is settled.
    pub(crate) fn is_first(&self, key: Key) -> bool {
        self.slots.iter().find(|slot| slot.state != State::Settled).is_some_and(|slot| slot.item.key == key)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the log that were never published.
    pub(crate) fn queued_span(&self) -> usize {
        self.queued_span
    }

    /// Published, and nothing certain known yet.
    pub(crate) fn published(&self) -> usize {
        self.published
    }

    /// Returned, and no dead letter there yet.
    pub(crate) fn dying(&self) -> usize {
        self.dying
    }

    /// The next record to publish.
    pub(crate) fn publish(&mut self) -> Option<Item<B>> {
        let slot = self.slots.get_mut(self.next_publish)?;
        slot.state = State::Published;
        self.queued_span -= slot.item.span;
        self.next_publish += 1;
        self.published += 1;
        Some(slot.item.clone())
    }

    /// Moves one record on, if it is in the state `from`; returns its content.
    pub(crate) fn transition(&mut self, key: Key, from: State, to: State) -> Option<B> {
        let index = self.slots.binary_search_by_key(&key, |slot| slot.item.key).ok()?;
        let slot = self.slots.get_mut(index).filter(|slot| slot.state == from)?;
        slot.state = to;
        let body = slot.item.body.clone();
        match from {
            State::Published => self.published -= 1,
            State::Dying => self.dying -= 1,
            State::Queued | State::Settled => {}
        }
        if to == State::Dying {
            self.dying += 1;
        }
        Some(body)
    }

    /// Takes the settled records off the front; returns how many, and the position behind them.
    pub(crate) fn advance(&mut self) -> Option<(u64, Position)> {
        let mut passed = None;
        while self.slots.front().is_some_and(|slot| slot.state == State::Settled) {
            let Some(slot) = self.slots.pop_front() else { break };
            self.bytes -= slot.item.size;
            self.next_publish -= 1;
            let count = passed.map_or(0, |(count, _)| count);
            passed = Some((count + 1, slot.item.after));
        }
        passed
    }
}
