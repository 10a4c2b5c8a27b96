//! Telling somebody how far the consumer is: who registers on the share needs it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use tokio::sync::oneshot;
use zoutbox_format::{SegmentId, WriterId};

/// Hears what becomes of deliveries, on a thread of its own, in the order in which it happened. It may block.
///
/// `segment` is where the records lie that a pointer leads to; `None` for inline messages. Messages that name no writer are not told.
pub trait Observer {
    /// A message came. `delivery` is a number of its own, never used twice, whatever the connection.
    fn delivered(&mut self, delivery: u64, writer: &WriterId, segment: Option<SegmentId>);

    /// It was acknowledged: all its records are applied or parked, durably. Of several at once, in any order.
    fn acked(&mut self, delivery: u64);

    /// It could not be resolved, and is parked as it came: what it says of itself is not to be trusted. It is acknowledged later. By default
    /// nothing.
    fn refused(&mut self, delivery: u64) {
        let _ = delivery;
    }

    /// It was given back to the broker unacknowledged, and comes again as another delivery, here or at another consumer of the queue.
    ///
    /// By default nothing: it stays as delivered, until the end of the process, which keeps too much rather than too little.
    fn returned(&mut self, delivery: u64) {
        let _ = delivery;
    }

    /// A record was set aside and waits, durably. At the start told of each one that waits already.
    fn parked(&mut self, writer: &WriterId, segment: Option<SegmentId>);

    /// A record that was set aside is applied: once for each [`Observer::parked`].
    fn unparked(&mut self, writer: &WriterId, segment: Option<SegmentId>);

    /// All records that waited at the start have been told to [`Observer::parked`]. By default nothing.
    fn started(&mut self) {}

    /// The queue was looked at, about every second while there is a connection. By default nothing.
    fn looked(&mut self, look: Look) {
        let _ = look;
    }

    /// The connection is gone: what was delivered and not acknowledged comes again, as other deliveries.
    fn lost(&mut self);

    /// About every second; not while an earlier call has not returned. `queue_empty`: whether the broker just said that the queue holds
    /// nothing, and nothing was outstanding here; `None` if it was not asked, because something is outstanding or there is no connection.
    fn tick(&mut self, queue_empty: Option<bool>);

    /// The consumer ends; nothing is told after this. By default nothing.
    fn stopped(&mut self) {}
}

/// What a look at the queue showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// When the broker was asked.
    pub asked: Instant,
    /// How many messages waited in the queue, that nobody held.
    pub waiting: u64,
    /// The number of the last delivery that came before the broker answered.
    pub delivered: u64,
}

/// What an observer is told.
#[derive(Debug)]
pub(super) enum Told {
    Delivered { delivery: u64, writer: WriterId, segment: Option<SegmentId> },
    Acked(u64),
    Refused(u64),
    Returned(u64),
    Started,
    Looked(Look),
    Parked { writer: WriterId, segment: Option<SegmentId> },
    Unparked { writer: WriterId, segment: Option<SegmentId> },
    Lost,
    Tick { queue_empty: Option<bool>, done: oneshot::Sender<()> },
}

/// The way to the observer, if there is one.
#[derive(Debug, Clone, Default)]
pub(super) struct Telling(Option<Sender<Told>>);

impl Telling {
    /// Starts the observer's thread. What comes back resolves when it has ended.
    pub(super) fn start(
        observer: Box<dyn Observer + Send>,
    ) -> std::io::Result<(Self, oneshot::Receiver<()>)> {
        let (sender, told) = channel();
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new().name("zoutbox-observer".into()).spawn(move || {
            listen(observer, &told);
            // Nobody may be waiting.
            drop(ended);
        })?;
        Ok((Self(Some(sender)), end))
    }

    pub(super) fn tell(&self, told: Told) {
        if let Some(sender) = &self.0
            && sender.send(told).is_err()
        {
            tracing::debug!("the observer has ended");
        }
    }

    pub(super) const fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

fn listen(mut observer: Box<dyn Observer + Send>, told: &Receiver<Told>) {
    for told in told {
        match told {
            Told::Delivered { delivery, writer, segment } => observer.delivered(delivery, &writer, segment),
            Told::Acked(delivery) => observer.acked(delivery),
            Told::Refused(delivery) => observer.refused(delivery),
            Told::Returned(delivery) => observer.returned(delivery),
            Told::Started => observer.started(),
            Told::Looked(look) => observer.looked(look),
            Told::Parked { writer, segment } => observer.parked(&writer, segment),
            Told::Unparked { writer, segment } => observer.unparked(&writer, segment),
            Told::Lost => observer.lost(),
            Told::Tick { queue_empty, done } => {
                observer.tick(queue_empty);
                drop(done);
            }
        }
    }
    observer.stopped();
}
