//! The loop that reads lines and appends them, until the input ends or something else does.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use zoutbox_format::Record;
use zoutbox_format::limits::MAX_PAYLOAD;
use zoutbox_writer::{Writer, WriterError};

use super::acks::{Acks, PATIENCE, Sent, unread};
use super::lines::{Buffered, Lines, TooLong};
use super::signals::{Interrupt, Interrupts, PAUSE};
use crate::exit::{Exit, Failure};

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// All of the input was appended.
    Input,
    Signal(u8),
    /// Acknowledgements can't be given any more.
    Stopped,
}

impl From<Interrupt> for Ended {
    fn from(interrupt: Interrupt) -> Self {
        match interrupt {
            Interrupt::Signal(number) => Self::Signal(number),
            Interrupt::Stopped => Self::Stopped,
        }
    }
}

/// Appends every line as `record` with the line as its payload. With `wait`, a full writer is waited for.
pub(super) fn feed(
    writer: &Writer,
    record: &mut Record,
    interrupts: &Interrupts,
    acks: &Acks,
    wait: bool,
) -> Result<Ended, Failure> {
    // A descriptor of its own: what std's buffer holds back, poll would not know of.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(|e| unreadable(&e))?);
    let mut lines = Lines::new(MAX_PAYLOAD);
    let mut feeding = Feeding { writer, interrupts, acks, wait };
    loop {
        let line = lines.next().map(|found| match found {
            Buffered::Line(line) => {
                record.payload.clear();
                record.payload.extend_from_slice(line);
                Some(true)
            }
            Buffered::Incomplete => Some(false),
            Buffered::End => None,
        });
        let ended = match line {
            Ok(Some(true)) => feeding.append(record, lines.number())?,
            Ok(Some(false)) => {
                let interrupt = interrupts.wait_for(&input).map_err(|e| unreadable(&e))?;
                if interrupt.is_none() {
                    lines.read(&mut input).map_err(|e| unreadable(&e))?;
                }
                interrupt.map(Ended::from)
            }
            Ok(None) => Some(Ended::Input),
            Err(TooLong) => return Err(too_long(lines.number())),
        };
        if let Some(ended) = ended {
            return Ok(ended);
        }
    }
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new(Exit::Io, format!("can't read standard input: {error}"))
}

fn too_long(line: u64) -> Failure {
    let before = match line {
        1 => "nothing was appended".to_owned(),
        2 => "line 1 is durable".to_owned(),
        _ => format!("lines 1 to {} are durable", line - 1),
    };
    let message = format!("standard input: line {line} is over {MAX_PAYLOAD} bytes (16 MiB); {before}");
    Failure::new(Exit::BadInput, message)
}

struct Feeding<'a> {
    writer: &'a Writer,
    interrupts: &'a Interrupts,
    acks: &'a Acks,
    wait: bool,
}

impl Feeding<'_> {
    /// Appends one record. Ends early only if it was not appended.
    fn append(&mut self, record: &Record, line: u64) -> Result<Option<Ended>, Failure> {
        let ticket = loop {
            // Waiting is done here, where a signal can end it.
            match self.writer.try_append(record) {
                Ok(ticket) => break ticket,
                Err(WriterError::Full { .. }) if self.wait => {
                    if let Some(interrupt) = self.pause()? {
                        return Ok(Some(interrupt));
                    }
                }
                Err(error) => {
                    return Err(
                        Failure::from_writer(&error).context(&format!("line {line} was not appended"))
                    );
                }
            }
        };
        self.hand_over(Sent { line, ticket })
    }

    /// The record is appended now, so it must be waited for; after a signal, not for ever.
    fn hand_over(&mut self, mut sent: Sent) -> Result<Option<Ended>, Failure> {
        let mut ended = None;
        let mut waited = Duration::ZERO;
        while let Err(back) = self.acks.send(sent) {
            sent = back;
            ended = ended.or(self.pause()?);
            if matches!(ended, Some(Ended::Signal(_))) {
                waited += PAUSE;
            }
            if waited > PATIENCE {
                return Err(unread());
            }
        }
        Ok(ended)
    }

    fn pause(&self) -> Result<Option<Ended>, Failure> {
        let interrupt = self.interrupts.pause().map_err(|e| unreadable(&e))?;
        Ok(interrupt.map(Ended::from))
    }
}
