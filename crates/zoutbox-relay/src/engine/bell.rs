//! Listens at the doorbell, so that a flood costs the relay next to nothing: what arrives is brought down to [`Rings`] here, on a
//! task of its own, and the engine wakes for those alone.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use zoutbox_format::ShareId;
use zoutbox_format::doorbell::RING_LENGTH;
use zoutbox_relay_core::{RING_PAUSE, Rings};

/// So many datagrams are read at most, then none for [`RING_PAUSE`].
const BATCH: usize = 64;
/// The same pause when there were that many: 16,000 a second, which eighty writers reach that ring all the time. What comes faster
/// fills the socket's buffer, and then the kernel drops it, for less than reading it would cost.
const FLOOD_PAUSE: Duration = Duration::from_millis(4);
/// After an error of the socket.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Bell {
    heard: Arc<Heard>,
    task: JoinHandle<()>,
}

struct Heard {
    rings: Mutex<Rings>,
    wake: Notify,
}

impl Bell {
    pub(super) fn listen(socket: UdpSocket, share: ShareId) -> Self {
        let heard = Arc::new(Heard { rings: Mutex::new(Rings::new(share)), wake: Notify::new() });
        let task = tokio::spawn(listen(socket, Arc::clone(&heard)));
        Self { heard, task }
    }

    /// Waits until something has to be answered.
    pub(super) async fn rung(bell: Option<&Self>) {
        match bell {
            Some(bell) => bell.heard.wake.notified().await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn rings(&self) -> MutexGuard<'_, Rings> {
        self.heard.rings()
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Heard {
    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn listen(socket: UdpSocket, heard: Arc<Heard>) {
    // One byte more than a ring: what is longer is cut there, and is none.
    let mut buffer = [0; RING_LENGTH + 1];
    loop {
        let heard = socket.readable().await.and_then(|()| hear(&socket, &mut buffer, &heard));
        let pause = match heard {
            Ok(BATCH..) => FLOOD_PAUSE,
            Ok(_) => RING_PAUSE,
            Err(error) => {
                tracing::debug!("the doorbell's socket: {error}");
                ERROR_PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Takes in what has arrived, up to a batch; returns how much it was.
fn hear(socket: &UdpSocket, buffer: &mut [u8], heard: &Heard) -> std::io::Result<usize> {
    let mut rings = heard.rings();
    for count in 0..BATCH {
        match socket.try_recv(buffer) {
            Ok(length) => {
                if rings.hear(buffer.get(..length).unwrap_or_default()) {
                    heard.wake.notify_one();
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(count),
            Err(error) => return Err(error),
        }
    }
    Ok(BATCH)
}
