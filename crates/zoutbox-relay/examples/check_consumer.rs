//! A consumer that trusts nothing: it checks every record's identity, order and bytes against what was acknowledged.
//!
//! ```text
//!   zoutbox append --acks ──▶ journal: "writer/epoch/sequence<TAB>payload", a line each
//!                                │ (grows while records flow)
//!   queue ──▶ this program ──▶ compare ──▶ one JSON object: delivered, duplicates, lost, out_of_order, corrupt, unexpected
//! ```
//!
//! A record is delivered when it comes for the first time; every later copy is a duplicate, which at-least-once allows. First
//! deliveries must come in sequence order per writer. It ends once every journaled record came and the journals are complete
//! (`--done-file` exists), or when nothing has come for `--patience` seconds after they are. Exit code 0 only if nothing is lost, out of
//! order, corrupt or unexpected.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, Consumer};
use tokio::time::{Instant, sleep, timeout};

/// Checks what comes out of a queue against journals of what was acknowledged.
#[derive(Parser)]
struct Arguments {
    /// The broker.
    #[arg(long)]
    amqp: String,
    /// The queue.
    #[arg(long)]
    queue: String,
    /// A journal: lines of `writer/epoch/sequence`, a tab, and the payload.
    #[arg(long, required = true)]
    journal: Vec<PathBuf>,
    /// The file whose existence says that the journals are complete.
    #[arg(long)]
    done_file: PathBuf,
    /// How many seconds without any delivery, once the journals are complete, make the rest lost.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Drops one delivery and all its copies, to show that the check can fail.
    #[arg(long)]
    lose_one: bool,
}

/// What one writer's records came to.
#[derive(Default)]
struct Lane {
    /// Hashes of the payloads that were acknowledged, by epoch and sequence.
    acknowledged: HashMap<(u64, u64), u64>,
    /// Hashes of the payloads that came.
    delivered: HashMap<(u64, u64), u64>,
    last: (u64, u64),
    duplicates: u64,
    out_of_order: u64,
    corrupt: u64,
}

#[derive(Default)]
struct Check {
    lanes: BTreeMap<String, Lane>,
    malformed: u64,
    hidden: Option<String>,
}

impl Check {
    fn acknowledge(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let tab = line.iter().position(|byte| *byte == b'\t').context("a journal line has no tab")?;
        let (id, payload) = line.split_at(tab);
        let id = std::str::from_utf8(id).context("an id is not text")?;
        let (writer, place) = parse(id).with_context(|| format!("'{id}' is no record id"))?;
        let payload = payload.split_first().map_or(&[][..], |(_, rest)| rest);
        self.lanes.entry(writer.to_owned()).or_default().acknowledged.insert(place, hash(payload));
        Ok(())
    }

    fn deliver(&mut self, id: Option<&str>, payload: &[u8], lose_one: bool) {
        let Some((id, (writer, place))) = id.and_then(|id| Some((id, parse(id)?))) else {
            self.malformed += 1;
            return;
        };
        if lose_one && (self.hidden.is_none() || self.hidden.as_deref() == Some(id)) {
            self.hidden = Some(id.to_owned());
            return;
        }
        let lane = self.lanes.entry(writer.to_owned()).or_default();
        let hash = hash(payload);
        match lane.delivered.insert(place, hash) {
            None if place <= lane.last => lane.out_of_order += 1,
            None => lane.last = place,
            Some(before) => {
                lane.duplicates += 1;
                lane.corrupt += u64::from(before != hash);
            }
        }
    }

    fn missing(&self) -> usize {
        let missing =
            |lane: &Lane| lane.acknowledged.keys().filter(|id| !lane.delivered.contains_key(id)).count();
        self.lanes.values().map(missing).sum()
    }

    fn report(&self) -> (serde_json::Value, bool) {
        let mut sound = self.malformed == 0;
        let mut writers = serde_json::Map::new();
        for (writer, lane) in &self.lanes {
            let known = |id: &(u64, u64)| lane.acknowledged.contains_key(id);
            let delivered = lane.delivered.keys().filter(|id| known(id)).count();
            let lost = lane.acknowledged.len() - delivered;
            let unexpected = lane.delivered.len() - delivered;
            let altered = lane
                .delivered
                .iter()
                .filter(|(id, hash)| lane.acknowledged.get(id).is_some_and(|h| h != *hash));
            let corrupt = lane.corrupt + altered.count() as u64;
            sound &= lost == 0 && unexpected == 0 && corrupt == 0 && lane.out_of_order == 0;
            let row = serde_json::json!({
                "acknowledged": lane.acknowledged.len(),
                "delivered": delivered,
                "duplicates": lane.duplicates,
                "lost": lost,
                "out_of_order": lane.out_of_order,
                "corrupt": corrupt,
                "unexpected": unexpected,
            });
            writers.insert(writer.clone(), row);
        }
        let total =
            |field: &str| -> u64 { writers.values().filter_map(|row| row.get(field)?.as_u64()).sum() };
        let report = serde_json::json!({
            "acknowledged": total("acknowledged"),
            "delivered": total("delivered"),
            "duplicates": total("duplicates"),
            "lost": total("lost"),
            "out_of_order": total("out_of_order"),
            "corrupt": total("corrupt"),
            "unexpected": total("unexpected"),
            "malformed": self.malformed,
            "writers": writers,
        });
        (report, sound)
    }
}

fn parse(id: &str) -> Option<(&str, (u64, u64))> {
    let mut parts = id.splitn(3, '/');
    let writer = parts.next()?;
    Some((writer, (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?)))
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// A journal that grows: only whole lines are taken.
struct Journal {
    reader: BufReader<std::fs::File>,
    partial: Vec<u8>,
}

impl Journal {
    #[expect(clippy::disallowed_methods, reason = "an example, not a library")]
    fn open(path: &PathBuf) -> anyhow::Result<Self> {
        let file = std::fs::File::open(path).with_context(|| format!("can't open {}", path.display()))?;
        Ok(Self { reader: BufReader::new(file), partial: Vec::new() })
    }

    fn read_on(&mut self, check: &mut Check) -> anyhow::Result<()> {
        while self.reader.read_until(b'\n', &mut self.partial)? > 0 {
            if self.partial.last() == Some(&b'\n') {
                self.partial.pop();
                check.acknowledge(&self.partial)?;
                self.partial.clear();
            }
        }
        Ok(())
    }
}

async fn subscribe(arguments: &Arguments) -> anyhow::Result<(Connection, Consumer)> {
    let connection = Connection::connect(&arguments.amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(2000, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consumer = channel
        .basic_consume(arguments.queue.as_str().into(), "check".into(), options, FieldTable::default())
        .await?;
    Ok((connection, consumer))
}

/// Takes deliveries until none comes for a moment; false when the connection is gone.
async fn take(consumer: &mut Consumer, check: &mut Check, lose_one: bool) -> anyhow::Result<(bool, u64)> {
    let multiple = BasicAckOptions { multiple: true };
    let (mut unacked, mut taken) = (None, 0);
    loop {
        match timeout(Duration::from_millis(200), consumer.next()).await {
            Ok(Some(Ok(delivery))) => {
                let id = delivery.properties.message_id().as_ref().map(ToString::to_string);
                check.deliver(id.as_deref(), &delivery.data, lose_one);
                taken += 1;
                unacked = Some(delivery.acker);
                if taken < 500 {
                    continue;
                }
            }
            Ok(Some(Err(_)) | None) => return Ok((false, taken)),
            Err(_) => {}
        }
        let acked = match unacked.take() {
            Some(acker) => acker.ack(multiple).await.is_ok(),
            None => true,
        };
        return Ok((acked, taken));
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<(Check, u64)> {
    let mut journals = arguments.journal.iter().map(Journal::open).collect::<anyhow::Result<Vec<_>>>()?;
    let mut check = Check::default();
    let mut subscription = None;
    let (mut last, mut shown, mut count) = (Instant::now(), Instant::now(), 0_u64);
    loop {
        let complete = arguments.done_file.exists();
        for journal in &mut journals {
            journal.read_on(&mut check)?;
        }
        match &mut subscription {
            None => match subscribe(arguments).await {
                Ok(made) => subscription = Some(made),
                Err(_) => sleep(Duration::from_millis(300)).await,
            },
            Some((_, consumer)) => {
                let (alive, taken) = take(consumer, &mut check, arguments.lose_one).await?;
                count += taken;
                if taken > 0 {
                    last = Instant::now();
                }
                if !alive {
                    eprintln!("connection lost, subscribing again");
                    subscription = None;
                }
            }
        }
        if shown.elapsed() >= Duration::from_secs(1) {
            shown = Instant::now();
            eprintln!("{count} deliveries, {} acknowledged records still to come", check.missing());
        }
        let quiet = last.elapsed();
        let done = complete && check.missing() == 0 && quiet > Duration::from_secs(2);
        if done || (complete && quiet > Duration::from_secs(arguments.patience)) {
            return Ok((check, count));
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let (check, _) = run(&Arguments::parse()).await?;
    let (report, sound) = check.report();
    println!("{report}");
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(2) })
}
