//! A consumer that checks what arrives against what was acknowledged; the demo runs it.
//!
//! ```text
//!   queue ──▶ messages ──▶ Resolver ──▶ records ──┐
//!                             ▲                   ├──▶ Check ──▶ lost? twice? out of order? changed?
//!                           share     journals ───┘
//! ```
//!
//! Each journal holds a line per acknowledged record: its identity `writer/epoch/sequence`, a tab, and the payload. Journals may
//! grow while it runs; a record may even be delivered before its journal line is there. Once the done file exists they are
//! complete, and it ends when every record in them has arrived, or when nothing has arrived for a while.
//!
//! Progress goes to standard error, a line a second; at the end a JSON object for each writer goes to standard output:
//! `{"writer":…,"delivered":…,"duplicates":…,"lost":…,"out_of_order":…,"corrupt":…,"unexpected":…,"payload_bytes":…,"messages":…,
//! "broker_bytes":…}`: what the application was given, and what the broker gave out for it. Exit code 0 if nothing is lost,
//! out of order, changed or unexpected, and every message could be resolved.
#![expect(clippy::disallowed_methods, reason = "an example program reads its own files and clocks")]

mod check;
mod journal;
mod message;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, Consumer};
use zoutbox_consumer::{Payload, ResolveError, Resolver, ResolverOptions};

use check::Check;
use journal::Journal;

/// After the journals are complete: nothing new for this long means that the rest is lost.
const PATIENCE: Duration = Duration::from_secs(15);
const PREFETCH: u16 = 2000;

#[derive(Parser)]
struct Arguments {
    /// The broker.
    #[arg(long)]
    amqp: String,
    /// The queue.
    #[arg(long)]
    queue: String,
    /// The share that pointers lead to; without it they lead nowhere.
    #[arg(long)]
    root: Option<PathBuf>,
    /// A file of acknowledged records; may be given more than once.
    #[arg(long, required = true)]
    journal: Vec<PathBuf>,
    /// Exists once the journals are complete.
    #[arg(long)]
    done_file: PathBuf,
    /// Overlook all copies of one record that is delivered: to see that a loss is noticed.
    #[arg(long)]
    overlook_one: bool,
}

async fn consume(arguments: &Arguments) -> lapin::Result<(Connection, Consumer)> {
    let connection = Connection::connect(&arguments.amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer =
        channel.basic_consume(arguments.queue.as_str().into(), "check".into(), options, table).await?;
    Ok((connection, consumer))
}

/// Takes deliveries until the connection breaks or it is time to look around.
async fn take(
    consumer: &mut Consumer,
    resolver: &mut Resolver,
    check: &mut Check,
    until: Instant,
) -> lapin::Result<bool> {
    loop {
        let next = tokio::time::timeout_at(until.into(), consumer.next()).await;
        let delivery = match next {
            Err(_) => return Ok(true),
            Ok(None) => return Ok(false),
            Ok(Some(delivery)) => delivery?,
        };
        look(&delivery, resolver, check).await;
        // Over a connection that breaks just now it may never end.
        let acked = tokio::time::timeout(Duration::from_secs(10), delivery.ack(BasicAckOptions::default()));
        match acked.await {
            Ok(acked) => acked?,
            Err(_) => return Ok(false),
        };
    }
}

/// Follows a message to its records, and writes them down.
async fn look(delivery: &Delivery, resolver: &mut Resolver, check: &mut Check) {
    let records = loop {
        match resolver.resolve(message::message(delivery)) {
            Ok(records) => break records,
            // Other hosts' bytes arrive late.
            Err(ResolveError::NotYet { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => return check.unresolved(&error.to_string()),
        }
    };
    for (index, record) in records.iter().enumerate() {
        let id = &record.identity.record;
        if index == 0 {
            check.message(id, message::size(delivery));
        }
        match record.payload {
            Payload::Bytes(payload) => check.record(id, payload, delivery.redelivered),
            Payload::Large(_) => {
                check.unresolved(&format!("{id} has a payload of its own file: no journal has such"));
            }
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool, String> {
    let mut journals: Vec<_> = arguments.journal.iter().cloned().map(Journal::new).collect();
    let mut resolver = match &arguments.root {
        Some(root) => Resolver::open(root, ResolverOptions::default()).map_err(|error| error.to_string())?,
        None => Resolver::inline_only(None),
    };
    let mut check = Check::new(arguments.overlook_one);
    let mut link: Option<(Connection, Consumer)> = None;
    let (mut last_count, mut last_news) = (0, Instant::now());
    loop {
        let until = Instant::now() + Duration::from_secs(1);
        if link.is_none() {
            // Not there yet, or not there for a while: the broker is killed in the middle.
            let connected = tokio::time::timeout(Duration::from_secs(5), consume(&arguments)).await;
            link = connected.ok().and_then(Result::ok);
        }
        match &mut link {
            Some((_, consumer)) => {
                if !take(consumer, &mut resolver, &mut check, until).await.unwrap_or(false) {
                    link = None;
                }
            }
            None => tokio::time::sleep_until(until.into()).await,
        }
        // Before the journals: what is in them when the done file is there is all.
        let complete = arguments.done_file.exists();
        for journal in &mut journals {
            journal.read(|id, payload| check.expect(&id, payload))?;
        }
        let (seen, missing) = (check.seen(), check.missing());
        eprintln!(
            "delivered {seen}, duplicates {}, out of order {}, to come {missing}{}",
            check.duplicates(),
            check.out_of_order(),
            if link.is_some() { "" } else { ", no broker" }
        );
        if seen != last_count || link.is_none() {
            (last_count, last_news) = (seen, Instant::now());
        }
        if complete && (missing == 0 || last_news.elapsed() > PATIENCE) {
            break;
        }
    }
    Ok(check.report())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("check_consumer: {error}");
            ExitCode::FAILURE
        }
    }
}
