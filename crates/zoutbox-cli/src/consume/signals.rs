//! SIGTERM and SIGINT: the first stops in good order, the second at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use zoutbox_consumer::Stop;
use zoutbox_storage::System;

use crate::complain;
use crate::exit::{Exit, Failure};

/// An orderly stop takes less than this, whatever broker, share and database do.
const LONGEST_STOP: Duration = Duration::from_secs(15);

/// Which signal came.
#[derive(Debug, Clone, Default)]
pub(super) struct Signals(Arc<AtomicU8>);

impl Signals {
    pub(super) fn came(&self) -> Option<u8> {
        Some(self.0.load(Ordering::SeqCst)).filter(|number| *number != 0)
    }
}

/// Before any other thread is made, so that all leave the signals to this one.
pub(super) fn start(stop: Stop) -> Result<Signals, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Io, format!("can't wait for signals: {error}"));
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask.thread_block().map_err(|errno| failed(errno.into()))?;
    let signals = Signals::default();
    let came = signals.clone();
    std::thread::Builder::new()
        .name("zoutbox-signals".into())
        .spawn(move || {
            while let Ok(signal) = mask.wait() {
                let number = u8::try_from(signal as i32).unwrap_or(u8::MAX);
                if came.0.swap(number, Ordering::SeqCst) != 0 {
                    std::process::exit(128 + i32::from(number));
                }
                stop.tell();
                end_by_force_if_it_hangs();
            }
        })
        .map_err(failed)?;
    Ok(signals)
}

/// A write to a pipe that nobody reads, a share that does not answer: an exit would wait for those as well.
fn end_by_force_if_it_hangs() {
    std::thread::spawn(|| {
        System::real().clock.sleep(LONGEST_STOP);
        complain("something does not answer: ending by SIGKILL; what is not marked will be printed again");
        if kill(Pid::this(), Signal::SIGKILL).is_err() {
            std::process::exit(137);
        }
    });
}
