//! Victims as processes: started, listened to until they are gone, and never left behind.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::history::broken;

/// Longer than any victim takes, in spite of everything else on the machine: it hangs.
const PATIENCE: Duration = Duration::from_mins(2);

/// How a victim ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// A victim that runs.
pub(crate) struct Running {
    child: Child,
    errors: PathBuf,
}

impl Running {
    /// Starts it; what it says on its standard error goes to that file.
    pub(crate) fn start(command: &mut Command, errors: &Path) -> Result<Self> {
        let file = File::create(errors).with_context(|| errors.display().to_string())?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).spawn();
        let child = child.with_context(|| format!("{} starts", command.get_program().display()))?;
        Ok(Self { child, errors: errors.to_owned() })
    }

    /// Whether it is gone.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Asks it to end in good order.
    pub(crate) fn terminate(&self) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGTERM)?)
    }

    /// Listens until it is gone.
    pub(crate) fn end(mut self) -> Result<Ended> {
        let mut pipe = self.child.stdout.take().context("its output is taken once")?;
        let (sender, said) = channel();
        let listener = std::thread::spawn(move || {
            let mut output = String::new();
            let read = pipe.read_to_string(&mut output).map(|_| output);
            drop(sender.send(read));
        });
        let output = match said.recv_timeout(PATIENCE) {
            Ok(read) => read?,
            Err(RecvTimeoutError::Timeout) => {
                self.child.kill()?;
                self.child.wait()?;
                broken!(
                    "a victim still runs after {PATIENCE:?}:\n{}",
                    std::fs::read_to_string(&self.errors)?
                );
            }
            Err(RecvTimeoutError::Disconnected) => bail!("nobody listened"),
        };
        drop(listener.join());
        let status = self.child.wait()?;
        let errors = std::fs::read_to_string(&self.errors)?;
        Ok(Ended { status, output, errors })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
