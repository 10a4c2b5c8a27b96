//! One connection with its one channel, from connecting to its loss.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::task::noop_waker_ref;
use futures_util::{FutureExt, StreamExt};
use lapin::message::BasicReturnMessage;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{
    Channel, Confirmation, Connection, ConnectionProperties, DefaultConnectionBuilder, Error, ErrorKind,
    ExchangeKind,
};
use tokio::time::{Instant, sleep_until, timeout};
use zoutbox_relay_core::Resolution;

use super::message::Message;
use super::{AmqpSettings, Failure, QueueType};
use crate::publisher::{Event, Outgoing, Returned, Undeliverable};

/// Each step of connecting may take this long.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a connection is looked at that tells nothing by itself.
const LOOK: Duration = Duration::from_secs(1);
/// Seconds between heartbeats, unless the URL says otherwise: a peer that is gone is noticed in twice that.
const HEARTBEAT: u16 = 10;
/// How many results are handed over at once, so that publishing gets its turn.
const BATCH: usize = 512;

type Ended = (u64, lapin::Result<Confirmation>);

pub(super) struct Link {
    connection: Connection,
    channel: Channel,
    exchange: ShortString,
    signals: BoxStream<'static, lapin::Event>,
    in_flight: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// Ended at their first poll.
    ended: Vec<Ended>,
    last_tag: u64,
    last_progress: Instant,
    next_look: Instant,
    confirm_timeout: Duration,
}

/// The end of a connection.
pub(super) struct Lost {
    pub(super) reason: String,
    pub(super) blame: Option<Undeliverable>,
}

/// Connects, declares what is to be declared, and turns confirms on.
pub(super) async fn connect(settings: AmqpSettings, mut uri: AMQPUri) -> Result<Link, Failure> {
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    let properties = ConnectionProperties::default().with_connection_name("zoutbox-relay".into());
    let tls = OwnedTLSConfig { identity: None, cert_chain: settings.ca.clone() };
    let builder = DefaultConnectionBuilder::new()
        .map_err(|error| failure(&error))?
        .with_uri(uri)
        .with_properties(properties)
        .with_tls_config(tls);
    let connection = step("connecting", builder.connect()).await?;
    let signals = connection.events_listener().boxed();
    let channel = step("opening a channel", connection.create_channel()).await?;
    declare(&channel, &settings).await?;
    step("turning confirms on", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let exchange = short("--exchange", &settings.exchange)?;
    let now = Instant::now();
    Ok(Link {
        connection,
        channel,
        exchange,
        signals,
        in_flight: FuturesUnordered::new(),
        ended: Vec::new(),
        last_tag: 0,
        last_progress: now,
        next_look: now + LOOK,
        confirm_timeout: settings.confirm_timeout,
    })
}

async fn declare(channel: &Channel, settings: &AmqpSettings) -> Result<(), Failure> {
    let exchange = short("--exchange", &settings.exchange)?;
    if !settings.exchange.is_empty() {
        // Without a type to declare, it is only looked for: publishing to an exchange that is not there would say so late.
        let kind = match settings.declare_exchange.as_deref() {
            Some("direct") | None => ExchangeKind::Direct,
            Some("fanout") => ExchangeKind::Fanout,
            Some("headers") => ExchangeKind::Headers,
            Some("topic") => ExchangeKind::Topic,
            Some(other) => ExchangeKind::Custom(other.to_owned()),
        };
        let passive = settings.declare_exchange.is_none();
        let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
        let declared = channel.exchange_declare(exchange.clone(), kind, options, FieldTable::default());
        step("--exchange", declared).await?;
    }
    let Some(queue) = &settings.declare_queue else { return Ok(()) };
    let queue = short("--declare-queue", queue)?;
    let mut arguments = FieldTable::default();
    let queue_type = match settings.queue_type {
        QueueType::Quorum => "quorum",
        QueueType::Classic => "classic",
    };
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(queue_type.into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    step("--declare-queue", channel.queue_declare(queue.clone(), options, arguments)).await?;
    for key in &settings.bind {
        let key = short("--bind", key)?;
        let bound = channel.queue_bind(
            queue.clone(),
            exchange.clone(),
            key,
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        step("--bind", bound).await?;
    }
    Ok(())
}

fn short(option: &str, text: &str) -> Result<ShortString, Failure> {
    ShortString::try_new(text).map_err(|error| Failure::Refused(format!("{option}: {error}")))
}

async fn step<T>(what: &str, doing: impl Future<Output = lapin::Result<T>>) -> Result<T, Failure> {
    match timeout(STEP_TIMEOUT, doing).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(match failure(&error) {
            Failure::Passing(reason) => Failure::Passing(format!("{what}: {reason}")),
            Failure::Refused(reason) => Failure::Refused(format!("{what}: {reason}")),
        }),
        Err(_) => Err(Failure::Passing(format!("{what}: no answer in {} s", STEP_TIMEOUT.as_secs()))),
    }
}

/// Whether an error while connecting may pass by itself.
fn failure(error: &Error) -> Failure {
    match error.kind() {
        // Access refused, not found, precondition failed, command invalid, not allowed.
        ErrorKind::ProtocolError(refusal) if matches!(refusal.get_id(), 403 | 404 | 406 | 503 | 530) => {
            Failure::Refused(describe(error))
        }
        // What rustls says of a certificate comes as invalid data.
        ErrorKind::IOError(io) if io.kind() == std::io::ErrorKind::InvalidData => {
            Failure::Refused(format!("TLS: {io}"))
        }
        ErrorKind::AuthProviderError(reason) => Failure::Refused(reason.clone()),
        _ => Failure::Passing(describe(error)),
    }
}

fn describe(error: &Error) -> String {
    let text = match error.kind() {
        ErrorKind::ProtocolError(refusal) => refusal.get_message().to_string(),
        ErrorKind::IOError(io) => io.to_string(),
        _ => error.to_string(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Link {
    pub(super) fn publish(&mut self, outgoing: &Outgoing) -> Result<u64, Undeliverable> {
        let message = Message::new(outgoing)?;
        if self.in_flight.is_empty() {
            self.last_progress = Instant::now();
        }
        self.last_tag += 1;
        let tag = self.last_tag;
        let (channel, exchange) = (self.channel.clone(), self.exchange.clone());
        let mut publish: BoxFuture<'static, Ended> = Box::pin(async move {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let Message { routing_key, properties, payload } = message;
            let sent = channel.basic_publish(exchange, routing_key, options, &payload, properties).await;
            match sent {
                Ok(confirm) => (tag, confirm.await),
                Err(error) => (tag, Err(error)),
            }
        });
        // The first poll allots lapin's tag and queues the frames: here, so that the order is the order of calls.
        match publish.poll_unpin(&mut Context::from_waker(noop_waker_ref())) {
            Poll::Ready(ended) => self.ended.push(ended),
            Poll::Pending => self.in_flight.push(publish),
        }
        Ok(tag)
    }

    /// Waits for something to tell. What is told before a loss counts.
    pub(super) async fn events(&mut self, told: &mut Vec<Event>) -> Result<(), Lost> {
        if let Some((tag, result)) = self.ended.pop() {
            return self.ended(tag, result, told);
        }
        tokio::select! {
            biased;
            Some(signal) = self.signals.next() => self.signalled(signal, told),
            Some((tag, result)) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                self.last_progress = Instant::now();
                self.ended(tag, result, told)?;
                self.more(told)
            }
            () = sleep_until(self.next_look) => self.look(),
        }
    }

    /// What else ended in the meantime.
    fn more(&mut self, told: &mut Vec<Event>) -> Result<(), Lost> {
        let mut context = Context::from_waker(noop_waker_ref());
        while told.len() < BATCH {
            // A future that is polled with a waker of its own notes it; the stream is polled properly before anybody waits.
            match Pin::new(&mut self.in_flight).poll_next_unpin(&mut context) {
                Poll::Ready(Some((tag, result))) => self.ended(tag, result, told)?,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn ended(
        &self,
        tag: u64,
        result: lapin::Result<Confirmation>,
        told: &mut Vec<Event>,
    ) -> Result<(), Lost> {
        let (resolution, returned) = match result {
            Ok(Confirmation::Ack(returned)) => (Resolution::Confirmed, returned),
            Ok(Confirmation::Nack(returned)) => (Resolution::Nacked, returned),
            Ok(Confirmation::NotRequested) => return Err(Lost::because("confirms are not on")),
            Err(error) => return Err(self.lost(&error)),
        };
        let returned = match returned.as_ref().map(returned_message) {
            Some(None) => return Err(Lost::because("the broker returned a message without an id")),
            Some(returned) => returned,
            None => None,
        };
        told.push(Event::Resolved { tag, resolution, returned });
        Ok(())
    }

    fn signalled(&mut self, signal: lapin::Event, told: &mut Vec<Event>) -> Result<(), Lost> {
        match signal {
            lapin::Event::ConnectionBlocked(reason) => told.push(Event::Blocked(reason)),
            lapin::Event::ConnectionUnblocked => {
                self.last_progress = Instant::now();
                told.push(Event::Unblocked);
            }
            lapin::Event::Error(error) => return Err(self.lost(&error)),
            _ => {}
        }
        Ok(())
    }

    /// Notices a connection that is broken without having said so.
    fn look(&mut self) -> Result<(), Lost> {
        let now = Instant::now();
        self.next_look = now + LOOK;
        if !self.connection.status().connected() || !self.channel.status().connected() {
            return Err(Lost::because("the broker closed it"));
        }
        if self.connection.status().blocked() {
            self.last_progress = now;
        }
        let silent = now.duration_since(self.last_progress);
        if !self.in_flight.is_empty() && silent >= self.confirm_timeout {
            return Err(Lost::because(&format!("no confirm for {} s", silent.as_secs())));
        }
        Ok(())
    }

    fn lost(&self, error: &Error) -> Lost {
        let reason = describe(error);
        let ErrorKind::ProtocolError(refusal) = error.kind() else { return Lost { reason, blame: None } };
        let blame = match refusal.get_id() {
            // Content too large, precondition failed, frame and syntax errors: a record did that.
            311 | 406 | 501 | 502 => Some(Undeliverable::Rejected(reason.clone())),
            403 => Some(Undeliverable::Forbidden(reason.clone())),
            _ => None,
        };
        let exchange = &self.exchange;
        Lost { reason: format!("{reason} (publishing to exchange '{exchange}')"), blame }
    }

    pub(super) async fn close(self) {
        if let Err(error) = self.connection.close(200, "the relay stops".into()).await {
            tracing::debug!("closing the connection: {error}");
        }
    }
}

impl Lost {
    fn because(reason: &str) -> Self {
        Self { reason: reason.into(), blame: None }
    }
}

fn returned_message(message: &BasicReturnMessage) -> Option<Returned> {
    let id = message.delivery.properties.message_id().as_ref()?.to_string();
    let key = &message.delivery.routing_key;
    let reason =
        format!("{} (routing key '{key}', exchange '{}')", message.reply_text, message.delivery.exchange);
    Some(Returned { id, reason: Undeliverable::Unroutable(reason) })
}
