//! The writer as its callers see it, and the commit thread behind it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use zoutbox_format::{Record, WriterId};
use zoutbox_storage::mount::trust;
use zoutbox_storage::{DiskFile, ErrorKind, Share, StorageError, System};

use crate::aside::{Aside, look};
use crate::bell::Bell;
use crate::context::Context;
use crate::error::WriterError;
use crate::log::{Log, Start};
use crate::options::{Options, WhenFull};
use crate::payload::{Again, New, Payloads, Placed};
use crate::queue::Group;
use crate::recover::recover;
use crate::shared::{Next, Shared};
use crate::ticket::{Completion, Outcome, Ticket};
use crate::waiting::Waiting;

/// An open writer: the one live process that appends under its id.
///
/// `&Writer` can be shared between threads; appends that come at the same time share one write and one sync. Dropping it
/// makes durable what was appended and releases the writer id, like [`Writer::close`], but leaves the active segment
/// unsealed (the next one's header will say where it ends) and tells no errors.
#[derive(Debug)]
pub struct Writer {
    system: System,
    shared: Arc<Shared>,
    payloads: Payloads,
    thread: Option<JoinHandle<Result<(), WriterError>>>,
}

impl Writer {
    /// Opens the writer `id` of the share at `root`, on the real disk. Blocks while it reads the end of the newest segment.
    ///
    /// # Errors
    /// [`WriterError::InvalidOption`] and [`WriterError::WriterId`] before anything is touched; [`WriterError::Locked`] when another
    /// live process has it open; [`WriterError::Storage`] when the root is no share, is mounted so that a promise does not hold
    /// ([`StorageError::UnsafeMount`]), or a call to it fails.
    pub fn open(root: impl AsRef<Path>, id: &str, options: Options) -> Result<Self, WriterError> {
        Self::open_with(System::real(), root, id, options)
    }

    /// As [`Writer::open`], in the world that `system` is.
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn open_with(
        system: System,
        root: impl AsRef<Path>,
        id: &str,
        options: Options,
    ) -> Result<Self, WriterError> {
        let (opened, payloads) = Opened::new(system.clone(), root.as_ref(), id, options)?;
        let shared = opened.shared.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("zoutbox-commit".into()).spawn(move || {
            let aside = Aside::threaded(opened.context.clone(), opened.shared.clone());
            match aside {
                Ok(aside) => {
                    drop(ready);
                    opened.committer(aside).run()
                }
                Err(error) => {
                    drop(ready.send(error));
                    Ok(())
                }
            }
        });
        let thread = thread.map_err(|error| no_thread(root.as_ref(), error))?;
        match is_ready.recv() {
            Ok(error) => Err(no_thread(root.as_ref(), error)),
            Err(_) => Ok(Self { system, shared, payloads, thread: Some(thread) }),
        }
    }

    /// Appends a record. Returns as soon as it is queued; it is durable when its ticket says so.
    ///
    /// The order of appends is the order of the log. With [`crate::WhenFull::Block`] it waits while a byte limit is reached.
    ///
    /// # Errors
    /// The record is then definitely not written: [`WriterError::Record`], [`WriterError::Full`], [`WriterError::Fenced`],
    /// [`WriterError::Closed`].
    pub fn append(&self, record: &Record) -> Result<Ticket, WriterError> {
        append(&self.system, &self.shared, record, self.shared.when_full())
    }

    /// As [`Writer::append`], but never waits: at a byte limit it returns [`WriterError::Full`], whatever [`Options::when_full`] says.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn try_append(&self, record: &Record) -> Result<Ticket, WriterError> {
        append(&self.system, &self.shared, record, WhenFull::Fail)
    }

    /// Appends a record whose payload is read from `input` to its end, however long that is.
    ///
    /// At most [`Options::payload_threshold`] bytes become the record's own payload. More of them are written to a file of their own
    /// on the share, with one buffer's memory (1 MiB, besides the threshold), while this call blocks; then the record is queued that
    /// names the file. As with [`Writer::append`], it is durable when its ticket says so, and then the payload is, too.
    ///
    /// **Retries.** A record with an [id](Record::id) names its payload by it: 1 to 200 characters of `A-Z a-z 0-9 . _ -`, a letter
    /// or digit first. An id stands for one payload for ever. Where a finished file of that id is found, left by a try that failed
    /// or was killed, nothing is written again and nothing of it is read; `input` is read through all the same, for its size and
    /// CRC, and its size must be the file's. The file is looked for in the directory of the record's
    /// [time](Record::timestamp_ms), or if it has none, in those of this hour and of the 24 before; the record then gets a time in that
    /// hour, whole hours before now. So a retry that repeats the time finds its file at any later date, and an append that gives it
    /// looks in one place only. When a file was found, the call returns only when the record is durable and the file still there.
    /// A record without an id gets a random one for its file, and is never found again.
    ///
    /// **Full.** A payload that does not fit (a quota, no space, or [`Options::min_free_space`] bytes would not stay free) fails with
    /// an error of kind [full](ErrorKind::Full) and is removed, also with [`WhenFull::Block`]: its input can't be read twice. With an
    /// id, an append that is refused later than that (closed, say) leaves its file for a retry.
    ///
    /// # Errors
    /// Nothing is written before the record is found to be sound: [`WriterError::PayloadId`] for an id that can't name a payload,
    /// [`WriterError::Record`] if the record has a payload of its own or is beyond a limit. Then, with the record definitely not
    /// written: [`WriterError::Input`], [`WriterError::OtherPayload`] if the id's file has another size, [`WriterError::PayloadBusy`],
    /// [`WriterError::Storage`], and those of [`Writer::append`]. And [`WriterError::PayloadGone`] if the record is durable and the
    /// file that was found was removed meanwhile.
    pub fn append_payload(&self, record: &Record, mut input: impl Read) -> Result<Ticket, WriterError> {
        let appending = Appending { system: &self.system, shared: &self.shared, payloads: &self.payloads };
        appending.append(record, &mut input, |ticket| drop(ticket.settled()))
    }

    /// Blocks until everything that was appended before is durable; on a full share, with [`WhenFull::Block`], until there is room.
    ///
    /// # Errors
    /// The first error of an append that was still on its way; each ticket has its own as well.
    pub fn flush(&self) -> Result<(), WriterError> {
        flush(&self.shared)
    }

    /// Makes durable what was appended, seals the active segment, and releases the writer id.
    ///
    /// On a full share it waits for room at most [`Options::close_patience`]; for a call to the share that hangs, as long as that does.
    ///
    /// # Errors
    /// As [`Writer::flush`]; or that sealing failed, which loses nothing: the next open goes on behind what is there.
    pub fn close(mut self) -> Result<(), WriterError> {
        let unfinished = self.shared.unfinished();
        // At once, so that nobody waits for room any longer than a close may.
        self.shared.close(true);
        let flushed = unfinished.and_then(|unfinished| wait_for(&unfinished));
        let sealed = self.stop(true);
        flushed.and(sealed)
    }

    fn stop(&mut self, seal: bool) -> Result<(), WriterError> {
        self.shared.close(seal);
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(WriterError::Stopped { unknown: false }),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.stop(false) {
            tracing::warn!(%error, "a writer that was dropped did not end orderly");
        }
    }
}

/// A writer without threads, for simulators: nothing is committed but by [`Stepped::step`].
///
/// It never waits, so use [`crate::WhenFull::Fail`]; with [`crate::WhenFull::Block`] an append at a limit waits for ever, and a commit
/// for which the share has no room is tried again by the next step. Dropping it is what a crash is: nothing more is written, and every ticket without an outcome gets [`WriterError::Stopped`].
pub struct Stepped {
    system: System,
    shared: Arc<Shared>,
    payloads: Payloads,
    committer: Committer,
}

impl Stepped {
    /// As [`Writer::open_with`].
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn open(
        system: System,
        root: impl AsRef<Path>,
        id: &str,
        options: Options,
    ) -> Result<Self, WriterError> {
        let (opened, payloads) = Opened::new(system.clone(), root.as_ref(), id, options)?;
        let shared = opened.shared.clone();
        let aside = Aside::in_place(opened.context.clone(), shared.clone());
        Ok(Self { system, shared, payloads, committer: opened.committer(aside) })
    }

    /// As [`Writer::append`].
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn append(&self, record: &Record) -> Result<Ticket, WriterError> {
        append(&self.system, &self.shared, record, self.shared.when_full())
    }

    /// As [`Writer::append_payload`]. Where that waits, because a file was found, this commits what is queued; a commit for which the
    /// share has no room then fails instead of being tried again.
    ///
    /// # Errors
    /// As [`Writer::append_payload`].
    pub fn append_payload(&mut self, record: &Record, mut input: impl Read) -> Result<Ticket, WriterError> {
        let Self { system, shared, payloads, committer } = self;
        Appending { system, shared, payloads }.append(record, &mut input, |ticket| {
            while ticket.outcome().is_none() && committer.step() {
                committer.give_up();
            }
        })
    }

    /// Tries to make one commit of what is queued; false when nothing is.
    pub fn step(&mut self) -> bool {
        self.committer.step()
    }

    /// Makes the next segment's file ahead, as the second thread of a [`Writer`] would.
    pub fn prepare_ahead(&mut self) {
        self.committer.log.prepare_in_place();
    }

    /// Does what is due by the clock: looks at the share for the limits, seals a segment that is too old, rings the relay's
    /// doorbell, and looks for where that is.
    pub fn tick(&mut self) {
        self.committer.log.rotate_if_aged();
        self.shared.looked(look(&self.committer.context));
        if let Some(bell) = &mut self.committer.bell {
            bell.ring_if_due();
            bell.look_here();
        }
    }

    /// Commits what is queued, seals the active segment and releases the writer id.
    ///
    /// # Errors
    /// That sealing failed.
    pub fn close(mut self) -> Result<(), WriterError> {
        while self.step() {
            self.committer.give_up();
        }
        self.committer.finish(true)
    }
}

struct Opened {
    context: Arc<Context>,
    shared: Arc<Shared>,
    start: Start,
    bell: Option<Bell>,
}

impl Opened {
    fn new(system: System, root: &Path, id: &str, options: Options) -> Result<(Self, Payloads), WriterError> {
        options.validate()?;
        let writer = WriterId::new(id)?;
        let share = Share::open(&system, root)?;
        let write_size = trusted(&system, &share.layout.writer(&writer), &options)?;
        let payloads = Payloads::new(&system, &share, &writer, &options, write_size);
        let options = options.for_write_size(write_size);
        let shared = Arc::new(Shared::new(&writer, &options));
        let bell = options.doorbell.then(|| Bell::new(&system, &share, &writer));
        let recovered = recover(system, share, &writer, options)?;
        shared.found(&recovered.segments, look(&recovered.context));
        let context = Arc::new(recovered.context);
        Ok((Self { context, shared, start: recovered.start, bell }, payloads))
    }

    fn committer(self, aside: Aside) -> Committer {
        let log = Log::new(self.context.clone(), aside, self.start);
        let closing = None;
        Committer { context: self.context, shared: self.shared, log, bell: self.bell, waiting: None, closing }
    }
}

/// Refuses a mount that breaks a promise. Returns the most that it writes at a time, if it says so.
fn trusted(system: &System, directory: &Path, options: &Options) -> Result<Option<u64>, WriterError> {
    let trusted = trust(&*system.disk, directory, options.accept_unsafe_mount)?;
    for warning in trusted.warnings {
        tracing::warn!("{warning}");
    }
    Ok(trusted.mount.and_then(|mount| mount.write_size()))
}

/// Takes groups from the queue and commits them. However it ends, a panic included, no ticket stays without an outcome.
struct Committer {
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
    fn run(mut self) -> Result<(), WriterError> {
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
    fn step(&mut self) -> bool {
        if self.waiting.is_some() {
            self.try_again();
            return true;
        }
        let group = self.shared.take();
        group.map(|group| self.commit(group)).is_some()
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
    fn give_up(&mut self) {
        if let Some((group, full)) = self.waiting.take().and_then(Waiting::into_parts) {
            let error = self.log.give_up(&group.bodies, full);
            self.finish_group(Outcome::Failed(error), Duration::ZERO);
        }
    }

    fn finish(&mut self, seal: bool) -> Result<(), WriterError> {
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

fn append(
    system: &System,
    shared: &Shared,
    record: &Record,
    when_full: WhenFull,
) -> Result<Ticket, WriterError> {
    let mut body = Vec::new();
    record.borrowed(system.clock.now_ms()).encode(&mut body)?;
    shared.append(body, None, when_full, || system.clock.monotonic())
}

/// What an append of a payload needs, with or without threads.
struct Appending<'a> {
    system: &'a System,
    shared: &'a Shared,
    payloads: &'a Payloads,
}

impl Appending<'_> {
    /// `wait` returns when the ticket has an outcome.
    fn append(
        &self,
        record: &Record,
        input: &mut dyn Read,
        wait: impl FnOnce(&Ticket),
    ) -> Result<Ticket, WriterError> {
        // Nobody should have to stream a payload to learn that.
        self.shared.check_open()?;
        match self.payloads.place(record, input)? {
            Placed::Inline(record) => append(self.system, self.shared, &record, self.shared.when_full()),
            Placed::New(New { body, file, nobody_elses }) => {
                let queued = self.queue(body, Some(file));
                if queued.is_err() {
                    self.payloads.discard(nobody_elses);
                }
                queued
            }
            Placed::Again(again) => self.append_again(again, wait),
        }
    }

    fn append_again(&self, again: Again, wait: impl FnOnce(&Ticket)) -> Result<Ticket, WriterError> {
        let ticket = self.queue(again.body.clone(), None)?;
        wait(&ticket);
        // Whatever became of the record: where that is unknown, somebody may read it.
        match (self.payloads.confirm(&again), ticket.outcome()) {
            (Err(source), Some(Ok(record))) => {
                Err(WriterError::PayloadGone { record, path: again.path.clone(), source: Box::new(source) })
            }
            _ => Ok(ticket),
        }
    }

    fn queue(&self, body: Vec<u8>, held: Option<Box<dyn DiskFile>>) -> Result<Ticket, WriterError> {
        self.shared.append(body, held, self.shared.when_full(), || self.system.clock.monotonic())
    }
}

fn flush(shared: &Shared) -> Result<(), WriterError> {
    wait_for(&shared.unfinished()?)
}

fn wait_for(unfinished: &[Arc<Completion>]) -> Result<(), WriterError> {
    let mut result = Ok(());
    for completion in unfinished {
        if let Outcome::Failed(error) = completion.wait() {
            result = result.and(Err(error.clone()));
        }
    }
    result
}

fn no_thread(root: &Path, source: std::io::Error) -> WriterError {
    let operation = zoutbox_storage::Operation::Create;
    StorageError::Io { operation, path: root.to_owned(), offset: None, source }.into()
}
