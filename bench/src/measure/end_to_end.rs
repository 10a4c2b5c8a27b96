//! Records from the first append to the last one checked by a consumer, with all of it running at the same time: in each way of
//! publishing, and for comparison straight from memory to the broker.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use zoutbox_storage::{Share, System};

use crate::flow::consume::ConsumeArgs;
use crate::flow::follow::FollowArgs;
use crate::flow::produce::ProduceArgs;
use crate::flow::{DONE, READY, WARM};
use crate::party::{Farewell, Party};
use crate::process;
use crate::relay::bare::BareArgs;
use crate::relay::{Broker, relay_command};

/// A deleted queue leaves work behind; the broker gets this long for it.
const SETTLE: Duration = Duration::from_secs(3);
/// So much of what is to be appended may be unconfirmed at most: then everything runs at the same time until nearly the end.
const AHEAD: u64 = 8;
const LEAST_AHEAD: u64 = 4 << 20;

/// A way from the producer to the consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// No share and no relay: bytes from memory, straight to the broker, with confirms.
    Bare,
    /// The record is the message.
    Inline,
    /// A message a record says where it lies.
    Pointer,
    /// A message for many records.
    Batch,
}

impl Way {
    /// Its name in the table; of the relay's modes, the relay's own.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Inline => "inline",
            Self::Pointer => "pointer",
            Self::Batch => "pointer-batch",
        }
    }
}

/// How much to measure of one way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side {
    pub(crate) way: Way,
    /// The consumer applies each record once, with an inbox.
    pub(crate) inbox: bool,
    pub(crate) records: u64,
}

impl Side {
    /// Its name in the table.
    pub(crate) fn name(&self) -> String {
        format!("{}{}", self.way.name(), if self.inbox { "+inbox" } else { "" })
    }
}

/// How to measure.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) sides: Vec<Side>,
    pub(crate) record_bytes: u32,
    pub(crate) rounds: u32,
    /// Records that make connections, files and caches ready before anything is measured, for each writer.
    pub(crate) warm: u64,
    pub(crate) writers: usize,
    pub(crate) tasks: usize,
    pub(crate) burst: usize,
    pub(crate) prefetch: u16,
    pub(crate) window: usize,
    /// Payloads are files of their own.
    pub(crate) files: bool,
    /// For the relay, besides its mode.
    pub(crate) relay_options: Vec<String>,
}

/// What one turn took. All by record, but the rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// Records a second.
    pub(crate) rate: f64,
    /// CPU time in seconds.
    pub(crate) producer: f64,
    pub(crate) relay: f64,
    pub(crate) broker: f64,
    pub(crate) consumer: f64,
    /// Messages that the consumer got.
    pub(crate) messages: f64,
    /// Bytes on the sockets of the broker. What went out is not known of a consumer whose connection is gone.
    pub(crate) bytes_in: f64,
    pub(crate) bytes_out: f64,
}

/// Gives the sides their turns, one after the other, round after round.
pub(crate) fn run(plan: &Plan, relay: &Path, broker: &Broker, work: &Path) -> Result<Vec<(Side, Vec<Turn>)>> {
    let mut all: Vec<(Side, Vec<Turn>)> = plan.sides.iter().map(|side| (*side, Vec::new())).collect();
    let bench = Bench { plan, relay, broker, work };
    for round in 0..plan.rounds {
        for (side, turns) in &mut all {
            let name = side.name();
            let turn = bench.turn(*side, round).with_context(|| name.clone())?;
            eprintln!("round {} of {}: {name} {:.0}/s", round + 1, plan.rounds, turn.rate);
            turns.push(turn);
        }
    }
    Ok(all)
}

struct Bench<'a> {
    plan: &'a Plan,
    relay: &'a Path,
    broker: &'a Broker,
    work: &'a Path,
}

/// Everything but the broker.
struct Parties {
    producer: Party,
    relay: Option<Party>,
    consumer: Party,
}

/// What was used up to some moment.
#[derive(Debug, Clone, Copy)]
struct Used {
    producer: Duration,
    relay: Duration,
    broker: Duration,
    consumer: Duration,
}

impl Bench<'_> {
    fn turn(&self, side: Side, round: u32) -> Result<Turn> {
        self.broker.fresh_queue()?;
        std::thread::sleep(SETTLE);
        let root = self.work.join(format!("{}-{round}", side.name()));
        Share::init(&System::real(), &root).context("making a share")?;
        let turn = self.measure(side, &root)?;
        self.broker.delete_queue()?;
        std::fs::remove_dir_all(&root).context("removing the share")?;
        Ok(turn)
    }

    fn measure(&self, side: Side, root: &Path) -> Result<Turn> {
        let mut parties = self.start(side, root)?;
        let octets = self.broker.octets()?;
        let before = parties.used(self.broker)?;
        let start = Instant::now();
        parties.producer.say("go")?;
        let done = parties.consumer_says(DONE)?;
        let elapsed = start.elapsed();
        let after = parties.used(self.broker)?;
        let (bytes_in, bytes_out) = self.broker.octets()?;
        let records = side.records as f64;
        parties.producer.hear(DONE, || Ok(()))?;
        parties.stop()?;
        let by_record =
            |after: Duration, before: Duration| after.saturating_sub(before).as_secs_f64() / records;
        Ok(Turn {
            rate: records / elapsed.as_secs_f64(),
            producer: by_record(after.producer, before.producer),
            relay: by_record(after.relay, before.relay),
            broker: by_record(after.broker, before.broker),
            consumer: by_record(after.consumer, before.consumer),
            messages: done.parse::<u64>().context("the number of messages")? as f64 / records,
            bytes_in: (bytes_in - octets.0) as f64 / records,
            // The library's consumer has closed its connection when it is done, and nobody counts it any more.
            bytes_out: if side.inbox { f64::NAN } else { (bytes_out - octets.1) as f64 / records },
        })
    }

    /// Starts everything, and has it handle some records, so that all of it is ready.
    fn start(&self, side: Side, root: &Path) -> Result<Parties> {
        let warm = if side.way == Way::Bare { 0 } else { self.plan.warm * self.plan.writers as u64 };
        let consumer = FollowArgs {
            amqp: self.broker.url().to_owned(),
            root: root.to_owned(),
            prefetch: self.plan.prefetch,
            warm,
            records: side.records,
        };
        let log = |name: &str| root.with_extension(name);
        let database = root.with_extension("db");
        let consumer = if side.inbox {
            ConsumeArgs { follow: consumer, database }.command()?
        } else {
            consumer.command("follow")?
        };
        let mut consumer = Party::start(consumer, log("consumer.log"), Farewell::EndOfInput)?;
        consumer.hear(READY, || Ok(()))?;
        let relay = (side.way != Way::Bare).then(|| self.start_relay(side, root)).transpose()?;
        let producer = if side.way == Way::Bare { self.bare(side)? } else { self.producer(side, root)? };
        let producer = Party::start(producer, log("producer.log"), Farewell::EndOfInput)?;
        let mut parties = Parties { producer, relay, consumer };
        parties.producer.hear(READY, || Ok(()))?;
        if warm > 0 {
            parties.consumer_says(WARM)?;
        }
        Ok(parties)
    }

    fn start_relay(&self, side: Side, root: &Path) -> Result<Party> {
        let mut relay = relay_command(self.relay, root, self.broker.url());
        relay.args([
            "--publish",
            &format!("#={}", side.way.name()),
            "--window",
            &self.plan.window.to_string(),
        ]);
        relay.args(&self.plan.relay_options);
        Party::start(relay, root.with_extension("relay.log"), Farewell::Signal)
    }

    fn producer(&self, side: Side, root: &Path) -> Result<std::process::Command> {
        let Plan { record_bytes, writers, tasks, burst, files, .. } = *self.plan;
        let bytes = side.records.saturating_mul(record_bytes.into());
        let unconfirmed = (bytes / AHEAD / writers as u64).max(LEAST_AHEAD);
        let root = root.to_owned();
        let (warm, records) = (self.plan.warm, side.records);
        ProduceArgs { root, writers, tasks, burst, warm, records, record_bytes, unconfirmed, files }.command()
    }

    fn bare(&self, side: Side) -> Result<std::process::Command> {
        let Plan { record_bytes, window, .. } = *self.plan;
        let amqp = self.broker.url().to_owned();
        BareArgs { amqp, records: side.records, record_bytes, window, wait: true }.command()
    }
}

impl Parties {
    /// Waits for the consumer to say so, or for anything to fail.
    fn consumer_says(&mut self, word: &str) -> Result<String> {
        let Self { producer, relay, consumer } = self;
        let others = || {
            producer.check().context("the producer")?;
            relay.as_mut().map_or(Ok(()), Party::check).context("the relay")
        };
        consumer.hear(word, others).context("the consumer")
    }

    fn used(&self, broker: &Broker) -> Result<Used> {
        Ok(Used {
            producer: process::cpu(self.producer.pid())?,
            relay: self.relay.as_ref().map_or(Ok(Duration::ZERO), |relay| process::cpu(relay.pid()))?,
            broker: process::cpu(broker.pid())?,
            consumer: process::cpu(self.consumer.pid())?,
        })
    }

    fn stop(self) -> Result<()> {
        self.producer.stop().context("the producer")?;
        self.relay.map_or(Ok(()), Party::stop).context("the relay")?;
        self.consumer.stop().context("the consumer")
    }
}
