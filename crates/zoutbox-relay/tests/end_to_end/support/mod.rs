//! The world around a relay: a share with writers, a program to run, a broker to publish to, a consumer that compares.

mod consumer;
mod follow;
mod proxy;
mod queue;
mod relay;
mod world;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zoutbox_test_support::{Fault, Hits};

pub(crate) use consumer::{Consumer, first_unequal};
pub(crate) use follow::{Followed, follow};
pub(crate) use proxy::{Direction, Proxy, Way};
pub(crate) use queue::{Queue, TroubledBroker};
pub(crate) use relay::{Ended, Relay};
pub(crate) use world::{Producer, World, list, name};

/// A safety net for what takes a moment; nothing is expected to come near it.
pub(crate) const LONG: Duration = Duration::from_mins(2);

/// A fault that this suite injects.
pub(crate) const fn fault(hits: Hits, fault: &'static str, how: &'static str) -> Fault {
    Fault::new("end_to_end", hits, fault, how)
}

/// Ends a loop of another thread, also when this one panics.
pub(crate) struct Raise<'a>(pub(crate) &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
