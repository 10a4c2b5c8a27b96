//! A consumer that keeps everything that comes, and compares it with what was appended.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zoutbox_test_support::wait_until;
use zoutbox_writer::{Record, RecordId};

use super::queue::runtime;
use super::{LONG, Producer, Queue};

const AGAIN: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(10);

/// Consumes one queue until dropped, also from a broker that goes and comes back.
pub(crate) struct Consumer {
    came: Arc<Mutex<Vec<Delivery>>>,
    task: JoinHandle<()>,
}

impl Consumer {
    pub(crate) fn start(queue: &Queue) -> Self {
        let came = Arc::default();
        let task = runtime().spawn(consume(queue.url.clone(), queue.name.clone(), Arc::clone(&came)));
        Self { came, task }
    }

    /// How many deliveries there were, duplicates included.
    pub(crate) fn count(&self) -> usize {
        self.came.lock().unwrap().len()
    }

    /// Looks at all deliveries, in order, duplicates included.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&[Delivery]) -> T) -> T {
        look(&self.came.lock().unwrap())
    }

    /// The ids of all deliveries, in order, duplicates included.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.came.lock().unwrap().iter().filter_map(id).collect()
    }

    /// Waits for the message that [`Queue::mark`] put behind all others, and returns the ids in front of it.
    pub(crate) fn ids_before_the_mark(&self) -> Vec<String> {
        wait_until("the mark comes", LONG, || self.came.lock().unwrap().iter().any(|d| id(d).is_none()));
        self.came.lock().unwrap().iter().map_while(id).collect()
    }

    pub(crate) fn wait_for_count(&self, count: usize) {
        wait_until(&format!("{count} deliveries"), LONG, || self.count() >= count);
    }

    /// Waits until everything that these appended came; then checks that nothing else did, that first deliveries were in order, and
    /// that every copy of every message was what its record says.
    ///
    /// What comes as redelivered before it was seen had been sent down a connection that broke. A quorum queue may give it out behind
    /// later ones, whatever the order it was published in; so its place says nothing.
    #[track_caller]
    pub(crate) fn wait_for_all_in_order(&self, producers: &[&Producer]) {
        let records: Vec<_> = producers.iter().flat_map(|p| &p.appended).collect();
        self.wait_for(&records);
        for producer in producers {
            let misplaced = self.first_seen_redelivered();
            let mut own: Vec<_> = producer.appended.iter().map(|(id, _)| id.to_string()).collect();
            let mut came = self.first_deliveries(producer.id.as_str());
            for ids in [&mut own, &mut came] {
                ids.retain(|id| !misplaced.contains(id));
            }
            assert_eq!(first_unequal(&came, &own), None, "order");
        }
    }

    /// Waits until all of these came, and checks that nothing else did, and every copy.
    #[track_caller]
    pub(crate) fn wait_for(&self, records: &[&(RecordId, Record)]) {
        let expected: HashMap<String, &Record> = records.iter().map(|(id, r)| (id.to_string(), r)).collect();
        let mut missing: HashSet<&String> = expected.keys().collect();
        let mut seen = 0;
        let complete = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until("everything came", LONG, || {
                let came = self.came.lock().unwrap();
                for delivery in &came[seen..] {
                    missing.remove(&id(delivery).unwrap_or_default());
                }
                seen = came.len();
                missing.is_empty()
            });
        }));
        let mut lost: Vec<_> = missing.iter().collect();
        lost.sort();
        assert!(complete.is_ok(), "{} of {} did not come: {:.20?}…", lost.len(), expected.len(), lost);
        for delivery in self.came.lock().unwrap().iter() {
            let Some(id) = id(delivery) else { continue };
            let record = expected.get(&id).unwrap_or_else(|| panic!("{id} was never appended"));
            check(delivery, &id, record);
        }
    }

    /// The ids of one writer's deliveries, without duplicates: the first one of each counts.
    pub(crate) fn first_deliveries(&self, writer: &str) -> Vec<String> {
        let mut seen = HashSet::new();
        let mut ids = self.of(writer);
        ids.retain(|id| seen.insert(id.clone()));
        ids
    }

    /// The same, but the last one of each counts.
    pub(crate) fn last_deliveries(&self, writer: &str) -> Vec<String> {
        let mut seen = HashSet::new();
        let mut ids = self.of(writer);
        ids.reverse();
        ids.retain(|id| seen.insert(id.clone()));
        ids.reverse();
        ids
    }

    /// The ids that one gets who takes only the record that follows the last one taken, and drops all else.
    pub(crate) fn taken_in_order<'a>(&self, writer: &str, appended: &'a [String]) -> &'a [String] {
        let mut taken = 0;
        for id in self.of(writer) {
            if appended.get(taken) == Some(&id) {
                taken += 1;
            }
        }
        &appended[..taken]
    }

    fn first_seen_redelivered(&self) -> HashSet<String> {
        let (mut seen, mut misplaced) = (HashSet::new(), HashSet::new());
        for delivery in self.came.lock().unwrap().iter() {
            let Some(id) = id(delivery) else { continue };
            if seen.insert(id.clone()) && delivery.redelivered {
                misplaced.insert(id);
            }
        }
        misplaced
    }

    fn of(&self, writer: &str) -> Vec<String> {
        let prefix = format!("{writer}/");
        self.ids().into_iter().filter(|id| id.starts_with(&prefix)).collect()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where two lists differ, and how: short enough to read.
pub(crate) fn first_unequal(
    left: &[String],
    right: &[String],
) -> Option<(usize, Option<String>, Option<String>)> {
    let at = (0..left.len().max(right.len())).find(|&i| left.get(i) != right.get(i))?;
    Some((at, left.get(at).cloned(), right.get(at).cloned()))
}

fn id(delivery: &Delivery) -> Option<String> {
    delivery.properties.message_id().as_ref().map(ToString::to_string)
}

/// That the message is what the design says of the record.
fn check(delivery: &Delivery, id: &str, record: &Record) {
    let properties = &delivery.properties;
    assert_eq!(delivery.data, record.payload, "{id}: payload");
    assert_eq!(delivery.routing_key.as_str(), record.topic, "{id}: routing key");
    assert_eq!(*properties.delivery_mode(), Some(2), "{id}: delivery mode");
    let content_type = properties.content_type().as_ref().map(ToString::to_string);
    assert_eq!(content_type, record.content_type, "{id}: content type");
    let seconds = properties.timestamp().unwrap_or_else(|| panic!("{id} has no timestamp"));
    if let Some(milliseconds) = record.timestamp_ms {
        assert_eq!(seconds, milliseconds / 1000, "{id}: timestamp");
    }
    let headers = properties.headers().clone().unwrap_or_default();
    let header = |name: &str| headers.inner().get(name).cloned();
    for (name, value) in &record.headers {
        assert_eq!(header(name), Some(AMQPValue::LongString(value.as_str().into())), "{id}: {name}");
    }
    // The relay's, and those that a quorum queue adds to what it delivers again.
    let others = |name: &str| name.starts_with("zoutbox-") || name.starts_with("x-");
    let own = headers.inner().keys().filter(|name| !others(name.as_str())).count();
    assert_eq!(own, record.headers.len(), "{id}: other headers than appended: {headers:?}");
    let parsed: RecordId = id.parse().unwrap();
    let writer = AMQPValue::LongString(parsed.writer.as_str().into());
    assert_eq!(header("zoutbox-writer"), Some(writer), "{id}");
    for (name, number) in [("zoutbox-epoch", parsed.epoch.get()), ("zoutbox-seq", parsed.sequence.get())] {
        assert_eq!(
            header(name),
            Some(AMQPValue::LongLongInt(i64::try_from(number).unwrap())),
            "{id}: {name}"
        );
    }
}

async fn consume(url: String, queue: String, came: Arc<Mutex<Vec<Delivery>>>) {
    loop {
        if let Err(error) = consume_once(&url, &queue, &came).await {
            // The broker is away, or the queue is not declared yet.
            drop(error);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn subscribe(url: &str, queue: &str) -> lapin::Result<(Connection, lapin::Consumer)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(500, BasicQosOptions::default()).await?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(queue.into(), "".into(), options, arguments).await?;
    Ok((connection, consumer))
}

async fn consume_once(url: &str, queue: &str, came: &Mutex<Vec<Delivery>>) -> lapin::Result<()> {
    // A broker that is just starting does not always answer.
    let Ok(subscribed) = timeout(PATIENCE, subscribe(url, queue)).await else {
        eprintln!("{queue}: subscribing hangs, trying again");
        return Ok(());
    };
    let (connection, mut consumer) = subscribed?;
    loop {
        let delivery = match timeout(AGAIN, consumer.next()).await {
            Ok(Some(delivery)) => delivery?,
            Err(_) if connection.status().connected() => continue,
            Ok(None) | Err(_) => return Ok(()),
        };
        let acker = delivery.acker.clone();
        came.lock().unwrap().push(delivery);
        // Over a connection that breaks just now it may never end.
        let Ok(done) = timeout(PATIENCE, acker.ack(BasicAckOptions::default())).await else {
            eprintln!("{queue}: an acknowledgement hangs, connecting again");
            return Ok(());
        };
        done?;
    }
}
