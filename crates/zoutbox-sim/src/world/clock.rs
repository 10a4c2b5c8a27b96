//! Time, randomness and datagrams as a process sees them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use zoutbox_storage::{Clock, Entropy, Line, Network, StorageError};

use super::World;

/// 2026-01-01, when every simulation begins.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// Both clocks of a host. The time of day may be wrong, and jump.
#[derive(Debug)]
pub struct SimClock {
    pub(super) world: World,
    pub(super) process: usize,
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        let state = self.world.lock();
        let host = state.processes.get(self.process).and_then(|process| state.hosts.get(process.host));
        let now = u64::try_from(state.now.as_millis()).unwrap_or(u64::MAX);
        EPOCH_MS.saturating_add(now).saturating_add_signed(host.map_or(0, |host| host.skew_ms))
    }

    fn monotonic(&self) -> Duration {
        self.world.lock().now
    }

    fn sleep(&self, duration: Duration) {
        self.world.lock().now += duration;
        self.world.interrupt();
    }
}

/// Randomness, from the seed.
#[derive(Debug)]
pub struct SimEntropy {
    pub(super) world: World,
}

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), StorageError> {
        let mut state = self.world.lock();
        for piece in bytes.chunks_mut(8) {
            let random = state.random.bits().to_le_bytes();
            piece.copy_from_slice(random.get(..piece.len()).unwrap_or_default());
        }
        Ok(())
    }
}

/// No datagram ever arrives: polling has to do.
#[derive(Debug)]
pub struct SimNetwork;

#[derive(Debug)]
struct DeadLine;

impl Network for SimNetwork {
    fn line_to(&self, _address: SocketAddr) -> io::Result<Box<dyn Line>> {
        Ok(Box::new(DeadLine))
    }
}

impl Line for DeadLine {
    fn local_address(&self) -> io::Result<SocketAddr> {
        Ok((Ipv4Addr::LOCALHOST, 1).into())
    }

    fn send(&self, _datagram: &[u8]) -> io::Result<()> {
        Ok(())
    }
}
