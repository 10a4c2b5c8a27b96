//! A consumer as a process of its own, made of the public API, for the test to kill: the test's own program, started again with another task.
//!
//! On standard output it says, a line each and now and then, `at N`, the position of the last effect, and `duplicates N`, so many more
//! records that were delivered and had their effect before.

use std::io::Read;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use zoutbox_consumer::inbox::{Parked, Store as InboxStore};
use zoutbox_consumer::{
    Consumer, ConsumerAmqp, ConsumerOptions, ErrorKind, HandlerError, Inbox, InboxError, Payload,
    PostgresStore, Registration, RegistrationOptions, ResolveError, Resolved, Resolver, ResolverOptions,
    SqliteStore,
};

use crate::counting::{Counting, Counts};
use crate::effects::{Database, Effect, insert_postgres, insert_sqlite};
use crate::journal::Checksum;

const ROOT: &str = "ZOUTBOX_CHAOS_CHILD_ROOT";
const AMQP: &str = "ZOUTBOX_CHAOS_CHILD_AMQP";
const DATABASE: &str = "ZOUTBOX_CHAOS_CHILD_DATABASE";

type Failed = HandlerError<Box<dyn std::error::Error + Send + Sync>>;

/// What a consumer has to know. Its queue and its inbox are named like its store.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) root: PathBuf,
    pub(crate) amqp: String,
    pub(crate) database: Database,
}

impl Told {
    fn name(&self) -> &'static str {
        self.database.store().name()
    }
}

/// What starts one.
pub(crate) fn command(told: &Told) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child::consumes_until_it_is_told_to_stop", "--nocapture"])
        .env(ROOT, &told.root)
        .env(AMQP, &told.amqp)
        .env(DATABASE, told.database.to_text());
    command
}

/// The child; elsewhere it was told nothing, and does nothing.
#[test]
fn consumes_until_it_is_told_to_stop() {
    let Ok(database) = std::env::var(DATABASE) else { return };
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let told = Told {
        root: std::env::var_os(ROOT).unwrap().into(),
        amqp: std::env::var(AMQP).unwrap(),
        database: Database::from_text(&database),
    };
    let counts = Counts::default();
    match &told.database {
        Database::Sqlite(path) => {
            let inbox = opened(told.name(), || Ok(Counting::new(SqliteStore::open(path)?, &counts)));
            run(&told, inbox, move |record, transaction| {
                counts.at(insert_sqlite(transaction, &effect_of(record)?)?);
                Ok(())
            });
        }
        Database::Postgres(url) => {
            let inbox = opened(told.name(), || Ok(Counting::new(PostgresStore::open(url)?, &counts)));
            run(&told, inbox, move |record, transaction| {
                counts.at(insert_postgres(transaction, &effect_of(record)?)?);
                Ok(())
            });
        }
    }
}

/// What can be opened later is opened again, as any consumer would.
fn opened<S: InboxStore>(name: &str, mut open: impl FnMut() -> Result<S, InboxError>) -> Inbox<S> {
    loop {
        match open().and_then(|store| Inbox::open(store, name)) {
            Ok(inbox) => return inbox,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn run<S, F>(told: &Told, inbox: Inbox<S>, handler: F)
where
    S: InboxStore + Send + 'static,
    F: FnMut(&Resolved<'_>, &mut S::Transaction<'_>) -> Result<(), Failed> + Send + 'static,
{
    let resolver = Resolver::open(&told.root, ResolverOptions::default()).unwrap();
    let mut options = ConsumerOptions::new(ConsumerAmqp::new(&told.amqp), told.name());
    options.retry_max = Duration::from_secs(1);
    let registration = Registration::open(&told.root, &registration(told.name())).unwrap();
    let consumer = Consumer::new(options, resolver, inbox).observe(Box::new(registration));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let summary = runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        tokio::spawn(async move {
            terminate.recv().await;
            stop.send(true)
        });
        consumer.run(stopped, handler).await.unwrap()
    });
    assert!(summary.finished, "it did not stop in good order");
}

/// Quick in everything, so that the relay removes what it may while this goes on.
fn registration(name: &str) -> RegistrationOptions {
    let mut options = RegistrationOptions::new(name, name);
    options.interval = Duration::from_millis(200);
    // All connections end on this host, and the broker hears of it at once.
    options.settle = Duration::from_secs(2);
    options
}

fn effect_of(record: &Resolved<'_>) -> Result<Effect, Failed> {
    let checksum = match &record.payload {
        Payload::Bytes(bytes) => Checksum::of(bytes),
        Payload::Large(large) => read(large.open().map_err(unreadable)?)?,
    };
    let id = &record.identity.record;
    let (epoch, sequence) = (id.epoch.get(), id.sequence.get());
    let (writer, topic) = (id.writer.to_string(), record.topic.to_owned());
    Ok(Effect { writer, epoch, sequence, topic, checksum })
}

fn read(mut from: impl Read) -> Result<Checksum, Failed> {
    let (mut hasher, mut length, mut piece) = (crc32fast::Hasher::new(), 0, vec![0; 256 * 1024]);
    loop {
        let read = from.read(&mut piece).map_err(|error| HandlerError::Poison(error.into()))?;
        if read == 0 {
            return Ok(Checksum { crc: hasher.finalize(), length });
        }
        hasher.update(&piece[..read]);
        length += read as u64;
    }
}

fn unreadable(error: ResolveError) -> Failed {
    match error.kind() {
        ErrorKind::Retry => HandlerError::Trouble(error.into()),
        _ => HandlerError::Poison(error.into()),
    }
}

/// What a consumer has parked, as its inbox says. It must not run.
pub(crate) fn parked(database: &Database) -> Vec<Parked> {
    let name = database.store().name();
    match database {
        Database::Sqlite(path) => {
            Inbox::open(SqliteStore::open(path).unwrap(), name).unwrap().parked().unwrap()
        }
        Database::Postgres(url) => {
            Inbox::open(PostgresStore::open(url).unwrap(), name).unwrap().parked().unwrap()
        }
    }
}
