//! The two sides as processes: the real relay, and the bare loop.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use zoutbox_format::{Checkpoint, Sequence};

use super::Backlog;
use super::bare::{BareArgs, DONE};
use crate::party::{Farewell, Party};

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
/// Apart from what others build in the workspace at the same time.
const TARGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/relay");
/// For the checkpoint to follow the last confirm. Fractions of a second are usual.
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

/// A running side.
pub(crate) struct Publisher {
    party: Party,
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
        let mut command = relay_command(binary, root, url);
        if let Some(window) = window {
            command.args(["--window", &window.to_string()]);
        }
        let last = Last::Checkpoint { path: backlog.checkpoint(root), end: backlog.end };
        Ok(Self { party: Party::start(command, root.with_extension("log"), Farewell::Signal)?, last })
    }

    /// Starts the bare loop.
    pub(crate) fn bare(args: &BareArgs, log: PathBuf) -> Result<Self> {
        let party = Party::start(args.command()?, log, Farewell::EndOfInput)?;
        Ok(Self { party, last: Last::Line })
    }

    /// Its process.
    pub(crate) fn party(&mut self) -> &mut Party {
        &mut self.party
    }

    /// Waits until it knows that everything is confirmed.
    pub(crate) fn await_last_confirm(&mut self) -> Result<()> {
        match &self.last {
            Last::Line => self.party.hear(DONE, || Ok(())).map(drop),
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
    pub(crate) fn stop(self) -> Result<()> {
        self.party.stop()
    }
}

/// The relay on the share at `root`, with nothing else set.
pub(crate) fn relay_command(binary: &Path, root: &Path, url: &str) -> Command {
    let mut command = Command::new(binary);
    command.arg("--root").arg(root).args(["--amqp", url]);
    command
}

fn read_checkpoint(path: &Path) -> Option<Sequence> {
    Some(Checkpoint::decode(&std::fs::read(path).ok()?).ok()?.position.next_sequence)
}
