//! In front of every call: the process may be gone, others may get a turn, the server may be out of reach, and the call may fail.

use std::io;
use std::path::Path;
use std::time::Duration;

use zoutbox_format::layout::Layout;
use zoutbox_storage::{Operation, StorageError};

use super::harm::Harm;
use super::{ROOT, State, World};

/// How long something bad is likely behind a sync that failed.
const BURST: Duration = Duration::from_millis(300);

/// An error of a call, as the kernel would give it.
pub(super) fn failed(operation: Operation, path: &Path, error: io::ErrorKind) -> StorageError {
    StorageError::Io { operation, path: path.to_owned(), offset: None, source: error.into() }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It does what it says.
    Works,
    /// It does nothing, and says so.
    Fails(io::ErrorKind),
    /// It takes effect, and then reports an error.
    FailsLate(io::ErrorKind),
}

impl World {
    /// In front of a call. An error means that the process is no more: nothing that it does has an effect.
    pub(super) fn enter(
        &self,
        process: usize,
        operation: Operation,
        path: &Path,
    ) -> Result<Fate, StorageError> {
        let gone = || failed(operation, path, io::ErrorKind::BrokenPipe);
        let mut state = self.lock();
        state.counts.calls += 1;
        if !state.goes_on(process) {
            return Err(gone());
        }
        let pause = state.random.between(5, 300);
        state.now += Duration::from_micros(pause);
        let rate = match (state.calm, state.is_unlucky()) {
            (true, _) => 0,
            (false, false) => state.knobs.interrupts,
            (false, true) => state.knobs.interrupts.max(5) * 10,
        };
        let interrupted = state.random.chance(rate);
        drop(state);
        if interrupted {
            self.interrupt();
        }
        self.reach_server(process);
        let mut state = self.lock();
        if !state.is_alive(process) {
            return Err(gone());
        }
        // The worst moment of all: what was written, and what was read of it, is not durable yet.
        let worst = operation == Operation::Sync && state.knobs.bursts && !state.knobs.local && !state.calm;
        if worst && state.random.chance(5) {
            state.crash_server();
        }
        let fate = state.draw(operation, path);
        if state.trace.is_wanted() {
            let name = state.processes.get(process).map(|process| process.name.clone()).unwrap_or_default();
            let outcome = match fate {
                Fate::Works => String::new(),
                Fate::Fails(error) => format!(": fails, {error}"),
                Fate::FailsLate(error) => format!(": takes effect, and says {error}"),
            };
            state.say(&name, format_args!("  {operation} {}{outcome}", path.display()));
        }
        Ok(fate)
    }

    /// A call to a server that does not answer waits. Others go on meanwhile.
    fn reach_server(&self, process: usize) {
        loop {
            let mut state = self.lock();
            let Some(host) = state.processes.get(process).filter(|p| p.alive).map(|p| p.host) else { return };
            let Some(until) = state.hosts.get(host).and_then(|host| host.frozen) else { return };
            let rest = until.saturating_sub(state.now);
            state.now += rest / 4 + Duration::from_millis(10);
            state.thaw();
            drop(state);
            self.interrupt();
        }
    }
}

impl State {
    /// That many of the next checkpoints can't be saved.
    pub fn refuse_checkpoints(&mut self, many: u64) {
        self.refused_checkpoints = many;
    }

    /// Whether the process lives to make this call.
    fn goes_on(&mut self, number: usize) -> bool {
        let Some(process) = self.processes.get_mut(number).filter(|process| process.alive) else {
            return false;
        };
        let dies = process.life == Some(0);
        process.life = process.life.map(|life| life.saturating_sub(1));
        if dies {
            self.strike_down(number);
        }
        !dies
    }

    fn draw(&mut self, operation: Operation, path: &Path) -> Fate {
        use Operation as Op;
        use io::ErrorKind as Kind;
        if self.refused_checkpoints > 0
            && operation == Op::Create
            && path.starts_with(Layout::new(ROOT).checkpoints())
        {
            self.refused_checkpoints -= 1;
            self.counts.harms.note(Harm::WriteFails);
            return Fate::Fails(Kind::Other);
        }
        if self.calm || self.random.below(1_000_000) >= self.knobs.disk_faults {
            return Fate::Works;
        }
        let (harm, fate) = match operation {
            Op::Write | Op::Create if self.random.chance(300) => {
                (Harm::NoSpace, Fate::Fails(Kind::StorageFull))
            }
            Op::Write | Op::Create => (Harm::WriteFails, Fate::Fails(Kind::Other)),
            Op::Sync if self.random.chance(200) => (Harm::QuotaAtSync, Fate::Fails(Kind::QuotaExceeded)),
            Op::Sync => (Harm::SyncFails, Fate::Fails(Kind::Other)),
            Op::Rename | Op::Link | Op::Remove | Op::SyncDirectory | Op::CreateDirectory => {
                if self.random.chance(500) {
                    (Harm::AnswerLost, Fate::FailsLate(Kind::Other))
                } else {
                    (Harm::NameFails, Fate::Fails(Kind::Other))
                }
            }
            _ => (Harm::CallFails, Fate::Fails(Kind::Other)),
        };
        self.counts.harms.note(harm);
        if self.knobs.bursts && matches!(operation, Op::Sync | Op::SyncDirectory) {
            self.unlucky_until = self.now + BURST;
        }
        fate
    }

    /// Whether misfortunes come together now.
    #[must_use]
    pub fn is_unlucky(&self) -> bool {
        self.now < self.unlucky_until
    }
}
