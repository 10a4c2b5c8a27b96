//! The bare loop: publish from memory with lapin, at most a window in flight, every confirm awaited. What the relay does to
//! the broker, without a share, without order kept over failures, without a checkpoint.
//!
//! It runs as a process of its own, so that its CPU time is its own as well.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

use super::broker::QUEUE;

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
}

/// Publishes, says so, and stays until standard input ends: until then the parent can read what this process has used.
pub(crate) fn run(args: &BareArgs) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(publish_all(args))?;
    let mut output = std::io::stdout();
    writeln!(output, "{DONE}")?;
    output.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new()).context("waiting for the end of standard input")?;
    Ok(())
}

async fn publish_all(args: &BareArgs) -> Result<()> {
    let payload = crate::payload(args.record_bytes);
    let connection = Connection::connect(&args.amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut in_flight = VecDeque::with_capacity(args.window);
    for sequence in 1..=args.records {
        if in_flight.len() >= args.window
            && let Some(oldest) = in_flight.pop_front()
        {
            confirmed(oldest).await?;
        }
        in_flight.push_back(publish(&channel, sequence, &payload).await?);
    }
    for confirm in in_flight {
        confirmed(confirm).await?;
    }
    Ok(())
}

async fn publish(channel: &Channel, sequence: u64, payload: &[u8]) -> Result<lapin::PublisherConfirm> {
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

async fn confirmed(confirm: lapin::PublisherConfirm) -> Result<()> {
    let confirmation = confirm.await.context("awaiting a confirm")?;
    ensure!(matches!(confirmation, Confirmation::Ack(None)), "not confirmed: {confirmation:?}");
    Ok(())
}
