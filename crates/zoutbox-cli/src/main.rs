//! `zoutbox`, the operator's tool: makes shares, appends lines, shows, checks and dumps what lies on a share, and prints what a queue delivers.
//!
//! ```text
//!   cli ──▶ main ──▶ init  append  status  cat  verify  dump  doctor  consume  forget   one module a command
//!                              │      └─────┴─────┤                       │
//!                       zoutbox-writer            │               zoutbox-consumer
//!                                              pass: a writer's log once, front to back ──▶ zoutbox-reader
//! ```
//!
//! Every error is one line on standard error that names the path, the offset or the option; exit codes are in [`exit`].

mod append;
mod cat;
mod cli;
mod consume;
mod doctor;
mod dump;
mod exit;
mod finding;
mod force;
mod forget;
mod init;
mod output;
mod pass;
mod status;
mod verify;
mod view;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use zoutbox_storage::{System, redacted};

use cli::{Cli, Command};
use exit::{Exit, Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let system = System::real();
    let ended = match &cli.command {
        Command::Init(arguments) => init::run(&system, arguments),
        Command::Append(arguments) => append::run(&system, arguments),
        Command::Status(arguments) => status::run(&system, arguments),
        Command::Cat(arguments) => cat::run(&system, arguments),
        Command::Verify(arguments) => verify::run(&system, arguments),
        Command::Dump(arguments) => dump::run(&system, arguments),
        Command::Consume(arguments) => consume::run(&system, arguments),
        Command::Doctor(arguments) => doctor::run(&system, arguments),
        Command::Forget(arguments) => forget::run(&system, arguments),
        Command::HoldLock(arguments) => doctor::hold::run(&system, arguments),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            complain(&failure.message);
            failure.exit.into()
        }
    }
}

/// One line on standard error.
pub(crate) fn complain(message: &str) {
    // If nobody listens any more, the exit code still tells.
    drop(writeln!(std::io::stderr(), "zoutbox: {}", redacted(&message.replace('\n', " "))));
}

/// Help and version as clap prints them; everything else it says in one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        drop(error.print());
        return Exit::Ok.into();
    }
    let text = error.render().to_string();
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|mark| text.find(mark)).min();
    let message = text.get(..end.unwrap_or(text.len())).unwrap_or(&text);
    let words: Vec<&str> = message.trim_start_matches("error: ").split_whitespace().collect();
    let failure = Failure::new(Exit::Usage, format!("{} (see zoutbox --help)", words.join(" ")));
    complain(&failure.message);
    failure.exit.into()
}
