//! The bare loop: publish from memory with lapin, at most a window in flight, every confirm awaited. What the relay does to
//! the broker, without a share, without order kept over failures, without a checkpoint.
//!
//! It runs as a process of its own, so that its CPU time is its own as well.

use std::collections::VecDeque;
use std::pin::Pin;
use std::process::Command;
use std::task::{Poll, Waker};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm};

use super::broker::QUEUE;
use crate::flow::{READY, stamp};
use crate::party;

/// What the line on standard output says once everything is confirmed.
pub(crate) const DONE: &str = "done";

/// How the loop is started.
#[derive(Args)]
pub(crate) struct BareArgs {
    /// The broker
    #[arg(long)]
    pub(crate) amqp: String,
    /// Messages to publish
    #[arg(long)]
    pub(crate) records: u64,
    /// Bytes of payload in each
    #[arg(long)]
    pub(crate) record_bytes: u32,
    /// Messages in flight at most
    #[arg(long)]
    pub(crate) window: usize,
    /// Say when the connection is there, and start when a line comes
    #[arg(long)]
    pub(crate) wait: bool,
}

impl BareArgs {
    /// The command that starts the loop with them.
    pub(crate) fn command(&self) -> Result<Command> {
        let Self { amqp, records, record_bytes, window, wait } = self;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare-publish", "--amqp", amqp, "--window", &window.to_string()]);
        command.args(["--records", &records.to_string(), "--record-bytes", &record_bytes.to_string()]);
        if *wait {
            command.arg("--wait");
        }
        Ok(command)
    }
}

/// Publishes, says so, and stays until standard input ends: until then the parent can read what this process has used.
pub(crate) fn run(args: &BareArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Kept, so that its bytes are still counted among the broker's connections.
    let _connection = runtime.block_on(publish_all(args))?;
    party::tell(DONE)?;
    party::await_end()
}

async fn publish_all(args: &BareArgs) -> Result<Connection> {
    let mut payload = crate::payload(args.record_bytes);
    stamp(&mut payload, 0);
    let connection = Connection::connect(&args.amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    if args.wait {
        party::tell(READY)?;
        party::await_line()?;
    }
    let mut in_flight = VecDeque::with_capacity(args.window);
    for sequence in 1..=args.records {
        if in_flight.len() >= args.window {
            take_confirmed(&mut in_flight).await?;
        }
        in_flight.push_back(publish(&channel, sequence, &payload).await?);
    }
    while !in_flight.is_empty() {
        take_confirmed(&mut in_flight).await?;
    }
    Ok(connection)
}

async fn publish(channel: &Channel, sequence: u64, payload: &[u8]) -> Result<PublisherConfirm> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let publish =
        channel.basic_publish(ShortString::from(""), QUEUE.into(), options, payload, properties(sequence));
    publish.await.context("publishing")
}

/// The properties the relay sends for a record without key, id, content type and headers of its own.
fn properties(sequence: u64) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("zoutbox-writer".into(), AMQPValue::LongString(LongString::from("bench")));
    headers.insert("zoutbox-epoch".into(), AMQPValue::LongLongInt(1));
    headers.insert("zoutbox-seq".into(), AMQPValue::LongLongInt(sequence.cast_signed()));
    headers.insert("zoutbox-timestamp-ms".into(), AMQPValue::LongLongInt(1_700_000_000_123));
    BasicProperties::default()
        .with_message_id(format!("bench/1/{sequence}").into())
        .with_delivery_mode(2)
        .with_timestamp(1_700_000_000)
        .with_headers(headers)
}

/// Waits for the oldest confirm, and takes with it all that came together with it: a broker confirms many at once, and
/// sleeping for each of them would cost more than publishing.
async fn take_confirmed(in_flight: &mut VecDeque<PublisherConfirm>) -> Result<()> {
    if let Some(oldest) = in_flight.pop_front() {
        confirmed(oldest.await)?;
    }
    while let Some(oldest) = in_flight.front_mut()
        && let Poll::Ready(result) = Pin::new(oldest).poll(&mut std::task::Context::from_waker(Waker::noop()))
    {
        in_flight.pop_front();
        confirmed(result)?;
    }
    Ok(())
}

fn confirmed(result: lapin::Result<Confirmation>) -> Result<()> {
    let confirmation = result.context("awaiting a confirm")?;
    ensure!(matches!(confirmation, Confirmation::Ack(None)), "not confirmed: {confirmation:?}");
    Ok(())
}
