//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    /// The bare lapin loop, as a process of its own.
    #[command(hide = true)]
    BarePublish(BareArgs),
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
