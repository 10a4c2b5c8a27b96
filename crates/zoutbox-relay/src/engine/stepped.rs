//! The engine without a runtime, for simulators: the same lanes, channel, jobs and upkeep, moved on by whoever owns it.
//!
//! ```text
//!   turn ──▶ jobs pile up ──run_job──▶ what they came to ──hear──▶ lanes
//!     └────▶ Publisher::publish        tell: what the broker says ──▶ lanes
//! ```
//!
//! What [`Engine::run`] has besides, this has not: the loop that waits, threads, inotify, the doorbell, and the file `relay/waits`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use zoutbox_storage::{Share, System};

use super::jobs::{Crew, Jobs, Kept};
use super::{Engine, EngineOptions};
use crate::error::RelayError;
use crate::lease::Lease;
use crate::publisher::{Event, Publisher};

/// An [`Engine`] that does nothing but what it is told to. Never waits, starts no thread, needs no runtime. Dropping it is what a crash is.
pub struct SteppedEngine<P> {
    engine: Engine<P>,
    kept: Kept,
}

impl<P: Publisher> SteppedEngine<P> {
    /// As [`Engine::new`]; of the options, `inotify` and `doorbell` mean nothing here.
    #[must_use]
    pub fn new(
        system: System,
        share: Share,
        lease: Arc<Lease>,
        publisher: P,
        options: EngineOptions,
    ) -> Self {
        let kept = Kept::default();
        let (jobs, done) = Jobs::new(system, share, lease, Crew::Stepped(kept.clone()));
        let (_, hints) = mpsc::unbounded_channel();
        Self { engine: Engine::begun(publisher, jobs, done, hints, options), kept }
    }

    /// Lets every lane do what it can. Returns how long nothing is to be done if nothing happens.
    pub fn turn(&mut self) -> Duration {
        self.engine.turn()
    }

    /// How many jobs were asked for and not done yet.
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.kept.count()
    }

    /// Does one of them; 0 is the oldest. Nobody hears of it before [`SteppedEngine::hear`]. False if there are not so many.
    pub fn run_job(&mut self, index: usize) -> bool {
        self.kept.take(index).map(|job| job()).is_some()
    }

    /// Takes in what jobs came to.
    pub fn hear(&mut self) {
        while let Ok(done) = self.engine.done.try_recv() {
            self.engine.done(done);
        }
    }

    /// Takes in what the publisher tells.
    pub fn tell(&mut self, event: Event) {
        self.engine.told(event);
    }

    /// Begins an orderly stop.
    pub fn stop(&mut self) {
        self.engine.stop();
    }

    /// Whether there is nothing left to do, or no time or right left to do it.
    pub fn is_over(&mut self) -> bool {
        self.engine.is_over()
    }

    /// Whether everything that was there is published, and saved.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.engine.is_done()
    }

    /// What it waits for, as `relay/waits` would have it.
    #[must_use]
    pub fn waits(&self) -> Vec<String> {
        let waits = self.engine.waits(self.engine.now());
        let named = |wait: super::Wait| match wait.writer {
            Some(writer) => format!("{writer}: {}", wait.what),
            None => wait.what,
        };
        waits.into_iter().map(named).collect()
    }

    /// Ends it.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn end(self) -> Result<(), RelayError> {
        self.engine.failure.map_or(Ok(()), Err)
    }
}
