//! The consumer that applies: the one that the library has, with an inbox in `SQLite`. Each record is checked and becomes a row, in the
//! transaction that marks it; a message's records share one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use tokio::sync::watch;
use zoutbox_consumer::{
    Consumer, ConsumerAmqp, ConsumerOptions, HandlerError, Inbox, Payload, Resolved, Resolver,
    ResolverOptions, SqliteStore,
};

use super::checker::Checker;
use super::follow::FollowArgs;
use super::{DONE, READY, WARM};
use crate::party;
use crate::relay::QUEUE;

const CONSUMER: &str = "bench";
const EFFECTS: &str = "CREATE TABLE effects (sequence INTEGER NOT NULL, payload BLOB NOT NULL)";

/// How this consumer is started.
#[derive(Args, Debug, Clone)]
pub(crate) struct ConsumeArgs {
    #[command(flatten)]
    pub(crate) follow: FollowArgs,
    /// The database
    #[arg(long)]
    pub(crate) database: PathBuf,
}

impl ConsumeArgs {
    /// The command that starts the consumer with them.
    pub(crate) fn command(&self) -> Result<Command> {
        let mut command = self.follow.command("consume")?;
        command.arg("--database").arg(&self.database);
        Ok(command)
    }
}

/// Consumes: says what [`super::follow`] says. All is done when the last record is committed, its message acknowledged and the connection
/// closed.
pub(crate) fn run(args: &ConsumeArgs) -> Result<()> {
    let FollowArgs { amqp, root, prefetch, warm, records } = args.follow.clone();
    let mut options = ConsumerOptions::new(ConsumerAmqp::new(amqp), QUEUE);
    options.prefetch = prefetch;
    let resolver = Resolver::open(&root, ResolverOptions::default()).context("opening the share")?;
    let consumer = Consumer::new(options, resolver, inbox(&args.database)?);
    let (stop, stopped) = watch::channel(false);
    let mut checker = Checker::default();
    let handler = move |record: &Resolved<'_>, transaction: &mut rusqlite::Transaction<'_>| {
        checker.check_one(record).map_err(HandlerError::Poison)?;
        let insert = transaction.prepare_cached("INSERT INTO effects VALUES (?1, ?2)");
        let payload = match &record.payload {
            Payload::Bytes(payload) => *payload,
            // Checked, and left where it is.
            Payload::Large(_) => &[],
        };
        let row = (record.identity.record.sequence.get().cast_signed(), payload);
        let inserted = insert.and_then(|mut insert| insert.execute(row));
        inserted.map_err(|error| HandlerError::Poison(error.into()))?;
        if checker.records == warm {
            party::tell(WARM).map_err(HandlerError::Poison)?;
        }
        if checker.records == warm + records {
            stop.send_replace(true);
        }
        Ok::<(), HandlerError<anyhow::Error>>(())
    };
    party::tell(READY)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let summary = runtime.block_on(consumer.run(stopped, handler)).map_err(|error| anyhow!("{error}"))?;
    ensure!(summary.applied == warm + records, "the consumer ended with {summary:?}");
    party::tell(&format!("{DONE} 0"))?;
    party::await_end()
}

fn inbox(database: &Path) -> Result<Inbox<SqliteStore>> {
    let inbox = Inbox::open(SqliteStore::open(database)?, CONSUMER)?;
    inbox.store().connection().execute_batch(EFFECTS)?;
    Ok(inbox)
}
