//! The program under test, as a process.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zoutbox_test_support::wait_until;

use super::LONG;

/// What the issue allows an orderly stop is 10 s; the rest is for a machine that does other things as well.
const STOP: Duration = Duration::from_secs(15);

/// A running relay; killed when dropped.
pub(crate) struct Relay {
    child: Child,
    log: Arc<Mutex<String>>,
    output: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

/// How a relay ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
    pub(crate) output: Vec<String>,
}

impl Ended {
    /// What it said last: the one line about why it ended.
    pub(crate) fn message(&self) -> &str {
        let messages: Vec<_> = self.log.lines().filter_map(|l| l.strip_prefix("zoutbox-relay: ")).collect();
        assert_eq!(messages.len(), 1, "not exactly one line says why it ended: {self:#?}");
        assert!(self.log.ends_with(&format!("{}\n", messages[0])), "something follows: {self:#?}");
        messages[0]
    }
}

impl Relay {
    pub(crate) fn start<A: AsRef<OsStr>>(root: &Path, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::start_with(root, arguments, &[])
    }

    /// With a standard output that is closed at its other end.
    pub(crate) fn start_unread<A: AsRef<OsStr>>(root: &Path, arguments: impl IntoIterator<Item = A>) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Self::spawn(root, arguments, &[], writer.into())
    }

    pub(crate) fn start_with<A: AsRef<OsStr>>(
        root: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
    ) -> Self {
        Self::spawn(root, arguments, environment, Stdio::piped())
    }

    fn spawn<A: AsRef<OsStr>>(
        root: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
        stdout: Stdio,
    ) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_zoutbox-relay"))
            .arg("--root")
            .arg(root)
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (log, output) = (Arc::new(Mutex::new(String::new())), Arc::new(Mutex::new(Vec::new())));
        let (stderr, stdout) = (child.stderr.take().unwrap(), child.stdout.take());
        let (to_log, to_output) = (Arc::clone(&log), Arc::clone(&output));
        let mut readers = vec![thread::spawn(move || {
            lines(stderr, |line| {
                let mut log = to_log.lock().unwrap();
                log.push_str(line);
                log.push('\n');
            });
        })];
        readers.extend(stdout.map(|stdout| {
            thread::spawn(move || lines(stdout, |line| to_output.lock().unwrap().push(line.to_owned())))
        }));
        Self { child, log, output, readers }
    }

    /// Everything that it said on standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        self.wait_for_log_times(text, 1);
    }

    #[track_caller]
    pub(crate) fn wait_for_log_times(&self, text: &str, times: usize) {
        let said = || self.log().matches(text).count() >= times;
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(&format!("the relay says '{text}'"), LONG, said);
        }));
        assert!(found.is_ok(), "the relay never said '{text}', but:\n{}", self.log());
    }

    /// SIGSTOP: it does nothing until it is resumed, and does not know that it did nothing.
    pub(crate) fn suspend(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// SIGKILL: as a crash would.
    pub(crate) fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.ended(LONG)
    }

    /// SIGTERM: an orderly stop within 10 s, whatever goes on.
    pub(crate) fn terminate(self) -> Ended {
        self.signal(Signal::SIGTERM);
        self.ended(STOP)
    }

    /// An orderly stop, that succeeds.
    pub(crate) fn stop(self) -> Ended {
        let ended = self.terminate();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        ended
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(self) -> Ended {
        self.ended(LONG)
    }

    fn ended(mut self, within: Duration) -> Ended {
        let mut status = None;
        let ends = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until("the relay ends", within, || {
                status = self.child.try_wait().unwrap();
                status.is_some()
            });
        }));
        assert!(ends.is_ok(), "the relay did not end within {within:?}; it said:\n{}", self.log());
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let output = self.output.lock().unwrap().clone();
        Ended { code: status.unwrap().code(), log: self.log(), output }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        if thread::panicking() {
            eprintln!("a relay of the test that fails said:\n{}", self.log());
        }
        // No run of any test may show a password.
        assert!(thread::panicking() || !self.log().contains("guest:guest"), "a password:\n{}", self.log());
    }
}

fn lines(from: impl Read, mut each: impl FnMut(&str)) {
    for line in BufReader::new(from).lines() {
        each(&line.unwrap());
    }
}
