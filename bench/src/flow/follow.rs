//! The consumer: a loop over lapin that resolves each message, checks every record of it, and then acknowledges.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties};
use zoutbox_consumer::{HeaderValue, Message, Resolver, ResolverOptions};

use super::checker::Checker;
use super::{DONE, READY, WARM};
use crate::party;
use crate::relay::QUEUE;

/// One acknowledgement for so many messages, or for all there are when no other one is waiting.
const ACK_EVERY: u64 = 128;

/// How the consumer is started.
#[derive(Args, Debug, Clone)]
pub(crate) struct FollowArgs {
    /// The broker
    #[arg(long)]
    pub(crate) amqp: String,
    /// The share's root
    #[arg(long)]
    pub(crate) root: PathBuf,
    /// Messages that the broker gives out ahead of their acknowledgement, at most
    #[arg(long)]
    pub(crate) prefetch: u16,
    /// Records that go ahead
    #[arg(long)]
    pub(crate) warm: u64,
    /// Records behind them
    #[arg(long)]
    pub(crate) records: u64,
}

impl FollowArgs {
    /// The command that starts the consumer of this name with them.
    pub(crate) fn command(&self, name: &str) -> Result<Command> {
        let Self { amqp, root, prefetch, warm, records } = self;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([name, "--amqp", amqp]).arg("--root").arg(root);
        command.args(["--prefetch", &prefetch.to_string()]);
        command.args(["--warm", &warm.to_string(), "--records", &records.to_string()]);
        Ok(command)
    }
}

/// Consumes: says when it is ready, when the records that go ahead were checked, and when all were, with the number of messages;
/// then stays until standard input ends.
pub(crate) fn run(args: &FollowArgs) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(follow(args))
}

async fn follow(args: &FollowArgs) -> Result<()> {
    let mut resolver = Resolver::open(&args.root, ResolverOptions::default()).context("opening the share")?;
    let mut checker = Checker::default();
    let connection = Connection::connect(&args.amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(args.prefetch, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consume = channel.basic_consume(QUEUE.into(), "bench".into(), options, FieldTable::default());
    let mut deliveries = consume.await.context("consuming")?;
    party::tell(READY)?;
    let mut acks = Acks { channel, last: 0, open: 0 };
    let mut messages = 0_u64;
    loop {
        let next = if let Some(next) = deliveries.next().now_or_never() {
            next
        } else {
            acks.send().await?;
            deliveries.next().await
        };
        let delivery = next.context("the broker gives out no more")??;
        let tag = delivery.delivery_tag;
        let before = checker.records;
        checker.check(&resolver.resolve(message(delivery)).context("resolving")?)?;
        acks.due(tag).await?;
        messages += u64::from(checker.records > args.warm);
        if before < args.warm && checker.records >= args.warm {
            acks.send().await?;
            party::tell(WARM)?;
        }
        if checker.records >= args.warm + args.records {
            acks.send().await?;
            party::tell(&format!("{DONE} {messages}"))?;
            return party::await_end();
        }
    }
}

/// Acknowledgements that are still owed.
struct Acks {
    channel: Channel,
    last: u64,
    open: u64,
}

impl Acks {
    async fn due(&mut self, tag: u64) -> Result<()> {
        (self.last, self.open) = (tag, self.open + 1);
        if self.open >= ACK_EVERY { self.send().await } else { Ok(()) }
    }

    async fn send(&mut self) -> Result<()> {
        if self.open > 0 {
            let all_up_to = BasicAckOptions { multiple: true };
            self.channel.basic_ack(self.last, all_up_to).await.context("acknowledging")?;
            self.open = 0;
        }
        Ok(())
    }
}

/// A delivery as the resolver wants it.
fn message(delivery: Delivery) -> Message {
    let properties = &delivery.properties;
    let text = |text: &Option<ShortString>| text.as_ref().map(ToString::to_string);
    let headers = properties.headers().iter().flat_map(FieldTable::inner);
    let headers = headers.filter_map(|(name, value)| Some((name.to_string(), header(value)?)));
    Message {
        topic: delivery.routing_key.to_string(),
        message_id: text(properties.message_id()),
        content_type: text(properties.content_type()),
        timestamp_s: *properties.timestamp(),
        headers: headers.collect(),
        body: delivery.data,
    }
}

fn header(value: &AMQPValue) -> Option<HeaderValue> {
    match value {
        AMQPValue::LongString(text) => {
            Some(HeaderValue::Text(String::from_utf8_lossy(text.as_bytes()).into_owned()))
        }
        AMQPValue::LongLongInt(number) => Some(HeaderValue::Integer(*number)),
        _ => None,
    }
}
