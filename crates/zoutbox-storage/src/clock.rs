//! Time and randomness. Time of day is for people and record stamps; waiting and ageing go by the monotonic clock, which goes on while the machine is
//! suspended (`CLOCK_BOOTTIME` of `clock_gettime(2)`): leases do, too.

use std::fmt::Debug;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::error::{Operation, StorageError};

/// Both clocks, and waiting.
pub trait Clock: Debug + Send + Sync {
    /// Milliseconds since 1970-01-01 UTC. May jump either way; nothing is ordered by it.
    fn now_ms(&self) -> u64;

    /// Time since some fixed moment; never goes back, and never stands still, not even while the machine is suspended.
    fn monotonic(&self) -> Duration;

    /// Blocks the calling thread.
    fn sleep(&self, duration: Duration);
}

/// Randomness for names and ids.
pub trait Entropy: Debug + Send + Sync {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// When the kernel has none.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), StorageError>;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct RealClock {
    start: Duration,
}

impl Default for RealClock {
    fn default() -> Self {
        Self { start: since_boot() }
    }
}

fn since_boot() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(tv_sec), u32::try_from(tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
impl Clock for RealClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        since_boot().saturating_sub(self.start)
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// The kernel's randomness, getrandom(2).
#[derive(Debug, Clone, Copy, Default)]
pub struct RealEntropy;

impl Entropy for RealEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), StorageError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let flags = rustix::rand::GetRandomFlags::empty();
            let filled = rustix::rand::getrandom(&mut *rest, flags)
                .map_err(|e| StorageError::io(Operation::Entropy, Path::new("a name"), e.into()))?;
            rest = rest.get_mut(filled..).unwrap_or_default();
        }
        Ok(())
    }
}
