//! The two sides as processes: the real relay, and the bare loop.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zoutbox_format::{Checkpoint, Sequence};

use super::Backlog;
use super::bare::{BareArgs, DONE};

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
/// Apart from what others build in the workspace at the same time.
const TARGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/relay");
/// For the checkpoint to follow the last confirm, and for an orderly stop. Fractions of a second are usual.
const PATIENCE: Duration = Duration::from_secs(30);

/// Builds the relay as it ships, and returns its path.
pub(crate) fn build_relay() -> Result<PathBuf> {
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--quiet", "-p", "zoutbox-relay", "--manifest-path", WORKSPACE]);
    command.args(["--target-dir", TARGET, "--message-format", "json-render-diagnostics"]);
    let output = command.stderr(Stdio::inherit()).output().context("running cargo build -p zoutbox-relay")?;
    ensure!(output.status.success(), "the relay does not build");
    // One JSON line an artifact; the one of a binary names it.
    let text = String::from_utf8(output.stdout)?;
    let path = text.lines().find_map(|line| {
        let (path, _) = line.split_once(r#""executable":""#)?.1.split_once('"')?;
        path.ends_with("/zoutbox-relay").then(|| PathBuf::from(path))
    });
    path.context("cargo named no zoutbox-relay")
}

/// A running side; killed when dropped, if not stopped before.
pub(crate) struct Publisher {
    process: Child,
    /// What it said on standard error.
    log: PathBuf,
    started: Instant,
    last: Last,
}

/// How a side tells that the last confirm was seen.
enum Last {
    /// The relay's checkpoint reaches the end of the backlog.
    Checkpoint { path: PathBuf, end: Sequence },
    /// The bare loop says so.
    Line,
}

impl Publisher {
    /// Starts the relay on the share at `root`, which holds a copy of `backlog`.
    pub(crate) fn relay(
        binary: &Path,
        backlog: &Backlog,
        root: &Path,
        url: &str,
        window: Option<usize>,
    ) -> Result<Self> {
        let mut command = Command::new(binary);
        command.arg("--root").arg(root).args(["--amqp", url]);
        if let Some(window) = window {
            command.args(["--window", &window.to_string()]);
        }
        let last = Last::Checkpoint { path: backlog.checkpoint(root), end: backlog.end };
        Self::start(command, root.with_extension("log"), last)
    }

    /// Starts the bare loop.
    pub(crate) fn bare(args: &BareArgs, log: PathBuf) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare-publish", "--amqp", &args.amqp, "--window", &args.window.to_string()]);
        command.args(["--records", &args.records.to_string()]);
        command.args(["--record-bytes", &args.record_bytes.to_string()]);
        Self::start(command, log, Last::Line)
    }

    fn start(mut command: Command, log: PathBuf, last: Last) -> Result<Self> {
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(output);
        let started = Instant::now();
        let process =
            command.spawn().with_context(|| format!("starting {}", command.get_program().display()))?;
        Ok(Self { process, log, started, last })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Fails if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            bail!("ended early with {status}: {}", log.lines().last().unwrap_or("it said nothing"));
        }
        Ok(())
    }

    /// Waits until it knows that everything is confirmed.
    pub(crate) fn await_last_confirm(&mut self) -> Result<()> {
        match &self.last {
            Last::Line => {
                let output = self.process.stdout.take().context("no standard output")?;
                let line = BufReader::new(output).lines().next().context("it ended early")??;
                ensure!(line == DONE, "it said {line} in place of {DONE}");
                Ok(())
            }
            Last::Checkpoint { path, end } => {
                let deadline = Instant::now() + PATIENCE;
                while read_checkpoint(path).is_none_or(|next| next < *end) {
                    ensure!(Instant::now() < deadline, "the checkpoint does not reach {end}");
                    std::thread::sleep(Duration::from_millis(2));
                }
                Ok(())
            }
        }
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.process.stdin.take());
        if matches!(self.last, Last::Checkpoint { .. }) {
            kill(Pid::from_raw(self.pid().try_into()?), Signal::SIGTERM).context("stopping the relay")?;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "ended with {status}");
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "it does not end when asked to");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // Fails only for a process that has ended and been waited for.
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}

fn read_checkpoint(path: &Path) -> Option<Sequence> {
    Some(Checkpoint::decode(&std::fs::read(path).ok()?).ok()?.position.next_sequence)
}
