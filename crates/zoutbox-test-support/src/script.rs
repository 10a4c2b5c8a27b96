use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

/// A script that starts, kills and stops a private server which keeps everything below one directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script(pub(crate) &'static str);

impl Script {
    fn path(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(self.0)
    }

    pub(crate) fn run(self, directory: &Path, command: &str, arguments: &[&str]) -> Output {
        let script = self.path();
        Command::new(&script)
            .arg(command)
            .arg(directory)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()))
    }

    /// What it prints. Panics when it fails.
    pub(crate) fn call(self, directory: &Path, command: &str, arguments: &[&str]) -> String {
        let output = self.run(directory, command, arguments);
        assert!(
            output.status.success(),
            "{} {command} {} {arguments:?}: {}\n{}{}",
            self.0,
            directory.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout),
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Ends the server and removes its directory once the test process is gone. It learns that from its standard input, a pipe
/// whose only writing end the test process holds: the kernel closes it however the process ends, SIGKILL included.
///
/// `kill` before `stop`: nobody needs the data, so an orderly shutdown would only take time. `stop` then ends a node's epmd.
const WATCHDOG: &str = r#"read -r _; "$1" kill "$2"; "$1" stop "$2"; rm -rf "$2""#;

#[derive(Debug)]
pub(crate) struct Watchdog {
    process: Child,
    lifeline: ChildStdin,
}

impl Watchdog {
    pub(crate) fn start(script: Script, directory: &Path) -> Self {
        let mut process = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(script.path())
            .arg(directory)
            .current_dir("/")
            .stdin(Stdio::piped())
            // Not those of the test: whoever reads the test's output to its end would wait for the watchdog.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C or a test runner's signal goes to the whole process group, and must not reach it.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start sh as a watchdog: {error}"));
        let lifeline = process.stdin.take().unwrap_or_else(|| panic!("the watchdog has no standard input"));
        Self { process, lifeline }
    }

    /// Has it do its work now, and waits for it. Quietly: a panic while dropping would hide the test's own.
    pub(crate) fn finish(mut self) {
        drop(self.lifeline);
        if let Err(error) = self.process.wait() {
            eprintln!("a server's watchdog got lost: {error}");
        }
    }
}
