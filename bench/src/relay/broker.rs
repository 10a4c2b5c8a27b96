//! A private `RabbitMQ` node, and the one queue that is measured, seen from outside.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::runtime::Runtime;

/// The queue, and so the routing key: messages go through the default exchange.
pub(crate) const QUEUE: &str = "zoutbox-bench";

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/broker.sh");

/// A node of our own; ended when dropped.
pub(crate) struct Broker {
    dir: PathBuf,
    url: String,
    pid: u32,
    runtime: Runtime,
    channel: Channel,
    /// Closes when dropped.
    _connection: Connection,
}

impl Broker {
    /// Starts a node whose files lie in `dir`.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        let url = script(&["start"], dir).inspect_err(|_| drop(script(&["stop"], dir)))?;
        Self::connect(dir, url).inspect_err(|_| drop(script(&["stop"], dir)))
    }

    fn connect(dir: &Path, url: String) -> Result<Self> {
        let pid = script(&["pid"], dir)?.parse().context("reading the broker's process id")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (connection, channel) = runtime.block_on(async {
            let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            lapin::Result::Ok((connection, channel))
        })?;
        Ok(Self { dir: dir.to_owned(), url, pid, runtime, channel, _connection: connection })
    }

    /// Ends the node whose files lie in `dir`, if there is one.
    pub(crate) fn stop(dir: &Path) -> Result<()> {
        script(&["stop"], dir).map(drop)
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The Erlang VM.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// What it calls itself.
    pub(crate) fn version(&self) -> Result<String> {
        script(&["ctl", "version"], &self.dir)
    }

    /// Makes the queue anew, and empty: a quorum queue.
    pub(crate) fn fresh_queue(&self) -> Result<()> {
        self.delete_queue()?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let declare = self.channel.queue_declare(name(), QueueDeclareOptions::durable(), arguments);
        self.runtime.block_on(declare).context("declaring the queue")?;
        Ok(())
    }

    /// Removes the queue with all that is in it.
    pub(crate) fn delete_queue(&self) -> Result<()> {
        let delete = self.channel.queue_delete(name(), QueueDeleteOptions::default());
        self.runtime.block_on(delete).context("deleting the queue")?;
        Ok(())
    }

    /// How many bytes all connections that there are have brought to the broker, and taken from it. Boots an Erlang VM to ask.
    pub(crate) fn octets(&self) -> Result<(u64, u64)> {
        let text = script(&["ctl", "list_connections", "--silent", "recv_oct", "send_oct"], &self.dir)?;
        let mut sum = (0, 0);
        for line in text.lines() {
            let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            if let [received, sent] = *numbers {
                sum = (sum.0 + received, sum.1 + sent);
            }
        }
        ensure!(sum.0 > 0, "rabbitmqctl list_connections tells of no bytes: {text}");
        Ok(sum)
    }

    /// How many messages the queue has taken in: nobody takes any out.
    pub(crate) fn count(&self) -> Result<u64> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let ask = self.channel.queue_declare(name(), options, FieldTable::default());
        Ok(self.runtime.block_on(ask).context("counting the queue's messages")?.message_count().into())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = Self::stop(&self.dir) {
            eprintln!("zoutbox-bench: {error:#}");
        }
    }
}

fn name() -> ShortString {
    QUEUE.into()
}

/// Runs `broker.sh COMMAND DIR ARGS...` and returns what it printed.
fn script(command_and_args: &[&str], dir: &Path) -> Result<String> {
    let (command, args) = command_and_args.split_first().context("no command")?;
    let mut run = Command::new(SCRIPT);
    let output = run.arg(command).arg(dir).args(args).output().context("running scripts/broker.sh")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "scripts/broker.sh {command}: {}", error.trim());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
