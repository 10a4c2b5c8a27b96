//! What callers and the writer's threads share: the queue and the limits behind one short lock.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zoutbox_format::frame::SEAL_LENGTH;
use zoutbox_format::header::HEADER_LENGTH;
use zoutbox_format::{SegmentId, WriterId};
use zoutbox_storage::DiskFile;

use crate::aside::Job;
use crate::error::WriterError;
use crate::gather::Gather;
use crate::limits::{Limits, Look};
use crate::options::{Options, WhenFull};
use crate::queue::{Group, Queue, framed};
use crate::ticket::{Completion, Outcome, Ticket};

/// How often the share is looked at for the limits, at most.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// The commit thread waits here for records.
    work: Condvar,
    /// Callers wait here for room.
    room: Condvar,
    when_full: WhenFull,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    limits: Limits,
    phase: Phase,
    /// The commit thread waits, until there are so many records.
    committer_wants: Option<usize>,
    gather: Gather,
    /// How many records are being committed.
    taken: usize,
    callers_wait: usize,
    looks: Option<Sender<Job>>,
    look_pending: bool,
    last_look: Option<Duration>,
}

#[derive(Debug)]
enum Phase {
    Open,
    /// What is queued is still committed; nothing new comes in.
    Closing {
        seal: bool,
    },
    /// Nobody commits any more.
    Ended(WriterError),
}

/// What the commit thread is to do next.
pub(crate) enum Next {
    Commit(Group),
    /// The time it wanted to be woken at has come.
    Aged,
    End {
        seal: bool,
    },
}

impl Shared {
    pub(crate) fn new(writer: &WriterId, options: &Options) -> Self {
        // Header and first commit of a segment must fit one write, and with the seal a segment of the chosen size.
        let group_bytes = options
            .commit_bytes
            .min(options.segment_size.saturating_sub(SEAL_LENGTH))
            .saturating_sub(HEADER_LENGTH as u64);
        Self {
            state: Mutex::new(State {
                queue: Queue::new(Arc::new(writer.clone()), group_bytes),
                limits: Limits::new(options),
                phase: Phase::Open,
                committer_wants: None,
                gather: Gather::new(),
                taken: 0,
                callers_wait: 0,
                looks: None,
                look_pending: false,
                last_look: None,
            }),
            work: Condvar::new(),
            room: Condvar::new(),
            when_full: options.when_full,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an encoded record; at a limit, does what `when_full` says. `held` stays open until the record has its outcome. `now` is
    /// the monotonic clock.
    pub(crate) fn append(
        &self,
        body: Vec<u8>,
        held: Option<Box<dyn DiskFile>>,
        when_full: WhenFull,
        now: impl Fn() -> Duration,
    ) -> Result<Ticket, WriterError> {
        let bytes = framed(&body);
        let mut state = self.lock();
        loop {
            state.open()?;
            let waiting = state.queue.bytes();
            if state.looks.is_some() && state.limits.near(waiting.saturating_add(bytes)) {
                state.request_look(now());
            }
            match state.limits.admit(bytes, waiting) {
                Ok(()) => break,
                Err(full) if when_full == WhenFull::Fail => return Err(full),
                Err(_) => {
                    state.callers_wait += 1;
                    let waited = self.room.wait_timeout(state, LOOK_PAUSE);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    state.callers_wait -= 1;
                }
            }
        }
        let ticket = state.queue.push(body);
        if let Some(file) = held {
            state.queue.hold(file);
        }
        let (waiting, full) = (state.queue.waiting(), state.queue.is_next_full());
        let wake = state.committer_wants.take_if(|wanted| waiting >= *wanted || full).is_some();
        drop(state);
        if wake {
            self.work.notify_one();
        }
        Ok(ticket)
    }

    /// Waits for something to commit, at most `patience`. `now` is the monotonic clock.
    pub(crate) fn next(&self, patience: Option<Duration>, now: impl Fn() -> Duration) -> Next {
        let mut state = self.lock();
        let mut aged = false;
        loop {
            let waiting = state.queue.waiting();
            match state.phase {
                Phase::Open if waiting > 0 => {
                    state = self.gather(state, now);
                    return state.take().map_or(Next::Aged, Next::Commit);
                }
                Phase::Open if aged => return Next::Aged,
                Phase::Open => (state, aged) = self.wait_for(state, 1, patience),
                Phase::Closing { .. } if waiting > 0 => {
                    return state.take().map_or(Next::Aged, Next::Commit);
                }
                Phase::Closing { seal } => return Next::End { seal },
                Phase::Ended(_) => return Next::End { seal: false },
            }
        }
    }

    /// Waits for callers that are about to come back, if that pays.
    fn gather<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        now: impl Fn() -> Duration,
    ) -> MutexGuard<'a, State> {
        let before = state.queue.waiting();
        let Some((enough, patience)) = state.gather.plan(before) else { return state };
        let start = now();
        let mut timed_out = false;
        loop {
            let waited = now().saturating_sub(start);
            let after = state.queue.waiting();
            let ready = after >= enough || state.queue.is_next_full() || !matches!(state.phase, Phase::Open);
            // The wait that ran out counts too: it does not go by the clock of the seam, which may stand still.
            if ready || timed_out || waited >= patience {
                state.gather.gathered(before, after, waited);
                return state;
            }
            (state, timed_out) = self.wait_for(state, enough, Some(patience.saturating_sub(waited)));
        }
    }

    /// Waits until there are `enough` records, at most `patience`; whether that ran out comes with it.
    fn wait_for<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        enough: usize,
        patience: Option<Duration>,
    ) -> (MutexGuard<'a, State>, bool) {
        state.committer_wants = Some(enough);
        let (mut state, timed_out) = match patience {
            None => (self.work.wait(state).unwrap_or_else(PoisonError::into_inner), false),
            Some(patience) => {
                let waited = self.work.wait_timeout(state, patience);
                let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                (state, timeout.timed_out())
            }
        };
        state.committer_wants = None;
        (state, timed_out)
    }

    /// Takes what can be committed now, without waiting.
    pub(crate) fn take(&self) -> Option<Group> {
        self.lock().take()
    }

    /// The group in flight has its outcome: makes room, then tells its tickets.
    pub(crate) fn finish(&self, outcome: Outcome, took: Duration, end: Option<(SegmentId, u64)>) {
        let mut state = self.lock();
        let (records, waiting) = (state.taken, state.queue.waiting());
        state.gather.committed(records, took, waiting);
        if let Some((id, end)) = end {
            state.limits.written(id, end);
        }
        let completion = state.queue.finish();
        let wake = state.callers_wait > 0;
        drop(state);
        if wake {
            self.room.notify_all();
        }
        if let Some(completion) = completion {
            completion.complete(outcome);
        }
    }

    /// That records are taken at all.
    pub(crate) fn check_open(&self) -> Result<(), WriterError> {
        self.lock().open()
    }

    pub(crate) fn unfinished(&self) -> Result<Vec<Arc<Completion>>, WriterError> {
        let state = self.lock();
        match &state.phase {
            Phase::Ended(error) => Err(error.clone()),
            Phase::Open | Phase::Closing { .. } => Ok(state.queue.unfinished()),
        }
    }

    /// Nothing new comes in any more.
    pub(crate) fn close(&self, seal: bool) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Open) {
            state.phase = Phase::Closing { seal };
        }
        drop(state);
        self.work.notify_all();
        self.room.notify_all();
    }

    /// Nobody commits any more: every ticket without an outcome gets one, and whoever waits for room an error.
    pub(crate) fn end(&self, error: &WriterError, in_flight: WriterError) {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Ended(_)) {
            state.phase = Phase::Ended(error.clone());
        }
        let queued = state.queue.drain();
        let writing = state.queue.finish();
        drop(state);
        if let Some(completion) = writing {
            completion.complete(Outcome::Failed(in_flight));
        }
        for group in queued {
            group.completion.complete(Outcome::Failed(error.clone()));
        }
        self.room.notify_all();
    }

    pub(crate) fn looks_go_to(&self, jobs: Sender<Job>) {
        self.lock().looks = Some(jobs);
    }

    pub(crate) fn looks_go_nowhere(&self) {
        self.lock().looks = None;
    }

    pub(crate) fn when_full(&self) -> WhenFull {
        self.when_full
    }

    /// Whether nothing new comes in any more.
    pub(crate) fn is_closing(&self) -> bool {
        !matches!(self.lock().phase, Phase::Open)
    }

    /// What lies on the share when the writer is opened.
    pub(crate) fn found(&self, segments: &[(SegmentId, u64)], look: Look) {
        let mut state = self.lock();
        for (id, end) in segments {
            state.limits.written(*id, *end);
        }
        state.limits.looked(look);
    }

    pub(crate) fn looked(&self, look: Look) {
        let mut state = self.lock();
        state.limits.looked(look);
        state.look_pending = false;
        drop(state);
        self.room.notify_all();
    }
}

impl State {
    fn take(&mut self) -> Option<Group> {
        let group = self.queue.take()?;
        self.taken = group.bodies.len();
        Some(group)
    }

    fn open(&self) -> Result<(), WriterError> {
        match &self.phase {
            Phase::Open => Ok(()),
            Phase::Closing { .. } => Err(WriterError::Closed),
            Phase::Ended(error) => Err(error.clone()),
        }
    }

    fn request_look(&mut self, now: Duration) {
        let fresh = self.last_look.is_some_and(|last| now.saturating_sub(last) < LOOK_PAUSE);
        if self.look_pending || fresh {
            return;
        }
        self.last_look = Some(now);
        self.look_pending = self.looks.as_ref().is_some_and(|jobs| jobs.send(Job::Look).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commit before took a second by a clock that has stood still since: the wait for who may come back ends all the same.
    #[test]
    fn waiting_for_more_records_ends_also_by_a_clock_that_stands_still() {
        let writer = WriterId::new("orders").unwrap();
        let shared = Arc::new(Shared::new(&writer, &Options::default()));
        let append = || drop(shared.append(vec![0; 10], None, WhenFull::Fail, || Duration::ZERO).unwrap());
        append();
        append();
        assert_eq!(shared.take().unwrap().bodies.len(), 2);
        append();
        shared.finish(Outcome::Failed(WriterError::Closed), Duration::from_secs(1), None);
        let (tell, told) = std::sync::mpsc::channel();
        let committer = Arc::clone(&shared);
        std::thread::spawn(move || tell.send(committer.next(None, || Duration::ZERO)));
        match told.recv_timeout(Duration::from_secs(20)) {
            Ok(Next::Commit(group)) => assert_eq!(group.bodies.len(), 1),
            Ok(_) => panic!("something else than the record that waits"),
            Err(error) => panic!("it waits for two more that never come: {error}"),
        }
    }
}
