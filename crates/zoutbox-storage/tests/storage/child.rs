//! Another process: this very test program, told to run one of its tests as a child.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where the child shall work.
pub(crate) const WHERE: &str = "ZOUTBOX_STORAGE_CHILD";

/// Held by tests that start processes or ask whether a lock was let go: a process that is just being started has a copy of
/// every open file, locks included, until it runs its own program.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the child was told; `None` when this process is none, and has nothing to do as one.
pub(crate) fn place() -> Option<String> {
    std::env::var(WHERE).ok()
}

/// The arguments that make this test program run one test and show what it prints.
pub(crate) fn arguments(test: &str) -> [&str; 3] {
    ["--exact", test, "--nocapture"]
}

/// A running child that says something and then waits until its standard input is closed.
pub(crate) struct Speaking {
    child: Child,
    /// Kept open: it may go on talking.
    _output: BufReader<ChildStdout>,
}

impl Speaking {
    /// Runs `test` and waits for it to say one of `words`; returns which.
    pub(crate) fn start<'w>(test: &str, place: &Path, words: &[&'w str]) -> (Self, &'w str) {
        let program = std::env::current_exe().expect("the path of this test program");
        let mut command = Command::new(program);
        command.args(arguments(test)).env(WHERE, place).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this test program can be run again");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut said = String::new();
        let word = loop {
            let mut line = String::new();
            assert!(output.read_line(&mut line).expect("text") > 0, "the child ended, saying: {said}");
            said.push_str(&line);
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                break *word;
            }
        };
        (Self { child, _output: output }, word)
    }

    /// Kills it, as with `kill -9`, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a running child");
        self.child.wait().expect("its end");
    }

    /// Lets it end by itself.
    pub(crate) fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("its end");
    }
}

/// For the child: says a word and waits until the parent lets it go.
pub(crate) fn say_and_wait(word: &str) {
    println!("{word}");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("the parent closes it");
}
