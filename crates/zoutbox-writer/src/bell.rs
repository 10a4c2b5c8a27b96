//! Rings the relay's doorbell after commits: a hint, so that it need not wait for its next look at the share.
//!
//! ```text
//!   commit thread ── after a commit: one datagram, at most every 5 ms ──▶ relay
//!        │                                ▲ line
//!        └── at open, then at most every 5 s while appending ──▶ a thread reads relay/lease ──▶ line
//! ```
//!
//! Nothing here can fail or delay an append. A send never waits. The lease is read by a thread of its own, that nobody waits for and
//! that ends by itself: the relay holds that file open for writing, so that reading it can hang for a whole NFS lease when the
//! relay's host is cut off, and the aside thread would then keep the commit thread from its next segment.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zoutbox_format::doorbell::{RING_LENGTH, encode};
use zoutbox_format::holder::HOLDER_LENGTH;
use zoutbox_format::{Holder, WriterId};
use zoutbox_storage::{Line, Share, StorageError, System};

use crate::ringing::Ringing;

/// One writer's way to the relay's doorbell.
pub(crate) struct Bell {
    ringing: Ringing,
    lookout: Arc<Lookout>,
}

/// What is known of the doorbell, and where to learn more.
struct Lookout {
    system: System,
    lease: PathBuf,
    ring: [u8; RING_LENGTH],
    line: Mutex<Option<(SocketAddr, Box<dyn Line>)>>,
}

impl Bell {
    pub(crate) fn new(system: &System, share: &Share, writer: &WriterId) -> Self {
        let lookout = Lookout {
            system: system.clone(),
            lease: share.layout.lease(),
            ring: encode(share.id, writer),
            line: Mutex::new(None),
        };
        Self { ringing: Ringing::default(), lookout: Arc::new(lookout) }
    }

    fn now(&self) -> Duration {
        self.lookout.system.clock.monotonic()
    }

    /// Something became durable: rings now, or owes a ring.
    pub(crate) fn committed(&mut self) {
        self.ringing.committed(self.lookout.line().is_some());
        self.ring_if_due();
    }

    /// Rings if that is owed and its time has come.
    pub(crate) fn ring_if_due(&mut self) {
        if self.ringing.ring(self.now()) {
            self.ring();
        }
    }

    /// How long until a ring that is owed is due.
    pub(crate) fn until_ring(&self) -> Option<Duration> {
        self.ringing.until_ring(self.now())
    }

    /// The writer ends: rings now if that is owed.
    pub(crate) fn finish(&mut self) {
        if self.ringing.last_ring() {
            self.ring();
        }
    }

    fn ring(&mut self) {
        let sent = self.lookout.line().as_ref().map_or(Ok(()), |(_, line)| line.send(&self.lookout.ring));
        if let Err(error) = sent {
            tracing::debug!(%error, "the doorbell was rung in vain");
            self.ringing.refused();
        }
    }

    /// Reads the lease if it is time, on a thread of its own. A look that hangs is the only one.
    pub(crate) fn look_aside(&mut self) {
        let looks = Arc::strong_count(&self.lookout) > 1;
        if looks || !self.ringing.look(self.now()) {
            return;
        }
        let lookout = Arc::clone(&self.lookout);
        let thread = std::thread::Builder::new().name("zoutbox-bell".into());
        if let Err(error) = thread.spawn(move || lookout.look()) {
            tracing::debug!(%error, "the lease is not looked at for a doorbell");
        }
    }

    /// Reads the lease if it is time.
    pub(crate) fn look_here(&mut self) {
        if self.ringing.look(self.now()) {
            self.lookout.look();
        }
    }
}

impl Lookout {
    fn line(&self) -> MutexGuard<'_, Option<(SocketAddr, Box<dyn Line>)>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns where the doorbell is. A new one is rung at once: nobody has told it yet what was committed before.
    fn look(&self) {
        let known = self.line().as_ref().map(|(address, _)| *address);
        let announced = match self.announced() {
            Ok(announced) => announced,
            // What was known may still be right.
            Err(error) => return tracing::debug!(%error, "the lease can't be read for a doorbell"),
        };
        if announced == known {
            return;
        }
        tracing::debug!(?announced, "another doorbell");
        let line = announced.and_then(|address| {
            let line = self.system.network.line_to(address);
            let line = line.inspect_err(|error| tracing::debug!(%error, %address, "no way to the doorbell"));
            Some((address, line.ok()?))
        });
        let mut known = self.line();
        *known = line;
        // Only now, or a commit in between would be told by nobody.
        if let Some((address, line)) = known.as_ref()
            && let Err(error) = line.send(&self.ring)
        {
            tracing::debug!(%error, %address, "the doorbell was rung in vain");
        }
    }

    fn announced(&self) -> Result<Option<SocketAddr>, StorageError> {
        match self.system.read_small(&self.lease, HOLDER_LENGTH) {
            Ok(bytes) => Ok(Holder::decode(&bytes).and_then(|holder| holder.doorbell)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").field("ringing", &self.ringing).finish_non_exhaustive()
    }
}
