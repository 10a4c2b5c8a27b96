//! Consumes a queue in memory: enough where an effect may happen again after a restart, such as refreshing a cache. Ends when its input does.
//!
//! ```text
//! cargo run -p zoutbox-consumer --features amqp --example consume_memory -- AMQP-URL QUEUE
//! ```

use std::error::Error;
use std::io::Read;

use tokio::sync::watch;
use zoutbox_consumer::{Consumer, ConsumerAmqp, ConsumerOptions, HandlerError, Inbox, MemoryStore, Resolver};

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("usage: consume_memory AMQP-URL QUEUE");
    let options = ConsumerOptions::new(ConsumerAmqp::new(argument()?), argument()?);

    let inbox = Inbox::open(MemoryStore::new(), "cache")?;
    // Where the share is mounted, `Resolver::open(root, …)` follows pointers as well.
    let consumer = Consumer::new(options, Resolver::inline_only(None), inbox);

    let (stop, stopped) = watch::channel(false);
    std::thread::spawn(move || {
        // Nobody writes to it: this returns when it is closed.
        let ended = std::io::stdin().read_to_end(&mut Vec::new());
        drop(ended.map(|_| stop.send(true)));
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let summary = runtime.block_on(consumer.run(stopped, |record, ()| {
        println!("{}: refreshed for {}", record.identity.record, record.topic);
        Ok::<_, HandlerError<std::convert::Infallible>>(())
    }))?;
    println!("{} applied, {} duplicates, {} parked", summary.applied, summary.duplicates, summary.parked);
    Ok(())
}
