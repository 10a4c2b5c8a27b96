//! `zoutbox consume`: what a queue delivers as JSON lines, each record once; and what was set aside, back to where it came from.
//!
//! ```text
//!   queue ──▶ Consumer: resolve, deduplicate in SQLite ──▶ line, flushed ──▶ mark committed ──▶ ack
//! ```

mod line;
mod signals;
mod watch;

use std::io::{self, Write};
use std::path::Path;

use tracing_subscriber::EnvFilter;
use zoutbox_consumer::{
    Consumer, ConsumerAmqp, ConsumerOptions, HandlerError, Inbox, Payload, Registration, RegistrationOptions,
    Resolved, Resolver, ResolverOptions, SqliteStore, Stop, UnparkOptions, unpark_blocking,
};
use zoutbox_storage::{ErrorKind, System};

use crate::cli::ConsumeArguments;
use crate::complain;
use crate::exit::{Exit, Failure};
use watch::Watch;

const URL: &str = "ZOUTBOX_AMQP_URL";
const PASSWORD: &str = "ZOUTBOX_AMQP_PASSWORD";
const VISIBLE: &str = "--amqp has a password in it, which everybody on this host can see: use ZOUTBOX_AMQP_PASSWORD or --password-file";
/// The largest password or certificate file, in bytes.
const MAX_FILE: usize = 1024 * 1024;

pub(crate) fn run(system: &System, arguments: &ConsumeArguments) -> Result<Exit, Failure> {
    log();
    let amqp = amqp(system, arguments)?;
    if arguments.unpark {
        return unpark(amqp, arguments);
    }
    // Required unless --unpark is there.
    let (Some(root), Some(database)) = (&arguments.root, &arguments.inbox) else {
        return Err(Failure::new(Exit::Usage, "--root and --inbox are needed"));
    };
    let resolver = Resolver::open_with(system.clone(), root, ResolverOptions::default())?;
    let inbox = Inbox::open(SqliteStore::open(database)?, &arguments.name)?;
    let stop = Stop::new();
    let signals = signals::start(stop.clone())?;
    let registration = arguments.register.then(|| register(system, root, arguments)).transpose()?;
    let mut options = ConsumerOptions::new(amqp, &arguments.queue);
    // What was printed can't be taken back: as seldom as can be for nothing.
    options.together = arguments.count.is_none() && !arguments.verify_payloads;
    let mut consumer = Consumer::new(options, resolver, inbox);
    let mut printing = Printing::new(arguments, stop.clone());
    let outcome = printing.outcome.clone();
    let once = arguments.once.then(|| (stop.clone(), outcome.clone()));
    if registration.is_some() || once.is_some() {
        consumer = consumer.observe(Box::new(Watch::new(registration, once)));
    }
    consumer.run_blocking(&stop, move |record, _| printing.record(record))?;
    if let Some(error) = outcome.failed() {
        return Err(Failure::output(&error));
    }
    let limited = arguments.count.is_some() || arguments.once;
    Ok(match signals.came() {
        Some(signal) if limited && !outcome.reached() => Exit::Signal(signal),
        _ => Exit::Ok,
    })
}

fn unpark(amqp: ConsumerAmqp, arguments: &ConsumeArguments) -> Result<Exit, Failure> {
    let options = UnparkOptions { amqp, queue: arguments.queue.clone() };
    let moved = unpark_blocking(&options)?;
    let line = format!("{moved} moved from {0}.parked to {0}\n", arguments.queue);
    io::stdout().write_all(line.as_bytes()).map_err(|error| Failure::output(&error))?;
    Ok(Exit::Ok)
}

fn amqp(system: &System, arguments: &ConsumeArguments) -> Result<ConsumerAmqp, Failure> {
    let mut amqp = ConsumerAmqp::new(&arguments.amqp);
    let users = || arguments.amqp.split(',').map(user);
    let explicit = users().any(|user| user.contains(':'));
    amqp.password = match &arguments.password_file {
        Some(path) => Some(text(system, "--password-file", path)?.trim_end_matches(['\r', '\n']).to_owned()),
        None if explicit => {
            let in_environment = std::env::var(URL).is_ok_and(|url| url == arguments.amqp);
            let shown = users().any(|user| user.contains(':') && !user.ends_with(":guest"));
            if !in_environment && shown {
                complain(VISIBLE);
            }
            None
        }
        None => std::env::var(PASSWORD).ok().filter(|password| !password.is_empty()),
    };
    amqp.ca = arguments.ca_file.as_ref().map(|path| text(system, "--ca-file", path)).transpose()?;
    Ok(amqp)
}

/// What stands in front of the host: a name, and maybe a password.
fn user(url: &str) -> &str {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    authority.rsplit_once('@').map_or("", |(user, _)| user)
}

fn text(system: &System, option: &str, path: &Path) -> Result<String, Failure> {
    let bytes = system.read_small(path, MAX_FILE).map_err(|error| Failure::from(error).context(option))?;
    let wrong = |_| Failure::new(Exit::Usage, format!("{option} {}: it is no text", path.display()));
    String::from_utf8(bytes).map_err(wrong)
}

fn register(system: &System, root: &Path, arguments: &ConsumeArguments) -> Result<Registration, Failure> {
    let group = arguments.group.as_ref().unwrap_or(&arguments.name);
    let options = RegistrationOptions::new(&arguments.name, group);
    Ok(Registration::open_with(system.clone(), root, &options)?)
}

/// What goes on is told on standard error. The client library repeats it at length, and is silent unless asked for.
fn log() {
    let filter = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = EnvFilter::new(filter.as_deref().unwrap_or("info,lapin=off"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Another one is there only if a test made it.
    drop(lines.without_time().with_target(false).try_init());
}

/// The handler.
struct Printing {
    count: Option<u64>,
    verify: bool,
    stop: Stop,
    line: Vec<u8>,
    outcome: watch::Outcome,
}

impl Printing {
    fn new(arguments: &ConsumeArguments, stop: Stop) -> Self {
        let outcome = watch::Outcome::default();
        let (count, verify) = (arguments.count, arguments.verify_payloads);
        Self { count, verify, stop, line: Vec::new(), outcome }
    }

    fn record(&mut self, record: &Resolved<'_>) -> Result<(), HandlerError<String>> {
        if self.outcome.reached() {
            return Err(HandlerError::Trouble("enough lines are printed".into()));
        }
        if let Payload::Large(large) = &record.payload
            && self.verify
        {
            verify(large)?;
        }
        self.line.clear();
        line::write(&mut self.line, record);
        let mut output = io::stdout().lock();
        if let Err(error) = output.write_all(&self.line).and_then(|()| output.flush()) {
            let said = format!("the line is not printed: {error}");
            // Nobody reads any more: that is the reader's choice.
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.outcome.fail(error);
            }
            self.outcome.reach();
            self.stop.tell();
            return Err(HandlerError::Trouble(said));
        }
        let printed = self.outcome.printed();
        if self.count.is_some_and(|count| printed >= count) {
            self.outcome.reach();
            self.stop.tell();
        }
        Ok(())
    }
}

/// Reads it to its end.
fn verify(large: &zoutbox_consumer::Large<'_>) -> Result<(), HandlerError<String>> {
    let failed = |error: &zoutbox_consumer::ResolveError| match error.kind() {
        ErrorKind::Missing | ErrorKind::Corrupt | ErrorKind::Invalid => {
            HandlerError::Poison(error.to_string())
        }
        _ => HandlerError::Trouble(error.to_string()),
    };
    let mut reader = large.open().map_err(|error| failed(&error))?;
    match io::copy(&mut reader, &mut io::sink()) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(known) => failed(known),
            None => HandlerError::Trouble(error.to_string()),
        }),
    }
}
