//! Running `zoutbox`, and shares to run it on.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use zoutbox_format::checkpoint::Position;
use zoutbox_format::{Checkpoint, Epoch, SegmentId, Sequence, ShareId, WriterId};
use zoutbox_test_support::{TestRoot, test_roots};

/// Only a safety net.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// What a run gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The output of a run that went well and had nothing to complain about.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }

    /// The one line of complaint of a run that ended with `code`.
    #[track_caller]
    pub(crate) fn complaint(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        let line = self.err.strip_prefix("zoutbox: ").and_then(|rest| rest.strip_suffix('\n'));
        let line = line.unwrap_or_else(|| panic!("not a complaint: {:?}", self.err));
        assert!(!line.contains('\n'), "more than one line: {line}");
        line.to_owned()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

pub(crate) fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoutbox"));
    command.args(arguments).env_remove("ZOUTBOX_ROOT");
    command
}

pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    run_with(command(arguments), b"")
}

/// Runs with `input` on standard input. The program may stop reading it.
pub(crate) fn run_with(mut command: Command, input: &[u8]) -> Ran {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the program");
    feeding.join().expect("the input");
    output.into()
}

/// A fresh share on each kind of file system.
pub(crate) struct Share {
    pub(crate) root: PathBuf,
    _directory: TestRoot,
}

impl Share {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        test_roots().into_iter().map(|directory| {
            let root = directory.join("share");
            run([OsStr::new("init"), root.as_os_str()]).good();
            Self { root, _directory: directory }
        })
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    pub(crate) fn command(&self, command_name: &str, arguments: &[&str]) -> Command {
        let mut made = command([command_name, "--root"]);
        made.arg(&self.root).args(arguments);
        made
    }

    pub(crate) fn run(&self, command_name: &str, arguments: &[&str]) -> Ran {
        run_with(self.command(command_name, arguments), b"")
    }

    /// Appends lines and wants every one of them to be durable.
    pub(crate) fn append(&self, writer: &str, input: impl AsRef<[u8]>) -> String {
        self.append_with(&["--writer", writer, "--acks"], input)
    }

    pub(crate) fn append_with(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> String {
        run_with(self.command("append", arguments), input.as_ref()).good()
    }

    /// Appends numbered lines of 999 bytes in small commits, which at 64 KiB a segment makes a segment of every 50 to 60.
    pub(crate) fn append_many(&self, writer: &str, count: usize) {
        let mut running = Running::start(self, &["--writer", writer, "--segment-size", "64KiB"]);
        for number in 1..=count {
            running.send(&format!("{number:<999}\n"));
            if number % 10 == 0 {
                (0..10).for_each(|_| assert_ne!(running.ack(), ""));
            }
        }
        running.end().good();
    }

    /// A writer's segments, in order.
    pub(crate) fn segments(&self, writer: &str) -> Vec<PathBuf> {
        let names = std::fs::read_dir(self.path("writers").join(writer)).expect("a writer");
        let paths = names.map(|entry| entry.expect("an entry").path());
        let segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "seg" || end == "open");
        let mut found: Vec<_> = paths.filter(segment).collect();
        found.sort();
        found
    }

    pub(crate) fn id(&self) -> ShareId {
        let marker = std::fs::read(self.path("zoutbox.json")).expect("a marker");
        zoutbox_format::Marker::decode(&marker).expect("a marker").share
    }

    /// Saves a checkpoint as a relay would.
    pub(crate) fn confirm(&self, writer: &str, segment: &Path, offset: u64, next_sequence: u64) {
        let name = segment.file_name().expect("a name").to_str().expect("text");
        let id = zoutbox_format::layout::SegmentName::parse(name).expect("a segment").id;
        let segment = SegmentId { ..id };
        let writer = WriterId::new(writer).expect("valid");
        let checkpoint = Checkpoint {
            share: self.id(),
            relay_epoch: Epoch::FIRST,
            position: Position { segment, offset, next_sequence: Sequence::new(next_sequence) },
            saved_ms: 1,
            writer: writer.clone(),
        };
        let path = self.path("relay/checkpoints").join(writer.as_str());
        std::fs::write(path, checkpoint.encode()).expect("a share");
    }

    /// Everything below the root, with contents: to see that nothing was made or lost.
    pub(crate) fn tree(&self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        tree(&self.root)
    }
}

pub(crate) fn tree(root: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.push((path.clone(), None));
            found.extend(tree(&path));
        } else {
            let content = std::fs::read(&path).ok();
            found.push((path, content));
        }
    }
    found.sort();
    found
}

/// Where each record's frame starts, by `zoutbox dump`.
pub(crate) fn offsets(segment: &Path) -> Vec<(u64, u64)> {
    let dumped = run([OsStr::new("dump"), segment.as_os_str()]);
    let frames = dumped.out.lines().filter_map(|line| {
        let (offset, rest) = line.strip_prefix('@')?.split_once(" data sequence=")?;
        Some((rest.split_once(' ')?.0.parse().ok()?, offset.parse().ok()?))
    });
    frames.collect()
}

/// Changes one byte.
pub(crate) fn flip(file: &Path, offset: u64) {
    let mut bytes = std::fs::read(file).expect("a file");
    bytes[usize::try_from(offset).expect("small")] ^= 0x10;
    std::fs::write(file, bytes).expect("a file");
}

/// `zoutbox append --acks` that runs while a test does other things.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    acks: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(share: &Share, arguments: &[&str]) -> Self {
        let mut command = share.command("append", arguments);
        command.arg("--acks").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        let acks = BufReader::new(child.stdout.take().expect("piped"));
        Self { stdin: child.stdin.take(), acks, child }
    }

    pub(crate) fn send(&mut self, input: &str) {
        self.stdin.as_mut().expect("open").write_all(input.as_bytes()).expect("the program reads");
    }

    pub(crate) fn ack(&mut self) -> String {
        let mut line = String::new();
        self.acks.read_line(&mut line).expect("the program's output");
        line.trim_end().to_owned()
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("it runs");
    }

    /// Ends the input and waits.
    pub(crate) fn end(mut self) -> Ran {
        drop(self.stdin.take());
        self.wait()
    }

    /// Waits with the input still open.
    pub(crate) fn wait(mut self) -> Ran {
        let mut out = String::new();
        std::io::Read::read_to_string(&mut self.acks, &mut out).expect("the program's output");
        let mut err = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        std::io::Read::read_to_string(&mut stderr, &mut err).expect("the program's complaints");
        let code = self.child.wait().expect("the program").code();
        drop(self.stdin.take());
        Ran { code, out, err }
    }
}

pub(crate) fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}
