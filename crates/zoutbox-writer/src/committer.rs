//! The commit thread: takes what is queued, commits it, and tells the tickets. Without a thread, a simulator steps it.

use std::sync::Arc;
use std::time::Duration;

use zoutbox_storage::ErrorKind;

use crate::aside::look;
use crate::bell::Bell;
use crate::context::Context;
use crate::error::WriterError;
use crate::limits::Look;
use crate::log::Log;
use crate::options::WhenFull;
use crate::queue::Group;
use crate::shared::{Next, Shared};
use crate::ticket::Outcome;
use crate::waiting::Waiting;

/// Takes groups from the queue and commits them. However it ends, a panic included, no ticket stays without an outcome.
pub(crate) struct Committer {
    context: Arc<Context>,
    shared: Arc<Shared>,
    log: Log,
    bell: Option<Bell>,
    /// The commit that waits for room.
    waiting: Option<Waiting>,
    /// Since when it is known that the writer ends.
    closing: Option<Duration>,
}

impl Committer {
    pub(crate) fn new(context: Arc<Context>, shared: Arc<Shared>, log: Log, bell: Option<Bell>) -> Self {
        Self { context, shared, log, bell, waiting: None, closing: None }
    }

    pub(crate) fn run(mut self) -> Result<(), WriterError> {
        loop {
            if let Some(bell) = &mut self.bell {
                bell.ring_if_due();
                bell.look_aside();
            }
            let patience = [self.log.until_aged(), self.bell.as_ref().and_then(Bell::until_ring)];
            let patience = patience.into_iter().flatten().min();
            match self.shared.next(patience, || self.context.system.clock.monotonic()) {
                Next::Commit(group) => {
                    self.commit(group);
                    self.wait_for_room();
                }
                Next::Aged => self.log.rotate_if_aged(),
                Next::End { seal } => {
                    let finished = self.finish(seal);
                    self.shared.end(&WriterError::Closed, WriterError::Closed);
                    return finished;
                }
            }
        }
    }

    /// Tries to commit a group. It is kept if there is no room for it, and its callers want to wait.
    fn commit(&mut self, group: Group) {
        let clock = &self.context.system.clock;
        let start = clock.monotonic();
        let result = self.log.commit(&group.bodies);
        let took = clock.monotonic().saturating_sub(start);
        match result {
            Ok((epoch, first)) => {
                if let Some(waiting) = self.waiting.take() {
                    waiting.tell_end(clock.monotonic());
                }
                self.finish_group(Outcome::Durable { epoch, first }, took);
            }
            Err(full) if full.kind() == ErrorKind::Full && self.waits() => {
                Waiting::keep(&mut self.waiting, group, full, start);
            }
            Err(error) => {
                self.waiting = None;
                let error = self.log.give_up(&group.bodies, error);
                self.finish_group(Outcome::Failed(error), took);
            }
        }
    }

    /// One commit, or one more try of the one that waits for room; false if there is nothing to commit.
    pub(crate) fn step(&mut self) -> bool {
        if self.waiting.is_some() {
            self.try_again();
            return true;
        }
        let group = self.shared.take();
        group.map(|group| self.commit(group)).is_some()
    }

    /// Makes the next segment's file ahead, without the second thread.
    pub(crate) fn prepare_in_place(&mut self) {
        self.log.prepare_in_place();
    }

    /// Does what is due by the clock, without the second thread. Returns what the limits need to know.
    pub(crate) fn tick(&mut self) -> Look {
        self.log.rotate_if_aged();
        if let Some(bell) = &mut self.bell {
            bell.ring_if_due();
            bell.look_here();
        }
        look(&self.context)
    }

    fn waits(&self) -> bool {
        self.shared.when_full() == WhenFull::Block
    }

    fn finish_group(&mut self, outcome: Outcome, took: Duration) {
        let durable = matches!(outcome, Outcome::Durable { .. });
        self.shared.finish(outcome, took, self.log.end());
        // Whoever waits for durability does not wait for this.
        if let Some(bell) = self.bell.as_mut().filter(|_| durable) {
            bell.committed();
        }
    }

    /// Tries the commit that waits for room again and again, until there is some or the writer ends.
    fn wait_for_room(&mut self) {
        while let Some(waiting) = &mut self.waiting {
            let clock = &self.context.system.clock;
            if self.shared.is_closing() {
                let now = clock.monotonic();
                let since = *self.closing.get_or_insert(now);
                if now.saturating_sub(since) >= self.context.options.close_patience {
                    self.give_up();
                    return;
                }
            }
            clock.sleep(waiting.pause());
            self.try_again();
        }
    }

    fn try_again(&mut self) {
        if let Some(group) = self.waiting.as_mut().and_then(Waiting::take) {
            self.commit(group);
        }
    }

    /// Waits for room no longer.
    pub(crate) fn give_up(&mut self) {
        if let Some((group, full)) = self.waiting.take().and_then(Waiting::into_parts) {
            let error = self.log.give_up(&group.bodies, full);
            self.finish_group(Outcome::Failed(error), Duration::ZERO);
        }
    }

    pub(crate) fn finish(&mut self, seal: bool) -> Result<(), WriterError> {
        if let Some(bell) = &mut self.bell {
            bell.finish();
        }
        self.log.finish(seal)
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        let stopped = |unknown| WriterError::Stopped { unknown };
        self.shared.end(&stopped(false), stopped(true));
    }
}
