//! A consumer as a process of its own, made of the public API, for the test to kill: the test's own program, started again with another task.
//!
//! On standard output it says, a line each, `at N` when the effect at position N is about to be committed (now and then), and
//! `duplicate ID` for each record that was delivered and had its effect already.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use tokio::signal::unix::{SignalKind, signal};
use zoutbox_consumer::inbox::Store as InboxStore;
use zoutbox_consumer::{
    Applied, ApplyError, ErrorKind, HeaderValue, Inbox, InboxError, Message, Payload, PostgresStore, Resolved,
    Resolver, ResolverOptions, SqliteStore,
};

use crate::effects::{Database, Effect, insert_postgres, insert_sqlite};
use crate::journal::Checksum;

const ROOT: &str = "ZOUTBOX_CHAOS_CHILD_ROOT";
const AMQP: &str = "ZOUTBOX_CHAOS_CHILD_AMQP";
const DATABASE: &str = "ZOUTBOX_CHAOS_CHILD_DATABASE";

/// What a consumer has to know. Its queue is named like its store.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) root: PathBuf,
    pub(crate) amqp: String,
    pub(crate) database: Database,
}

/// What starts one.
pub(crate) fn command(told: &Told) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child::consumes_until_it_is_told_to_stop", "--nocapture"])
        .env(ROOT, &told.root)
        .env(AMQP, &told.amqp)
        .env(DATABASE, told.database.to_text());
    command
}

/// The child; elsewhere it was told nothing, and does nothing.
#[test]
fn consumes_until_it_is_told_to_stop() {
    let Ok(database) = std::env::var(DATABASE) else { return };
    let told = Told {
        root: std::env::var_os(ROOT).unwrap().into(),
        amqp: std::env::var(AMQP).unwrap(),
        database: Database::from_text(&database),
    };
    match &told.database {
        Database::Sqlite(path) => {
            consume(&told, opened(|| SqliteStore::open(path)), |transaction, effect| {
                insert_sqlite(transaction, effect).map_err(|e| e.to_string())
            });
        }
        Database::Postgres(url) => {
            consume(&told, opened(|| PostgresStore::open(url)), |transaction, effect| {
                insert_postgres(transaction, effect).map_err(|e| e.to_string())
            });
        }
    }
}

fn opened<S>(mut open: impl FnMut() -> Result<S, InboxError>) -> S {
    loop {
        match open() {
            Ok(store) => return store,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The effect's row.
fn effect_of(record: &Resolved<'_>) -> Result<Effect, String> {
    let checksum = match &record.payload {
        Payload::Bytes(bytes) => Checksum::of(bytes),
        Payload::Large(large) => read(large.open().map_err(|e| e.to_string())?).map_err(|e| e.to_string())?,
    };
    let id = &record.identity.record;
    Ok(Effect {
        writer: id.writer.to_string(),
        epoch: id.epoch.get(),
        sequence: id.sequence.get(),
        topic: record.topic.to_owned(),
        checksum,
    })
}

fn read(mut from: impl std::io::Read) -> std::io::Result<Checksum> {
    let (mut hasher, mut length, mut piece) = (crc32fast::Hasher::new(), 0, vec![0; 256 * 1024]);
    loop {
        let read = from.read(&mut piece)?;
        if read == 0 {
            return Ok(Checksum { crc: hasher.finalize(), length });
        }
        hasher.update(&piece[..read]);
        length += read as u64;
    }
}

fn consume<S: InboxStore>(
    told: &Told,
    store: S,
    insert: impl Fn(&mut S::Transaction<'_>, &Effect) -> Result<i64, String>,
) {
    let queue = told.database.store().name();
    let mut inbox = Inbox::open(store, queue).unwrap();
    let mut resolver = Resolver::open(&told.root, ResolverOptions::default()).unwrap();
    let mut said = Instant::now();
    let mut apply = |delivery: &Delivery| {
        let records = loop {
            match resolver.resolve(message(delivery)) {
                Ok(records) => break records,
                Err(error) => eprintln!("{error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        for record in records.iter() {
            let effect = effect_of(&record).unwrap();
            loop {
                match inbox.apply(&record.identity, |transaction| insert(transaction, &effect)) {
                    Ok(Applied::Duplicate) => println!("duplicate {}", record.identity.record),
                    Ok(Applied::Now(position)) if said.elapsed() > Duration::from_millis(100) => {
                        println!("at {position}");
                        said = Instant::now();
                    }
                    Ok(Applied::Now(_)) => {}
                    Err(ApplyError::Inbox(error)) if error.kind() != ErrorKind::Retry => panic!("{error}"),
                    Err(error) => {
                        eprintln!("{error}");
                        std::thread::sleep(Duration::from_millis(100));
                        continue;
                    }
                }
                break;
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut stop = signal(SignalKind::terminate()).unwrap();
        loop {
            let connected = tokio::select! {
                connected = connect(&told.amqp, queue) => connected,
                _ = stop.recv() => return,
            };
            let Ok((_connection, mut consumer)) = connected else {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            loop {
                let next = tokio::select! {
                    next = consumer.next() => next,
                    _ = stop.recv() => return,
                };
                let Some(Ok(delivery)) = next else { break };
                apply(&delivery);
                if delivery.ack(BasicAckOptions::default()).await.is_err() {
                    break;
                }
            }
        }
    });
}

async fn connect(url: &str, queue: &str) -> lapin::Result<(Connection, lapin::Consumer)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(64, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
    let consumer = channel.basic_consume(queue.into(), "chaos".into(), options, FieldTable::default()).await?;
    Ok((connection, consumer))
}

fn message(delivery: &Delivery) -> Message {
    let properties = &delivery.properties;
    let header = |(name, value): (&lapin::types::ShortString, &AMQPValue)| {
        let value = match value {
            AMQPValue::LongString(text) => HeaderValue::Text(text.to_string()),
            AMQPValue::LongLongInt(number) => HeaderValue::Integer(*number),
            AMQPValue::LongInt(number) => HeaderValue::Integer((*number).into()),
            _ => return None,
        };
        Some((name.to_string(), value))
    };
    let headers = properties.headers().as_ref().map(|table| table.inner().iter().filter_map(header).collect());
    Message {
        topic: delivery.routing_key.to_string(),
        message_id: properties.message_id().as_ref().map(ToString::to_string),
        content_type: properties.content_type().as_ref().map(ToString::to_string),
        timestamp_s: *properties.timestamp(),
        headers: headers.unwrap_or_default(),
        body: delivery.data.clone(),
    }
}

#[expect(dead_code, reason = "interim")]
fn unused(_: &Path) {}
