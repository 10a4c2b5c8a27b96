//! A program that is started again whenever it was killed.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use zoutbox_test_support::wait_until;

use crate::LONG;

pub(crate) struct Program {
    pub(crate) name: String,
    command: Box<dyn Fn() -> Command + Send + Sync>,
    log: PathBuf,
    out: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Program {
    /// What it says goes to `<name>.log` and `<name>.out` in the directory, what several processes of it say to the same files.
    pub(crate) fn new(
        name: &str,
        directory: &Path,
        command: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Self {
        let file = |end: &str| directory.join(format!("{name}.{end}"));
        let (log, out) = (file("log"), file("out"));
        Self { name: name.into(), command: Box::new(command), log, out, child: Mutex::new(None) }
    }

    pub(crate) fn start(&self) {
        let mut child = self.child.lock().unwrap();
        assert!(child.is_none(), "{} runs already", self.name);
        let started = (self.command)()
            .stdin(Stdio::null())
            .stdout(append_to(&self.out))
            .stderr(append_to(&self.log))
            .spawn();
        *child = Some(started.unwrap_or_else(|error| panic!("{}: {error}", self.name)));
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.lock().unwrap().as_ref().map(Child::id)
    }

    /// As `kill -9`. It counts: a process that had ended by itself fails the test.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap().take().unwrap_or_else(|| panic!("{} is down", self.name));
        killed(&mut child, &self.name);
    }

    /// SIGSTOP; returns which process stands still now.
    pub(crate) fn freeze(&self) -> u32 {
        let child = self.child.lock().unwrap();
        let child = child.as_ref().unwrap_or_else(|| panic!("{} is down", self.name));
        signal(child, Signal::SIGSTOP);
        child.id()
    }

    /// SIGCONT, unless it was killed meanwhile.
    pub(crate) fn thaw(&self, pid: u32) {
        if let Some(child) = self.child.lock().unwrap().as_ref().filter(|child| child.id() == pid) {
            signal(child, Signal::SIGCONT);
        }
    }

    /// How it ended, if nobody told it to.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().as_mut().and_then(|child| child.try_wait().unwrap())
    }

    /// An orderly end, that succeeds.
    pub(crate) fn stop(&self) {
        let mut child = self.child.lock().unwrap().take().unwrap_or_else(|| panic!("{} is down", self.name));
        signal(&child, Signal::SIGTERM);
        let mut status = None;
        wait_until(&format!("{} ends", self.name), LONG, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{} ended with {}", self.name, status.unwrap());
    }

    /// Everything that it printed.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// Where what it prints is.
    pub(crate) fn out(&self) -> &Path {
        &self.out
    }

    /// Where what it complains about is.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = self.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// SIGKILL, seen to be what it died of.
pub(crate) fn killed(child: &mut Child, name: &str) {
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{name} had ended by itself: {status}");
}

pub(crate) fn append_to(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// It was not waited for, so the pid is nobody else's.
fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}
