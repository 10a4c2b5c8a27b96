//! Publishing what is set aside, over a connection of its own.
//!
//! A broker with a memory or disk alarm stops reading from connections that publish, and with that from their acknowledgements. Over the
//! consumer's connection, one record that is parked during an alarm would hold up every ack, and in the end cost the connection: everything
//! that is held would be given out once more, and a quorum queue may count that against it.

use tokio::sync::Mutex;

use super::link::{Link, Place};
use super::message::Outgoing;

/// Publishes to where things are set aside, one after the other.
pub(super) struct Parker {
    place: Place,
    /// Opened at the first need, given up at the first doubt.
    link: Mutex<Option<Link>>,
}

impl Parker {
    pub(super) fn new(place: Place) -> Self {
        Self { place, link: Mutex::new(None) }
    }

    /// Returns when the broker has it for good. If not, it may have it all the same: parked twice does no harm.
    pub(super) async fn park(&self, outgoing: &Outgoing) -> Result<(), String> {
        let mut open = self.link.lock().await;
        let link = match open.take().filter(Link::is_up) {
            Some(link) => link,
            None => Link::connect(&self.place).await.map_err(|failure| failure.reason)?,
        };
        let parked = link.park(outgoing).await;
        if parked.is_ok() {
            *open = Some(link);
        } else {
            // Also one over which the broker refused it: over another one it may take it, for a channel may never learn of a queue's new leader.
            // Closing waits for an answer, and a broker with an alarm gives none.
            tokio::spawn(link.close());
        }
        parked
    }

    /// Ends the connection in good order, unless something is being published.
    pub(super) async fn close(&self) {
        let link = self.link.try_lock().ok().and_then(|mut open| open.take());
        if let Some(link) = link {
            link.close().await;
        }
    }
}
