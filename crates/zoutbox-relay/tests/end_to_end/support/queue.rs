//! Exchanges and queues of one test, and brokers that a test may harm.

use std::ops::Deref;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use lapin::options::{
    BasicPublishOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use zoutbox_test_support::{Broker, wait_until};

use super::LONG;

const PATIENCE: Duration = Duration::from_secs(10);

/// What consumers and helpers run on. The relay is a process of its own.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    })
}

static HEALED: Mutex<Vec<Broker>> = Mutex::new(Vec::new());

/// A broker that only this test uses. Starting one takes long, so that a test that passes leaves it to the next one.
pub(crate) struct TroubledBroker(Option<Broker>);

impl TroubledBroker {
    pub(crate) fn get() -> Self {
        let healed = HEALED.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(Some(healed.unwrap_or_else(Broker::start)))
    }
}

impl Deref for TroubledBroker {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        self.0.as_ref().unwrap()
    }
}

impl Drop for TroubledBroker {
    fn drop(&mut self) {
        if !std::thread::panicking()
            && let Some(broker) = self.0.take()
        {
            HEALED.lock().unwrap_or_else(PoisonError::into_inner).push(broker);
        }
    }
}

/// A durable topic exchange and a durable queue, named after the test.
pub(crate) struct Queue {
    pub(crate) url: String,
    pub(crate) exchange: String,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
}

impl Queue {
    /// A quorum queue that is bound with these keys.
    pub(crate) fn new(broker: &Broker, test: &str, keys: &[&str]) -> Self {
        Self::of_kind(broker, test, "quorum", keys)
    }

    pub(crate) fn of_kind(broker: &Broker, test: &str, kind: &'static str, keys: &[&str]) -> Self {
        let queue = Self::only_named(broker, test, kind);
        queue.declare(keys);
        queue
    }

    /// Names alone: for who has the relay declare it.
    pub(crate) fn only_named(broker: &Broker, test: &str, kind: &'static str) -> Self {
        Self {
            url: broker.url().to_owned(),
            exchange: format!("exchange-{test}"),
            name: format!("queue-{test}"),
            kind,
        }
    }

    /// Makes all of it, if it is not there.
    pub(crate) fn declare(&self, keys: &[&str]) {
        self.declare_with(keys, FieldTable::default());
    }

    /// The same, the queue with these arguments besides its type.
    pub(crate) fn declare_with(&self, keys: &[&str], mut arguments: FieldTable) {
        to_its_end(async {
            let (_connection, channel) = self.connect().await;
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let exchange = self.exchange.as_str().into();
            channel
                .exchange_declare(exchange, ExchangeKind::Topic, options, FieldTable::default())
                .await
                .unwrap();
            arguments.insert("x-queue-type".into(), AMQPValue::LongString(self.kind.into()));
            let name = self.name.as_str().into();
            channel.queue_declare(name, QueueDeclareOptions::durable(), arguments).await.unwrap();
        });
        self.bind(keys);
    }

    pub(crate) fn delete_exchange(&self) {
        to_its_end(async {
            let (_connection, channel) = self.connect().await;
            let options = ExchangeDeleteOptions::default();
            channel.exchange_delete(self.exchange.as_str().into(), options).await.unwrap();
        });
    }

    /// Removes the queue, and what is in it.
    pub(crate) fn delete(&self) {
        to_its_end(async {
            let (_connection, channel) = self.connect().await;
            channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        });
    }

    /// Waits until each of these nodes would find the queue again.
    pub(crate) fn wait_until_written_down(&self, nodes: &[Broker]) {
        wait_until("all nodes know the queue for good", LONG, || {
            nodes.iter().all(|node| node.has_written_down(&self.name))
        });
    }

    /// What `rabbitmqctl list_queues` says of it.
    fn listed(&self, node: &Broker, column: &str) -> String {
        let listed = node.ctl(&["list_queues", "name", column]);
        let of = |line: &str| line.strip_prefix(&self.name)?.strip_prefix('\t').map(str::to_owned);
        listed.lines().find_map(of).unwrap_or_default()
    }

    /// Which of these nodes leads it, once one does.
    pub(crate) fn leader(&self, nodes: &[Broker]) -> usize {
        let mut leader = String::new();
        wait_until("the queue has a leader", LONG, || {
            leader = self.listed(&nodes[0], "leader");
            leader.contains('@')
        });
        let is_leader = |node: &Broker| node.ctl(&["eval", "node()."]).contains(&leader);
        nodes.iter().position(is_leader).unwrap()
    }

    /// Waits until each of these nodes is part of the queue again, and has all of it.
    pub(crate) fn wait_until_replicated(&self, nodes: &[Broker]) {
        let online = || self.listed(&nodes[0], "online").matches('@').count() == nodes.len();
        wait_until("all nodes are part of the queue", LONG, online);
    }

    /// Binds the queue with these keys, too.
    pub(crate) fn bind(&self, keys: &[&str]) {
        to_its_end(async {
            let (_connection, channel) = self.connect().await;
            for key in keys {
                let (queue, exchange) = (self.name.as_str().into(), self.exchange.as_str().into());
                let options = QueueBindOptions::default();
                channel
                    .queue_bind(queue, exchange, (*key).into(), options, FieldTable::default())
                    .await
                    .unwrap();
            }
        });
    }

    /// Puts a message without an id behind everything that is in the queue.
    pub(crate) fn mark(&self) {
        to_its_end(async {
            let (_connection, channel) = self.connect().await;
            channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await.unwrap();
            let (exchange, key) = ("".into(), self.name.as_str().into());
            let properties = BasicProperties::default().with_delivery_mode(2);
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let confirm = channel.basic_publish(exchange, key, options, b"mark", properties).await.unwrap();
            assert!(
                matches!(confirm.await.unwrap(), lapin::Confirmation::Ack(None)),
                "the mark went nowhere"
            );
        });
    }

    /// What a relay needs to publish here.
    pub(crate) fn arguments(&self) -> Vec<&str> {
        vec!["--amqp", &self.url, "--exchange", &self.exchange]
    }

    /// The same, and more.
    pub(crate) fn with<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [self.arguments().as_slice(), more].concat()
    }

    pub(crate) async fn connect(&self) -> (Connection, Channel) {
        // A broker that is just starting does not always answer.
        loop {
            let connecting = async {
                let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
                let channel = connection.create_channel().await?;
                Ok::<_, lapin::Error>((connection, channel))
            };
            match timeout(PATIENCE, connecting).await {
                Ok(connected) => return connected.unwrap(),
                Err(_) => eprintln!("connecting hangs, trying again"),
            }
        }
    }
}

/// Does it, or fails: a broker that does not answer must not hold up the test for ever.
fn to_its_end<T>(doing: impl Future<Output = T>) -> T {
    runtime().block_on(async { timeout(LONG, doing).await.expect("the broker answers") })
}
