//! Waits for records to become durable, in the order of the input, and says so.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use zoutbox_format::RecordId;
use zoutbox_storage::{ErrorKind, System};
use zoutbox_writer::{Ticket, Writer, WriterError};

use super::signals::{Interrupts, StopHandle};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// How many records can be in flight. What bounds their bytes is the writer's memory limit.
const IN_FLIGHT: usize = 64 * 1024;
/// How long after a signal acknowledgements may still wait for somebody to read them.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// A record in flight, and the line it came from.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) line: u64,
    pub(super) ticket: Ticket,
}

/// What became of all records.
#[derive(Debug, Default)]
pub(super) struct Acked {
    pub(super) printed: u64,
    /// The first record that is not durable, or an output that can't be written.
    pub(super) failure: Option<Failure>,
}

/// The thread that waits.
#[derive(Debug)]
pub(super) struct Acks {
    queue: SyncSender<Sent>,
    thread: JoinHandle<Acked>,
}

impl Acks {
    pub(super) fn start(print: bool, stop: StopHandle) -> Result<Self, Failure> {
        let (queue, sent) = sync_channel(IN_FLIGHT);
        let body = move || Waiting { print, stop: Some(stop), acked: Acked::default() }.run(&sent);
        let thread = std::thread::Builder::new().name("acks".into()).spawn(body);
        let thread = thread
            .map_err(|error| Failure::new(Exit::Temporary, format!("can't start a thread: {error}")))?;
        Ok(Self { queue, thread })
    }

    /// Hands a record over; gives it back if too many are in flight.
    pub(super) fn send(&self, sent: Sent) -> Result<(), Sent> {
        match self.queue.try_send(sent) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(sent) | TrySendError::Disconnected(sent)) => Err(sent),
        }
    }

    /// Waits until all are durable and acknowledged, and closes the writer; a signal ends the wait for room on a full share. After a
    /// signal acknowledgements don't wait for ever either: whoever does not read must not keep this alive.
    pub(super) fn finish(
        self,
        system: &System,
        interrupts: &Interrupts,
        writer: Writer,
    ) -> Result<(Acked, Result<(), WriterError>), Failure> {
        drop(self.queue);
        let mut interrupt = None;
        while interrupt.is_none() && !interrupts.signalled() && !self.thread.is_finished() {
            interrupt = interrupts.pause().map_err(|error| unwaited(&error))?;
        }
        let closed = writer.close();
        let start = system.clock.monotonic();
        while interrupts.signalled() && !self.thread.is_finished() {
            if system.clock.monotonic().saturating_sub(start) > PATIENCE {
                return Ok((Acked { failure: Some(unread()), ..Acked::default() }, closed));
            }
            system.clock.sleep(Duration::from_millis(10));
        }
        let bug = |_| Acked {
            failure: Some(Failure::new(Exit::Io, "a thread died: this is a bug")),
            ..Acked::default()
        };
        Ok((self.thread.join().unwrap_or_else(bug), closed))
    }
}

struct Waiting {
    print: bool,
    /// Dropped to stop the reading.
    stop: Option<StopHandle>,
    acked: Acked,
}

impl Waiting {
    fn run(mut self, queue: &Receiver<Sent>) -> Acked {
        let mut output = Output::new();
        loop {
            let sent = match queue.try_recv() {
                Ok(sent) => sent,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    // The input pauses: what is durable is told now.
                    self.flush(&mut output);
                    let Ok(sent) = queue.recv() else { break };
                    sent
                }
            };
            let line = sent.line;
            match self.outcome(sent.ticket, &mut output) {
                Ok(id) => self.durable(&id, &mut output),
                Err(error) => self.fail(not_durable(line, &error)),
            }
        }
        self.flush(&mut output);
        self.acked
    }

    fn outcome(&mut self, ticket: Ticket, output: &mut Output) -> Result<RecordId, WriterError> {
        ticket.outcome().unwrap_or_else(|| {
            // This may take a while: what is durable is told first.
            self.flush(output);
            ticket.wait()
        })
    }

    fn durable(&mut self, id: &RecordId, output: &mut Output) {
        if !self.print {
            return;
        }
        match output.line(&id.to_string()) {
            Err(failure) => self.fail(failure),
            Ok(()) if output.is_closed() => self.stop = None,
            Ok(()) => self.acked.printed += 1,
        }
    }

    fn flush(&mut self, output: &mut Output) {
        match output.flush() {
            Err(failure) => self.fail(failure),
            Ok(()) if output.is_closed() => self.stop = None,
            Ok(()) => {}
        }
    }

    /// Keeps the first failure, and stops the reading. What is in flight is still waited for: it may be durable.
    fn fail(&mut self, failure: Failure) {
        self.acked.failure.get_or_insert(failure);
        self.stop = None;
    }
}

/// What a signal found when nobody read the acknowledgements.
pub(super) fn unread() -> Failure {
    Failure::new(Exit::Io, "nobody reads standard output: some records are durable and were not acknowledged")
}

fn unwaited(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("can't wait for signals: {error}"))
}

fn not_durable(line: u64, error: &WriterError) -> Failure {
    let what = match error.kind() {
        ErrorKind::Unknown => "may or may not be on the share",
        _ => "is not on the share",
    };
    Failure::from_writer(error).context(&format!("line {line} {what}"))
}
