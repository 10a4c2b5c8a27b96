//! `PostgreSQL` with an outbox table: a connection a caller, one insert a transaction, on a private server of our own.
//!
//! Syncs: `fsync` and `synchronous_commit` are read back as `on` when the server has started, so a commit returns after its
//! write-ahead log is flushed, by `fdatasync` on Linux; counted with `strace -f -e fdatasync` on the server.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ::postgres::{Client, Statement};
use anyhow::{Context as _, Result};

use crate::server::Server;
use crate::side::AppendSide;

/// The `PostgreSQL` side.
pub(crate) struct Postgres {
    /// Who runs the server if we are root.
    user: String,
    /// By caller. A connection is used by its own caller alone; the lock only shows that to the compiler.
    connections: Vec<Mutex<(Client, Statement)>>,
    server: Option<Server>,
}

impl Postgres {
    /// A side whose server runs as `user` if this process is root.
    pub(crate) fn new(user: String) -> Self {
        Self { user, connections: Vec::new(), server: None }
    }
}

impl AppendSide for Postgres {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    fn open(&mut self, dir: &Path, callers: usize) -> Result<()> {
        let server = self.server.insert(Server::start(dir, callers, &self.user)?);
        let mut client = server.connect()?;
        client.batch_execute(
            "CREATE TABLE outbox (id bigserial PRIMARY KEY, topic text NOT NULL, payload bytea NOT NULL)",
        )?;
        for _ in 0..callers {
            let mut client = server.connect()?;
            let insert = client.prepare("INSERT INTO outbox (topic, payload) VALUES ($1, $2)")?;
            self.connections.push(Mutex::new((client, insert)));
        }
        Ok(())
    }

    fn append(&self, caller: usize, payload: &[u8]) -> Result<()> {
        let connection = self.connections.get(caller).context("not open")?;
        let (client, insert) = &mut *connection.lock().unwrap_or_else(PoisonError::into_inner);
        client.execute(&*insert, &[&"bench", &payload]).context("inserting")?;
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.connections.clear();
        self.server.take().map_or(Ok(()), Server::stop)
    }
}
