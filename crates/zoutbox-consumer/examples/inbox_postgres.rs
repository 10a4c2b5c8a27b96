//! An inbox in PostgreSQL: each order is booked once, however often and in however many processes this is run.
//!
//! ```text
//! cargo run -p zoutbox-consumer --features postgres --example inbox_postgres -- postgres://user:password@host/database
//! ```

use std::error::Error;

use zoutbox_consumer::{Applied, Identity, Inbox, Opened, PostgresStore};

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: inbox_postgres URL")?;
    let mut inbox = Inbox::open(PostgresStore::open(&url)?, "bookkeeping")?;
    if inbox.opened() == Opened::Empty {
        println!("nothing is remembered: the first run, or the database was lost");
    }
    let tables = "CREATE TABLE IF NOT EXISTS booked (record text, cents bigint)";
    inbox.store_mut().client()?.batch_execute(tables)?;

    let share = "000102030405060708090a0b0c0d0e0f".parse()?;
    for (delivery, cents) in [("orders/1/1", 1_000_i64), ("orders/1/2", 250), ("orders/1/1", 1_000)] {
        let identity = Identity::new(share, delivery.parse()?);
        let applied = inbox.apply(&identity, |tx| {
            // In the transaction that marks the record: both happen, or neither.
            tx.execute("INSERT INTO booked VALUES ($1, $2)", &[&delivery, &cents])
        })?;
        match applied {
            Applied::Now(_) => println!("{delivery}: booked"),
            Applied::Duplicate => println!("{delivery}: a duplicate"),
        }
        // Here the message is acknowledged to the broker.
    }
    let sum = inbox.store_mut().client()?.query_one("SELECT sum(cents)::bigint FROM booked", &[])?;
    println!("booked {} cents", sum.try_get::<_, i64>(0)?);
    Ok(())
}
