//! What interrupts the reading of input: SIGTERM, SIGINT, and the thread that waits for acknowledgements.
//!
//! ```text
//!   signal ──▶ a thread of its own ──pipe──▶ poll, with the input and the end of the acknowledgements
//!                 └─ a second one, or nothing ends within 15 s: the end of this process
//! ```
//!
//! Nothing is ever interrupted in the middle: there are only places at which this program looks. It may be in a call to a share that does not
//! answer when the signal comes, opening the writer, say, and then it comes to none of them.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};

use crate::exit::{Exit, Failure};
use crate::force;

/// How long [`Interrupts::pause`] waits.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// Why reading shall stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupt {
    Signal(u8),
    /// The [`StopHandle`] was dropped.
    Stopped,
}

/// The signals that are taken over.
fn taken() -> SigSet {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask
}

/// Dropping it stops the reading.
#[derive(Debug)]
pub(super) struct StopHandle {
    _end: PipeWriter,
}

/// The places to look at.
#[derive(Debug)]
pub(super) struct Interrupts {
    signals: PipeReader,
    stop: PipeReader,
    signalled: Cell<bool>,
}

impl Interrupts {
    /// Takes the signals over from the default, which is to die of them. Threads made later leave them to this, too.
    pub(super) fn new() -> Result<(Self, StopHandle), Failure> {
        let failed = |error: io::Error| Failure::new(Exit::Io, format!("can't wait for signals: {error}"));
        taken().thread_block().map_err(|errno| failed(errno.into()))?;
        let (signals, tell) = io::pipe().map_err(failed)?;
        let hear = std::thread::Builder::new().name("zoutbox-signals".into()).spawn(move || hear(tell));
        hear.map_err(failed)?;
        let (stop, end) = io::pipe().map_err(failed)?;
        Ok((Self { signals, stop, signalled: Cell::new(false) }, StopHandle { _end: end }))
    }

    /// From now on a signal ends this process, as it would without this.
    pub(super) fn let_go() -> io::Result<()> {
        taken().thread_unblock().map_err(io::Error::from)
    }

    /// Whether a signal came.
    pub(super) const fn signalled(&self) -> bool {
        self.signalled.get()
    }

    /// Waits until `input` can be read, or has ended.
    pub(super) fn wait_for(&self, input: &File) -> io::Result<Option<Interrupt>> {
        self.wait(Some(input), PollTimeout::NONE)
    }

    /// Waits for a moment.
    pub(super) fn pause(&self) -> io::Result<Option<Interrupt>> {
        self.wait(None, PollTimeout::try_from(PAUSE).unwrap_or(PollTimeout::ZERO))
    }

    fn wait(&self, input: Option<&File>, timeout: PollTimeout) -> io::Result<Option<Interrupt>> {
        let watched = [Some(self.signals.as_fd()), Some(self.stop.as_fd()), input.map(AsFd::as_fd)];
        let mut places: Vec<_> =
            watched.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        loop {
            match poll(&mut places, timeout) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(_) => break,
            }
        }
        // The end of the pipe shows as a hang-up.
        let ready =
            |place: Option<&PollFd>| place.and_then(PollFd::revents).is_some_and(|events| !events.is_empty());
        if ready(places.first()) {
            let mut number = [0];
            (&self.signals).read_exact(&mut number)?;
            self.signalled.set(true);
            return Ok(Some(Interrupt::Signal(number[0])));
        }
        Ok(ready(places.get(1)).then_some(Interrupt::Stopped))
    }
}

/// Tells of the first signal, and ends this process at the second one.
fn hear(mut tell: PipeWriter) {
    let mut told = false;
    while let Ok(signal) = taken().wait() {
        let number = u8::try_from(signal as i32).unwrap_or(u8::MAX);
        // Where the pipe is gone, there is nothing left to stop in good order.
        if told || tell.write_all(&[number]).is_err() {
            std::process::exit(128 + i32::from(number));
        }
        told = true;
        force::end_if_it_hangs("what was not acknowledged may or may not be on the share");
    }
}
