//! In `PostgreSQL`: a private server a side. The statements of the effect are prepared.
//!
//! Syncs: `fsync` and `synchronous_commit` are on, see [`crate::server`].

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ::postgres::{Client, NoTls, Statement, Transaction};
use anyhow::{Context as _, Result, ensure};
use zoutbox_consumer::{Identity, Inbox, PostgresStore};

use super::{CONSUMER, Incoming, MANY, Way, ensure_all_new, ensure_new};
use crate::server::Server;
use crate::side::AppendSide;

const EFFECTS: &str =
    "CREATE TABLE effects (id bigserial PRIMARY KEY, sequence bigint NOT NULL, payload bytea NOT NULL)";
pub(super) const IDS: &str = "CREATE TABLE ids (id text PRIMARY KEY)";

/// The `PostgreSQL` sides.
pub(crate) struct PostgresApply {
    way: Way,
    many: bool,
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
    pub(crate) fn new(way: Way, many: bool, user: &str) -> Self {
        Self { way, many, user: user.to_owned(), open: Mutex::new(None), server: None }
    }
}

impl AppendSide for PostgresApply {
    fn name(&self) -> &'static str {
        match (self.way, self.many) {
            (Way::Effect, false) => "postgres-effect",
            (Way::Ids, false) => "postgres-ids",
            (Way::Inbox, false) => "postgres-inbox",
            (Way::Effect, true) => "postgres-effect-100",
            (Way::Ids, true) => "postgres-ids-100",
            (Way::Inbox, true) => "postgres-inbox-100",
        }
    }

    fn records_per_append(&self) -> u64 {
        if self.many { MANY } else { 1 }
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
        let apply = |identity: &Identity, transaction: &mut Transaction<'_>| {
            let sequence = identity.record.sequence.get().cast_signed();
            transaction.execute(&*effect, &[&sequence, &payload]).map(drop)
        };
        match database {
            Database::Plain { client, id } => {
                let records = (0..self.records_per_append()).map(|_| incoming.next());
                plain(client, id.as_ref(), records, apply)
            }
            Database::Inbox(inbox) if self.many => {
                let records = incoming.next_many();
                ensure_all_new(inbox.apply_all(&records, |index, transaction| {
                    records.get(index).map_or(Ok(()), |(identity, _)| apply(identity, transaction))
                })?)
            }
            Database::Inbox(inbox) => {
                let identity = incoming.next();
                ensure_new(&inbox.apply(&identity, |transaction| apply(&identity, transaction))?)
            }
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
    records: impl Iterator<Item = Identity>,
    effect: impl Fn(&Identity, &mut Transaction<'_>) -> Result<(), ::postgres::Error>,
) -> Result<()> {
    let mut transaction = client.transaction()?;
    for identity in records {
        if let Some(id) = id {
            let new = transaction.execute(id, &[&identity.record.to_string()])?;
            ensure!(new == 1, "{identity} was there before");
        }
        effect(&identity, &mut transaction)?;
    }
    transaction.commit().context("committing")
}
