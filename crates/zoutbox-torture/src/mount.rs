//! The disk as a file system that is mounted: each request of a victim is carried out on the [`Disk`], one at a time, and can be its last.
//!
//! ```text
//!   victim ──system call──▶ kernel ──request──▶ count ─▶ before the N-th? ──▶ SIGKILL; nothing is carried out
//!                                                 │      a fault is due?  ──▶ EIO, ENOSPC, half of it
//!                                                 ▼
//!                                            carry it out ─▶ after the N-th? ──▶ SIGKILL; the answer reaches nobody
//!                                                 │
//!   victim ◀───────────────────────── answer ◀────┘          what a dead victim still asks for is not carried out
//! ```
//!
//! Attributes and names are valid for no time, and content is not cached (direct I/O), so no system call is answered by the kernel alone, but
//! `close`, which proves nothing. A SIGKILL is pending before the answer is sent, so no thread of the victim gets to see it. Locks are the
//! kernel's, as on any local disk.

mod answers;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use fuser::BackgroundSession;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zoutbox_sim::world::random::Random;

use crate::disk::{Answer, Disk};
use crate::plan::{Fault, When};
use crate::request::Kind;

/// How many writes find no space.
const SPACELESS: u32 = 3;

/// What is done to the victim that is watched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Orders {
    /// At which request it is killed.
    pub(crate) kill: Option<(usize, When)>,
    /// From which request on what goes wrong.
    pub(crate) fault: Option<(usize, Fault)>,
    /// Only requests that change something count.
    pub(crate) only_changes: bool,
    /// What a failed sync loses.
    pub(crate) seed: u64,
}

/// What was seen of a victim.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// All requests that count.
    pub(crate) requests: Vec<Kind>,
    /// The one that it was killed at.
    pub(crate) killed: Option<(usize, Kind)>,
    /// What went wrong.
    pub(crate) faults: Vec<Fault>,
}

#[derive(Debug)]
struct Watch {
    orders: Orders,
    seen: Watched,
    spaceless: u32,
    random: Random,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    KilledBefore,
    KilledAfter,
    /// Of a victim that is dead already.
    Dead,
    Faulty(Fault),
}

#[derive(Debug)]
struct State {
    disk: Disk,
    /// Counts what was laid on the mount, so that the kernel never takes something for what had its number before.
    laid: u64,
    watch: Option<Watch>,
    trace: Vec<String>,
}

/// What the mount and those who use it share.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<State>>);

/// A mounted disk.
pub(crate) struct Mount {
    point: PathBuf,
    shared: Shared,
    /// Dropped, it is unmounted.
    _session: BackgroundSession,
}

impl Mount {
    /// Mounts an empty disk there.
    pub(crate) fn new(point: &Path) -> Result<Self> {
        let state = State { disk: Disk::new(), laid: 1, watch: None, trace: Vec::new() };
        let shared = Shared(Arc::new(Mutex::new(state)));
        let session = answers::mount(shared.clone(), point).with_context(|| {
            format!("no FUSE file system can be mounted on {} by /dev/fuse", point.display())
        })?;
        Ok(Self { point: point.to_owned(), shared, _session: session })
    }

    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    /// Exchanges what is on it.
    pub(crate) fn lay(&self, disk: Disk) {
        let mut state = self.shared.lock();
        state.disk = disk;
        state.laid += 1;
        state.trace.clear();
    }

    /// What is on it.
    pub(crate) fn disk(&self) -> Disk {
        self.shared.lock().disk.clone()
    }

    /// Cuts the power; returns how many changes of content and of names were at risk.
    pub(crate) fn cut_power(&self, random: &mut Random) -> (usize, usize) {
        let mut state = self.shared.lock();
        let at_risk = state.disk.at_risk();
        state.disk.cut_power(random);
        state.laid += 1;
        at_risk
    }

    /// From now on all requests are the victim's.
    pub(crate) fn watch(&self, orders: Orders) {
        let (seen, random) = (Watched::default(), Random::new(orders.seed));
        self.shared.lock().watch = Some(Watch { orders, seen, spaceless: 0, random });
    }

    /// How often the victim has asked for something like this so far.
    pub(crate) fn asked(&self, like: impl Fn(Kind) -> bool) -> usize {
        let state = self.shared.lock();
        let requests = state.watch.as_ref().map_or(&[][..], |watch| &watch.seen.requests);
        requests.iter().filter(|kind| like(**kind)).count()
    }

    /// The victim is gone.
    pub(crate) fn unwatch(&self) -> Watched {
        self.shared.lock().watch.take().map(|watch| watch.seen).unwrap_or_default()
    }

    /// What the victims asked for since the last time, a line each.
    pub(crate) fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().trace)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries a request out, if it is to be. `faulty` does what a fault leaves of it.
    fn request<T>(
        &self,
        process: u32,
        kind: Kind,
        what: impl FnOnce(&State) -> String,
        work: impl FnOnce(&mut State) -> Answer<T>,
        faulty: impl FnOnce(&mut State, Fault) -> Answer<T>,
    ) -> Answer<T> {
        let mut state = self.lock();
        let fate = state.fate(kind);
        if state.watch.is_some() {
            let line = what(&state);
            state.note(kind, &line, fate);
        }
        match fate {
            Fate::Works => work(&mut state),
            Fate::Dead => Err(Errno::EIO),
            Fate::Faulty(fault) => faulty(&mut state, fault),
            Fate::KilledBefore => {
                end(process);
                Err(Errno::EIO)
            }
            Fate::KilledAfter => {
                // Whatever it came to: nobody will know.
                drop(work(&mut state));
                end(process);
                Err(Errno::EIO)
            }
        }
    }
}

/// `process` may be any thread of the victim: the signal ends all of them.
fn end(process: u32) {
    let raw = i32::try_from(process).unwrap_or_default();
    let ours = std::path::Path::new("/proc/self/task").join(process.to_string()).exists();
    assert!(raw > 0 && !ours, "request of process {process}, which is no victim");
    if let Err(error) = kill(Pid::from_raw(raw), Signal::SIGKILL) {
        assert_eq!(error, Errno::ESRCH, "kill {process}");
    }
}

impl State {
    /// Counts a request, and decides.
    fn fate(&mut self, kind: Kind) -> Fate {
        let Some(watch) = &mut self.watch else { return Fate::Works };
        if watch.seen.killed.is_some() {
            return Fate::Dead;
        }
        if !watch.orders.only_changes || kind.changes() {
            watch.seen.requests.push(kind);
        } else {
            return Fate::Works;
        }
        let number = watch.seen.requests.len();
        if let Some((_, when)) = watch.orders.kill.filter(|(at, _)| *at == number) {
            watch.seen.killed = Some((number, kind));
            return if when == When::Before { Fate::KilledBefore } else { Fate::KilledAfter };
        }
        watch.fault(number, kind).map_or(Fate::Works, Fate::Faulty)
    }

    fn note(&mut self, kind: Kind, what: &str, fate: Fate) {
        let number = self.watch.as_ref().map_or(0, |watch| watch.seen.requests.len());
        let fate = match fate {
            Fate::Works => String::new(),
            Fate::KilledBefore => " KILLED BEFORE IT".into(),
            Fate::KilledAfter => " KILLED AFTER IT".into(),
            Fate::Dead => " of the dead".into(),
            Fate::Faulty(fault) => format!(" FAULT {fault:?}"),
        };
        self.trace.push(format!("  {number:4} {kind} {what}{fate}"));
    }
}

impl Watch {
    /// The fault that strikes this request.
    fn fault(&mut self, number: usize, kind: Kind) -> Option<Fault> {
        let (_, fault) = self.orders.fault.filter(|(from, _)| *from <= number)?;
        let strikes = match fault {
            Fault::Sync => kind == Kind::Sync,
            Fault::Write | Fault::Short | Fault::Space => kind == Kind::Write,
        };
        if !strikes {
            return None;
        }
        self.spaceless += 1;
        if fault != Fault::Space || self.spaceless >= SPACELESS {
            self.orders.fault = None;
        }
        self.seen.faults.push(fault);
        Some(fault)
    }
}

/// What a number of the disk is called in the kernel.
fn to_kernel(laid: u64, number: usize) -> u64 {
    if number == crate::disk::ROOT { 1 } else { (laid << 24) | number as u64 }
}

impl State {
    /// And back; ESTALE for what was there before.
    fn number_of(&self, number: u64) -> Answer<usize> {
        if number == 1 {
            return Ok(crate::disk::ROOT);
        }
        if number >> 24 != self.laid {
            return Err(Errno::ESTALE);
        }
        usize::try_from(number & 0xFF_FFFF).map_err(|_| Errno::ESTALE)
    }

    fn shown(&self, number: u64) -> String {
        let path = self.number_of(number).ok().and_then(|number| self.disk.path_of(number));
        path.map_or_else(|| format!("#{number}"), |path| path.display().to_string())
    }
}
