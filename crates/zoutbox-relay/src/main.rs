//! `zoutbox-relay`: see `--help`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use zoutbox_relay::amqp::AmqpPublisher;
use zoutbox_relay::settings::{Destination, Environment, destination, engine};
use zoutbox_relay::{Exit, LinePublisher, Options, RelayError, check_mounts, relay};
use zoutbox_storage::{Share, System, redacted};

/// An orderly stop takes less than this, whatever the broker does.
const LONGEST_STOP: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    match run(options) {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            complain(&error.to_string());
            error.exit().into()
        }
    }
}

fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        drop(error.print());
        return Exit::Ok.into();
    }
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    complain(first.trim_start_matches("error: "));
    Exit::Usage.into()
}

fn complain(message: &str) {
    // Nothing to be done about a standard error that is closed.
    drop(writeln!(std::io::stderr(), "zoutbox-relay: {}", redacted(message)));
}

fn run(options: Options) -> Result<(), RelayError> {
    let system = System::real();
    let options = options.with_file(&system)?;
    log_to_stderr(options.log.as_deref())?;
    let Some(root) = options.root.as_deref() else {
        return Err(RelayError::Option {
            option: "--root".into(),
            reason: "name the share's directory".into(),
        });
    };
    let destination = destination(&system, &options, &Environment::read())?;
    let engine = engine(&options)?;
    let share = Share::open(&system, root)?;
    // From here on: what writers put into their directories leads to nowhere else.
    let system = system.confined_to(root);
    check_mounts(&system, &share, options.accept_unsafe_mount)?;
    let failed =
        |reason: std::io::Error| RelayError::Option { option: "runtime".into(), reason: reason.to_string() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    let result = runtime.block_on(async {
        let stop = stop_on_signal(system.clone()).map_err(failed)?;
        match destination {
            Destination::Stdout => {
                let publisher = LinePublisher::new(Box::new(std::io::stdout()));
                relay(system, share, publisher, engine, stop).await
            }
            Destination::Amqp(settings) => {
                relay(system, share, AmqpPublisher::new(*settings), engine, stop).await
            }
        }
    });
    // A thread that hangs in a file system call must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// Turns true at the first SIGTERM or SIGINT; the second one ends the process at once.
fn stop_on_signal(system: System) -> std::io::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            let number = tokio::select! {
                _ = terminate.recv() => 15,
                _ = interrupt.recv() => 2,
            };
            if sender.send_replace(true) {
                std::process::exit(128 + number);
            }
            let system = system.clone();
            std::thread::spawn(move || end_by_force(&system));
        }
    });
    Ok(receiver)
}

/// Closing a file of an NFS server that does not answer waits for it as long as any other call, and so does an orderly exit. Only
/// SIGKILL does not.
fn end_by_force(system: &System) {
    system.clock.sleep(LONGEST_STOP);
    complain(
        "the share does not answer: ending by SIGKILL; what is not in a checkpoint will be published again",
    );
    if kill(Pid::this(), Signal::SIGKILL).is_err() {
        std::process::exit(137);
    }
}

/// The client library repeats at length, and with payloads, what the relay says in a line; so it is silent unless asked for.
fn log_to_stderr(filter: Option<&str>) -> Result<(), RelayError> {
    let environment = std::env::var("RUST_LOG").ok();
    let filter = filter.or(environment.as_deref()).filter(|f| !f.is_empty()).unwrap_or("info,lapin=off");
    let filter: EnvFilter = filter
        .parse()
        .map_err(|error| RelayError::Option { option: "--log".into(), reason: format!("{error}") })?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    Ok(())
}
