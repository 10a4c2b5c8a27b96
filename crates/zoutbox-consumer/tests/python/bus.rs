//! A queue on the broker that all these tests share, and messages into it, as a relay publishes them.

use std::time::Duration;

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use zoutbox_consumer::{HeaderValue, Message};
use zoutbox_test_support::Broker;

const PATIENCE: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_mins(2);

pub(crate) struct Bus {
    pub(crate) queue: String,
    channel: Channel,
    _connection: Connection,
    runtime: Runtime,
}

impl Bus {
    pub(crate) fn new(test: &str) -> Self {
        let bus = Self::over(format!("queue-{test}"));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declaring = bus.channel.queue_declare(bus.queue.as_str().into(), durable, FieldTable::default());
        bus.to_its_end(declaring).unwrap();
        bus
    }

    /// A queue that somebody else declares.
    pub(crate) fn over(queue: String) -> Self {
        let broker = Broker::shared();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // A broker that is just starting does not always answer.
        let connecting = async {
            loop {
                let connecting = async {
                    let properties = ConnectionProperties::default();
                    let connection = Connection::connect(broker.url(), properties).await?;
                    let channel = connection.create_channel().await?;
                    channel.confirm_select(ConfirmSelectOptions::default()).await?;
                    Ok::<_, lapin::Error>((connection, channel))
                };
                match timeout(PATIENCE, connecting).await {
                    Ok(connected) => return connected.unwrap(),
                    Err(_) => eprintln!("connecting hangs, trying again"),
                }
            }
        };
        let (connection, channel) =
            runtime.block_on(async { timeout(LONG, connecting).await.expect("the broker answers") });
        Self { queue, channel, _connection: connection, runtime }
    }

    /// Does it, or fails: a broker that does not answer must not hold up the test for ever.
    fn to_its_end<T>(&self, doing: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { timeout(LONG, doing).await.expect("the broker answers") })
    }

    pub(crate) fn url() -> &'static str {
        Broker::shared().url()
    }

    /// Publishes, and returns when the broker has it.
    pub(crate) fn publish(&self, message: &Message) {
        let mut headers = FieldTable::default();
        for (name, value) in &message.headers {
            let value = match value {
                HeaderValue::Text(text) => AMQPValue::LongString(text.as_str().into()),
                HeaderValue::Integer(number) => AMQPValue::LongLongInt(*number),
            };
            headers.insert(ShortString::try_new(name.as_str()).unwrap(), value);
        }
        let short = |text: &String| ShortString::try_new(text.as_str()).unwrap();
        let mut properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
        if let Some(id) = &message.message_id {
            properties = properties.with_message_id(short(id));
        }
        if let Some(kind) = &message.content_type {
            properties = properties.with_content_type(short(kind));
        }
        if let Some(seconds) = message.timestamp_s {
            properties = properties.with_timestamp(seconds);
        }
        // Through the default exchange, so that the routing key is the queue's name and not the topic.
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        self.to_its_end(async {
            let queue = self.queue.as_str().into();
            let confirm =
                self.channel.basic_publish("".into(), queue, options, &message.body, properties).await;
            let confirm = confirm.unwrap().await.unwrap();
            assert!(matches!(confirm, lapin::Confirmation::Ack(None)), "{confirm:?}");
        });
    }

    /// What was set aside, and why, in order; it is then gone.
    pub(crate) fn parked(&self) -> Vec<(String, String)> {
        self.to_its_end(async {
            let (queue, mut all) = (format!("{}.parked", self.queue), Vec::new());
            let get = || self.channel.basic_get(queue.as_str().into(), BasicGetOptions::default());
            while let Some(message) = get().await.unwrap() {
                message.acker.ack(BasicAckOptions::default()).await.unwrap();
                let headers = message.properties.headers().clone().unwrap();
                let reason = headers.inner().get("x-parked-reason").and_then(AMQPValue::as_long_string);
                let id = message.properties.message_id().clone().map(|id| id.to_string());
                all.push((id.unwrap_or_default(), reason.unwrap().to_string()));
            }
            all
        })
    }

    /// How many messages could be delivered now, as the queue itself says.
    pub(crate) fn ready(&self) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asking = self.channel.queue_declare(self.queue.as_str().into(), passive, FieldTable::default());
        self.to_its_end(asking).unwrap().message_count()
    }

    /// How many messages are in the queue, delivered and not acknowledged ones included.
    pub(crate) fn waiting(&self) -> u32 {
        let listed = Broker::shared().ctl(&["list_queues", "name", "messages"]);
        let line = listed.lines().find_map(|line| line.strip_prefix(&format!("{}\t", self.queue)));
        line.unwrap_or_else(|| panic!("{} is not in {listed}", self.queue)).trim().parse().unwrap()
    }
}
