//! One run: a storm, then calm, then an orderly restart.
//!
//! ```text
//!   init ─▶ storm: turns and disasters ─▶ calm: no faults, everything must drain ─▶ producers go on, the relay stops and starts: nothing
//!   comes again, and everything must drain once more
//! ```

mod disasters;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zoutbox_storage::Share;

use crate::actors::Actor;
use crate::actors::consumer::ConsumerActor;
use crate::actors::relay::RelayActor;
use crate::actors::writer::WriterActor;
use crate::checkers::Seen;
use crate::world::knobs::Broken;
use crate::world::random::Random;
use crate::world::trace::Trace;
use crate::world::{Counts, Interrupt, ROOT, State, Violation, World};

/// Turns after which everything must have drained.
const PATIENCE: u64 = 60_000;
/// How deep a turn may lie within another one's call.
const DEEPEST: usize = 2;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The first promise that was broken.
    pub violation: Option<Violation>,
    /// What happened how often.
    pub counts: Counts,
    /// The lines, if they were wanted.
    pub trace: String,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, broken: Broken, trace: Trace) -> Outcome {
    let world = World::new(Random::new(seed), broken, trace);
    let simulation = Simulation::new(world);
    simulation.play();
    let mut state = simulation.world.lock();
    let trace = state.trace.text().to_owned();
    Outcome { violation: state.violation.take(), counts: state.counts, trace }
}

/// A program's place, and until when it does not run although it lives.
struct Slot {
    /// `None` while it is at work.
    actor: Mutex<Option<Actor>>,
    paused: Mutex<Option<Duration>>,
    host: usize,
}

struct Simulation {
    world: World,
    slots: Vec<Slot>,
    depth: AtomicUsize,
    /// Everybody has his turn soon: a relay that stops waits for nothing longer than some seconds.
    brisk: AtomicBool,
}

impl Interrupt for Simulation {
    fn interrupt(&self) {
        let depth = self.depth.load(Ordering::Relaxed);
        if depth >= DEEPEST {
            return;
        }
        self.depth.store(depth + 1, Ordering::Relaxed);
        let turns = {
            let mut state = self.world.lock();
            let random = &mut state.random;
            // Mostly a few; now and then long enough for somebody else to take over.
            if depth == 0 && random.chance(150) { random.between(20, 200) } else { random.between(1, 5) }
        };
        for _ in 0..turns {
            self.tick();
        }
        self.depth.store(depth, Ordering::Relaxed);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Simulation {
    fn new(world: World) -> Arc<Self> {
        let mut slots = Vec::new();
        let (hosts, writers, rivals) = {
            let state = world.lock();
            (state.knobs.hosts, state.knobs.writers, state.knobs.rivals)
        };
        let mut place = |actor: Actor, host: usize| {
            slots.push(Slot { actor: Mutex::new(Some(actor)), paused: Mutex::new(None), host });
        };
        for number in 0..writers {
            let writer = format!("w{number}");
            for rival in [false, true].into_iter().take(1 + usize::from(rivals)) {
                let host = world.lock().random.index(hosts);
                place(Actor::Writer(Box::new(WriterActor::new(world.clone(), &writer, host, rival))), host);
            }
        }
        for name in ["relay-a", "relay-b"] {
            let host = world.lock().random.index(hosts);
            place(Actor::Relay(Box::new(RelayActor::new(world.clone(), name, host))), host);
        }
        let host = world.lock().random.index(hosts);
        if let Some(consumer) = ConsumerActor::new(world.clone(), host) {
            place(Actor::Consumer(Box::new(consumer)), host);
        }
        let simulation =
            Arc::new(Self { world, slots, depth: AtomicUsize::new(0), brisk: AtomicBool::new(false) });
        let as_interrupt: Arc<dyn Interrupt> = simulation.clone();
        simulation.world.interrupted_by(Arc::downgrade(&as_interrupt));
        simulation
    }

    fn play(&self) {
        if !self.begin() {
            return;
        }
        let ticks = {
            let mut state = self.world.lock();
            state.calm = false;
            state.knobs.stormy_ticks
        };
        self.ticks(ticks);
        self.calm_down();
        if !self.goes_on() {
            return;
        }
        self.ticks(100);
        self.quieten(true);
        if self.drain("everything to drain", Self::left) {
            self.world.lock().see(&Seen::Drained);
            self.restart();
        }
    }

    /// Lets producers append, or has them append nothing more.
    fn quieten(&self, quiet: bool) {
        self.each(|actor| {
            if let Actor::Writer(writer) = actor {
                writer.quiet = quiet;
            }
        });
    }

    /// Makes the share.
    fn begin(&self) -> bool {
        let knobs = {
            let mut state = self.world.lock();
            let knobs = state.knobs.clone();
            state.say("world", format_args!("{knobs:?}"));
            state.disk.tree.make_root();
            state.disk.stable.make_root();
            knobs
        };
        let (process, system) = self.world.start("init", 0, false);
        let made = Share::init(&system, Path::new(ROOT));
        let mut state = self.world.lock();
        if let Err(error) = &made {
            state.violate("init", format!("{error}, in {knobs:?}"));
        }
        state.exit(process);
        made.is_ok()
    }

    /// The relay stops in good order, in the middle of what producers append, and is started again.
    fn restart(&self) {
        let (ticks, refused) = {
            let mut state = self.world.lock();
            (state.random.between(0, 100), state.random.below(4))
        };
        self.quieten(false);
        self.ticks(ticks);
        self.brisk.store(true, Ordering::Relaxed);
        self.world.lock().refuse_checkpoints(refused);
        self.each(|actor| {
            if let Actor::Relay(relay) = actor {
                relay.retired = true;
                relay.stop();
            }
        });
        let stops = || self.any(|actor| matches!(actor, Actor::Relay(relay) if relay.is_running()));
        if !self.drain("the relay to stop", |_| stops().then(|| "it has not".to_owned())) {
            return;
        }
        {
            let mut state = self.world.lock();
            state.refuse_checkpoints(0);
            state.see(&Seen::Stopped);
        }
        self.brisk.store(false, Ordering::Relaxed);
        self.each(|actor| {
            if let Actor::Relay(relay) = actor {
                relay.retired = false;
            }
        });
        self.ticks(30);
        self.quieten(true);
        if self.drain("the relay to start again", Self::left) {
            self.world.lock().see(&Seen::Drained);
        }
    }

    /// Whether nothing is broken yet.
    fn goes_on(&self) -> bool {
        self.world.lock().violation.is_none()
    }

    fn ticks(&self, ticks: u64) {
        for _ in 0..ticks {
            if !self.goes_on() {
                return;
            }
            self.tick();
        }
    }

    /// Runs until nothing is left; false if a promise is broken, be it that this takes for ever.
    fn drain(&self, what: &str, left: impl Fn(&Self) -> Option<String>) -> bool {
        let mut rest = None;
        for tick in 0..PATIENCE {
            if !self.goes_on() {
                return false;
            }
            if tick % 8 == 0 {
                rest = left(self);
                if rest.is_none() {
                    return true;
                }
            }
            self.tick();
        }
        let what = format!("waited in vain for {what}: {}", rest.unwrap_or_default());
        self.world.lock().see(&Seen::Stuck { what: &what });
        false
    }

    /// What there still is to do.
    fn left(&self) -> Option<String> {
        let mut open = Vec::new();
        let mut done = false;
        let mut waits = Vec::new();
        for slot in &self.slots {
            match locked(&slot.actor).as_ref() {
                Some(Actor::Writer(writer)) if !writer.is_idle() => {
                    return Some("tickets without an outcome".into());
                }
                Some(Actor::Writer(writer)) => open.push((writer.id().to_owned(), writer.is_open())),
                Some(Actor::Relay(relay)) => {
                    done |= relay.is_done();
                    waits.extend(relay.waits());
                }
                Some(Actor::Consumer(_)) | None => {}
            }
        }
        let closed = open.iter().find(|(id, _)| !open.iter().any(|(other, open)| other == id && *open));
        if let Some((id, _)) = closed {
            return Some(format!("nobody can open {id}"));
        }
        if !done {
            return Some(format!("no relay is done: waits for {waits:?}"));
        }
        let state = self.world.lock();
        if !state.is_broker_idle() {
            return Some("messages in the queue".into());
        }
        let unconfirmed =
            state.ledger.writers().find_map(|(writer, of)| Some((writer, of.outstanding.first()?)));
        unconfirmed.map(|(writer, key)| format!("{writer}/{}/{} is not confirmed", key.epoch, key.sequence))
    }

    fn each(&self, mut work: impl FnMut(&mut Actor)) {
        for slot in &self.slots {
            if let Some(actor) = locked(&slot.actor).as_mut() {
                work(actor);
            }
        }
    }

    fn any(&self, is: impl Fn(&Actor) -> bool) -> bool {
        self.slots.iter().any(|slot| locked(&slot.actor).as_ref().is_some_and(&is))
    }

    /// A turn: somebody does something, or something happens.
    fn tick(&self) {
        let (disaster, choice) = {
            let mut state = self.world.lock();
            if state.violation.is_some() {
                return;
            }
            state.counts.ticks += 1;
            let pause = match (state.calm, self.brisk.load(Ordering::Relaxed)) {
                (true, true) => state.random.between(0, 2_000),
                (true, false) => state.random.between(0, 60_000),
                (false, _) => state.pause(),
            };
            state.now += Duration::from_micros(pause);
            state.thaw();
            let rate = match (state.calm, state.is_unlucky()) {
                (true, _) => 0,
                (false, false) => state.knobs.disasters,
                (false, true) => state.knobs.disasters * 10,
            };
            (state.random.chance(rate), state.random.below(100))
        };
        match choice {
            _ if disaster => self.strike(),
            0..25 => self.world.lock().step_broker(),
            25..33 => self.world.lock().write_back(),
            _ => {
                let slot = self.world.lock().random.index(self.slots.len());
                if let Some(slot) = self.slots.get(slot) {
                    self.step(slot);
                }
            }
        }
    }

    fn step(&self, slot: &Slot) {
        {
            let state = self.world.lock();
            let paused = locked(&slot.paused).is_some_and(|until| state.now < until);
            if paused || state.is_frozen(slot.host) {
                return;
            }
        }
        let Some(mut actor) = locked(&slot.actor).take() else { return };
        self.doom(actor.process());
        actor.step();
        self.bury(&mut actor);
        *locked(&slot.actor) = Some(actor);
    }

    /// Decides that a process dies in front of one of its next calls.
    fn doom(&self, process: Option<usize>) {
        let mut state = self.world.lock();
        let rate = if state.calm { 0 } else { state.knobs.deaths };
        if !state.random.chance(rate) {
            return;
        }
        let life = state.random.below(60);
        if let Some(process) = process.and_then(|number| state.processes.get_mut(number)) {
            process.life.get_or_insert(life);
        }
    }

    /// Takes away what a process had that is no more.
    fn bury(&self, actor: &mut Actor) {
        let dead = actor.process().is_some_and(|process| !self.world.lock().is_alive(process));
        if dead {
            actor.bury();
        }
    }

    /// Takes away what was left by all that died.
    fn bury_all(&self) {
        for slot in &self.slots {
            // Not while the lock on its place is held: its files close.
            let Some(mut actor) = locked(&slot.actor).take() else { continue };
            self.bury(&mut actor);
            *locked(&slot.actor) = Some(actor);
        }
    }

    /// No faults any more.
    fn calm_down(&self) {
        let mut state = self.world.lock();
        state.calm = true;
        state.say("world", format_args!("calm"));
        state.disk.capacity = None;
        state.block(false);
        state.broker.away = false;
        state.broker.routes_void = true;
        for host in &mut state.hosts {
            host.frozen = host.frozen.map(|_| Duration::ZERO);
        }
        state.thaw();
        state.processes.iter_mut().for_each(|process| process.life = None);
        drop(state);
        for slot in &self.slots {
            *locked(&slot.paused) = None;
        }
    }
}

impl State {
    /// How long nothing happens, in microseconds.
    fn pause(&mut self) -> u64 {
        match self.random.below(100) {
            0 => self.random.between(100_000, 2_000_000),
            1..10 => self.random.between(5_000, 100_000),
            _ => self.random.between(0, 5_000),
        }
    }
}
