//! Takes what queues hold, for tests that look at them between two steps.
//!
//! A line of standard input is an order, and `.` on a line of its own ends each answer:
//!
//! ```text
//!   take QUEUE             MESSAGE-ID <tab> body, base64        of each message, in order; nothing if there is no such queue
//!   drop QUEUE EXCHANGE
//! ```

use std::io::{BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use lapin::options::{BasicGetOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};

#[derive(Parser)]
struct Arguments {
    /// The broker.
    #[arg(long)]
    amqp: String,
}

async fn take(connection: &Connection, queue: &str, out: &mut impl Write) -> Result<(), String> {
    let said = |error: lapin::Error| error.to_string();
    // A channel of its own: asking for a queue that is not there closes it.
    let channel = connection.create_channel().await.map_err(said)?;
    let asked = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(queue.into(), asked, FieldTable::default()).await {
        Ok(_) => {}
        Err(error) if is_missing(&error) => return Ok(()),
        Err(error) => return Err(said(error)),
    }
    let options = BasicGetOptions { no_ack: true };
    loop {
        let message = match channel.basic_get(queue.into(), options).await {
            Ok(Some(message)) => message,
            Ok(None) => break,
            // Whoever declared it was killed in the middle of that.
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) => return Err(said(error)),
        };
        let id = message.properties.message_id().as_ref().map_or("", |id| id.as_str());
        writeln!(out, "{id}\t{}", STANDARD.encode(&message.data)).map_err(|error| error.to_string())?;
    }
    close(&channel).await;
    Ok(())
}

/// Whether there is no such queue.
fn is_missing(error: &lapin::Error) -> bool {
    error.to_string().contains("NOT_FOUND")
}

async fn remove(connection: &Connection, queue: &str, exchange: &str) -> Result<(), String> {
    let said = |error: lapin::Error| error.to_string();
    let channel = connection.create_channel().await.map_err(said)?;
    match channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await {
        Ok(_) => close(&channel).await,
        // Whoever declared it was killed in the middle of that; the channel is closed by now.
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(said(error)),
    }
    let channel = connection.create_channel().await.map_err(said)?;
    channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.map_err(said)?;
    close(&channel).await;
    Ok(())
}

async fn close(channel: &Channel) {
    // It is not used again, whatever becomes of it.
    drop(channel.close(200, "done".into()).await);
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<(), String> {
    let arguments = Arguments::parse();
    let connection = Connection::connect(&arguments.amqp, ConnectionProperties::default())
        .await
        .map_err(|error| error.to_string())?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["take", queue] => take(&connection, queue, &mut out).await?,
            ["drop", queue, exchange] => remove(&connection, queue, exchange).await?,
            _ => return Err(format!("no such order: {line}")),
        }
        writeln!(out, ".").and_then(|()| out.flush()).map_err(|error| error.to_string())?;
    }
    Ok(())
}
