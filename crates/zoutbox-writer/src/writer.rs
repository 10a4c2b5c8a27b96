//! The writer as its callers see it: with its threads, or stepped without.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use zoutbox_format::{Record, WriterId};
use zoutbox_storage::mount::trust;
use zoutbox_storage::{Share, StorageError, System};

use crate::aside::{Aside, look};
use crate::bell::Bell;
use crate::committer::Committer;
use crate::context::Context;
use crate::error::WriterError;
use crate::intake::Intake;
use crate::log::{Log, Start};
use crate::options::{Options, WhenFull};
use crate::payload::Payloads;
use crate::recover::recover;
use crate::shared::Shared;
use crate::ticket::{Completion, Outcome, Ticket};

/// An open writer: the one live process that appends under its id.
///
/// `&Writer` can be shared between threads; appends that come at the same time share one write and one sync. Dropping it
/// makes durable what was appended and releases the writer id, like [`Writer::close`], but leaves the active segment
/// unsealed (the next one's header will say where it ends) and tells no errors.
#[derive(Debug)]
pub struct Writer {
    intake: Intake,
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
        let (opened, intake) = Opened::new(system, root.as_ref(), id, options)?;
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
            Err(_) => Ok(Self { intake, thread: Some(thread) }),
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
        self.intake.append(record, self.intake.shared.when_full())
    }

    /// As [`Writer::append`], but never waits: at a byte limit it returns [`WriterError::Full`], whatever [`Options::when_full`] says.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn try_append(&self, record: &Record) -> Result<Ticket, WriterError> {
        self.intake.append(record, WhenFull::Fail)
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
    /// an error of kind [full](zoutbox_storage::ErrorKind::Full) and is removed, also with [`WhenFull::Block`]: its input can't be read twice. With an
    /// id, an append that is refused later than that (closed, say) leaves its file for a retry.
    ///
    /// # Errors
    /// Nothing is written before the record is found to be sound: [`WriterError::PayloadId`] for an id that can't name a payload,
    /// [`WriterError::Record`] if the record has a payload of its own or is beyond a limit. Then, with the record definitely not
    /// written: [`WriterError::Input`], [`WriterError::OtherPayload`] if the id's file has another size, [`WriterError::PayloadBusy`],
    /// [`WriterError::Storage`], and those of [`Writer::append`]. And [`WriterError::PayloadGone`] if the record is durable and the
    /// file that was found was removed meanwhile.
    pub fn append_payload(&self, record: &Record, mut input: impl Read) -> Result<Ticket, WriterError> {
        self.intake.append_payload(record, &mut input, |ticket| drop(ticket.settled()))
    }

    /// Blocks until everything that was appended before is durable; on a full share, with [`WhenFull::Block`], until there is room.
    ///
    /// # Errors
    /// The first error of an append that was still on its way; each ticket has its own as well.
    pub fn flush(&self) -> Result<(), WriterError> {
        wait_for(&self.intake.shared.unfinished()?)
    }

    /// Makes durable what was appended, seals the active segment, and releases the writer id.
    ///
    /// On a full share it waits for room at most [`Options::close_patience`]; for a call to the share that hangs, as long as that does.
    ///
    /// # Errors
    /// As [`Writer::flush`]; or that sealing failed, which loses nothing: the next open goes on behind what is there.
    pub fn close(mut self) -> Result<(), WriterError> {
        let unfinished = self.intake.shared.unfinished();
        // At once, so that nobody waits for room any longer than a close may.
        self.intake.shared.close(true);
        let flushed = unfinished.and_then(|unfinished| wait_for(&unfinished));
        let sealed = self.stop(true);
        flushed.and(sealed)
    }

    fn stop(&mut self, seal: bool) -> Result<(), WriterError> {
        self.intake.shared.close(seal);
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
    intake: Intake,
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
        let (opened, intake) = Opened::new(system, root.as_ref(), id, options)?;
        let aside = Aside::in_place(opened.context.clone(), opened.shared.clone());
        Ok(Self { intake, committer: opened.committer(aside) })
    }

    /// As [`Writer::append`].
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn append(&self, record: &Record) -> Result<Ticket, WriterError> {
        self.intake.append(record, self.intake.shared.when_full())
    }

    /// As [`Writer::append_payload`]. Where that waits, because a file was found, this commits what is queued; a commit for which the
    /// share has no room then fails instead of being tried again.
    ///
    /// # Errors
    /// As [`Writer::append_payload`].
    pub fn append_payload(&mut self, record: &Record, mut input: impl Read) -> Result<Ticket, WriterError> {
        let Self { intake, committer } = self;
        intake.append_payload(record, &mut input, |ticket| {
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
        self.committer.prepare_in_place();
    }

    /// Does what is due by the clock: looks at the share for the limits, seals a segment that is too old, rings the relay's
    /// doorbell, and looks for where that is.
    pub fn tick(&mut self) {
        self.intake.shared.looked(self.committer.tick());
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
    fn new(system: System, root: &Path, id: &str, options: Options) -> Result<(Self, Intake), WriterError> {
        options.validate()?;
        let writer = WriterId::new(id)?;
        let share = Share::open(&system, root)?;
        let write_size = trusted(&system, &share.layout.writer(&writer), &options)?;
        let payloads = Payloads::new(&system, &share, &writer, &options, write_size);
        let options = options.for_write_size(write_size);
        let shared = Arc::new(Shared::new(&writer, &options));
        let intake = Intake { system: system.clone(), shared: shared.clone(), payloads };
        let bell = options.doorbell.then(|| Bell::new(&system, &share, &writer));
        let recovered = recover(system, share, &writer, options)?;
        shared.found(&recovered.segments, look(&recovered.context));
        let context = Arc::new(recovered.context);
        Ok((Self { context, shared, start: recovered.start, bell }, intake))
    }

    fn committer(self, aside: Aside) -> Committer {
        let log = Log::new(self.context.clone(), aside, self.start);
        Committer::new(self.context, self.shared, log, self.bell)
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
