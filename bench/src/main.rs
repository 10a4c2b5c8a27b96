//! Side-by-side measurements: zoutbox, the bare system calls below it, and its peers.
//!
//! An absolute figure says more about a disk than about a program, so everything here is a ratio between sides
//! that took turns in one run, on one machine that is named at the top of the output. Nothing here passes or fails:
//! timings on a shared machine make poor tests.

mod machine;
mod measure;
mod report;
mod side;
mod sides;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::measure::{latency, throughput};
use crate::side::AppendSide;
use crate::sides::{Bare, OkayWal, Postgres, RaftEngine, Sqlite, Zoutbox};

/// Measure zoutbox against bare system calls and against its peers.
#[derive(Parser)]
#[command(name = "zoutbox-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One caller: how long one durable append takes.
    AppendLatency(LatencyArgs),
    /// Many callers at once: how many durable appends a second.
    AppendThroughput(ThroughputArgs),
}

#[derive(Args)]
struct CommonArgs {
    /// Where to write; whatever is created below is removed again [default: target/ in the current directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Bytes of payload in a record
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    record_bytes: u32,
    /// Measure only these sides (names as in the table, separated by commas)
    #[arg(long, value_delimiter = ',')]
    sides: Vec<String>,
}

#[derive(Args)]
struct LatencyArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Turns each side gets
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Appends a turn
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    appends: u32,
}

#[derive(Args)]
struct ThroughputArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Threads that append at the same time; also the records in one batch of the bare loop
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    callers: u16,
    /// Seconds each side is measured for, over all rounds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Turns each side gets; the table shows the median
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The user PostgreSQL's server runs as when this program runs as root, which the server refuses
    #[arg(long, default_value = "postgres")]
    postgres_user: String,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::AppendLatency(args) => append_latency(&args),
        Command::AppendThroughput(args) => append_throughput(&args),
    }
}

fn append_latency(args: &LatencyArgs) -> Result<()> {
    let sides: Vec<Box<dyn AppendSide>> =
        vec![Box::new(Bare::growing(1)), Box::new(Bare::zeroed(1)), Box::new(Zoutbox::default())];
    let sides = chosen(sides, &args.common.sides)?;
    let work = work_dir(args.common.dir.as_deref())?;
    print!("{}", machine::describe(work.path())?);
    let plan = latency::Plan { rounds: args.rounds, appends: args.appends };
    let measured = latency::run(sides, work.path(), &payload(args.common.record_bytes), &plan);
    print!("{}", report::latency(&measured));
    work.close().context("removing what was written")
}

fn append_throughput(args: &ThroughputArgs) -> Result<()> {
    ensure!(args.seconds.is_finite() && args.seconds > 0.0, "--seconds: {} is not a duration", args.seconds);
    let callers = usize::from(args.callers);
    let sides: Vec<Box<dyn AppendSide>> = vec![
        Box::new(Bare::growing(callers)),
        Box::new(Bare::zeroed(callers)),
        Box::new(Zoutbox::default()),
        Box::new(OkayWal::default()),
        Box::new(RaftEngine::default()),
        Box::new(Sqlite::default()),
        Box::new(Postgres::new(args.postgres_user.clone())),
    ];
    let sides = chosen(sides, &args.common.sides)?;
    let work = work_dir(args.common.dir.as_deref())?;
    print!("{}", machine::describe(work.path())?);
    let plan = throughput::Plan {
        callers,
        rounds: args.rounds,
        turn: Duration::from_secs_f64(args.seconds / f64::from(args.rounds)),
    };
    let measured = throughput::run(sides, work.path(), &payload(args.common.record_bytes), &plan);
    print!("{}", report::throughput(&measured, &plan));
    work.close().context("removing what was written")
}

/// The sides asked for, in the order of the table; all of them if none were.
fn chosen(sides: Vec<Box<dyn AppendSide>>, names: &[String]) -> Result<Vec<Box<dyn AppendSide>>> {
    for name in names {
        ensure!(
            sides.iter().any(|side| side.name() == name),
            "--sides: no side is called {name}; there are {}",
            sides.iter().map(|side| side.name()).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(sides.into_iter().filter(|side| names.is_empty() || names.iter().any(|n| n == side.name())).collect())
}

/// A fresh directory that goes away with its value. Below the working directory and not in `/tmp`, which is memory on
/// many machines, where a sync costs nothing.
fn work_dir(dir: Option<&Path>) -> Result<tempfile::TempDir> {
    let parent = dir.map_or_else(|| PathBuf::from("target"), Path::to_path_buf);
    std::fs::create_dir_all(&parent).with_context(|| format!("creating {}", parent.display()))?;
    let parent = parent.canonicalize().with_context(|| format!("resolving {}", parent.display()))?;
    tempfile::Builder::new()
        .prefix("zoutbox-bench-")
        .tempdir_in(&parent)
        .with_context(|| format!("creating a directory in {}", parent.display()))
}

/// Bytes that do not compress, so that no side gains from a compressing file system or a compressing log.
fn payload(len: u32) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(usize::try_from(len).unwrap_or(usize::MAX))
    .collect()
}
