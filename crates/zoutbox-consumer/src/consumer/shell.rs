//! The task that owns the connection.
//!
//! ```text
//!   connect ──▶ serve: deliveries to the worker, its acks and parkings to the broker ──▶ lost ──▶ connect …
//!      └ backoff, once no address does: 0.1 s, doubling to 10 s    (the next address, a fresh connection and channel each time)
//! ```
//!
//! Every connection has a number. What belongs to an old one is dropped: a delivery tag is never acknowledged on another channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use super::link::{Incoming, Link, at_hand, describe};
use super::message::Delivered;
use super::observer::{Look, Telling, Told};
use super::parker::Parker;
use super::place::{Failure, Place};
use super::worker::{Inbound, Said};
use super::{ConsumerError, Summary};

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_LAST: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_secs(1);
/// For the record in hand; closing takes at most 2 s more.
const STOP: Duration = Duration::from_secs(8);

type Outcome = Result<Summary, ConsumerError>;

pub(super) struct Shell {
    place: Place,
    parker: Arc<Parker>,
    prefetch: u16,
    telling: Telling,
    inbound: Sender<Inbound>,
    said: UnboundedReceiver<Said>,
    link: Arc<AtomicU64>,
    stop: watch::Receiver<bool>,
    ticker: Interval,
    /// Resolves when the observer is through with the last tick.
    ticking: Option<oneshot::Receiver<()>>,
    /// Of deliveries.
    number: u64,
    outstanding: u64,
    /// A refusal before that is the operator's mistake and ends the consumer; later, somebody changed the broker.
    was_up: bool,
}

/// What it is made of.
pub(super) struct Parts {
    pub(super) place: Place,
    pub(super) prefetch: u16,
    pub(super) telling: Telling,
    pub(super) inbound: Sender<Inbound>,
    pub(super) said: UnboundedReceiver<Said>,
    pub(super) link: Arc<AtomicU64>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Why it does not go on.
enum End {
    Lost(String),
    Ended(Outcome),
}

/// What ends a wait for a connection.
enum Away {
    Stop,
    Ended(Outcome),
}

impl Shell {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { place, prefetch, telling, inbound, said, link, stop } = parts;
        let mut ticker = interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (ticking, number, outstanding, was_up) = (None, 0, 0, false);
        Self {
            parker: Arc::new(Parker::new(place.clone())),
            place,
            prefetch,
            telling,
            inbound,
            said,
            link,
            stop,
            ticker,
            ticking,
            number,
            outstanding,
            was_up,
        }
    }

    pub(super) async fn run(mut self) -> Outcome {
        loop {
            let (link, incoming) = match self.connected().await {
                Ok(connected) => connected,
                Err(Away::Ended(outcome)) => return outcome,
                Err(Away::Stop) => return self.stopped_without_a_link().await,
            };
            match self.serve(&link, incoming).await {
                End::Ended(outcome) => {
                    tokio::join!(link.close(), self.parker.close());
                    return outcome;
                }
                End::Lost(reason) => {
                    tracing::warn!("lost the connection to the broker at {}: {reason}", link.address());
                    self.place.lost(link.address());
                    // From now on nothing of it counts.
                    self.link.fetch_add(1, Ordering::AcqRel);
                    self.outstanding = 0;
                    self.send(Inbound::Lost);
                    self.telling.tell(Told::Lost);
                    link.close().await;
                }
            }
        }
    }

    async fn connected(&mut self) -> Result<(Link, Incoming), Away> {
        let mut backoff = BACKOFF_FIRST;
        let mut complaint = String::new();
        loop {
            let (place, prefetch) = (self.place.clone(), self.prefetch);
            let failure = match self.meanwhile(Link::consume(&place, prefetch)).await? {
                Ok(connected) => {
                    tracing::info!("connected to the broker at {}", connected.0.address());
                    self.was_up = true;
                    return Ok(connected);
                }
                Err(failure) => failure,
            };
            if failure.refused && !self.was_up {
                let (broker, reason) = (self.place.to_string(), failure.reason);
                return Err(Away::Ended(Err(ConsumerError::Refused { broker, reason })));
            }
            if failure.reason != complaint {
                tracing::warn!("waiting for the broker at {}: {}", self.place, failure.reason);
                complaint = failure.reason;
            }
            self.meanwhile(sleep(backoff)).await?;
            backoff = (backoff * 2).min(BACKOFF_LAST);
        }
    }

    /// Waits for something without a connection.
    async fn meanwhile<T>(&mut self, doing: impl Future<Output = T>) -> Result<T, Away> {
        tokio::pin!(doing);
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return Err(Away::Stop),
                said = self.said.recv() => {
                    if let Some(outcome) = without_a_link(said) {
                        return Err(Away::Ended(outcome));
                    }
                }
                done = &mut doing => return Ok(done),
                _ = self.ticker.tick() => self.tick(None),
            }
        }
    }

    async fn stopped_without_a_link(&mut self) -> Outcome {
        self.send(Inbound::Stop);
        let ended = async {
            loop {
                if let Some(outcome) = without_a_link(self.said.recv().await) {
                    return outcome;
                }
            }
        };
        timeout(STOP, ended).await.unwrap_or_else(|_| Ok(unfinished()))
    }

    async fn serve(&mut self, link: &Link, mut incoming: Incoming) -> End {
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return self.finish(link).await,
                said = self.said.recv() => {
                    if let Err(end) = self.obey(link, said).await {
                        return end;
                    }
                }
                delivery = incoming.next() => {
                    if let Err(end) = self.deliver(delivery) {
                        return end;
                    }
                }
                _ = self.ticker.tick() => {
                    if let Err(end) = self.look(link, &mut incoming).await {
                        return end;
                    }
                }
            }
        }
    }

    /// Has nothing more sent, lets the record in hand be finished, and acknowledges what is done.
    async fn finish(&mut self, link: &Link) -> End {
        let finishing = async {
            if let Err(failure) = link.cancel().await {
                tracing::debug!("{}", failure.reason);
            }
            self.send(Inbound::Stop);
            loop {
                let said = self.said.recv().await;
                match self.obey(link, said).await {
                    Ok(()) => {}
                    Err(End::Ended(outcome)) => return outcome,
                    // What is not acknowledged comes again.
                    Err(End::Lost(reason)) => {
                        tracing::warn!("lost the connection to the broker while stopping: {reason}");
                        self.link.fetch_add(1, Ordering::AcqRel);
                        return self.stopped_without_a_link().await;
                    }
                }
            }
        };
        End::Ended(timeout(STOP, finishing).await.unwrap_or_else(|_| Ok(unfinished())))
    }

    async fn obey(&mut self, link: &Link, said: Option<Said>) -> Result<(), End> {
        let now = self.link.load(Ordering::Acquire);
        match said {
            Some(Said::Ack { link: of, tag, delivery }) if of == now => {
                link.ack(tag).await.map_err(lost)?;
                self.outstanding = self.outstanding.saturating_sub(1);
                self.telling.tell(Told::Acked(delivery));
                Ok(())
            }
            Some(Said::GiveBack { link: of, tag, delivery }) if of == now => {
                link.give_back(tag).await.map_err(lost)?;
                self.outstanding = self.outstanding.saturating_sub(1);
                self.telling.tell(Told::Returned(delivery));
                Ok(())
            }
            Some(Said::Park { link: of, outgoing, reply }) if of == now => {
                let parker = Arc::clone(&self.parker);
                // Beside this: the broker may take its time, and what stops the consumer must not wait for it.
                tokio::spawn(async move {
                    if reply.send(parker.park(&outgoing).await).is_err() {
                        tracing::debug!("nobody waits for the confirm");
                    }
                });
                Ok(())
            }
            other => without_a_link(other).map_or(Ok(()), |outcome| Err(End::Ended(outcome))),
        }
    }

    fn deliver(&mut self, delivery: Option<lapin::Result<Delivery>>) -> Result<(), End> {
        let delivery = match delivery {
            Some(Ok(delivery)) => delivery,
            Some(Err(error)) => return Err(End::Lost(describe(&error))),
            None => return Err(End::Lost("the broker sends nothing more: is the queue still there?".into())),
        };
        self.number += 1;
        self.outstanding += 1;
        let delivered = Delivered {
            number: self.number,
            link: self.link.load(Ordering::Acquire),
            tag: delivery.delivery_tag,
            routing_key: delivery.routing_key.to_string(),
            properties: delivery.properties,
            body: delivery.data,
        };
        if self.telling.is_there()
            && let Some(record) = delivered.record()
        {
            let (delivery, segment) = (delivered.number, delivered.segment());
            self.telling.tell(Told::Delivered { delivery, writer: record.writer, segment });
        }
        self.send(Inbound::Delivered(Box::new(delivered)));
        Ok(())
    }

    /// About every second.
    async fn look(&mut self, link: &Link, incoming: &mut Incoming) -> Result<(), End> {
        if !link.is_up() {
            return Err(End::Lost("the broker closed it".into()));
        }
        let mut empty = None;
        if self.telling.is_there() {
            let (asked, idle) = (tokio::time::Instant::now().into_std(), self.outstanding == 0);
            let count = link.count().await.map_err(lost)?;
            // What the broker had sent before it answered is here, and counts.
            while let Some(delivery) = at_hand(incoming) {
                self.deliver(Some(delivery))?;
            }
            let (waiting, delivered) = (u64::from(count), self.number);
            self.telling.tell(Told::Looked(Look { asked, waiting, delivered }));
            empty = (idle && self.outstanding == 0).then_some(count == 0);
        }
        self.tick(empty);
        Ok(())
    }

    fn tick(&mut self, queue_empty: Option<bool>) {
        use oneshot::error::TryRecvError::Empty;
        if self.ticking.as_mut().is_some_and(|ticking| ticking.try_recv() == Err(Empty)) {
            return;
        }
        let (done, ticking) = oneshot::channel();
        self.ticking = Some(ticking);
        self.telling.tell(Told::Tick { queue_empty, done });
    }

    fn send(&self, inbound: Inbound) {
        if self.inbound.send(inbound).is_err() {
            // Its end is among what it said.
            tracing::debug!("the worker has ended");
        }
    }
}

fn lost(failure: Failure) -> End {
    End::Lost(failure.reason)
}

/// What the worker says when there is no connection, or for one that is gone: only its end counts. Whoever waits for a confirm hears that
/// there will be none, by the end of the channel.
fn without_a_link(said: Option<Said>) -> Option<Outcome> {
    match said {
        Some(Said::Ended(outcome)) => Some(outcome),
        Some(Said::Ack { .. } | Said::GiveBack { .. } | Said::Park { .. }) => None,
        None => Some(Err(ConsumerError::Thread("the handler panicked".into()))),
    }
}

/// The record in hand is still in hand. When it is done it is applied, and a duplicate when it comes again.
fn unfinished() -> Summary {
    tracing::warn!("the handler did not come back in time; what it holds is delivered again");
    Summary { finished: false, ..Summary::default() }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    loop {
        if *stop.borrow_and_update() {
            return;
        }
        if stop.changed().await.is_err() {
            // Nobody can say it any more.
            std::future::pending::<()>().await;
        }
    }
}
