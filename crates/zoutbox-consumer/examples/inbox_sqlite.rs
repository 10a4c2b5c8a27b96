//! An inbox in an SQLite file: each order is booked once, however often this is run.
//!
//! ```text
//! cargo run -p zoutbox-consumer --example inbox_sqlite -- booked.db
//! ```

use std::error::Error;
use std::path::Path;

use zoutbox_consumer::{Applied, Identity, Inbox, Opened, SqliteStore};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: inbox_sqlite DATABASE")?;
    let mut inbox = Inbox::open(SqliteStore::open(Path::new(&path))?, "bookkeeping")?;
    if inbox.opened() == Opened::Empty {
        println!("nothing is remembered: the first run, or the database was lost");
    }
    let tables = "CREATE TABLE IF NOT EXISTS booked (record TEXT, cents INTEGER) STRICT";
    inbox.store().connection().execute_batch(tables)?;

    let share = "000102030405060708090a0b0c0d0e0f".parse()?;
    for (delivery, cents) in [("orders/1/1", 1_000), ("orders/1/2", 250), ("orders/1/1", 1_000)] {
        let identity = Identity::new(share, delivery.parse()?);
        let applied = inbox.apply(&identity, |tx| {
            // In the transaction that marks the record: both happen, or neither.
            tx.execute("INSERT INTO booked VALUES (?1, ?2)", (delivery, cents))
        })?;
        match applied {
            Applied::Now(_) => println!("{delivery}: booked"),
            Applied::Duplicate => println!("{delivery}: a duplicate"),
        }
        // Here the message is acknowledged to the broker.
    }
    let sum: i64 =
        inbox.store().connection().query_row("SELECT sum(cents) FROM booked", [], |row| row.get(0))?;
    println!("booked {sum} cents");
    Ok(())
}
