//! Consumes a queue with an inbox in PostgreSQL: each record is booked once, however often this is killed and started. Ends when its input does.
//!
//! ```text
//! cargo run -p zoutbox-consumer --features amqp,postgres --example consume_postgres -- AMQP-URL QUEUE POSTGRES-URL
//! ```

use std::error::Error;
use std::io::Read;

use tokio::sync::watch;
use zoutbox_consumer::{
    Consumer, ConsumerAmqp, ConsumerOptions, HandlerError, Inbox, PostgresStore, Resolver,
};

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("usage: consume_postgres AMQP-URL QUEUE POSTGRES-URL");
    let options = ConsumerOptions::new(ConsumerAmqp::new(argument()?), argument()?);

    // Not on a thread of the runtime: it blocks.
    let mut inbox = Inbox::open(PostgresStore::open(&argument()?)?, "bookkeeping")?;
    let tables = "CREATE TABLE IF NOT EXISTS booked (record text, topic text)";
    inbox.store_mut().client()?.batch_execute(tables)?;
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
            .execute("INSERT INTO booked VALUES ($1, $2)", &[&id, &record.topic])
            .map_err(HandlerError::Retry)?;
        println!("{id}: booked");
        Ok(())
    }))?;
    println!("{} applied, {} duplicates, {} parked", summary.applied, summary.duplicates, summary.parked);
    Ok(())
}
