//! One record, with all bytes of a file as its payload.
//!
//! While the file is read, a signal ends that, and nothing was appended. Once all of it was read, signals do what they do to any
//! program: what is waited for then (room in the log, say) has no place at which this program could look for them.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use zoutbox_format::Record;
use zoutbox_storage::{ErrorKind, System};
use zoutbox_writer::{Options, Ticket, Writer, WriterError};

use super::signals::{Interrupt, Interrupts};
use crate::cli::AppendArguments;
use crate::exit::{Exit, Failure};
use crate::output::Output;

pub(super) fn run(
    system: &System,
    arguments: &AppendArguments,
    path: &Path,
    record: &Record,
    options: Options,
) -> Result<Exit, Failure> {
    // Before the signals are taken over: the open of a pipe waits for its other end.
    let file = open(path)?;
    let (interrupts, _stop) = Interrupts::new()?;
    if arguments.accept_unsafe_mount {
        super::warn(system, arguments)?;
    }
    let writer = Writer::open_with(system.clone(), &arguments.root.path, arguments.writer.as_str(), options)?;
    let mut input = Input { file, interrupts: &interrupts, interrupted: None };
    let appended = writer.append_payload(record, &mut input).and_then(Ticket::wait);
    let closed = writer.close();
    if let Some(Interrupt::Signal(number)) = input.interrupted {
        return Ok(Exit::Signal(number));
    }
    let id = appended.map_err(|error| failure(path, &error))?;
    closed?;
    if arguments.acks {
        let mut output = Output::new();
        output.line(&id.to_string())?;
        output.flush()?;
        if output.is_closed() {
            let message = format!("standard output was closed: {id} is durable and was not acknowledged");
            return Err(Failure::new(Exit::Io, message));
        }
    }
    Ok(Exit::Ok)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the caller's own file, which may be a pipe: it is not on the share"
)]
fn open(path: &Path) -> Result<File, Failure> {
    let opened = if path == Path::new("-") {
        // A descriptor of its own: what std's buffer holds back, poll would not know of.
        io::stdin().as_fd().try_clone_to_owned().map(File::from)
    } else {
        File::open(path)
    };
    opened.map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotAShare } else { Exit::Io };
    Failure::new(exit, format!("--payload {}: can't read it: {error}", path.display()))
}

fn failure(path: &Path, error: &WriterError) -> Failure {
    match error {
        WriterError::Input { source } => unreadable(path, source),
        WriterError::PayloadId(id) => Failure::new(Exit::BadInput, format!("--id: {id}")),
        WriterError::PayloadGone { .. } => Failure::from_writer(error),
        _ => Failure::from_writer(error).context(match error.kind() {
            ErrorKind::Unknown => "the payload may or may not have been appended",
            _ => "the payload was not appended",
        }),
    }
}

/// The file, until a signal comes.
struct Input<'a> {
    file: File,
    interrupts: &'a Interrupts,
    interrupted: Option<Interrupt>,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let interrupt = self.interrupts.wait_for(&self.file)?;
        if interrupt.is_some() {
            self.interrupted = interrupt;
            return Err(io::Error::other("stopped by a signal"));
        }
        let count = self.file.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            Interrupts::let_go()?;
        }
        Ok(count)
    }
}
