//! What interrupts the reading of input: SIGTERM, SIGINT, and the thread that waits for acknowledgements.
//!
//! The signals are blocked and read from a descriptor, so that nothing is ever interrupted in the middle: there are only places at
//! which this program looks.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::exit::{Exit, Failure};

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
    signals: SignalFd,
    stop: PipeReader,
    signalled: Cell<bool>,
}

impl Interrupts {
    /// Takes the signals over from the default, which is to die of them. Threads made later leave them to this, too.
    pub(super) fn new() -> Result<(Self, StopHandle), Failure> {
        let failed = |error: io::Error| Failure::new(Exit::Io, format!("can't wait for signals: {error}"));
        let mask = taken();
        mask.thread_block().map_err(|errno| failed(errno.into()))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).map_err(|errno| failed(errno.into()))?;
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
        if let Some(info) = self.signals.read_signal()? {
            self.signalled.set(true);
            return Ok(Some(Interrupt::Signal(u8::try_from(info.ssi_signo).unwrap_or(u8::MAX))));
        }
        Ok(ready(places.get(1)).then_some(Interrupt::Stopped))
    }
}
