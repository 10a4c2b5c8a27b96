//! Side-by-side measurements: zoutbox, the bare system calls below it, and its peers.
//!
//! An absolute figure says more about a disk than about a program, so everything here is a ratio between sides
//! that took turns in one run, on one machine that is named at the top of the output. Nothing here passes or fails:
//! timings on a shared machine make poor tests.

mod cli;
mod flow;
mod interrupt;
mod machine;
mod measure;
mod party;
mod process;
mod relay;
mod report;
mod server;
mod side;
mod sides;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;

use crate::cli::{
    BacklogArgs, Cli, Command, EndToEndArgs, FlowArgs, InboxArgs, LargeArgs, LatencyArgs, StartArgs,
    ThroughputArgs,
};
use crate::measure::end_to_end::{Side, Way};
use crate::measure::{end_to_end, inbox_size, large, latency, relay_backlog, relay_start, throughput};
use crate::relay::Broker;
use crate::side::AppendSide;
use crate::sides::inbox::{PostgresApply, SIDES, SqliteApply};
use crate::sides::{Bare, OkayWal, Postgres, RaftEngine, Sqlite, Tasks, Threads};

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::AppendLatency(args) => append_latency(&args),
        Command::AppendThroughput(args) => append_throughput(&args),
        Command::RelayBacklog(args) => relay_backlog(&args),
        Command::RelayStart(args) => relay_start(&args),
        Command::Inbox(args) => inbox(&args),
        Command::EndToEnd(args) => end_to_end(&args),
        Command::Large(args) => large(&args),
        Command::BarePublish(args) => relay::bare::run(&args),
        Command::Produce(args) => flow::produce::run(&args),
        Command::Follow(args) => flow::follow::run(&args),
        Command::Consume(args) => flow::consume::run(&args),
    }
}

fn append_latency(args: &LatencyArgs) -> Result<()> {
    let sides: Vec<Box<dyn AppendSide>> =
        vec![Box::new(Bare::growing(1)), Box::new(Bare::zeroed(1)), Box::new(Threads::default())];
    let sides = chosen(sides, &args.sides.sides)?;
    let work = work_dir(args.sides.common.dir.as_deref())?;
    print!("{}", machine::describe(work.path())?);
    let plan = latency::Plan { rounds: args.rounds, appends: args.appends };
    let measured = latency::run(sides, work.path(), &payload(args.sides.common.record_bytes), &plan);
    print!("{}", report::latency(&measured));
    work.close().context("removing what was written")
}

fn append_throughput(args: &ThroughputArgs) -> Result<()> {
    let turn = turn(args.seconds, args.rounds)?;
    let callers = usize::from(args.callers);
    let sides: Vec<Box<dyn AppendSide>> = vec![
        Box::new(Bare::growing(callers)),
        Box::new(Bare::zeroed(callers)),
        Box::new(Threads::default()),
        Box::new(Tasks::new(callers)),
        Box::new(OkayWal::default()),
        Box::new(RaftEngine::default()),
        Box::new(Sqlite::default()),
        Box::new(Postgres::new(args.postgres_user.clone())),
    ];
    let sides = chosen(sides, &args.sides.sides)?;
    let work = work_dir(args.sides.common.dir.as_deref())?;
    print!("{}", machine::describe(work.path())?);
    let plan = throughput::Plan { callers, rounds: args.rounds, turn };
    let measured = throughput::run(sides, work.path(), &payload(args.sides.common.record_bytes), &plan);
    print!("{}", report::throughput(&measured, &plan));
    work.close().context("removing what was written")
}

fn inbox(args: &InboxArgs) -> Result<()> {
    let turn = turn(args.seconds, args.rounds)?;
    let user = &args.postgres_user;
    let sqlite = SIDES.map(|(way, many)| -> Box<dyn AppendSide> { Box::new(SqliteApply::new(way, many)) });
    let postgres =
        SIDES.map(|(way, many)| -> Box<dyn AppendSide> { Box::new(PostgresApply::new(way, many, user)) });
    let sides = chosen(sqlite.into_iter().chain(postgres).collect(), &args.sides.sides)?;
    let work = work_dir(args.sides.common.dir.as_deref())?;
    print!("{}", machine::describe(work.path())?);
    let plan = throughput::Plan { callers: 1, rounds: args.rounds, turn };
    let measured = throughput::run(sides, work.path(), &payload(args.sides.common.record_bytes), &plan);
    print!("{}", report::inbox::applies(&measured, &plan));
    if args.size_records > 0 {
        print!("{}", report::inbox::sizes(&inbox_size::run(args.size_records, work.path(), user)?));
    }
    work.close().context("removing what was written")
}

/// How long one turn of `seconds` in all takes.
fn turn(seconds: f64, rounds: u32) -> Result<Duration> {
    ensure!(seconds.is_finite() && seconds > 0.0, "--seconds: {seconds} is not a duration");
    Ok(Duration::from_secs_f64(seconds / f64::from(rounds)))
}

fn relay_backlog(args: &BacklogArgs) -> Result<()> {
    let plan = relay_backlog::Plan {
        records: args.records,
        record_bytes: args.relay.common.record_bytes,
        window: args.window.into(),
        rounds: args.rounds,
    };
    with_broker(args.relay.relay.clone(), args.relay.common.dir.as_deref(), |relay, broker, work| {
        let rounds = relay_backlog::run(&plan, relay, broker, work)?;
        print!("{}", report::relay::backlog(&rounds, &plan, &broker.version()?));
        Ok(())
    })
}

fn relay_start(args: &StartArgs) -> Result<()> {
    let plan = relay_start::Plan {
        segments: args.segments,
        per_segment: args.per_segment,
        record_bytes: args.relay.common.record_bytes,
        window: args.window.map(usize::from),
        rounds: args.rounds,
    };
    with_broker(args.relay.relay.clone(), args.relay.common.dir.as_deref(), |relay, broker, work| {
        print!("{}", report::relay::start(&relay_start::run(&plan, relay, broker, work)?));
        Ok(())
    })
}

fn end_to_end(args: &EndToEndArgs) -> Result<()> {
    let sides = [
        Side { way: Way::Inline, inbox: false, records: args.inline_records },
        Side { way: Way::Pointer, inbox: false, records: args.pointer_records },
        Side { way: Way::Batch, inbox: false, records: args.batch_records },
        Side { way: Way::Inline, inbox: true, records: args.inline_inbox_records },
        Side { way: Way::Batch, inbox: true, records: args.batch_inbox_records },
    ];
    let plan = end_to_end::Plan {
        sides: sides.into_iter().filter(|side| side.records > 0).collect(),
        record_bytes: args.record_bytes,
        rounds: args.flow.rounds,
        warm: 1000,
        writers: args.flow.writers.into(),
        tasks: args.tasks.into(),
        burst: args.burst.into(),
        prefetch: args.prefetch,
        window: args.window.into(),
        files: false,
        relay_options: args.flow.relay_option.clone(),
    };
    with_broker(args.flow.relay.clone(), args.flow.dir.as_deref(), |relay, broker, work| {
        let measured = end_to_end::run(&plan, relay, broker, work)?;
        print!("{}", report::flow::end_to_end(&measured, &plan, &broker.version()?));
        Ok(())
    })
}

fn large(args: &LargeArgs) -> Result<()> {
    let FlowArgs { rounds, writers, relay_option, .. } = &args.flow;
    let plans = large::plans(args.mebibytes, *rounds, (*writers).into(), relay_option)?;
    with_broker(args.flow.relay.clone(), args.flow.dir.as_deref(), |relay, broker, work| {
        print!("{}", report::flow::large_head(args.mebibytes, *rounds, &broker.version()?));
        for plan in &plans {
            let work = work.join(plan.record_bytes.to_string());
            std::fs::create_dir(&work).context("making a directory")?;
            let measured = end_to_end::run(plan, relay, broker, &work)?;
            print!("{}", report::flow::large(&measured, plan));
        }
        Ok(())
    })
}

/// Finds the relay, starts a broker, measures, and removes everything again.
fn with_broker(
    relay: Option<PathBuf>,
    dir: Option<&Path>,
    measure: impl FnOnce(&Path, &Broker, &Path) -> Result<()>,
) -> Result<()> {
    let relay = relay.map_or_else(relay::build_relay, Ok)?;
    let work = work_dir(dir)?;
    print!("{}", machine::describe(work.path())?);
    let (root, broker) = (work.path().to_owned(), work.path().join("broker"));
    let node = broker.clone();
    interrupt::clean_up_first(move || {
        party::end_all();
        let stopped = Broker::stop(&node).and_then(|()| Ok(std::fs::remove_dir_all(&root)?));
        if let Err(error) = stopped {
            eprintln!("zoutbox-bench: {error:#}");
        }
    })?;
    let broker = Broker::start(&broker)?;
    let measured = measure(&relay, &broker, work.path());
    drop(broker);
    measured?;
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
