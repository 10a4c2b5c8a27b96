//! In `PostgreSQL`: a private server a side. The statements of the effect are prepared.
//!
//! Syncs: `fsync` and `synchronous_commit` are on, see [`crate::server`].

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ::postgres::{Client, NoTls, Statement, Transaction};
use anyhow::{Context as _, Result, bail, ensure};
use zoutbox_consumer::{Applied, Identity, Inbox, PostgresStore};

use super::{CONSUMER, Incoming, Way};
use crate::server::Server;
use crate::side::AppendSide;

const EFFECTS: &str =
    "CREATE TABLE effects (id bigserial PRIMARY KEY, sequence bigint NOT NULL, payload bytea NOT NULL)";
const IDS: &str = "CREATE TABLE ids (id text PRIMARY KEY)";

/// The `PostgreSQL` sides.
pub(crate) struct PostgresApply {
    way: Way,
    /// Who runs the server if we are root.
    user: String,
    open: Mutex<Option<Open>>,
    server: Option<Server>,
}

struct Open {
    incoming: Incoming,
    database: Database,
    effect: Statement,
}

enum Database {
    Plain { client: Client, id: Option<Statement> },
    Inbox(Inbox<PostgresStore>),
}

impl PostgresApply {
    /// A side whose server runs as `user` if this process is root.
    pub(crate) fn new(way: Way, user: &str) -> Self {
        Self { way, user: user.to_owned(), open: Mutex::new(None), server: None }
    }
}

impl AppendSide for PostgresApply {
    fn name(&self) -> &'static str {
        match self.way {
            Way::Effect => "postgres-effect",
            Way::Ids => "postgres-ids",
            Way::Inbox => "postgres-inbox",
        }
    }

    fn open(&mut self, dir: &Path, callers: usize) -> Result<()> {
        let server = self.server.insert(Server::start(dir, callers, &self.user)?);
        server.connect()?.batch_execute(&format!("{EFFECTS}; {IDS}"))?;
        let effect = "INSERT INTO effects (sequence, payload) VALUES ($1, $2)";
        let (effect, database) = if self.way == Way::Inbox {
            let config = server.config();
            let store = PostgresStore::open_with("the bench's database", move || config.connect(NoTls))?;
            let mut inbox = Inbox::open(store, CONSUMER)?;
            (inbox.store_mut().client()?.prepare(effect)?, Database::Inbox(inbox))
        } else {
            let mut client = server.connect()?;
            let id = "INSERT INTO ids VALUES ($1) ON CONFLICT DO NOTHING";
            let id = (self.way == Way::Ids).then(|| client.prepare(id)).transpose()?;
            (client.prepare(effect)?, Database::Plain { client, id })
        };
        *self.open.get_mut().unwrap_or_else(PoisonError::into_inner) =
            Some(Open { incoming: Incoming::new()?, database, effect });
        Ok(())
    }

    fn append(&self, _caller: usize, payload: &[u8]) -> Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Open { incoming, database, effect } = open.as_mut().context("not open")?;
        let identity = incoming.next();
        let insert = |transaction: &mut Transaction<'_>| {
            let sequence = identity.record.sequence.get().cast_signed();
            transaction.execute(&*effect, &[&sequence, &payload]).map(drop)
        };
        match database {
            Database::Plain { client, id } => plain(client, id.as_ref(), identity, insert),
            Database::Inbox(inbox) => match inbox.apply(identity, insert)? {
                Applied::Now(()) => Ok(()),
                Applied::Duplicate => bail!("{identity} counts as applied before"),
            },
        }
    }

    fn close(&mut self) -> Result<()> {
        *self.open.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        self.server.take().map_or(Ok(()), Server::stop)
    }
}

fn plain(
    client: &mut Client,
    id: Option<&Statement>,
    identity: &Identity,
    effect: impl FnOnce(&mut Transaction<'_>) -> Result<(), ::postgres::Error>,
) -> Result<()> {
    let mut transaction = client.transaction()?;
    if let Some(id) = id {
        let new = transaction.execute(id, &[&identity.record.to_string()])?;
        ensure!(new == 1, "{identity} was there before");
    }
    effect(&mut transaction)?;
    transaction.commit().context("committing")
}
