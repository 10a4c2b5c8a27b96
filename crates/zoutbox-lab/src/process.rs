//! Programs that run on hosts, and every line they say with the time it came.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zoutbox_test_support::wait_until;

/// Everything in the lab is slow, and a lease takes 10 s.
pub(crate) const LONG: Duration = Duration::from_mins(3);

type Lines = Arc<Mutex<Vec<(Instant, String)>>>;

/// A running program. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    output: Lines,
    errors: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (output, errors) = (Lines::default(), Lines::default());
        let readers = vec![
            collect(child.stdout.take().expect("piped"), output.clone()),
            collect(child.stderr.take().expect("piped"), errors.clone()),
        ];
        Self { child, output, errors, readers }
    }

    /// Its standard input; dropped, it ends.
    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("taken once")
    }

    /// What it has said on its standard output so far.
    pub(crate) fn lines(&self) -> Vec<(Instant, String)> {
        self.output.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.output.lock().unwrap().len()
    }

    /// What it has said on its standard error so far.
    pub(crate) fn errors(&self) -> String {
        let errors = self.errors.lock().unwrap();
        errors.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n")
    }

    #[track_caller]
    pub(crate) fn wait_for_lines(&self, count: usize) {
        self.wait_for(&format!("it has said {count} lines"), || self.count() >= count);
    }

    #[track_caller]
    pub(crate) fn wait_for_error(&self, text: &str) {
        self.wait_for(&format!("it says '{text}'"), || self.errors().contains(text));
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, condition: impl FnMut() -> bool) {
        self.wait_for_within(LONG, what, condition);
    }

    #[track_caller]
    pub(crate) fn wait_for_within(&self, most: Duration, what: &str, condition: impl FnMut() -> bool) {
        let waited =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wait_until(what, most, condition)));
        assert!(
            waited.is_ok(),
            "waited in vain until {what}; {} lines, and:\n{}",
            self.count(),
            self.errors()
        );
    }

    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    #[track_caller]
    pub(crate) fn terminate(&self) {
        let told = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(told.success());
    }

    /// SIGTERM, and how it ended.
    #[track_caller]
    pub(crate) fn stop(self) -> Ended {
        self.terminate();
        self.end(LONG)
    }

    /// The processor time it has used: user and system, in ticks of 10 ms (`proc_pid_stat(5)`).
    #[track_caller]
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, behind_name) = stat.rsplit_once(')').unwrap();
        let ticks = behind_name.split_whitespace().skip(11).take(2);
        Duration::from_millis(ticks.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub(crate) fn end(mut self, within: Duration) -> Ended {
        drop(self.child.stdin.take());
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < within, "still runs after {within:?}, and said:\n{}", self.errors());
            std::thread::sleep(Duration::from_millis(20));
        };
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Ended { status, lines: self.lines(), errors: self.errors() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) lines: Vec<(Instant, String)>,
    pub(crate) errors: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn succeeded(&self) {
        self.exited(0);
    }

    #[track_caller]
    pub(crate) fn exited(&self, code: i32) {
        assert_eq!(self.status.code(), Some(code), "it said:\n{}", self.errors);
    }
}

/// Runs a program to its end.
#[track_caller]
pub(crate) fn finish(command: &mut Command) -> Ended {
    Running::start(command).end(LONG)
}

fn collect(from: impl Read + Send + 'static, to: Lines) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            to.lock().unwrap().push((Instant::now(), text));
            line.clear();
        }
    })
}
