//! Consumes a queue with an inbox in an SQLite file: each record is booked once, however often this is killed and started. Ends when its input does.
//!
//! ```text
//! cargo run -p zoutbox-consumer --features amqp --example consume_sqlite -- AMQP-URL QUEUE DATABASE
//! ```

use std::error::Error;
use std::io::Read;
use std::path::Path;

use tokio::sync::watch;
use zoutbox_consumer::{Consumer, ConsumerAmqp, ConsumerOptions, HandlerError, Inbox, Resolver, SqliteStore};

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("usage: consume_sqlite AMQP-URL QUEUE DATABASE");
    let options = ConsumerOptions::new(ConsumerAmqp::new(argument()?), argument()?);

    let inbox = Inbox::open(SqliteStore::open(Path::new(&argument()?))?, "bookkeeping")?;
    let tables = "CREATE TABLE IF NOT EXISTS booked (record TEXT, topic TEXT) STRICT";
    inbox.store().connection().execute_batch(tables)?;
    // Where the share is mounted, `Resolver::open(root, …)` follows pointers as well.
    let consumer = Consumer::new(options, Resolver::inline_only(None), inbox);

    let (stop, stopped) = watch::channel(false);
    std::thread::spawn(move || {
        // Nobody writes to it: this returns when it is closed.
        let ended = std::io::stdin().read_to_end(&mut Vec::new());
        drop(ended.map(|_| stop.send(true)));
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let summary = runtime.block_on(consumer.run(stopped, |record, transaction| {
        let id = record.identity.record.to_string();
        // In the transaction that marks the record: both happen, or neither.
        transaction
            .execute("INSERT INTO booked VALUES (?1, ?2)", (&id, record.topic))
            .map_err(HandlerError::Retry)?;
        println!("{id}: booked");
        Ok(())
    }))?;
    println!("{} applied, {} duplicates, {} parked", summary.applied, summary.duplicates, summary.parked);
    Ok(())
}
