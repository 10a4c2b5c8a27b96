//! SIGTERM and SIGINT: the first stops in good order, the second at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::sys::signal::{SigSet, Signal};
use zoutbox_consumer::Stop;

use crate::exit::{Exit, Failure};
use crate::force;

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
                force::end_if_it_hangs("what is not marked will be printed again");
            }
        })
        .map_err(failed)?;
    Ok(signals)
}
