//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::flow::LEAST_PAYLOAD;
use crate::flow::consume::ConsumeArgs;
use crate::flow::follow::FollowArgs;
use crate::flow::produce::ProduceArgs;
use crate::relay::bare::BareArgs;

/// Measure zoutbox against bare system calls, against its peers and against a bare AMQP loop.
#[derive(Parser)]
#[command(name = "zoutbox-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// One caller: how long one durable append takes.
    AppendLatency(LatencyArgs),
    /// Many callers at once: how many durable appends a second.
    AppendThroughput(ThroughputArgs),
    /// A backlog to a quorum queue: the relay against a bare lapin loop.
    RelayBacklog(BacklogArgs),
    /// A backlog of many segments: the relay's time to the first publish, and its memory.
    RelayStart(StartArgs),
    /// Records applied once, in SQLite and in PostgreSQL: with an inbox, with a row a message, and without either.
    Inbox(InboxArgs),
    /// Append, relay, broker, consumer, all at once: pointers to batches against the records themselves.
    EndToEnd(EndToEndArgs),
    /// The whole way of large records, in each mode, against publishing their bytes straight to the broker.
    Large(LargeArgs),
    /// The bare lapin loop, as a process of its own.
    #[command(hide = true)]
    BarePublish(BareArgs),
    /// Tasks that append, as a process of its own.
    #[command(hide = true)]
    Produce(ProduceArgs),
    /// A consumer that checks each record, as a process of its own.
    #[command(hide = true)]
    Follow(FollowArgs),
    /// A consumer that checks each record and applies it once, as a process of its own.
    #[command(hide = true)]
    Consume(ConsumeArgs),
}

/// What every measurement needs.
#[derive(Args)]
pub(crate) struct CommonArgs {
    /// Where to write; whatever is created below is removed again [default: target/ in the current directory]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Bytes of payload in a record
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) record_bytes: u32,
}

/// What a measurement with several sides needs.
#[derive(Args)]
pub(crate) struct SidesArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Measure only these sides (names as in the table, separated by commas)
    #[arg(long, value_delimiter = ',')]
    pub(crate) sides: Vec<String>,
}

#[derive(Args)]
pub(crate) struct LatencyArgs {
    #[command(flatten)]
    pub(crate) sides: SidesArgs,
    /// Turns each side gets
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Appends a turn
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) appends: u32,
}

#[derive(Args)]
pub(crate) struct ThroughputArgs {
    #[command(flatten)]
    pub(crate) sides: SidesArgs,
    /// Threads that append at the same time; also the records in one batch of the bare loop
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) callers: u16,
    /// Seconds each side is measured for, over all rounds
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Turns each side gets; the table shows the median
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// The user PostgreSQL's server runs as when this program runs as root, which the server refuses
    #[arg(long, default_value = "postgres")]
    pub(crate) postgres_user: String,
}

#[derive(Args)]
pub(crate) struct InboxArgs {
    #[command(flatten)]
    pub(crate) sides: SidesArgs,
    /// Seconds each side is measured for, over all rounds
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Turns each side gets; the table shows the median
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Records after which the size of the inbox is told; 0 leaves that out
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) size_records: u64,
    /// The user PostgreSQL's server runs as when this program runs as root, which the server refuses
    #[arg(long, default_value = "postgres")]
    pub(crate) postgres_user: String,
}

/// What a measurement of the relay needs.
#[derive(Args)]
pub(crate) struct RelayArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Measure this zoutbox-relay [default: the workspace's, built by cargo]
    #[arg(long)]
    pub(crate) relay: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct BacklogArgs {
    #[command(flatten)]
    pub(crate) relay: RelayArgs,
    /// Records in the backlog
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    pub(crate) records: u64,
    /// Messages in flight at most, on both sides
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) window: u16,
    /// Turns each side gets; the table shows medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
}

#[derive(Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    pub(crate) relay: RelayArgs,
    /// Segments in the backlog
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) segments: u64,
    /// Records in each
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) per_segment: u64,
    /// Messages in flight at most [default: the relay's own]
    #[arg(long)]
    pub(crate) window: Option<u16>,
    /// How often the relay is started
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
}

/// What a measurement of the whole way needs.
#[derive(Args)]
pub(crate) struct FlowArgs {
    /// Where to write; whatever is created below is removed again [default: target/ in the current directory]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Measure this zoutbox-relay [default: the workspace's, built by cargo]
    #[arg(long)]
    pub(crate) relay: Option<PathBuf>,
    /// Turns each side gets; the table shows medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Writers that append at the same time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) writers: u16,
    /// For the relay, besides its mode: `--relay-option=--batch-records=4000`
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) relay_option: Vec<String>,
}

#[derive(Args)]
pub(crate) struct EndToEndArgs {
    #[command(flatten)]
    pub(crate) flow: FlowArgs,
    /// Messages that the broker gives out ahead of their acknowledgement, at most
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) prefetch: u16,
    /// Messages in flight to the broker at most
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) window: u16,
    /// Bytes of payload in a record
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(i64::from(LEAST_PAYLOAD)..=1 << 20))]
    pub(crate) record_bytes: u32,
    /// Records that go by pointers to batches; 0 leaves them out
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) batch_records: u64,
    /// Records that go by pointers to single ones; 0 leaves them out
    #[arg(long, default_value_t = 0)]
    pub(crate) pointer_records: u64,
    /// Records that go inline; 0 leaves them out
    #[arg(long, default_value_t = 300_000)]
    pub(crate) inline_records: u64,
    /// The same by pointers to batches, with a consumer that applies each record once; 0 leaves them out
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) batch_inbox_records: u64,
    /// The same inline, with a consumer that applies each record once; 0 leaves them out
    #[arg(long, default_value_t = 50_000)]
    pub(crate) inline_inbox_records: u64,
    /// Tasks that append, for each writer
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) tasks: u16,
    /// Records that a task appends before it waits until they are durable
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) burst: u16,
}

#[derive(Args)]
pub(crate) struct LargeArgs {
    #[command(flatten)]
    pub(crate) flow: FlowArgs,
    /// MiB of payload that each side carries in a turn
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..))]
    pub(crate) mebibytes: u64,
}
