//! A consumer that checks what arrives against what was acknowledged; the demo runs it.
//!
//! Each journal holds a line per acknowledged record: its identity `writer/epoch/sequence`, a tab, and the payload. Journals may
//! grow while it runs; a record may even be delivered before its journal line is there. Once the done file exists they are
//! complete, and it ends when every record in them has arrived, or when nothing has arrived for a while.
//!
//! Progress goes to standard error, a line a second; at the end a JSON object for each writer goes to standard output:
//! `{"writer":…,"delivered":…,"duplicates":…,"lost":…,"out_of_order":…,"corrupt":…,"unexpected":…}`. Exit code 0 if nothing is
//! lost, XX
#![expect(clippy::disallowed_methods, reason = "an example program reads its own files and clocks")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties, Consumer};
use zoutbox_format::RecordId;

/// After the journals are complete: nothing new for this long means that the rest is lost.
const PATIENCE: Duration = Duration::from_secs(30);
const PREFETCH: u16 = 2000;

#[derive(Parser)]
struct Arguments {
    /// The broker.
    #[arg(long)]
    amqp: String,
    /// The queue.
    #[arg(long)]
    queue: String,
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

/// A journal, read as it grows.
struct Journal {
    path: PathBuf,
    offset: u64,
    partial: Vec<u8>,
}

impl Journal {
    fn read(&mut self, check: &mut Check) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.path.display());
        let Ok(mut file) = File::open(&self.path) else { return Ok(()) };
        file.seek(SeekFrom::Start(self.offset)).map_err(failed)?;
        let read = file.read_to_end(&mut self.partial).map_err(failed)?;
        self.offset += u64::try_from(read).unwrap_or_default();
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = self.partial.split_off(end + 1);
        for line in self.partial.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let tab = line.iter().position(|byte| *byte == b'\t');
            let parts = tab.and_then(|tab| Some((line.get(..tab)?, line.get(tab + 1..)?)));
            let (id, payload) =
                parts.ok_or_else(|| format!("{}: a line without tab", self.path.display()))?;
            // `paste` writes an empty first column for a line that was never acknowledged.
            let Ok(id) = String::from_utf8_lossy(id).parse::<RecordId>() else { continue };
            check.lane(&id).expected.insert(place(&id), crc32fast::hash(payload));
        }
        self.partial = rest;
        Ok(())
    }
}

/// Epoch and sequence: a record's identity within its writer.
type Place = (u64, u64);

fn place(id: &RecordId) -> Place {
    (id.epoch.get(), id.sequence.get())
}

/// What is known of one writer.
#[derive(Default)]
struct Lane {
    expected: HashMap<Place, u32>,
    seen: HashMap<Place, u32>,
    highest: Place,
    duplicates: u64,
    out_of_order: u64,
    malformed: u64,
}

/// What was wrong with one writer's records, as counts.
struct Verdict {
    lost: usize,
    corrupt: u64,
    unexpected: usize,
}

impl Lane {
    /// Whether the record was to be expected here; else what was wrong. `again`: the broker has sent it before.
    fn delivered(&mut self, id: &RecordId, crc: u32, again: bool) -> Result<(), String> {
        if let Some(first) = self.seen.insert(place(id), crc) {
            self.duplicates += 1;
            if first != crc {
                self.malformed += 1;
                return Err(format!("{id}: a duplicate with other bytes"));
            }
        } else if place(id) > self.highest {
            self.highest = place(id);
        } else if !again {
            self.out_of_order += 1;
            return Err(format!("{id} came behind {}/{}", self.highest.0, self.highest.1));
        }
        Ok(())
    }

    fn missing(&self) -> usize {
        self.expected.keys().filter(|place| !self.seen.contains_key(*place)).count()
    }

    fn verdict(&self) -> Verdict {
        let changed = self
            .expected
            .iter()
            .filter(|(place, crc)| self.seen.get(*place).is_some_and(|seen| seen != *crc));
        let unexpected = self.seen.keys().filter(|place| !self.expected.contains_key(*place)).count();
        let corrupt = u64::try_from(changed.count()).unwrap_or(u64::MAX) + self.malformed;
        Verdict { lost: self.missing(), corrupt, unexpected }
    }
}

#[derive(Default)]
struct Check {
    lanes: BTreeMap<String, Lane>,
    /// Messages that name no record.
    nameless: u64,
    complaints: HashSet<String>,
    overlook: bool,
    overlooked: Option<RecordId>,
}

impl Check {
    fn lane(&mut self, id: &RecordId) -> &mut Lane {
        self.lanes.entry(id.writer.to_string()).or_default()
    }

    fn complain(&mut self, what: &str) {
        if self.complaints.len() < 20 && self.complaints.insert(what.to_owned()) {
            eprintln!("\n{what}");
        }
    }

    fn delivered(&mut self, delivery: &Delivery) {
        let id = delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
        let Ok(id) = id.parse::<RecordId>() else {
            self.nameless += 1;
            return self.complain(&format!("a message without a record's id: '{id}'"));
        };
        if self.overlook && self.overlooked.get_or_insert_with(|| id.clone()) == &id {
            return;
        }
        if !headers_agree(&id, delivery.properties.headers().as_ref()) {
            self.lane(&id).malformed += 1;
            self.complain(&format!("{id}: its headers say something else"));
        }
        if let Err(wrong) =
            self.lane(&id).delivered(&id, crc32fast::hash(&delivery.data), delivery.redelivered)
        {
            self.complain(&wrong);
        }
    }

    fn sum(&self, of: impl Fn(&Lane) -> u64) -> u64 {
        self.lanes.values().map(of).sum()
    }

    fn seen(&self) -> u64 {
        self.sum(|lane| lane.seen.len() as u64)
    }

    /// Prints what was found; true if all is well.
    fn report(&self) -> bool {
        let mut sound = self.nameless == 0;
        for (writer, lane) in &self.lanes {
            let Verdict { lost, corrupt, unexpected } = lane.verdict();
            let (delivered, duplicates, out_of_order) = (lane.seen.len(), lane.duplicates, lane.out_of_order);
            sound &= lost == 0 && corrupt == 0 && unexpected == 0 && out_of_order == 0;
            println!(
                "{{\"writer\":\"{writer}\",\"delivered\":{delivered},\"duplicates\":{duplicates},\"lost\":{lost},\
                 \"out_of_order\":{out_of_order},\"corrupt\":{corrupt},\"unexpected\":{unexpected}}}"
            );
        }
        sound
    }
}

fn headers_agree(id: &RecordId, headers: Option<&FieldTable>) -> bool {
    let header = |name: &str| headers.and_then(|table| table.inner().get(name));
    let number = |name: &str| match header(name) {
        Some(AMQPValue::LongLongInt(number)) => u64::try_from(*number).ok(),
        _ => None,
    };
    let writer = match header("zoutbox-writer") {
        Some(AMQPValue::LongString(writer)) => writer.to_string(),
        _ => String::new(),
    };
    writer == id.writer.as_str()
        && number("zoutbox-epoch") == Some(id.epoch.get())
        && number("zoutbox-seq") == Some(id.sequence.get())
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
async fn take(consumer: &mut Consumer, check: &mut Check, until: Instant) -> lapin::Result<bool> {
    loop {
        let next = tokio::time::timeout_at(until.into(), consumer.next()).await;
        let delivery = match next {
            Err(_) => return Ok(true),
            Ok(None) => return Ok(false),
            Ok(Some(delivery)) => delivery?,
        };
        check.delivered(&delivery);
        delivery.ack(BasicAckOptions::default()).await?;
    }
}

async fn run(arguments: Arguments) -> Result<bool, String> {
    let mut journals: Vec<_> = arguments
        .journal
        .iter()
        .cloned()
        .map(|path| Journal { path, offset: 0, partial: Vec::new() })
        .collect();
    let mut check = Check { overlook: arguments.overlook_one, ..Check::default() };
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
                if !take(consumer, &mut check, until).await.unwrap_or(false) {
                    link = None;
                }
            }
            None => tokio::time::sleep_until(until.into()).await,
        }
        // Before the journals: what is in them when the done file is there is all.
        let complete = arguments.done_file.exists();
        for journal in &mut journals {
            journal.read(&mut check)?;
        }
        let (seen, missing) = (check.seen(), check.sum(|lane| lane.missing() as u64));
        eprintln!(
            "delivered {seen}, duplicates {}, out of order {}, to come {missing}{}",
            check.sum(|lane| lane.duplicates),
            check.sum(|lane| lane.out_of_order),
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
