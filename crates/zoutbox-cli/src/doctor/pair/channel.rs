//! Two files, one a side, of lines of JSON: each appends to its own and tails the other's as the relay tails a segment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zoutbox_storage::{DiskFile, OpenMode, System};

use super::super::report::Row;
use super::super::stop::Stop;
use super::meet::Role;
use crate::exit::{Exit, Failure};

/// Longer than any answer takes: plain stat may show old news for a minute, and locks last a lease.
const SILENCE: Duration = Duration::from_mins(4);
/// A partner that says good-bye does so at once.
const FAREWELL: Duration = Duration::from_secs(5);
pub(super) const POLL: Duration = Duration::from_millis(2);

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "say")]
pub(super) enum Message {
    /// To be answered with `Pong`, at once.
    Ping,
    Pong,
    /// Look at a file until it has this many bytes: asking the server, or by plain stat.
    Watch {
        name: String,
        length: u64,
        asking: bool,
    },
    /// It was looked at, and was not there, or not so long.
    Watching,
    /// Now it is.
    Seen,
    /// It was not, for too long.
    Unseen,
    /// Try for the lock of this file, and let it go if it was free.
    TryLock {
        name: String,
    },
    /// Have a process of its own hold the lock of this file.
    Hold {
        name: String,
    },
    /// Kill that process.
    Kill,
    /// Whether the lock was had; after `Kill`, always true.
    Locked {
        got: bool,
    },
    /// What was found out: the end.
    Done {
        rows: Vec<Row>,
    },
    Bye,
    /// An end before the end.
    Gone {
        reason: String,
    },
}

pub(super) struct Channel<'a> {
    system: &'a System,
    stop: &'a Stop,
    pub(super) place: PathBuf,
    own: Box<dyn DiskFile>,
    written: u64,
    theirs: PathBuf,
    reading: Option<Box<dyn DiskFile>>,
    read: u64,
    /// The partner has said its last word.
    ended: bool,
}

impl<'a> Channel<'a> {
    pub(super) fn open(
        system: &'a System,
        place: &Path,
        role: Role,
        stop: &'a Stop,
    ) -> Result<Self, Failure> {
        let log = |role: Role| place.join(format!("{}.log", role.name()));
        let own = system.disk.open(&log(role), OpenMode::CreateNew)?;
        Ok(Self {
            system,
            stop,
            place: place.to_owned(),
            own,
            written: 0,
            theirs: log(role.other()),
            reading: None,
            read: 0,
            ended: false,
        })
    }

    pub(super) fn send(&mut self, message: &Message) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(message)
            .map_err(|error| Failure::new(Exit::Io, format!("can't write JSON: {error}")))?;
        line.push(b'\n');
        self.own.write_at(&line, self.written)?;
        self.own.sync()?;
        self.written += line.len() as u64;
        Ok(())
    }

    /// An error once a signal came.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.stop.check()
    }

    /// The next thing that the partner says.
    pub(super) fn receive(&mut self) -> Result<Message, Failure> {
        self.receive_within(SILENCE)
    }

    fn receive_within(&mut self, patience: Duration) -> Result<Message, Failure> {
        let start = self.system.clock.monotonic();
        loop {
            if let Some(message) = self.poll()? {
                return match message {
                    Message::Gone { reason } => {
                        self.ended = true;
                        Err(Failure::new(Exit::Temporary, format!("the partner has gone: {reason}")))
                    }
                    other => Ok(other),
                };
            }
            self.check()?;
            if self.system.clock.monotonic().saturating_sub(start) > patience {
                let message = format!("the partner has said nothing for {} s", patience.as_secs());
                return Err(Failure::new(Exit::Temporary, message));
            }
            self.system.clock.sleep(POLL);
        }
    }

    fn poll(&mut self) -> Result<Option<Message>, Failure> {
        if self.reading.is_none() {
            // A name that is cached as absent does not show by asking for it, but by asking for its directory.
            let names = self.system.disk.list(&self.place)?;
            if names.iter().any(|entry| self.theirs.ends_with(&entry.name)) {
                self.reading = Some(self.system.disk.open(&self.theirs, OpenMode::Read)?);
            }
        }
        let Some(file) = &self.reading else { return Ok(None) };
        let available = file.metadata()?.length.saturating_sub(self.read);
        if available == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(available).unwrap_or(usize::MAX).min(1 << 20)];
        let count = file.read_at(&mut bytes, self.read)?;
        bytes.truncate(count);
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line = bytes.get(..end).unwrap_or_default();
        if line.contains(&0) {
            // Not all of it is there yet.
            return Ok(None);
        }
        self.read += end as u64 + 1;
        let strange = |error| {
            let path = self.theirs.display();
            Failure::new(Exit::Io, format!("{path} says what this zoutbox does not understand: {error}"))
        };
        serde_json::from_slice(line).map(Some).map_err(strange)
    }

    /// Says good-bye, and waits a moment for the other to do so; whether it did.
    pub(super) fn leave(&mut self, failure: Option<&Failure>) -> bool {
        let word = match failure {
            None => Message::Bye,
            Some(failure) => Message::Gone { reason: failure.message.clone() },
        };
        if self.send(&word).is_err() || self.ended {
            return self.ended;
        }
        let start = self.system.clock.monotonic();
        while self.system.clock.monotonic().saturating_sub(start) < FAREWELL {
            match self.poll() {
                Ok(Some(Message::Bye | Message::Gone { .. })) => return true,
                Ok(_) => self.system.clock.sleep(POLL),
                Err(_) => return false,
            }
        }
        false
    }
}
