//! A process that takes part in a measurement: on its own, so that its CPU time and memory are its own as well.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// For an orderly stop. Fractions of a second are usual.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at whether a process that says nothing is still there.
const LOOK: Duration = Duration::from_millis(100);

/// The processes that run: none may outlive this one, whatever ends it.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// How a process is asked to end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Farewell {
    /// Its standard input ends.
    EndOfInput,
    /// SIGTERM.
    Signal,
}

/// A running process; killed when dropped, if not stopped before.
pub(crate) struct Party {
    process: Child,
    /// What it says on standard output, line by line.
    lines: Receiver<String>,
    /// What it said on standard error.
    log: PathBuf,
    started: Instant,
    farewell: Farewell,
}

impl Party {
    /// Starts `command`, which writes its standard error to `log`.
    pub(crate) fn start(mut command: Command, log: PathBuf, farewell: Farewell) -> Result<Self> {
        let errors = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let started = Instant::now();
        let mut process =
            command.spawn().with_context(|| format!("starting {}", command.get_program().display()))?;
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(process.id());
        let output = process.stdout.take().context("no standard output")?;
        let (said, lines) = channel();
        // Ends with the process, or with the one that listens.
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| said.send(line))
        });
        Ok(Self { process, lines, log, started, farewell })
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

    /// Says a line to it.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let input = self.process.stdin.as_mut().context("no standard input")?;
        writeln!(input, "{line}").context("writing to its standard input")
    }

    /// Waits until it says a line that starts with `word`, and returns the rest. Meanwhile `check` is called again and again.
    pub(crate) fn hear(&mut self, word: &str, mut check: impl FnMut() -> Result<()>) -> Result<String> {
        loop {
            match self.lines.recv_timeout(LOOK) {
                Ok(line) => {
                    let rest = line.strip_prefix(word);
                    return Ok(rest
                        .with_context(|| format!("it said {line} in place of {word}"))?
                        .trim()
                        .to_owned());
                }
                Err(RecvTimeoutError::Timeout) => check()?,
                Err(RecvTimeoutError::Disconnected) => {
                    self.process.wait()?;
                    self.check()?;
                }
            }
        }
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.process.stdin.take());
        if matches!(self.farewell, Farewell::Signal) {
            kill(Pid::from_raw(self.pid().try_into()?), Signal::SIGTERM).context("asking it to end")?;
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

impl Drop for Party {
    fn drop(&mut self) {
        // From here on its id may be another's.
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|running| *running != self.pid());
        // Fails only for a process that has ended and been waited for.
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}

/// Ends all that run, at once: for who is interrupted.
pub(crate) fn end_all() {
    for running in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let killed = running.try_into().map(|running| kill(Pid::from_raw(running), Signal::SIGKILL));
        if !matches!(killed, Ok(Ok(()))) {
            eprintln!("zoutbox-bench: process {running} has ended before");
        }
    }
}

/// The other end: a process says a line to the one that started it.
pub(crate) fn tell(line: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).context("writing to standard output")
}

/// Waits for a line from the one that started this process; fails if there is none.
pub(crate) fn await_line() -> Result<()> {
    let length = std::io::stdin().read_line(&mut String::new()).context("reading standard input")?;
    ensure!(length > 0, "standard input has ended");
    Ok(())
}

/// Waits until whoever started this process needs it no more: until then, what it has used can be read.
pub(crate) fn await_end() -> Result<()> {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())
        .context("waiting for the end of standard input")?;
    Ok(())
}
