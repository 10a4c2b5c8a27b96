//! What all of it stands on: a share, a RabbitMQ, a PostgreSQL, and a queue for each consumer.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;
use zoutbox_format::layout::SegmentName;
use zoutbox_test_support::{Broker, Postgres, TestRoot, test_roots};

use crate::LONG;
use crate::effects::{Database, Store};

pub(crate) const EXCHANGE: &str = "chaos";
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Ground {
    pub(crate) broker: Broker,
    pub(crate) postgres: Postgres,
    pub(crate) root: PathBuf,
    /// Databases and logs, on a disk of this host: an SQLite database does not belong on NFS.
    pub(crate) beside: PathBuf,
    directories: Mutex<Vec<TempDir>>,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let roots = test_roots();
        let fresh = |root: Option<&TestRoot>| {
            let parent = root.unwrap().parent().unwrap();
            tempfile::Builder::new().prefix("zoutbox-chaos-").tempdir_in(parent).unwrap()
        };
        let share = fresh(roots.last());
        let beside = fresh(roots.iter().find(|root| root.label() == "disk"));
        let ground = Self {
            broker: Broker::start(),
            postgres: Postgres::start(),
            root: share.path().join("share"),
            beside: beside.path().to_owned(),
            directories: Mutex::new(vec![share, beside]),
        };
        let made = zoutbox().arg("init").arg(&ground.root).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        ground.declare();
        // A quorum queue whose node is killed within seconds of its declaration may come back without a leader.
        ground.broker.stop();
        ground.broker.start_again();
        for store in Store::ALL {
            ground.database(store).create();
        }
        ground
    }

    /// Where a consumer has its inbox and its effects.
    pub(crate) fn database(&self, store: Store) -> Database {
        match store {
            Store::Sqlite => Database::Sqlite(self.beside.join("effects.db")),
            Store::Postgres => Database::Postgres(self.postgres.url().to_owned()),
        }
    }

    /// A durable exchange, and for each consumer a durable queue that gets all topics.
    fn declare(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let declaring = async {
            // A broker that is just starting does not always answer.
            let (connection, channel) = loop {
                let connecting = async {
                    let properties = ConnectionProperties::default();
                    let connection = Connection::connect(self.broker.url(), properties).await?;
                    let channel = connection.create_channel().await?;
                    Ok::<_, lapin::Error>((connection, channel))
                };
                match timeout(PATIENCE, connecting).await {
                    Ok(connected) => break connected?,
                    Err(_) => eprintln!("connecting hangs, trying again"),
                }
            };
            let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            channel
                .exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default())
                .await?;
            for store in Store::ALL {
                let queue = store.name();
                // Else a queue may give a new consumer what comes next, and only later what a dead one held.
                channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), quorum(true)).await?;
                // As the consumer does it.
                let parked = format!("{queue}.parked");
                channel.queue_declare(parked.into(), QueueDeclareOptions::durable(), quorum(false)).await?;
                let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
                channel.queue_bind(queue.into(), EXCHANGE.into(), "#".into(), options, arguments).await?;
            }
            connection.close(200, "declared".into()).await
        };
        let declared = runtime.block_on(async { timeout(LONG, declaring).await });
        declared.expect("the broker answers").unwrap();
    }

    /// How many messages each queue holds, those included that are delivered and not acknowledged.
    pub(crate) fn queues(&self) -> Vec<(String, u64)> {
        let listed = self.broker.ctl(&["list_queues", "name", "messages"]);
        let queue = |line: &str| {
            let (name, messages) = line.split_once('\t').unwrap();
            (name.to_owned(), messages.parse().unwrap())
        };
        let queues: Vec<_> = listed.lines().map(queue).collect();
        let missing = |store: &&Store| !queues.iter().any(|(name, _)| name == store.name());
        assert_eq!(Store::ALL.iter().find(missing), None, "a queue is gone: {listed}");
        queues
    }

    /// Whether all consumers have said that there is something to keep for them.
    pub(crate) fn registered(&self) -> bool {
        Store::ALL.iter().all(|store| self.root.join("consumers").join(store.name()).is_file())
    }

    /// What `zoutbox status` says of each writer.
    pub(crate) fn status(&self) -> Vec<Lane> {
        let said = zoutbox()
            .args(["status", "--json", "--patience", "60", "--root"])
            .arg(&self.root)
            .output()
            .unwrap();
        assert!(said.status.success(), "{said:?}");
        let status: Value = serde_json::from_slice(&said.stdout).unwrap();
        let number = |lane: &Value, name: &str| lane[name].as_u64().unwrap_or_else(|| panic!("{lane}"));
        let lane = |lane: &Value| Lane {
            durable: number(lane, "durable"),
            confirmed: number(lane, "confirmed"),
            segments: number(lane, "segments"),
        };
        status["writers"].as_array().unwrap().iter().map(lane).collect()
    }

    /// The first segment of the writer is gone: the relay has removed what nobody needs any more.
    pub(crate) fn reclaimed(&self, writer: &str) -> bool {
        let directory = self.root.join("writers").join(writer);
        let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let segments = names.filter_map(|name| SegmentName::parse(name.to_str().unwrap()));
        let first = segments.map(|name| name.id.first_sequence).min();
        first.is_some_and(|first| first.get() > 1)
    }

    /// Lets the files stay, for whoever has to find out what went wrong.
    pub(crate) fn keep(&self) -> Vec<PathBuf> {
        let mut directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        directories.drain(..).map(TempDir::keep).collect()
    }
}

/// The arguments of a quorum queue.
fn quorum(one_consumer_at_a_time: bool) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    if one_consumer_at_a_time {
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    }
    arguments
}

/// A writer as `zoutbox status` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) durable: u64,
    pub(crate) confirmed: u64,
    pub(crate) segments: u64,
}

/// The program under test, by itself.
pub(crate) fn zoutbox() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoutbox"));
    command.env_remove("ZOUTBOX_ROOT");
    command
}
