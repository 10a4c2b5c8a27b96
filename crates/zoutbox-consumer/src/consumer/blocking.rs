//! The same for programs that have no async runtime.

use std::fmt::Display;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::options::UnparkOptions;
use super::{Consumer, ConsumerError, HandlerError, Summary, unpark};
use crate::inbox::Store;
use crate::resolver::Resolved;

/// What is still under way when all is done, is not waited for longer.
const LEFT_OVER: Duration = Duration::from_millis(100);

/// Tells a consumer to stop, from any thread. Clones tell the same one.
#[derive(Debug, Clone)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Stop {
    /// One that was not told yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the consumer stop.
    pub fn tell(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was told.
    #[must_use]
    pub fn is_told(&self) -> bool {
        *self.0.borrow()
    }

    /// For [`Consumer::run`].
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}

impl<S: Store + Send + 'static> Consumer<S> {
    /// [`Consumer::run`] with a runtime of its own; returns when it has ended. Not to be called on a thread of an async runtime.
    ///
    /// # Errors
    /// Those of [`Consumer::run`].
    pub fn run_blocking<F, E>(self, stop: &Stop, handler: F) -> Result<Summary, ConsumerError>
    where
        F: FnMut(&Resolved<'_>, &mut S::Transaction<'_>) -> Result<(), HandlerError<E>> + Send + 'static,
        E: Display,
    {
        let runtime = runtime()?;
        let ended = runtime.block_on(self.run(stop.watch(), handler));
        runtime.shutdown_timeout(LEFT_OVER);
        ended
    }
}

/// [`unpark`] with a runtime of its own.
///
/// # Errors
/// Those of [`unpark`].
pub fn unpark_blocking(options: &UnparkOptions) -> Result<u64, ConsumerError> {
    let runtime = runtime()?;
    let moved = runtime.block_on(unpark(options));
    runtime.shutdown_timeout(LEFT_OVER);
    moved
}

fn runtime() -> Result<Runtime, ConsumerError> {
    let failed = |error| ConsumerError::Thread(format!("there is no async runtime to be had: {error}"));
    Builder::new_current_thread().enable_all().build().map_err(failed)
}
