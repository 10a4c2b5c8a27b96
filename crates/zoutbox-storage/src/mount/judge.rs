//! What a mount means for the promises: each property that matters, one finding.
//!
//! Silence is not approval: an unknown network file system is said to be untested. What no client can see (an export's `async`, the
//! dataset's `sync`) is not judged here.

use std::fmt;

use super::Mount;

/// The promises of the design, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// An append that resolved is on stable storage.
    Durable = 1,
    /// What is acknowledged is published, in its writer's order.
    InOrder = 2,
    /// A record has one identity, and no other record ever has it.
    Identity = 3,
    /// Damage is told exactly, and everything else keeps flowing.
    NoRepair = 4,
    /// An outcome that is unknown is never told as "not written".
    Unknown = 5,
}

impl Promise {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Durable => 1,
            Self::InOrder => 2,
            Self::Identity => 3,
            Self::NoRepair => 4,
            Self::Unknown => 5,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Durable => "durable means durable",
            Self::InOrder => "at least once, in order",
            Self::Identity => "exactly-once effects",
            Self::NoRepair => "nothing needs rm -rf",
            Self::Unknown => "unknown is not failure",
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "promise {} ({})", self.number(), self.words())
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Fine,
    /// Everything holds; something is slower, or comes later.
    Costs,
    /// This promise does not hold.
    Breaks(Promise),
}

/// What was found out about one property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// Which property.
    pub what: String,
    /// What it is.
    pub value: String,
    /// Why that is so.
    pub why: String,
    /// What to do about it; empty if nothing.
    pub advice: String,
    /// Whether a writer and a relay don't start on it unless they are told to. Not where everybody knows what they have: memory.
    pub refused: bool,
}

impl Finding {
    /// As it should be.
    #[must_use]
    pub fn fine(what: &str, value: impl Into<String>, why: &str) -> Self {
        Self {
            level: Level::Fine,
            what: what.into(),
            value: value.into(),
            why: why.into(),
            advice: String::new(),
            refused: false,
        }
    }

    /// Slower or later.
    #[must_use]
    pub fn costs(what: &str, value: impl Into<String>, why: &str, advice: &str) -> Self {
        Self { level: Level::Costs, advice: advice.into(), ..Self::fine(what, value, why) }
    }

    /// A promise does not hold.
    #[must_use]
    pub fn breaks(promise: Promise, what: &str, value: impl Into<String>, why: &str, advice: &str) -> Self {
        let level = Level::Breaks(promise);
        Self { level, advice: advice.into(), refused: true, ..Self::fine(what, value, why) }
    }

    /// What to call it where the mount has been named already: the option, or the file system if it is the whole of it.
    pub(super) fn option_or_kind(&self, mount: &Mount) -> String {
        match self.what.as_str() {
            FILE_SYSTEM => mount.kind.clone(),
            NFS_VERSION => format!("{} with vers={}", mount.kind, self.value),
            option => format!("{} with {option}", mount.kind),
        }
    }

    /// The promise that does not hold.
    #[must_use]
    pub const fn broken(&self) -> Option<Promise> {
        match self.level {
            Level::Breaks(promise) => Some(promise),
            Level::Fine | Level::Costs => None,
        }
    }
}

/// What has to be known of a mount, the file system first.
#[must_use]
pub fn judge(mount: &Mount) -> Vec<Finding> {
    let mut findings = vec![file_system(mount)];
    if mount.has("ro") {
        findings.push(Finding::breaks(
            Promise::Durable,
            "ro",
            "read-only",
            "nothing can be appended, and no checkpoint saved",
            "mount it rw",
        ));
    }
    if mount.is_nfs() {
        findings.push(nfs_version(mount));
        findings.extend([hardness(mount), locks(mount)]);
        findings.extend(revalidation(mount));
        findings.extend(caching(mount));
        findings.extend(write_size(mount));
    } else {
        findings.extend(local_options(mount));
    }
    findings
}

const FILE_SYSTEM: &str = "file system";
const NFS_VERSION: &str = "NFS version";

const LOCAL: &[&str] = &["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs"];
const MEMORY: &[&str] = &["tmpfs", "ramfs", "devtmpfs", "hugetlbfs"];

/// File systems whose locks, or whose syncs, are known not to be what zoutbox needs.
const UNFIT: &[(&[&str], Promise, &str)] = &[
    (
        &["cifs", "smb3", "smbfs"],
        Promise::InOrder,
        "SMB's locks forbid other hosts to read what is locked, so no relay can follow a live segment",
    ),
    (
        &["9p", "drvfs", "vboxsf", "vmhgfs", "fuse.vmhgfs-fuse", "fuse.sshfs"],
        Promise::InOrder,
        "its locks exclude nobody on another host: two writers of one id both go on",
    ),
    (
        &["davfs", "fuse.davfs2", "fuse.curlftpfs", "fuse.rclone"],
        Promise::Durable,
        "a sync ends in the client's cache; the server gets a file after it is closed",
    ),
    (
        &[
            "fuse.s3fs",
            "fuse.goofys",
            "fuse.geesefs",
            "fuse.gcsfuse",
            "fuse.mountpoint-s3",
            "fuse.blobfuse",
            "fuse.blobfuse2",
        ],
        Promise::InOrder,
        "an object store has neither locks nor an atomic rename",
    ),
];

fn file_system(mount: &Mount) -> Finding {
    let (kind, value) = (mount.kind.as_str(), mount.to_string());
    if mount.is_nfs() {
        return Finding::fine(FILE_SYSTEM, value, "what zoutbox is made for");
    }
    if LOCAL.contains(&kind) {
        let why = "a local disk: it can be a share for the processes of this host, or be exported to others";
        return Finding::fine(FILE_SYSTEM, value, why);
    }
    if MEMORY.contains(&kind) {
        let why = "it is in memory: what was acknowledged is gone after a power cut or restart of this host";
        let advice = "fit for tests and demos; put a real share on a disk";
        let memory = Finding::breaks(Promise::Durable, FILE_SYSTEM, value, why, advice);
        return Finding { refused: false, ..memory };
    }
    if kind == "overlay" {
        let why = "as durable as the disk below it, but a container's own layer goes with the container";
        return Finding::costs(
            FILE_SYSTEM,
            value,
            why,
            "mount a volume, or the share itself, into the container",
        );
    }
    if let Some((_, promise, why)) = UNFIT.iter().find(|(unfit, ..)| unfit.contains(&kind)) {
        return Finding::breaks(*promise, FILE_SYSTEM, value, why, "use NFS 4.1 or later");
    }
    let why = "zoutbox was not tested on it: whether its locks hold across hosts and its syncs are real is not known";
    Finding::costs(
        FILE_SYSTEM,
        value,
        why,
        "run `zoutbox doctor --pair` on two hosts, and ask its makers about fsync",
    )
}

fn nfs_version(mount: &Mount) -> Finding {
    let version = mount.nfs_version().unwrap_or_default();
    let value = if version.0 >= 4 { format!("{}.{}", version.0, version.1) } else { version.0.to_string() };
    match version {
        (0..3, _) => Finding::breaks(
            Promise::InOrder,
            NFS_VERSION,
            value,
            "it can't create a file exclusively, so two hosts may both believe they made it",
            "mount with vers=4.1 or later",
        ),
        (3, _) | (4, 0) => Finding::costs(
            NFS_VERSION,
            value,
            "a create or rename that is sent twice may report an error though it was done: zoutbox looks what is there",
            "mount with vers=4.1 or later",
        ),
        _ => Finding::fine(NFS_VERSION, value, "its sessions do a create or rename exactly once"),
    }
}

/// `soft`, or not.
fn hardness(mount: &Mount) -> Finding {
    let Some(soft) = ["soft", "softerr"].into_iter().find(|name| mount.has(name)) else {
        return Finding::fine("hard", "on", "calls wait for a server that is away");
    };
    let error = if soft == "soft" { "EIO" } else { "ETIMEDOUT" };
    let value = format!("timeo={}", mount.value("timeo").unwrap_or("?"));
    let why = format!(
        "while the server is slow or away, calls fail with {error} although it may carry them out later: data is silently lost or \
         changed behind an error (promise 5 with it)"
    );
    Finding::breaks(Promise::Durable, soft, value, &why, "mount with hard")
}

/// Who keeps the locks. zoutbox locks by fcntl(2) alone, so that `local_lock=flock` takes nothing from it.
fn locks(mount: &Mount) -> Finding {
    let local = mount.value("local_lock").unwrap_or("none");
    let what = if mount.has("nolock") { "nolock" } else { "local_lock" };
    if what == "nolock" || matches!(local, "all" | "posix") {
        let why = "locks are kept by each client: two processes of one writer id on two hosts don't exclude each other, and a \
                   zombie is not fenced";
        let advice = "mount with vers=4.1 or later, or with local locking off (and, for version 3, lockd on both sides)";
        return Finding::breaks(Promise::InOrder, what, format!("local_lock={local}"), why, advice);
    }
    let why = match local {
        "flock" => "only flock(2) is local, which zoutbox does not use",
        _ => "the server keeps the locks",
    };
    Finding::fine("locks", format!("local_lock={local}"), why)
}

/// Options that keep the client from asking the server when it is asked to.
fn revalidation(mount: &Mount) -> Option<Finding> {
    mount.has("softreval").then(|| {
        Finding::breaks(
            Promise::InOrder,
            "softreval",
            "on",
            "while the server is away, cached names and lengths are given out as if it had been asked: who takes a writer over may \
             not see its last segment",
            "mount without softreval",
        )
    })
}

const CACHING: &str = "attribute caching";
/// The longest that attributes are cached by default, in seconds (nfs(5)).
const DEFAULT_CACHING: u32 = 60;

/// How long attributes are cached. zoutbox asks the server whenever it matters, so that default caching costs nothing.
fn caching(mount: &Mount) -> Vec<Finding> {
    let mut findings = Vec::new();
    let seconds = |name| mount.value(name).and_then(|value: &str| value.parse::<u32>().ok());
    let times = ["acregmin", "acregmax", "acdirmin", "acdirmax"].map(|name| (name, seconds(name)));
    let never = times.iter().all(|(_, time)| *time == Some(0));
    if mount.has("noac") || never {
        let what = if mount.has("noac") { "noac" } else { "actimeo=0" };
        let why = "every look at a file asks the server, also where nothing depends on it; zoutbox asks by itself where something does";
        findings.push(Finding::costs(what, "on", why, "mount without it"));
    } else {
        findings.push(cached_for(&times));
    }
    if mount.has("sync") && !mount.has("noac") {
        let why = "each write waits for the server, not only each commit";
        findings.push(Finding::costs(
            "sync",
            "on",
            why,
            "mount without it: zoutbox syncs what must be durable",
        ));
    }
    if mount.has("nocto") {
        let why =
            "an open does not ask the server whether a file changed: other programs may read old content";
        findings.push(Finding::costs("nocto", "on", why, "mount without it"));
    }
    if mount.value("lookupcache") == Some("none") {
        let why = "every name is looked up on the server at every use";
        findings.push(Finding::costs("lookupcache", "none", why, "mount without it"));
    }
    findings
}

fn cached_for(times: &[(&str, Option<u32>)]) -> Finding {
    let said = times.iter().filter_map(|(name, time)| time.map(|time| format!("{name}={time}")));
    let said = said.collect::<Vec<_>>().join(",");
    let value = if said.is_empty() { "default".to_owned() } else { said };
    let longest = times.iter().filter_map(|(_, time)| *time).max().unwrap_or_default();
    if longest <= DEFAULT_CACHING {
        let why = "zoutbox asks the server whenever it matters, and does not wait for these times";
        return Finding::fine(CACHING, value, why);
    }
    let why = format!(
        "ls, tail and whatever else does not ask the server see other hosts' files up to {longest} s late; zoutbox asks where it matters"
    );
    Finding::costs(CACHING, value, &why, "mount without actimeo, acregmax and acdirmax")
}

/// One commit is one WRITE when it fits.
fn write_size(mount: &Mount) -> Option<Finding> {
    const ONE_COMMIT: u64 = 1024 * 1024;
    let size = mount.write_size()?;
    let value = size.to_string();
    Some(if size >= ONE_COMMIT {
        Finding::fine("wsize", value, "a full commit of 1 MiB is one WRITE")
    } else {
        let why = "a commit is one WRITE, so commits are of at most this size instead of 1 MiB";
        Finding::costs("wsize", value, why, "mount with wsize=1048576, and let the server allow it")
    })
}

/// Options with which a local disk's syncs are none.
fn local_options(mount: &Mount) -> Vec<Finding> {
    let mut findings = Vec::new();
    let off = |name: &str| mount.value(name) == Some("0");
    if mount.has("nobarrier") || off("barrier") {
        let why = "a sync does not make the disk empty its own cache: what was acknowledged may be gone after a power cut";
        let advice = "mount with barriers, unless the disk's cache survives a power cut";
        findings.push(Finding::breaks(Promise::Durable, "nobarrier", "on", why, advice));
    }
    // Linux 6.18 shows it by another name than it is given by.
    if mount.kind == "overlay" && (mount.has("volatile") || mount.value("fsync") == Some("volatile")) {
        let why = "every sync is left out";
        findings.push(Finding::breaks(Promise::Durable, "volatile", "on", why, "mount without it"));
    }
    if mount.has("localflock") {
        let why = "locks are kept by each client: two processes of one writer id on two hosts don't exclude each other";
        findings.push(Finding::breaks(Promise::InOrder, "localflock", "on", why, "mount with flock"));
    }
    if mount.has("noflock") {
        let why = "there are no locks at all";
        findings.push(Finding::breaks(Promise::InOrder, "noflock", "on", why, "mount with flock"));
    }
    if mount.has("sync") {
        let why = "each write waits for the disk, not only each commit";
        findings.push(Finding::costs(
            "sync",
            "on",
            why,
            "mount without it: zoutbox syncs what must be durable",
        ));
    }
    findings
}
