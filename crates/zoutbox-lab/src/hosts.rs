//! The hosts, their mounts, and what can be done to them: the guest's `lab` command, which `lab help` describes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A host of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host(&'static str);

pub(crate) const ALPHA: Host = Host("alpha");
pub(crate) const BETA: Host = Host("beta");
pub(crate) const GAMMA: Host = Host("gamma");

/// The exported directory as the server has it: the ZFS dataset.
pub(crate) const DATASET: &str = "/tank/outbox";
/// Where the programs lie in the guest.
pub(crate) const PROGRAMS: &str = "/lab";

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Host {
    /// A program of ours, to be run on this host. It is the child itself: signals and exit status are its own.
    pub(crate) fn command(self, program: &str) -> Command {
        let mut command = Command::new("lab");
        command.args(["on", self.0]).arg(Path::new(PROGRAMS).join(program));
        command
    }

    /// As [`Self::command`], by a user who is not root.
    pub(crate) fn command_as(self, user: u32, program: &str) -> Command {
        let mut command = Command::new("lab");
        command.args(["on", self.0, "chroot", &format!("--userspec={user}:{user}"), "/"]);
        command.arg(Path::new(PROGRAMS).join(program));
        command
    }

    /// Mounts the share once more with these options, until the guard is dropped. Later options win over `hard`.
    #[track_caller]
    pub(crate) fn mount(self, version: &str, options: &str) -> Mounted {
        let path = format!("/mnt/{self}-{version}-own");
        let mut arguments = vec!["mount", self.0, version, &path];
        if !options.is_empty() {
            arguments.push(options);
        }
        lab(&arguments);
        Mounted { host: self, path: PathBuf::from(path) }
    }

    /// Mounts another export of the server.
    #[track_caller]
    pub(crate) fn mount_export(self, export: &str, options: &str) -> Mounted {
        let path = PathBuf::from(format!("/mnt/{self}{}", export.replace('/', "-")));
        std::fs::create_dir_all(&path).unwrap();
        let mut mount = Command::new("lab");
        mount
            .args(["on", self.0, "mount", "-t", "nfs", "-o", options, &format!("server:{export}")])
            .arg(&path);
        let output = mount.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Mounted { host: self, path }
    }

    /// Takes its link away until the guard is dropped.
    pub(crate) fn cut(self) -> Cut {
        lab(&["cut", self.0]);
        Cut(self)
    }
}

/// A host without its link.
pub(crate) struct Cut(Host);

impl Cut {
    pub(crate) fn heal(self) {
        drop(self);
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        lab(&["heal", self.0.0]);
    }
}

/// A mount of a test's own.
pub(crate) struct Mounted {
    host: Host,
    pub(crate) path: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        lab(&["unmount", self.host.0, &self.path.to_string_lossy()]);
    }
}

/// The export with other options, until this is dropped.
pub(crate) struct Exported;

impl Exported {
    pub(crate) fn with(options: &str) -> Self {
        lab(&["export", options]);
        Self
    }

    /// The server knows of no export any more, as when it was moved to another one.
    pub(crate) fn gone() -> Self {
        let done = Command::new("sh").args(["-c", "exportfs -ua && exportfs -f"]).status().unwrap();
        assert!(done.success());
        Self
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        lab(&["export"]);
    }
}

/// A property of the dataset, until this is dropped.
pub(crate) struct Property(&'static str);

impl Property {
    pub(crate) fn set(property: &str, afterwards: &'static str) -> Self {
        lab(&["set", property]);
        Self(afterwards)
    }
}

impl Drop for Property {
    fn drop(&mut self) {
        lab(&["set", self.0]);
    }
}

/// The file server, or its pool, while it is away. It comes back when this is dropped: whatever fails, the others need it.
pub(crate) struct Away(&'static [&'static str]);

impl Away {
    pub(crate) fn server() -> Self {
        lab(&["server", "stop"]);
        Self(&["server", "start"])
    }

    pub(crate) fn pool() -> Self {
        lab(&["pool", "export"]);
        Self(&["pool", "import"])
    }

    pub(crate) fn come_back(self) {
        drop(self);
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        lab(self.0);
    }
}

/// Runs the `lab` command.
#[track_caller]
pub(crate) fn lab(arguments: &[&str]) -> String {
    let output = Command::new("lab").args(arguments).output().expect("`lab` is in the guest");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "lab {arguments:?}: {} {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An NFS version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version(pub(crate) &'static str);

pub(crate) const NFS_4_2: Version = Version("4.2");
pub(crate) const NFS_3: Version = Version("3");
pub(crate) const VERSIONS: [Version; 3] = [NFS_4_2, Version("4.1"), NFS_3];

static MOUNTING: Mutex<()> = Mutex::new(());

impl Version {
    /// A host's mount of this version: the one it has from the start, or one that is made now.
    pub(crate) fn mount(self, host: Host) -> PathBuf {
        if self == NFS_4_2 {
            return PathBuf::from(format!("/mnt/{host}"));
        }
        let path = format!("/mnt/{host}-{}", self.0);
        let _one_at_a_time = MOUNTING.lock().unwrap_or_else(PoisonError::into_inner);
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        if !mounts.lines().any(|line| line.split(' ').nth(1) == Some(&path)) {
            lab(&["mount", host.0, self.0, &path]);
        }
        PathBuf::from(path)
    }
}

/// A share of a test's own, on every host.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    name: String,
    version: Version,
}

impl Share {
    /// Made by `zoutbox init` on alpha.
    #[track_caller]
    pub(crate) fn new(name: &str, version: Version) -> Self {
        let share = Self { name: format!("{name}-{}", version.0), version };
        let output = ALPHA.command("zoutbox").arg("init").arg(share.on(ALPHA)).output().unwrap();
        assert!(output.status.success(), "zoutbox init: {}", String::from_utf8_lossy(&output.stderr));
        share
    }

    /// Its root on a host.
    pub(crate) fn on(&self, host: Host) -> PathBuf {
        self.version.mount(host).join(&self.name)
    }

    /// Its root on the file server, behind NFS.
    pub(crate) fn on_server(&self) -> PathBuf {
        Path::new(DATASET).join(&self.name)
    }

    /// What has to be said to write to it: by NFS 3 it is mounted without locks between hosts, which the programs refuse.
    pub(crate) fn consent(&self) -> &'static [&'static str] {
        if self.options().accept_unsafe_mount { &["--accept-unsafe-mount"] } else { &[] }
    }

    /// The same for a writer in this process.
    pub(crate) fn options(&self) -> zoutbox_writer::Options {
        zoutbox_writer::Options { accept_unsafe_mount: self.version == NFS_3, ..Default::default() }
    }

    /// Frees its space: the server's disk is small.
    pub(crate) fn remove(self) {
        std::fs::remove_dir_all(self.on_server()).unwrap();
    }
}
