//! The second thread: what must not show in append latency is done there, in order.
//!
//! ```text
//!   commit thread ──prepare, seal, look──▶ aside thread ──a prepared file──▶ commit thread
//! ```
//!
//! Without the thread (when the cores are stepped by a simulator) the same work is done in place. If the thread is gone, so
//! it is too: nothing here can stop appends.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use zoutbox_format::checkpoint::CHECKPOINT_LENGTH;
use zoutbox_format::{Checkpoint, Epoch};

use crate::context::Context;
use crate::error::WriterError;
use crate::limits::Look;
use crate::prepare::{Prepared, prepare, remove, seal};
use crate::segment::Active;
use crate::shared::Shared;

/// A piece of work for the second thread.
pub(crate) enum Job {
    Prepare { epoch: Epoch, zeros: u64 },
    Seal(Box<Active>),
    Look,
}

/// Where that work goes.
pub(crate) struct Aside {
    context: Arc<Context>,
    shared: Arc<Shared>,
    thread: Option<Thread>,
    prepared: Option<Prepared>,
    /// What a thread would be preparing.
    wanted: Option<(Epoch, u64)>,
}

struct Thread {
    jobs: Sender<Job>,
    prepared: Receiver<Result<Prepared, WriterError>>,
    outstanding: bool,
    handle: JoinHandle<()>,
}

impl Aside {
    /// Work is done in place.
    pub(crate) fn in_place(context: Arc<Context>, shared: Arc<Shared>) -> Self {
        Self { context, shared, thread: None, prepared: None, wanted: None }
    }

    /// Work is done by a thread of its own.
    pub(crate) fn threaded(context: Arc<Context>, shared: Arc<Shared>) -> Result<Self, std::io::Error> {
        let (jobs, todo) = channel();
        let (done, prepared) = channel();
        let (its_context, its_shared) = (context.clone(), shared.clone());
        let handle = std::thread::Builder::new().name("zoutbox-aside".into()).spawn(move || {
            for job in todo {
                if let Some(result) = run(&its_context, &its_shared, job) {
                    // Nobody takes it any more when the writer has just ended.
                    if let Err(unclaimed) = done.send(result) {
                        unclaimed.0.iter().for_each(|prepared| remove(&its_context, &prepared.path));
                    }
                }
            }
        })?;
        shared.looks_go_to(jobs.clone());
        let thread = Thread { jobs, prepared, outstanding: false, handle };
        Ok(Self { context, shared, thread: Some(thread), prepared: None, wanted: None })
    }

    /// Does in place what a thread would do ahead.
    pub(crate) fn prepare_in_place(&mut self) {
        if let Some((epoch, zeros)) = self.wanted.take().filter(|_| self.prepared.is_none()) {
            self.prepared = prepare(&self.context, epoch, zeros).ok();
        }
    }

    /// Starts to make the next file, if one isn't being made already.
    pub(crate) fn prepare_ahead(&mut self, epoch: Epoch, zeros: u64) {
        self.wanted = Some((epoch, zeros));
        if let Some(thread) = self.thread.as_mut().filter(|thread| !thread.outstanding) {
            thread.outstanding = thread.jobs.send(Job::Prepare { epoch, zeros }).is_ok();
        }
    }

    /// Whether the next file is ready, so that taking it costs no waiting.
    pub(crate) fn is_prepared(&mut self) -> bool {
        if let Some(thread) = self.thread.as_mut().filter(|thread| thread.outstanding)
            && let Ok(result) = thread.prepared.try_recv()
        {
            thread.outstanding = false;
            self.prepared = result.ok();
        }
        self.prepared.is_some()
    }

    /// The next file: the one that was made ahead if it is good, else a new one.
    pub(crate) fn take_prepared(&mut self, epoch: Epoch) -> Result<Prepared, WriterError> {
        match self.await_prepared() {
            Some(prepared) if prepared.epoch == epoch => return Ok(prepared),
            Some(outdated) => remove(&self.context, &outdated.path),
            None => {}
        }
        prepare(&self.context, epoch, 0)
    }

    fn await_prepared(&mut self) -> Option<Prepared> {
        if let Some(thread) = self.thread.as_mut().filter(|thread| thread.outstanding) {
            thread.outstanding = false;
            match thread.prepared.recv() {
                Ok(Ok(prepared)) => self.prepared = Some(prepared),
                Ok(Err(error)) => tracing::debug!(%error, "no segment was prepared ahead"),
                Err(_) => tracing::error!("the aside thread has ended"),
            }
        }
        self.prepared.take()
    }

    /// Seals a segment.
    pub(crate) fn seal(&self, active: Active) {
        self.give(Job::Seal(Box::new(active)));
    }

    /// Looks at the share for what the limits need to know.
    pub(crate) fn look(&self) {
        self.give(Job::Look);
    }

    fn give(&self, job: Job) {
        let left = match &self.thread {
            Some(thread) => thread.jobs.send(job).err().map(|refused| refused.0),
            None => Some(job),
        };
        if let Some(job) = left {
            run(&self.context, &self.shared, job);
        }
    }

    /// Ends the thread when it has done everything, and removes the file that was made for nothing.
    pub(crate) fn finish(&mut self) {
        if let Some(unused) = self.await_prepared() {
            remove(&self.context, &unused.path);
        }
        self.shared.looks_go_nowhere();
        if let Some(thread) = self.thread.take() {
            drop(thread.jobs);
            if thread.handle.join().is_err() {
                tracing::error!("the aside thread has ended unexpectedly");
            }
        }
    }
}

fn run(context: &Context, shared: &Shared, job: Job) -> Option<Result<Prepared, WriterError>> {
    match job {
        Job::Prepare { epoch, zeros } => return Some(prepare(context, epoch, zeros)),
        Job::Seal(active) => {
            if let Err(error) = seal(context, &active) {
                tracing::warn!(segment = %active.path.display(), %error, "the segment stays unsealed");
            }
        }
        Job::Look => shared.looked(look(context)),
    }
    None
}

/// Looks at the share. What can't be seen is as if there were no limit on it (space) or nothing new (checkpoint): a write will
/// tell soon enough.
pub(crate) fn look(context: &Context) -> Look {
    let options = &context.options;
    let disk = &context.system.disk;
    let space = (options.min_free_space > 0).then(|| disk.space(&context.directory).ok()).flatten();
    let confirmed = options.unconfirmed_limit.and_then(|_| checkpoint(context));
    Look { available: space.map(|space| space.available), confirmed: confirmed.map(|it| it.position) }
}

/// The relay's checkpoint of this writer, if there is a sound one.
pub(crate) fn checkpoint(context: &Context) -> Option<Checkpoint> {
    let path = context.share.layout.checkpoint(&context.writer);
    let bytes = context.system.read_small(&path, CHECKPOINT_LENGTH + 1).ok()?;
    let checkpoint = Checkpoint::decode(&bytes).ok()?;
    let ours = checkpoint.share == context.share.id && checkpoint.writer == context.writer;
    ours.then_some(checkpoint)
}
