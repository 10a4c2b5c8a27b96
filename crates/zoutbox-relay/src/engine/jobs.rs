//! Everything that touches the share, on threads that may block, so that a call that hangs (NFS waits for ever) stalls one lane and
//! nothing else.
//!
//! A simulator has no threads: there the jobs are kept until it does them, one after the other, in the order that it wants.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use zoutbox_format::checkpoint::Position;
use zoutbox_format::{RecordId, WriterId};
use zoutbox_reader::{Damage, ReaderError};
use zoutbox_relay_core::{Consumers, Key, Needs, ReadFrom, Remark, RunOptions, Sighting};
use zoutbox_storage::{ErrorKind, Share, StorageError, System};

use super::calls::{Calls, News};
use super::keeping::Looked;
use super::pulse::with_pulse;
use super::source::{Gathered, ReadOrder, Source};
use super::waits::Wait;
use crate::ballast::Ballast;
use crate::error::RelayError;
use crate::keep;
use crate::lease::{Lease, start_of};
use crate::publisher::{Content, Undeliverable};
use crate::remove::Retention;
use crate::sweep::sweep_registrations;
use crate::upkeep::{Removed, Upkeep};

/// Reads at once, over all lanes. One that hangs keeps its place.
const READS: usize = 64;
/// Other touches of the share at once.
const OTHERS: usize = 32;
/// Writers whose segments are removed at once. That can take long, where large payloads have to be looked up, and must not keep
/// checkpoints from being saved.
const REMOVALS: usize = 8;

/// What a job came to.
pub(super) enum Done {
    Read { lane: usize, generation: u64, source: Box<Source>, gathered: Result<Gathered, ReaderError> },
    Saved { lane: usize, position: Position, result: Result<(), RelayError> },
    DeadLettered { lane: usize, key: Key, records: u32, result: Result<(), StorageError> },
    Quarantined { lane: usize, result: Result<(), StorageError> },
    Discovered(Result<Discovered, RelayError>),
    Proven(Result<(), RelayError>),
    Looked(Looked),
    Removed { lane: usize, upkeep: Box<Upkeep>, result: Result<Removed, RelayError>, swept: bool },
}

/// Writers that were not known before, and where to start with each.
#[derive(Default)]
pub(super) struct Discovered {
    pub(super) new: Vec<(WriterId, Option<Position>)>,
    pub(super) ignored: Vec<String>,
    pub(super) omitted: usize,
}

pub(super) struct Jobs {
    pub(super) system: System,
    pub(super) share: Share,
    pub(super) lease: Arc<Lease>,
    ballast: Ballast,
    calls: Calls,
    crew: Crew,
    reads: Arc<Semaphore>,
    others: Arc<Semaphore>,
    removals: Arc<Semaphore>,
    sweeps: Arc<Semaphore>,
    /// Of its own: without a proof every lane stops, so it waits for no other call.
    proofs: Arc<Semaphore>,
    done: mpsc::UnboundedSender<Done>,
}

/// Who does the jobs.
#[derive(Clone)]
pub(super) enum Crew {
    /// Threads of the runtime.
    Threads,
    /// Whoever steps the engine, from here.
    Stepped(Kept),
}

/// Jobs that nobody has done yet, oldest first. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Vec<Job>>>);

type Job = Box<dyn FnOnce() + Send>;

impl Kept {
    fn keep(&self, job: Job) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(job);
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes one out; `None` if there are not so many.
    pub(super) fn take(&self, index: usize) -> Option<Job> {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (index < jobs.len()).then(|| jobs.remove(index))
    }
}

impl Jobs {
    pub(super) fn new(
        system: System,
        share: Share,
        lease: Arc<Lease>,
        crew: Crew,
    ) -> (Self, mpsc::UnboundedReceiver<Done>) {
        let (done, receiver) = mpsc::unbounded_channel();
        let permits = [READS, OTHERS, REMOVALS, 1, 1].map(|permits| Arc::new(Semaphore::new(permits)));
        let [reads, others, removals, sweeps, proofs] = permits;
        let (ballast, calls) = (Ballast::new(&system, &share), Calls::default());
        let jobs = Self {
            system,
            share,
            lease,
            ballast,
            calls,
            crew,
            reads,
            others,
            removals,
            sweeps,
            proofs,
            done,
        };
        (jobs, receiver)
    }

    /// Tells which calls hang.
    pub(super) fn tell_hanging(&self) {
        let now = self.system.clock.monotonic();
        for news in self.calls.news(now) {
            tell(&news, now);
        }
    }

    /// What waits for calls that hang.
    pub(super) fn hanging(&self, now: Duration) -> Vec<Wait> {
        self.calls.hanging(now)
    }

    /// Makes the ballast if there is none.
    pub(super) fn keep_ballast(&self) {
        let ballast = self.ballast.clone();
        self.unheard(move || {
            if let Err(error) = ballast.keep() {
                tracing::warn!("no ballast for a full share: {error}");
            }
        });
    }

    /// Has a job done that nobody waits for.
    fn unheard(&self, job: impl FnOnce() + Send + 'static) {
        match &self.crew {
            Crew::Threads => drop(tokio::task::spawn_blocking(job)),
            Crew::Stepped(kept) => kept.keep(Box::new(job)),
        }
    }

    fn run(
        &self,
        permits: &Arc<Semaphore>,
        writer: Option<WriterId>,
        what: String,
        job: impl FnOnce(&System, &Share) -> Done + Send + 'static,
    ) {
        self.start(permits, writer, what, |system, _, _| system.clone(), job);
    }

    /// As [`Jobs::run`], for what may take long without anything hanging.
    fn run_long(
        &self,
        permits: &Arc<Semaphore>,
        writer: WriterId,
        what: String,
        job: impl FnOnce(&System, &Share) -> Done + Send + 'static,
    ) {
        self.start(permits, Some(writer), what, with_pulse, job);
    }

    fn start(
        &self,
        permits: &Arc<Semaphore>,
        writer: Option<WriterId>,
        what: String,
        watched: fn(&System, &Calls, u64) -> System,
        job: impl FnOnce(&System, &Share) -> Done + Send + 'static,
    ) {
        let (system, share, done) = (self.system.clone(), self.share.clone(), self.done.clone());
        let (permits, calls) = (Arc::clone(permits), self.calls.clone());
        let job = move || {
            let call = calls.begin(writer, what, system.clock.monotonic());
            let done = job(&watched(&system, &calls, call), &share);
            if let Some(news) = calls.end(call) {
                tell(&news, system.clock.monotonic());
            }
            done
        };
        if let Crew::Stepped(kept) = &self.crew {
            return kept.keep(Box::new(move || drop(done.send(job()))));
        }
        tokio::spawn(async move {
            let Ok(permit) = permits.acquire_owned().await else { return };
            let result = tokio::task::spawn_blocking(job).await;
            drop(permit);
            if let Ok(result) = result {
                // Nobody listens any more when the relay is ending.
                drop(done.send(result));
            }
        });
    }

    pub(super) fn read(
        &self,
        lane: usize,
        writer: WriterId,
        source: Option<Box<Source>>,
        order: ReadOrder,
        options: RunOptions,
    ) {
        let what = format!("reading writer {writer}");
        self.run(&self.reads, Some(writer.clone()), what, move |system, share| {
            let anew = |from| Box::new(Source::new(system, share, &writer, from, &options));
            let mut source = match (order.from, source) {
                (ReadFrom::There, Some(source)) => source,
                (ReadFrom::Position(position), _) => anew(Some(position)),
                (ReadFrom::Oldest | ReadFrom::There, _) => anew(None),
            };
            let gathered = source.read(&order, system.clock.monotonic());
            Done::Read { lane, generation: order.generation, source, gathered }
        });
    }

    pub(super) fn save(&self, lane: usize, writer: WriterId, position: Position) {
        let (lease, ballast) = (Arc::clone(&self.lease), self.ballast.clone());
        let what = format!("saving the checkpoint of writer {writer}");
        self.run(&self.others, Some(writer.clone()), what, move |_, _| {
            let result = lease.save(&writer, position);
            result.as_ref().inspect_err(|error| ballast.release_if_full(error.kind())).ok();
            Done::Saved { lane, position, result }
        });
    }

    pub(super) fn dead_letter(&self, lane: usize, id: RecordId, content: Content, reason: &Undeliverable) {
        let reason = reason.to_string();
        let (ballast, what) = (self.ballast.clone(), format!("writing dead letter {id}"));
        self.run(&self.others, Some(id.writer.clone()), what, move |system, share| {
            let key = Key { epoch: id.epoch, sequence: id.sequence };
            let result = keep::dead_letter(system, share, &id, &content, &reason);
            result.as_ref().inspect_err(|error| ballast.release_if_full(error.kind())).ok();
            Done::DeadLettered { lane, key, records: content.records(), result }
        });
    }

    pub(super) fn quarantine(&self, lane: usize, damage: Damage) {
        let (ballast, what) = (self.ballast.clone(), format!("reporting that {damage}"));
        self.run(&self.others, Some(damage.writer.clone()), what, move |system, share| {
            let result = keep::quarantine(system, share, &damage);
            result.as_ref().inspect_err(|error| ballast.release_if_full(error.kind())).ok();
            Done::Quarantined { lane, result }
        });
    }

    pub(super) fn discover(&self, known: HashSet<WriterId>) {
        let what = "looking for writers".to_owned();
        self.run(&self.others, None, what, move |system, share| {
            Done::Discovered(discover(system, share, &known))
        });
    }

    pub(super) fn prove(&self) {
        let (lease, ballast) = (Arc::clone(&self.lease), self.ballast.clone());
        self.run(&self.proofs, None, "proving the lease".to_owned(), move |_, _| {
            let result = lease.prove_in_peace();
            result.as_ref().inspect_err(|error| ballast.release_if_full(error.kind())).ok();
            Done::Proven(result)
        });
    }

    pub(super) fn look_at_consumers(&self, mut consumers: Consumers) {
        let what = "looking at the consumers".to_owned();
        self.run(&self.others, None, what, move |system, share| {
            let result = look(system, share, &mut consumers);
            Done::Looked(Looked { consumers, result })
        });
    }

    pub(super) fn remove(
        &self,
        lane: usize,
        mut upkeep: Upkeep,
        durable: Position,
        needs: Arc<Needs>,
        retention: Retention,
    ) {
        let what = format!("removing segments of writer {}", upkeep.writer);
        self.run_long(&self.removals, upkeep.writer.clone(), what, move |system, share| {
            let result = upkeep.remove(system, share, durable, &needs, retention);
            Done::Removed { lane, upkeep: Box::new(upkeep), result, swept: false }
        });
    }

    pub(super) fn sweep(&self, lane: usize, mut upkeep: Upkeep, after: Duration) {
        let what = format!("sweeping the payloads of writer {}", upkeep.writer);
        self.run_long(&self.sweeps, upkeep.writer.clone(), what, move |system, share| {
            let result = upkeep.sweep(system, share, after);
            Done::Removed { lane, upkeep: Box::new(upkeep), result, swept: true }
        });
    }

    /// Nobody waits for it.
    pub(super) fn sweep_registrations(&self, after: Duration) {
        let (system, share) = (self.system.clone(), self.share.clone());
        self.unheard(move || {
            if let Err(error) = sweep_registrations(&system, &share, after) {
                tracing::warn!("what consumers left can't be swept: {error}");
            }
        });
    }
}

fn look(
    system: &System,
    share: &Share,
    consumers: &mut Consumers,
) -> Result<(Needs, Vec<Remark>), RelayError> {
    let registered = zoutbox_reader::consumers(system, share)?;
    let sighting = |consumer: zoutbox_reader::Consumer| Sighting {
        name: consumer.name,
        found: consumer.found.map_err(|error| error.to_string()),
    };
    let seen: Vec<_> = registered.consumers.into_iter().map(sighting).collect();
    let (now_ms, now) = (system.clock.now_ms(), system.clock.monotonic());
    Ok(consumers.look(&seen, registered.omitted, now_ms, now))
}

pub(super) fn tell(news: &News, now: Duration) {
    match news {
        News::Hangs { what, since } => {
            let seconds = now.saturating_sub(*since).as_secs();
            tracing::warn!("the share does not answer: {what} has taken {seconds} s so far");
        }
        News::CameBack { what } => tracing::info!("the share answers again: {what}"),
    }
}

fn discover(system: &System, share: &Share, known: &HashSet<WriterId>) -> Result<Discovered, RelayError> {
    let found = match zoutbox_reader::writers(system, share) {
        Err(error) if error.kind() == ErrorKind::Missing => {
            // With its marker gone too, there is nothing to come back to.
            Share::open(system, share.layout.root())?;
            return Err(error.into());
        }
        other => other?,
    };
    let mut discovered = Discovered { new: Vec::new(), ignored: found.ignored, omitted: found.omitted };
    for writer in found.writers.into_iter().filter(|writer| !known.contains(writer)) {
        let start = start_of(system, share, &writer)?;
        discovered.new.push((writer, start));
    }
    Ok(discovered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::Ground;

    #[tokio::test]
    async fn however_many_calls_hang_the_lease_is_proven() {
        let ground = Ground::quick();
        let lease = Arc::new(Lease::try_take(&ground.system, &ground.share).unwrap().unwrap());
        let (jobs, mut done) = Jobs::new(ground.system.clone(), ground.share.clone(), lease, Crew::Threads);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let ended = Arc::new(Mutex::new(ended));
        let [reads, others, removals] = [&jobs.reads, &jobs.others, &jobs.removals];
        for (permits, most) in [(reads, READS), (others, OTHERS), (removals, REMOVALS), (&jobs.sweeps, 1)] {
            for _ in 0..most {
                let ended = Arc::clone(&ended);
                jobs.run(permits, None, "hanging".to_owned(), move |_, _| {
                    ended.lock().unwrap_or_else(PoisonError::into_inner).recv().unwrap_err();
                    Done::Discovered(Ok(Discovered::default()))
                });
            }
        }
        jobs.prove();
        let first = tokio::time::timeout(Duration::from_mins(1), done.recv()).await;
        drop(end);
        assert!(matches!(first, Ok(Some(Done::Proven(Ok(()))))), "it waits for a call that hangs");
    }
}
