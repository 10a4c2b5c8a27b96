//! The producer: tasks that append records through one writer or several, and wait until they are durable.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::task::JoinSet;
use zoutbox_format::Record;
use zoutbox_storage::ErrorKind;
use zoutbox_writer::{Options, Ticket, Writer};

use super::{DONE, READY, stamp};
use crate::party;
use crate::relay::QUEUE;

/// Between two tries while the relay is too far behind.
const BEHIND: Duration = Duration::from_millis(1);

/// How the producer is started.
#[derive(Args, Debug, Clone)]
pub(crate) struct ProduceArgs {
    /// The share's root
    #[arg(long)]
    pub(crate) root: PathBuf,
    /// Writers
    #[arg(long)]
    pub(crate) writers: usize,
    /// Tasks that append, for each writer
    #[arg(long)]
    pub(crate) tasks: usize,
    /// Records that a task appends before it waits until they are durable
    #[arg(long)]
    pub(crate) burst: usize,
    /// Records that go ahead, for each writer
    #[arg(long)]
    pub(crate) warm: u64,
    /// Records to append then, over all tasks
    #[arg(long)]
    pub(crate) records: u64,
    /// Bytes of payload in each
    #[arg(long)]
    pub(crate) record_bytes: u32,
    /// Bytes on the share that are not confirmed yet, at most, for each writer
    #[arg(long)]
    pub(crate) unconfirmed: u64,
    /// Each payload goes to a file of its own, as large ones do
    #[arg(long)]
    pub(crate) files: bool,
}

impl ProduceArgs {
    /// The command that starts the producer with them.
    pub(crate) fn command(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("produce").arg("--root").arg(&self.root);
        let numbers = [
            ("--writers", self.writers as u64),
            ("--tasks", self.tasks as u64),
            ("--burst", self.burst as u64),
            ("--warm", self.warm),
            ("--records", self.records),
            ("--record-bytes", self.record_bytes.into()),
            ("--unconfirmed", self.unconfirmed),
        ];
        for (name, number) in numbers {
            command.args([name, &number.to_string()]);
        }
        if self.files {
            command.arg("--files");
        }
        Ok(command)
    }
}

/// Appends what goes ahead, says so, waits for a line, appends everything, says so, and stays until standard input ends.
pub(crate) fn run(args: &ProduceArgs) -> Result<()> {
    let options = Options { unconfirmed_limit: Some(args.unconfirmed), ..Options::default() };
    let open = |number| Writer::open(&args.root, &format!("bench-{number}"), options.clone()).map(Arc::new);
    let writers: Vec<Arc<Writer>> = (0..args.writers).map(open).collect::<Result<_, _>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(append_all(args, &writers, 1, args.warm * args.writers as u64))?;
    party::tell(READY)?;
    party::await_line()?;
    runtime.block_on(append_all(args, &writers, args.tasks, args.records))?;
    party::tell(DONE)?;
    party::await_end()?;
    for writer in writers {
        Arc::into_inner(writer).context("a writer is still in use")?.close().context("closing a writer")?;
    }
    Ok(())
}

/// `tasks` tasks a writer append `records` records, each the same number, if that can be.
async fn append_all(args: &ProduceArgs, writers: &[Arc<Writer>], tasks: usize, records: u64) -> Result<()> {
    let mut running = JoinSet::new();
    let all = (writers.len() * tasks) as u64;
    let writers = writers.iter().cycle();
    for (task, writer) in (0..all).zip(writers) {
        let share = records / all + u64::from(task < records % all);
        let (writer, burst, bytes) = (Arc::clone(writer), args.burst, args.record_bytes);
        if args.files {
            running.spawn_blocking(move || append_files(&writer, share, bytes));
        } else {
            running.spawn(append(writer, share, burst, bytes));
        }
    }
    while let Some(task) = running.join_next().await {
        task.context("a task failed")??;
    }
    Ok(())
}

async fn append(writer: Arc<Writer>, records: u64, burst: usize, record_bytes: u32) -> Result<()> {
    let mut record = Record::new(QUEUE, crate::payload(record_bytes));
    let mut tickets = Vec::with_capacity(burst);
    for number in 0..records {
        stamp(&mut record.payload, number);
        tickets.push(append_one(&writer, &record).await?);
        if tickets.len() >= burst {
            durable(&mut tickets).await?;
        }
    }
    durable(&mut tickets).await
}

/// Payloads beyond the writer's threshold go to files: each is durable before the next one is begun.
fn append_files(writer: &Writer, records: u64, record_bytes: u32) -> Result<()> {
    let record = Record::new(QUEUE, Vec::new());
    let mut payload = crate::payload(record_bytes);
    for number in 0..records {
        stamp(&mut payload, number);
        let ticket = writer.append_payload(&record, payload.as_slice()).context("appending a payload")?;
        ticket.wait().context("waiting for a ticket")?;
    }
    Ok(())
}

/// Waits without holding the thread while too much is unconfirmed.
async fn append_one(writer: &Writer, record: &Record) -> Result<Ticket> {
    loop {
        match writer.try_append(record) {
            Err(full) if full.kind() == ErrorKind::Full => tokio::time::sleep(BEHIND).await,
            appended => return appended.context("appending"),
        }
    }
}

async fn durable(tickets: &mut Vec<Ticket>) -> Result<()> {
    for ticket in tickets.drain(..) {
        ticket.await.context("awaiting a ticket")?;
    }
    Ok(())
}
