//! Publishing what is set aside, over a connection of its own.
//!
//! A broker with a memory or disk alarm stops reading from connections that publish, and with that from their acknowledgements. Over the
//! consumer's connection, one record that is parked during an alarm would hold up every ack, and in the end cost the connection: everything
//! that is held would be given out once more, and a quorum queue may count that against it.

use tokio::sync::Mutex;

use super::link::Link;
use super::message::Outgoing;
use super::place::Place;

/// Publishes to where things are set aside, one after the other.
pub(super) struct Parker(Mutex<Way>);

struct Way {
    place: Place,
    /// Opened at the first need, given up at the first doubt.
    link: Option<Link>,
}

impl Parker {
    pub(super) fn new(place: Place) -> Self {
        Self(Mutex::new(Way { place, link: None }))
    }

    /// Returns when the broker has it for good. If not, it may have it all the same: parked twice does no harm.
    pub(super) async fn park(&self, outgoing: &Outgoing) -> Result<(), String> {
        let mut way = self.0.lock().await;
        let Way { place, link } = &mut *way;
        if let Some(broken) = link.take_if(|link| !link.is_up()) {
            place.lost(broken.address());
        }
        let open = match link.take() {
            Some(open) => open,
            None => Link::connect(place).await.map_err(|failure| failure.reason)?,
        };
        let parked = open.park(outgoing).await;
        if parked.is_ok() {
            *link = Some(open);
        } else {
            // Also one over which the broker refused it: over another one, to the next address, it may take it, for a channel may never learn of
            // a queue's new leader, and a node may be cut off from it.
            place.lost(open.address());
            // Closing waits for an answer, and a broker with an alarm gives none.
            tokio::spawn(open.close());
        }
        parked
    }

    /// Ends the connection in good order, unless something is being published.
    pub(super) async fn close(&self) {
        let link = self.0.try_lock().ok().and_then(|mut way| way.link.take());
        if let Some(link) = link {
            link.close().await;
        }
    }
}
