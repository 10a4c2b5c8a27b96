//! A queue of one test, with an exchange through which messages keep their topics.

use std::sync::OnceLock;
use std::time::Duration;

use lapin::message::Delivery;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};
use tokio::runtime::Runtime;
use zoutbox_consumer::{ConsumerAmqp, ConsumerOptions, ErrorKind, HeaderValue, Message, UnparkOptions};
use zoutbox_test_support::{Broker, wait_until};

const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const LONG: Duration = Duration::from_mins(2);

pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

pub(crate) struct Queue {
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Queue {
    pub(crate) fn new(name: &str) -> Self {
        Self::on(Broker::shared(), name)
    }

    pub(crate) fn on(broker: &Broker, name: &str) -> Self {
        let queue = Self { url: broker.url().to_owned(), name: name.to_owned() };
        queue.with(|channel, name| async move {
            declare(&channel, &name).await;
            let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let exchange = format!("{name}-exchange");
            let kind = ExchangeKind::Topic;
            let nothing = FieldTable::default;
            channel.exchange_declare(exchange.as_str().into(), kind, durable, nothing()).await.unwrap();
            let (queue, exchange) = (name.as_str().into(), exchange.as_str().into());
            channel
                .queue_bind(queue, exchange, "#".into(), QueueBindOptions::default(), nothing())
                .await
                .unwrap();
        });
        queue
    }

    /// Runs something on a channel of its own, and closes it.
    fn with<T, F: Future<Output = T> + Send + 'static>(&self, doing: impl FnOnce(Channel, String) -> F) -> T
    where
        T: Send + 'static,
    {
        let (url, name) = (self.url.clone(), self.name.clone());
        // A broker that is just starting does not always answer.
        let connecting = async move {
            loop {
                let connecting = async {
                    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
                    let channel = connection.create_channel().await?;
                    Ok::<_, lapin::Error>((connection, channel))
                };
                match tokio::time::timeout(PATIENCE, connecting).await {
                    Ok(connected) => return connected.unwrap(),
                    Err(_) => eprintln!("connecting hangs, trying again"),
                }
            }
        };
        let (connection, channel) = runtime().block_on(connecting);
        let doing = doing(channel, name);
        let done = runtime()
            .block_on(async { tokio::time::timeout(LONG, doing).await.expect("the broker answers") });
        // The channel went with the last that used it, which may still be on its way.
        let closing = connection.close(200, "done".into());
        drop(runtime().block_on(async { tokio::time::timeout(PATIENCE, closing).await }));
        done
    }

    pub(crate) fn options(&self) -> ConsumerOptions {
        let mut options = ConsumerOptions::new(ConsumerAmqp::new(&self.url), &self.name);
        options.retry_min = Duration::from_millis(20);
        options.retry_max = Duration::from_millis(200);
        options
    }

    pub(crate) fn unpark_options(&self) -> UnparkOptions {
        UnparkOptions { amqp: ConsumerAmqp::new(&self.url), queue: self.name.clone() }
    }

    pub(crate) fn unpark(&self) -> u64 {
        let options = self.unpark_options();
        let unparking = async {
            loop {
                match zoutbox_consumer::unpark(&options).await {
                    // A busy broker does not always answer in time.
                    Err(error) if error.kind() == ErrorKind::Retry => {
                        eprintln!("{error}, trying again");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    unparked => return unparked.unwrap(),
                }
            }
        };
        runtime().block_on(async { tokio::time::timeout(LONG, unparking).await.expect("the broker answers") })
    }

    /// Publishes with confirms, as a relay does.
    pub(crate) fn publish(&self, messages: &[Message]) {
        let all =
            messages.iter().map(|message| (message.topic.clone(), properties(message), message.body.clone()));
        self.publish_raw(all.collect());
    }

    pub(crate) fn publish_raw(&self, messages: Vec<(String, BasicProperties, Vec<u8>)>) {
        self.with(|channel, name| async move {
            channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
            let mut confirms = Vec::new();
            for (topic, properties, body) in messages {
                let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
                let exchange = format!("{name}-exchange");
                let sent = channel.basic_publish(exchange.into(), topic.into(), options, &body, properties);
                confirms.push(sent.await.unwrap());
            }
            for confirm in confirms {
                assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
            }
        });
    }

    /// How many messages wait in it, or in another one; 0 if it is not there.
    pub(crate) fn count_of(&self, queue: &str) -> u32 {
        let queue = queue.to_owned();
        self.with(|channel, _| async move {
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let declared = channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
            declared.map_or(0, |queue| queue.message_count())
        })
    }

    /// Waits until so many messages are ready in the queue and in that of the parked ones. What a consumer holds does not count.
    pub(crate) fn settles_at(&self, waiting: u32, parked: u32) {
        let what = format!("{}: {waiting} waiting, {parked} parked", self.name);
        wait_until(&what, LONG, || {
            (self.count_of(&self.name), self.count_of(&format!("{}.parked", self.name))) == (waiting, parked)
        });
    }

    /// What is parked, taken out.
    pub(crate) fn take_parked(&self) -> Vec<Delivery> {
        self.with(|channel, name| async move {
            let mut all = Vec::new();
            let options = BasicGetOptions { no_ack: true };
            while let Some(got) = channel.basic_get(format!("{name}.parked").into(), options).await.unwrap() {
                all.push(got.delivery);
            }
            all
        })
    }

    pub(crate) fn delete(&self, queue: &str) {
        let queue = queue.to_owned();
        self.with(|channel, _| async move {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        });
    }

    pub(crate) fn declare(&self, queue: &str) {
        let queue = queue.to_owned();
        self.with(|channel, _| async move { declare(&channel, &queue).await });
    }
}

async fn declare(channel: &Channel, name: &str) {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(name.into(), durable, quorum).await.unwrap();
}

pub(crate) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}

pub(crate) fn properties(message: &Message) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        let value = match value {
            HeaderValue::Text(value) => text(value),
            HeaderValue::Integer(number) => AMQPValue::LongLongInt(*number),
        };
        headers.insert(name.as_str().into(), value);
    }
    let mut properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
    if let Some(id) = &message.message_id {
        properties = properties.with_message_id(id.as_str().into());
    }
    if let Some(kind) = &message.content_type {
        properties = properties.with_content_type(kind.as_str().into());
    }
    if let Some(seconds) = message.timestamp_s {
        properties = properties.with_timestamp(seconds);
    }
    properties
}

/// A header of a message that was taken.
pub(crate) fn header(delivery: &Delivery, name: &str) -> String {
    let headers = delivery.properties.headers().clone().unwrap_or_default();
    match headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => String::from_utf8(text.as_bytes().to_vec()).unwrap(),
        other => panic!("{name}: {other:?}"),
    }
}

pub(crate) fn id(delivery: &Delivery) -> String {
    delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default()
}
