//! Takes what queues hold, for tests that look at them between two steps.
//!
//! A line of standard input is an order, and `.` on a line of its own ends each answer:
//!
//! ```text
//!   take QUEUE             MESSAGE-ID <tab> body, base64        of each message, in order; nothing if there is no such queue
//!   drop QUEUE EXCHANGE
//! ```

use std::io::{BufRead, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use lapin::options::{BasicGetOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_mins(5);

#[derive(Parser)]
struct Arguments {
    /// The broker.
    #[arg(long)]
    amqp: String,
}

/// False if there is no such queue: then the broker has closed the channel.
async fn take(connection: &Connection, queue: &str, out: &mut impl Write) -> Result<bool, String> {
    let said = |error: lapin::Error| format!("take {queue}: {error}");
    let channel = connection.create_channel().await.map_err(said)?;
    let asked = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(queue.into(), asked, FieldTable::default()).await {
        Ok(_) => {}
        Err(error) if is_missing(&error) => return Ok(false),
        Err(error) => return Err(said(error)),
    }
    let options = BasicGetOptions { no_ack: true };
    loop {
        let message = match channel.basic_get(queue.into(), options).await {
            Ok(Some(message)) => message,
            Ok(None) => break,
            // Whoever declared it was killed in the middle of that.
            Err(error) if is_missing(&error) => return Ok(false),
            Err(error) => return Err(said(error)),
        };
        let id = message.properties.message_id().as_ref().map_or("", |id| id.as_str());
        writeln!(out, "{id}\t{}", STANDARD.encode(&message.data)).map_err(|error| error.to_string())?;
    }
    close(&channel).await;
    Ok(true)
}

/// As [`take`]: false if there is no such queue any more.
async fn remove(connection: &Connection, queue: &str, exchange: &str) -> Result<bool, String> {
    let said = |error: lapin::Error| format!("drop {queue}: {error}");
    let channel = connection.create_channel().await.map_err(said)?;
    channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.map_err(said)?;
    match channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await {
        Ok(_) => {}
        Err(error) if is_missing(&error) => return Ok(false),
        Err(error) => return Err(said(error)),
    }
    close(&channel).await;
    Ok(true)
}

/// Whether there is no such queue.
fn is_missing(error: &lapin::Error) -> bool {
    error.to_string().contains("NOT_FOUND")
}

async fn close(channel: &Channel) {
    // It is not used again, whatever becomes of it.
    drop(channel.close(200, "done".into()).await);
}

async fn connect(url: &str) -> Result<Connection, String> {
    // A broker that is just starting does not always answer.
    let connecting = async {
        loop {
            match timeout(PATIENCE, Connection::connect(url, ConnectionProperties::default())).await {
                Ok(connected) => return connected.map_err(|error| error.to_string()),
                Err(_) => eprintln!("connecting hangs, trying again"),
            }
        }
    };
    timeout(LONG, connecting).await.map_err(|_| format!("no answer in {LONG:?}"))?
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<(), String> {
    let arguments = Arguments::parse();
    let mut connection = connect(&arguments.amqp).await?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let obeying = async {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["take", queue] => take(&connection, queue, &mut out).await,
                ["drop", queue, exchange] => remove(&connection, queue, exchange).await,
                _ => Err(format!("no such order: {line}")),
            }
        };
        // A broker that does not answer must not hold up who gave the order for ever.
        let found = timeout(LONG, obeying).await.map_err(|_| format!("{line}: no answer in {LONG:?}"))??;
        if !found {
            // What the broker said of a channel that it closed can reach the next one of the same number.
            connection = connect(&arguments.amqp).await?;
        }
        writeln!(out, ".").and_then(|()| out.flush()).map_err(|error| error.to_string())?;
    }
    Ok(())
}
