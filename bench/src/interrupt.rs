//! Ctrl-C in the middle of a run must leave no broker behind, which would outlive its terminal.

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

/// What a shell adds to a signal's number to say that a process ended by it.
const BY_SIGNAL: i32 = 128;

/// Calls `clean_up` on SIGINT or SIGTERM, then ends the process. Call it before any other thread starts: they inherit which
/// signals are held back. Processes started by the standard library do not.
pub(crate) fn clean_up_first(clean_up: impl FnOnce() + Send + 'static) -> Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().context("holding signals back")?;
    let waiting = std::thread::Builder::new().name("interrupt".to_owned());
    waiting.spawn(move || {
        if let Ok(signal) = signals.wait() {
            clean_up();
            std::process::exit(BY_SIGNAL + signal as i32);
        }
    })?;
    Ok(())
}
