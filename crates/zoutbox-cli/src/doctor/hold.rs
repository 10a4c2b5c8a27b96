//! Another process that holds a lock: this very program, run as `zoutbox hold-lock FILE`.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use zoutbox_storage::{Lock, System};

use crate::cli::HoldLockArguments;
use crate::exit::{Exit, Failure};

const HELD: &str = "held";
const TAKEN: &str = "taken";

/// Tries for the lock, says whether it has it, and keeps it until its standard input is closed.
pub(crate) fn run(system: &System, arguments: &HoldLockArguments) -> Result<Exit, Failure> {
    let lock = Lock::try_path(&*system.disk, &arguments.file)?;
    let word = if lock.is_some() { HELD } else { TAKEN };
    let mut out = std::io::stdout();
    writeln!(out, "{word}").and_then(|()| out.flush()).map_err(|error| Failure::output(&error))?;
    // Whatever ends the input ends the lock.
    drop(std::io::stdin().read_to_end(&mut Vec::new()));
    drop(lock);
    Ok(Exit::Ok)
}

/// Such a process. Killed with `kill -9` when dropped.
#[derive(Debug)]
pub(super) struct Holder {
    child: Child,
    pub(super) holds: bool,
    _input: Option<ChildStdin>,
}

impl Holder {
    /// Runs one, and waits for it to say whether it has the lock.
    pub(super) fn start(file: &Path) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("hold-lock").arg(file);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let mut holder = Self { child, holds: line.trim_end() == HELD, _input: input };
        if holder.holds || line.trim_end() == TAKEN {
            return Ok(holder);
        }
        let mut complaint = String::new();
        if let Some(mut errors) = holder.child.stderr.take() {
            errors.read_to_string(&mut complaint)?;
        }
        Err(std::io::Error::other(complaint.trim_end().trim_start_matches("zoutbox: ").to_owned()))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
