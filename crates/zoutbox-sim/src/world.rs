//! Everything outside the programs: disk, clock, broker, processes, and what is known of what was promised. One lock, no thread.
//!
//! ```text
//!   writer, relay, consumer (the real cores)
//!        │ System                        │ Publisher
//!        ▼                               ▼
//!   SimDisk, SimClock, …  ──────────▶  World ──▶ Ledger, checkers
//!        │ in front of a call                     the first violation ends the run
//!        └─▶ Interrupt: others get their turn, time passes, hosts die
//! ```

pub mod broker;
pub mod clock;
pub mod disk;
pub mod faults;
pub mod harm;
pub mod knobs;
pub mod ledger;
pub mod random;
pub mod trace;

use std::fmt::Arguments;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use zoutbox_storage::System;

use crate::checkers::{Checkers, Seen};
use broker::Broker;
use clock::{SimClock, SimEntropy, SimNetwork};
use disk::{DiskState, SimDisk};
use harm::{Harm, Harms};
use knobs::{Broken, Knobs};
use ledger::Ledger;
use random::Random;
use trace::Trace;

/// Where the share is, on every host.
pub const ROOT: &str = "/share";

/// What the consumer's process is called.
pub const CONSUMER: &str = "billing";

/// Whoever gets a turn in front of another process's call.
pub trait Interrupt: Send + Sync {
    /// Lets others do something.
    fn interrupt(&self);
}

/// The world; clones share it.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    interrupt: OnceLock<Weak<dyn Interrupt>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

/// What went against a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which checker noticed.
    pub checker: &'static str,
    /// What it noticed.
    pub what: String,
}

/// A machine with a kernel of its own.
#[derive(Debug, Default)]
pub struct Host {
    /// The network is cut until then.
    pub frozen: Option<Duration>,
    /// By how many milliseconds its time of day is off.
    pub skew_ms: i64,
    /// Names that it looked up, what was there, and when it asked.
    pub names: disk::names::Lookups,
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    /// Of the trace.
    pub name: String,
    /// Where it runs.
    pub host: usize,
    /// Whether it still does.
    pub alive: bool,
    /// Dies in front of the call after so many more.
    pub life: Option<u64>,
    /// Whether it is a relay: the only one that may remove.
    pub relay: bool,
}

/// What happened how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Turns of the scheduler.
    pub ticks: u64,
    /// Calls to the disk.
    pub calls: u64,
    /// Processes that ended without being asked to, and whose successor recovered.
    pub recoveries: u64,
    /// What was done to them.
    pub harms: Harms,
    /// Records that were acknowledged to their producers.
    pub acknowledged: u64,
    /// Messages that the relays published.
    pub published: u64,
    /// Segments removed or archived.
    pub removed: u64,
}

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        let Self { ticks, calls, recoveries, harms, acknowledged, published, removed } = other;
        self.ticks += ticks;
        self.calls += calls;
        self.recoveries += recoveries;
        self.harms.add(harms);
        self.acknowledged += acknowledged;
        self.published += published;
        self.removed += removed;
    }
}

/// All of it, behind the lock.
pub struct State {
    /// Chance.
    pub random: Random,
    /// True time since the beginning.
    pub now: Duration,
    /// What happened.
    pub trace: Trace,
    /// What this seed is about.
    pub knobs: Knobs,
    /// Which guard of the world itself is taken out.
    pub broken: Broken,
    /// No faults any more, but for the next checkpoints, so many of which can't be saved.
    pub calm: bool,
    refused_checkpoints: u64,
    /// Until when something bad is likely.
    unlucky_until: Duration,
    /// The file server and what its clients keep.
    pub disk: DiskState,
    /// The machines.
    pub hosts: Vec<Host>,
    /// The programs that run or ran.
    pub processes: Vec<Process>,
    /// `RabbitMQ`.
    pub broker: Broker,
    /// What was promised and what came of it.
    pub ledger: Ledger,
    /// Who looks at it.
    pub checkers: Checkers,
    /// The first thing that went wrong.
    pub violation: Option<Violation>,
    /// What happened how often.
    pub counts: Counts,
}

impl World {
    /// A world with a bare disk, as the seed wants it.
    #[must_use]
    pub fn new(mut random: Random, broken: Broken, trace: Trace) -> Self {
        let knobs = Knobs::draw(&mut random);
        let hosts = (0..knobs.hosts).map(|_| Host::default()).collect();
        let state = State {
            disk: DiskState::new(&knobs),
            random,
            now: Duration::from_secs(1_000),
            trace,
            knobs,
            broken,
            calm: true,
            refused_checkpoints: 0,
            unlucky_until: Duration::ZERO,
            hosts,
            processes: Vec::new(),
            broker: Broker::default(),
            ledger: Ledger::default(),
            checkers: Checkers::all(),
            violation: None,
            counts: Counts::default(),
        };
        Self(Arc::new(Inner { state: Mutex::new(state), interrupt: OnceLock::new() }))
    }

    /// Who is to be asked in front of calls, from now on.
    ///
    /// # Panics
    /// When there is somebody already.
    pub fn interrupted_by(&self, interrupt: Weak<dyn Interrupt>) {
        assert!(self.0.interrupt.set(interrupt).is_ok(), "a world belongs to one simulation");
    }

    /// All of it. Not to be held while a program runs.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn interrupt(&self) {
        if let Some(interrupt) = self.0.interrupt.get().and_then(Weak::upgrade) {
            interrupt.interrupt();
        }
    }

    /// Starts a program on a host. The world that it sees comes with it.
    #[must_use]
    pub fn start(&self, name: &str, host: usize, relay: bool) -> (usize, System) {
        let mut state = self.lock();
        let number = state.processes.len();
        let process = Process { name: name.to_owned(), host, alive: true, life: None, relay };
        state.processes.push(process);
        drop(state);
        (number, self.system(number, host))
    }

    fn system(&self, process: usize, host: usize) -> System {
        System {
            disk: Arc::new(SimDisk { world: self.clone(), process }),
            clock: Arc::new(SimClock { world: self.clone(), process }),
            entropy: Arc::new(SimEntropy { world: self.clone() }),
            network: Arc::new(SimNetwork),
            host: format!("host{host}").into(),
            pid: u32::try_from(process).unwrap_or(u32::MAX),
        }
    }
}

impl State {
    /// Notes a line of the trace.
    pub fn say(&mut self, who: &str, what: Arguments<'_>) {
        self.trace.line(self.now, who, what);
    }

    /// Shows the checkers what happened, then writes it down.
    pub fn see(&mut self, seen: &Seen<'_>) {
        let found = self.checkers.see(&self.ledger, seen);
        self.ledger.note(seen);
        if let Err(violation) = found {
            self.violate(violation.checker, violation.what);
        }
    }

    /// A promise is broken; only the first one counts.
    pub fn violate(&mut self, checker: &'static str, what: String) {
        if self.violation.is_none() {
            self.say("VIOLATION", format_args!("{checker}: {what}"));
            self.violation = Some(Violation { checker, what });
        }
    }

    /// Whether a process runs.
    #[must_use]
    pub fn is_alive(&self, process: usize) -> bool {
        self.processes.get(process).is_some_and(|process| process.alive)
    }

    /// Whether its host is cut off now.
    #[must_use]
    pub fn is_frozen(&self, host: usize) -> bool {
        self.hosts.get(host).and_then(|host| host.frozen).is_some_and(|until| self.now < until)
    }

    /// Ends a process as `kill -9` does: its files are closed, its locks free, what it wrote stays in its host's cache.
    pub fn kill(&mut self, number: usize) {
        let Some(process) = self.processes.get_mut(number).filter(|process| process.alive) else { return };
        process.alive = false;
        let name = process.name.clone();
        self.say(&name, format_args!("killed"));
        self.close_all(number, false);
    }

    /// A process is killed as a fault: by whom it is known what it was.
    pub fn strike_down(&mut self, number: usize) {
        let Some(process) = self.processes.get(number).filter(|process| process.alive) else { return };
        let harm = match process.name.as_str() {
            CONSUMER => Harm::ConsumerKilled,
            _ if process.relay => Harm::RelayKilled,
            _ => Harm::WriterKilled,
        };
        self.counts.harms.note(harm);
        self.kill(number);
    }

    /// Ends a process in good order.
    pub fn exit(&mut self, number: usize) {
        if let Some(process) = self.processes.get_mut(number) {
            process.alive = false;
        }
        self.close_all(number, false);
    }
}
