//! Ctrl-C in the middle of a run must leave no broker behind, which would outlive its terminal.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

/// What a shell says of a process that ended by SIGINT.
const INTERRUPTED: i32 = 130;

/// Calls `clean_up` on SIGINT or SIGTERM, then ends the process. By handlers and not by holding the signals back: that is
/// inherited by processes that are started, which would then not end when they are asked to.
pub(crate) fn clean_up_first(clean_up: impl FnOnce() + Send + 'static) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    drop(guard);
    let waiting = std::thread::Builder::new().name("interrupt".to_owned());
    waiting.spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        clean_up();
        std::process::exit(INTERRUPTED);
    })?;
    Ok(())
}
