//! One connection with its one channel, from connecting to its loss. Every wait has an end.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions,
    BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{
    Channel, Confirmation, Connection, ConnectionProperties, DefaultConnectionBuilder, Error, ErrorKind,
};
use tokio::time::timeout;

use super::message::Outgoing;
use super::place::{Address, Failure, Place};

/// Each answer of the broker may take this long.
const ANSWER: Duration = Duration::from_secs(10);
/// A confirm takes a sync on several nodes.
const CONFIRM: Duration = Duration::from_secs(30);
const CLOSE: Duration = Duration::from_secs(2);
const TAG: &str = "zoutbox";

pub(super) struct Link {
    connection: Connection,
    channel: Channel,
    address: Address,
    place: Place,
}

/// What comes.
pub(super) type Incoming = lapin::Consumer;

impl Link {
    /// Connects, declares where things are set aside, and turns confirms on.
    pub(super) async fn connect(place: &Place) -> Result<Self, Failure> {
        place.ask(|address| Self::connect_to(address, place)).await
    }

    /// The same, and has messages sent.
    pub(super) async fn consume(place: &Place, prefetch: u16) -> Result<(Self, Incoming), Failure> {
        let asking = |address| async move {
            let link = Self::connect_to(address, place).await?;
            let incoming = link.consume_here(prefetch).await?;
            Ok((link, incoming))
        };
        place.ask(asking).await
    }

    async fn connect_to(address: Address, place: &Place) -> Result<Self, Failure> {
        let properties = ConnectionProperties::default().with_connection_name("zoutbox-consumer".into());
        let tls = OwnedTLSConfig { identity: None, cert_chain: place.ca.clone() };
        let builder = DefaultConnectionBuilder::new()
            .map_err(|error| failure("connecting", &error))?
            .with_uri(address.uri.clone())
            .with_properties(properties)
            .with_tls_config(tls);
        let connection = step("connecting", builder.connect()).await?;
        let channel = step("opening a channel", connection.create_channel()).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(place.parked.clone(), options, arguments);
        step(&format!("declaring queue '{}'", place.parked), declared).await?;
        step("turning confirms on", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { connection, channel, address, place: place.clone() })
    }

    /// Where it leads to.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    async fn consume_here(&self, prefetch: u16) -> Result<Incoming, Failure> {
        step("setting the prefetch", self.channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let (queue, options) = (self.place.queue.clone(), BasicConsumeOptions::default());
        let consuming = self.channel.basic_consume(queue, TAG.into(), options, FieldTable::default());
        step(&format!("consuming from queue '{}'", self.place.queue), consuming).await
    }

    /// Has no more messages sent.
    pub(super) async fn cancel(&self) -> Result<(), Failure> {
        step("cancelling", self.channel.basic_cancel(TAG.into(), BasicCancelOptions::default())).await
    }

    pub(super) async fn ack(&self, tag: u64) -> Result<(), Failure> {
        step("acknowledging", self.channel.basic_ack(tag, BasicAckOptions::default())).await
    }

    pub(super) async fn give_back(&self, tag: u64) -> Result<(), Failure> {
        let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        step("giving a message back", self.channel.basic_nack(tag, options)).await
    }

    /// How many messages wait in the queue.
    pub(super) async fn count(&self) -> Result<u32, Failure> {
        self.count_of(&self.place.queue).await
    }

    /// How many messages are set aside.
    pub(super) async fn count_parked(&self) -> Result<u32, Failure> {
        self.count_of(&self.place.parked).await
    }

    async fn count_of(&self, queue: &ShortString) -> Result<u32, Failure> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.clone(), options, FieldTable::default());
        Ok(step(&format!("looking at queue '{queue}'"), declared).await?.message_count())
    }

    /// One message that is set aside.
    pub(super) async fn get_parked(&self) -> Result<Option<Delivery>, Failure> {
        let got = self.channel.basic_get(self.place.parked.clone(), BasicGetOptions::default());
        let got = step(&format!("getting from queue '{}'", self.place.parked), got).await?;
        Ok(got.map(|message| message.delivery))
    }

    pub(super) async fn park(&self, outgoing: &Outgoing) -> Result<(), String> {
        self.publish(&self.place.parked, outgoing).await
    }

    pub(super) async fn unpark(&self, outgoing: &Outgoing) -> Result<(), String> {
        self.publish(&self.place.queue, outgoing).await
    }

    /// Publishes to a queue, and returns when the broker has it for good. One at a time; after an error nothing more is published
    /// over this link, so what the broker returns in front of a confirm is never another's.
    async fn publish(&self, queue: &ShortString, outgoing: &Outgoing) -> Result<(), String> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let Outgoing { properties, body } = outgoing;
        let publishing = async {
            let sent =
                self.channel.basic_publish("".into(), queue.clone(), options, body, properties.clone());
            sent.await?.await
        };
        match timeout(CONFIRM, publishing).await {
            Ok(Ok(Confirmation::Ack(None))) => Ok(()),
            // Some brokers confirm what they return.
            Ok(Ok(Confirmation::Ack(Some(returned)))) => Err(format!(
                "queue '{queue}' does not take it: {} ({})",
                returned.reply_text,
                identity(&returned.delivery)
            )),
            Ok(Ok(Confirmation::Nack(_))) => {
                Err(format!("the broker did not confirm it for queue '{queue}'"))
            }
            Ok(Ok(Confirmation::NotRequested)) => Err("confirms are not on".into()),
            Ok(Err(error)) => Err(describe(&error)),
            Err(_) => Err(format!("no confirm in {} s", CONFIRM.as_secs())),
        }
    }

    /// Whether it is there as far as this side knows.
    pub(super) fn is_up(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    pub(super) async fn close(self) {
        let closing = self.connection.close(200, "the consumer stops".into());
        if !matches!(timeout(CLOSE, closing).await, Ok(Ok(()))) {
            tracing::debug!("the broker did not close the connection in time");
        }
    }
}

/// What is there already.
pub(super) fn at_hand(incoming: &mut Incoming) -> Option<lapin::Result<Delivery>> {
    incoming.next().now_or_never().flatten()
}

async fn step<T>(what: &str, doing: impl Future<Output = lapin::Result<T>>) -> Result<T, Failure> {
    match timeout(ANSWER, doing).await {
        Ok(done) => done.map_err(|error| failure(what, &error)),
        Err(_) => {
            Err(Failure { reason: format!("{what}: no answer in {} s", ANSWER.as_secs()), refused: false })
        }
    }
}

fn failure(what: &str, error: &Error) -> Failure {
    let refused = match error.kind() {
        // Access refused, precondition failed, command invalid, not allowed. A queue that is not there (404) may come.
        ErrorKind::ProtocolError(refusal) => matches!(refusal.get_id(), 403 | 406 | 503 | 530),
        // What rustls says of a certificate comes as invalid data.
        ErrorKind::IOError(io) => io.kind() == std::io::ErrorKind::InvalidData,
        ErrorKind::AuthProviderError(_) => true,
        _ => false,
    };
    Failure { reason: format!("{what}: {}", describe(error)), refused }
}

pub(super) fn describe(error: &Error) -> String {
    let text = match error.kind() {
        ErrorKind::ProtocolError(refusal) => refusal.get_message().to_string(),
        ErrorKind::IOError(io) => io.to_string(),
        _ => error.to_string(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn identity(delivery: &Delivery) -> &str {
    delivery.properties.message_id().as_ref().map_or("a message without an id", ShortString::as_str)
}
