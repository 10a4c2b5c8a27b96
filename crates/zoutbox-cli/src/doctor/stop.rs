//! SIGINT and SIGTERM: the first one is noticed between two steps, so that what was made is removed; the second ends at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use crate::exit::{Exit, Failure};

/// Tells whether to stop.
#[derive(Debug, Clone)]
pub(crate) struct Stop(Arc<AtomicU8>);

impl Stop {
    /// Takes the signals over from the default, which is to die of them. To be called before any other thread is made.
    pub(crate) fn new() -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::new(Exit::Io, format!("can't wait for signals: {error}"));
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGINT);
        mask.add(Signal::SIGTERM);
        mask.thread_block().map_err(|errno| failed(errno.into()))?;
        let asked = Arc::new(AtomicU8::new(0));
        let noted = asked.clone();
        let wait = move || {
            while let Ok(signal) = mask.wait() {
                let number = u8::try_from(signal as i32).unwrap_or(u8::MAX);
                if noted.swap(number, Ordering::SeqCst) != 0 {
                    std::process::exit(128 + i32::from(number));
                }
            }
        };
        thread::Builder::new().name("zoutbox-signals".into()).spawn(wait).map_err(failed)?;
        Ok(Self(asked))
    }

    /// An error once a signal came.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.0.load(Ordering::SeqCst) {
            0 => Ok(()),
            number => Err(Failure::new(Exit::Signal(number), format!("ended by signal {number}"))),
        }
    }
}
