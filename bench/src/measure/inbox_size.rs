//! What an inbox takes on disk after very many records, in several orders, beside a table with a row a message.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::server::Server;
use crate::sides::inbox::size::{self, ORDERS, Order, Size};

/// What was seen of one order.
#[derive(Debug)]
pub(crate) struct Sized {
    pub(crate) name: &'static str,
    pub(crate) sqlite: Size,
    pub(crate) postgres: Size,
}

/// Applies `records` records in each order, in both databases.
pub(crate) fn run(records: u64, work: &Path, postgres_user: &str) -> Result<Vec<Sized>> {
    let made = |name: &str| {
        let dir = work.join(name);
        std::fs::create_dir(&dir).with_context(|| format!("creating {}", dir.display())).map(|()| dir)
    };
    let server = Server::start(&made("size-postgres")?, 1, postgres_user)?;
    let mut all = Vec::new();
    for order in ORDERS {
        let name = name(order);
        let sqlite = size::sqlite(&made(&format!("size-{order:?}"))?, order, records).context(name)?;
        let postgres = size::postgres(&server, order, records).context(name)?;
        ensure!(sqlite.states == postgres.states, "the two databases keep different states");
        eprintln!("{name}: {} bytes", sqlite.states);
        all.push(Sized { name, sqlite, postgres });
    }
    let sqlite = size::sqlite_ids(&made("size-ids")?, records).context("ids in SQLite")?;
    let postgres = size::postgres_ids(&server, records).context("ids in PostgreSQL")?;
    all.push(Sized { name: "a row a message", sqlite, postgres });
    server.stop()?;
    Ok(all)
}

fn name(order: Order) -> &'static str {
    match order {
        Order::Log => "in order",
        Order::Gaps => "with gaps",
        Order::EveryOther => "every other record",
    }
}
