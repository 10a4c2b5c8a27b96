//! A relay's process: waits for the lease, then moves the engine on, and ends when the engine does.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use zoutbox_relay::engine::{EngineOptions, SteppedEngine, WindowSize};
use zoutbox_relay::{DoorbellOptions, Event, Lease, Retention};
use zoutbox_relay_core::{Key, LaneOptions, Mode, OnDamage, OnUndeliverable, Pattern, Rules, RunOptions};
use zoutbox_storage::{ErrorKind, Share, System};

use crate::checkers::Seen;
use crate::world::broker::SimPublisher;
use crate::world::knobs::Knobs;
use crate::world::{ROOT, World};

/// The process, or its absence.
pub struct RelayActor {
    world: World,
    name: String,
    host: usize,
    process: Option<usize>,
    phase: Phase,
    /// Not started, or not tried again, before.
    rests_until: Duration,
    /// The process before was not asked to end.
    crashed: bool,
    /// Is not started again.
    pub retired: bool,
}

enum Phase {
    Down,
    Standby { system: System, share: Share },
    Running(Box<Running>),
}

struct Running {
    engine: SteppedEngine<SimPublisher>,
    publisher: SimPublisher,
    /// As the engine knows.
    up: bool,
    /// Not connected again before.
    away_until: Duration,
    stopping: bool,
    /// What must be published before it ends by itself.
    there: Option<Vec<(String, BTreeSet<Key>)>>,
}

impl RelayActor {
    /// One that is not started yet.
    #[must_use]
    pub fn new(world: World, name: &str, host: usize) -> Self {
        Self {
            world,
            name: name.to_owned(),
            host,
            process: None,
            phase: Phase::Down,
            rests_until: Duration::ZERO,
            crashed: false,
            retired: false,
        }
    }

    /// Its process, if there is one.
    #[must_use]
    pub const fn process(&self) -> Option<usize> {
        self.process
    }

    /// Whether it relays.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running(_))
    }

    /// Whether it relays, and everything that was there is published and saved.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.phase {
            Phase::Running(running) => running.up && running.engine.is_done(),
            Phase::Down | Phase::Standby { .. } => false,
        }
    }

    /// What it waits for, if it relays.
    #[must_use]
    pub fn waits(&self) -> Vec<String> {
        match &self.phase {
            Phase::Running(running) => running.engine.waits(),
            Phase::Down | Phase::Standby { .. } => Vec::new(),
        }
    }

    /// Begins an orderly stop, if it relays.
    pub fn stop(&mut self) {
        if let Phase::Running(running) = &mut self.phase
            && !running.stopping
        {
            running.stopping = true;
            running.engine.stop();
            self.world.lock().say(&self.name, format_args!("stops"));
        }
    }

    /// Does something, at random.
    pub fn step(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Down) {
            Phase::Down => self.start(),
            Phase::Standby { system, share } => self.take_lease(system, share),
            Phase::Running(running) => self.relay(running),
        }
    }

    fn start(&mut self) {
        let now = self.world.lock().now;
        if now < self.rests_until || self.retired {
            return;
        }
        let (process, system) = self.world.start(&self.name, self.host, true);
        self.process = Some(process);
        match Share::open(&system, Path::new(ROOT)) {
            Ok(share) => self.phase = Phase::Standby { system, share },
            Err(error) => self.end(&error.to_string()),
        }
    }

    fn take_lease(&mut self, system: System, share: Share) {
        if self.retired || self.world.lock().now < self.rests_until {
            self.phase = Phase::Standby { system, share };
            return;
        }
        match Lease::try_take(&system, &share) {
            Ok(Ok(lease)) => {
                let mut state = self.world.lock();
                state.say(&self.name, format_args!("relays as epoch {}", lease.epoch()));
                if std::mem::take(&mut self.crashed)
                    && self.process.is_some_and(|number| state.is_alive(number))
                {
                    state.counts.recoveries += 1;
                }
                let once = state.knobs.once && !state.calm;
                // Where lanes halt at records that can't be delivered, it ends without them.
                let halts = state.knobs.unroutable && !state.knobs.dead_letters;
                let there = (once && !halts).then(|| state.ledger.outstanding());
                let options = EngineOptions { once, ..options(&state.knobs) };
                drop(state);
                let publisher = SimPublisher::new(self.world.clone());
                let engine = SteppedEngine::new(system, share, Arc::new(lease), publisher.clone(), options);
                let (up, away_until, stopping) = (false, Duration::ZERO, false);
                self.phase =
                    Phase::Running(Box::new(Running { engine, publisher, up, away_until, stopping, there }));
            }
            Ok(Err(_)) => {
                self.rest(250);
                self.phase = Phase::Standby { system, share };
            }
            Err(error) if error.kind() == ErrorKind::Full => {
                self.rest(250);
                self.phase = Phase::Standby { system, share };
            }
            Err(error) => self.end(&error.to_string()),
        }
    }

    fn relay(&mut self, mut running: Box<Running>) {
        self.hear_broker(&mut running);
        let jobs = running.engine.jobs();
        for _ in 0..jobs.min(4) {
            let (index, delayed) = {
                let mut state = self.world.lock();
                let random = &mut state.random;
                // Mostly the oldest: an old job that is always passed by would never be done.
                let index = if random.chance(600) { 0 } else { random.index(running.engine.jobs()) };
                (index, random.chance(200))
            };
            running.engine.run_job(index);
            if !delayed {
                running.engine.hear();
            }
        }
        if jobs == 0 {
            running.engine.hear();
        }
        running.engine.turn();
        if running.engine.is_over() {
            let ended = running.engine.end();
            let mut state = self.world.lock();
            state.say(&self.name, format_args!("ended: {ended:?}"));
            let lives = self.process.is_some_and(|process| state.is_alive(process));
            if let Some(there) = running.there.filter(|_| ended.is_ok() && lives && !running.stopping) {
                state.see(&Seen::Finished { there: &there });
            }
            drop(state);
            self.leave();
            self.rest(300);
        } else {
            self.phase = Phase::Running(running);
        }
    }

    fn hear_broker(&self, running: &mut Running) {
        let Some(process) = self.process else { return };
        let number = running.publisher.connection();
        if running.up && !self.world.lock().is_connected(number) {
            running.up = false;
            running.engine.tell(Event::Down { blame: None });
            let mut state = self.world.lock();
            running.away_until = state.now + Duration::from_millis(state.random.between(1, 200));
        }
        if !running.up && self.world.lock().now >= running.away_until && running.publisher.connect(process) {
            running.up = true;
            running.engine.tell(Event::Up);
        }
        let frames = if running.up { self.world.lock().random.between(0, 6) } else { 0 };
        for _ in 0..frames {
            let events = self.world.lock().hear(running.publisher.connection());
            for event in events {
                running.engine.tell(event);
            }
        }
    }

    fn rest(&mut self, longest: u64) {
        let mut state = self.world.lock();
        self.rests_until = state.now + Duration::from_millis(state.random.between(1, longest));
    }

    /// It can't go on: a supervisor starts it again.
    fn end(&mut self, why: &str) {
        self.world.lock().say(&self.name, format_args!("ends: {why}"));
        self.leave();
        self.rest(300);
    }

    fn leave(&mut self) {
        if let Some(process) = self.process.take() {
            let mut state = self.world.lock();
            self.crashed |= !state.is_alive(process);
            state.disconnect_relay(process);
            state.exit(process);
        }
    }

    /// Its process is gone.
    pub fn bury(&mut self) {
        self.phase = Phase::Down;
        self.leave();
        self.crashed = true;
        self.rest(300);
    }
}

fn options(knobs: &Knobs) -> EngineOptions {
    let undeliverable = if knobs.dead_letters { OnUndeliverable::DeadLetter } else { OnUndeliverable::Halt };
    let rule = |pattern, mode| Pattern::new(pattern).map(|pattern| (pattern, mode));
    let rules = [rule("batch.#", Mode::PointerBatch), rule("single.#", Mode::Pointer)];
    let rules = if knobs.pointers { rules.into_iter().flatten().collect() } else { Vec::new() };
    EngineOptions {
        lane: LaneOptions {
            read_budget: 2_000,
            read_ahead: 8_000,
            checkpoint_interval: Duration::from_millis(50),
            checkpoint_items: 20,
            retry: Duration::from_millis(100),
            damage_retry: Duration::from_millis(500),
            poll_fast: Duration::from_millis(2),
            poll_slow: Duration::from_millis(100),
            on_undeliverable: undeliverable,
            on_damage: OnDamage::Halt,
        },
        publish: RunOptions { rules: Arc::new(Rules::new(rules)), records: 10, ..RunOptions::default() },
        window: WindowSize { messages: 16, bytes: 32 * 1024 },
        retention: Retention {
            keep: knobs.keep,
            archive: knobs.archive,
            pointers: knobs.pointers,
            keep_pointed: Duration::from_hours(1),
            sweep_after: Duration::from_hours(24),
        },
        once: false,
        report_every: Duration::from_hours(1),
        poll_rate: NonZeroU32::MAX,
        discover_every: Duration::from_millis(200),
        inotify: false,
        doorbell: DoorbellOptions::default(),
    }
}
