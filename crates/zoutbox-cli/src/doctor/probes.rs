//! What one host can try alone: each probe uses the calls that zoutbox itself uses, and gives one finding.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use zoutbox_format::ShareId;
use zoutbox_format::layout::Layout;
use zoutbox_reader::Watcher;
use zoutbox_storage::mount::{Finding, Promise};
use zoutbox_storage::{OpenMode, Share, StorageError, replace};

use super::ground::Ground;
use super::locks;
use super::quantiles::{Times, time};

type Probe = fn(&Ground) -> Result<Finding, StorageError>;

/// In the order they are tried: what each is called, and the promise that is broken when its calls fail.
pub(super) const ALL: &[(&str, Promise, Probe)] = &[
    ("exclusive creation", Promise::Identity, exclusive_creation),
    ("hard link", Promise::Identity, hard_link),
    ("rename", Promise::NoRepair, rename),
    (locks::WHAT, Promise::InOrder, locks::locks),
    ("forced refresh", Promise::InOrder, forced_refresh),
    ("sync latency", Promise::Durable, sync_latency),
    ("free space", Promise::Durable, free_space),
    ("inotify", Promise::InOrder, inotify),
];

const ANOTHER: &str = "use NFS 4.1 or later, or a local disk";

fn exclusive_creation(ground: &Ground) -> Result<Finding, StorageError> {
    const WHAT: &str = "exclusive creation";
    let path = ground.path("exclusive");
    ground.system.disk.open(&path, OpenMode::CreateNew)?;
    match ground.system.disk.open(&path, OpenMode::CreateNew) {
        Err(error) if exists(&error) => {
            Ok(Finding::fine(WHAT, "exclusive", "a name is made once, however many try"))
        }
        Err(error) => Err(error),
        Ok(_) => {
            let why = "a file that was there was made once more: two writers could make the same segment";
            Ok(Finding::breaks(Promise::Identity, WHAT, "not exclusive", why, ANOTHER))
        }
    }
}

fn hard_link(ground: &Ground) -> Result<Finding, StorageError> {
    const WHAT: &str = "hard link";
    let (from, to) = (ground.path("linked"), ground.path("link"));
    let disk = &ground.system.disk;
    disk.open(&from, OpenMode::CreateNew)?.write_at(b"content", 0)?;
    disk.link(&from, &to)?;
    let same = ground.system.read_small(&to, 100)? == b"content";
    let refused = matches!(disk.link(&from, &to), Err(error) if exists(&error));
    if same && refused {
        return Ok(Finding::fine(WHAT, "exclusive", "two hosts that run init at once agree on one share"));
    }
    let why = "a link replaces what is there, or leads elsewhere: two hosts that run init at once may disagree on the share";
    Ok(Finding::breaks(Promise::Identity, WHAT, "not exclusive", why, ANOTHER))
}

fn exists(error: &StorageError) -> bool {
    matches!(error, StorageError::Io { source, .. } if source.kind() == ErrorKind::AlreadyExists)
}

/// What a reader saw of a file that was replaced all the time.
#[derive(Debug, Default)]
struct Seen {
    good: usize,
    missing: usize,
    torn: usize,
    back: usize,
}

/// So often a file is replaced, and more often while it was not looked at [`LOOKS`] times.
const REPLACEMENTS: u64 = 200;
const LOOKS: u64 = 50;
/// As large as a page, so that a torn one could be seen.
const WORDS: usize = 512;

fn rename(ground: &Ground) -> Result<Finding, StorageError> {
    const WHAT: &str = "rename";
    let path = ground.path("replaced");
    let content = |number: u64| number.to_le_bytes().repeat(WORDS);
    replace::replace(&ground.system, &path, &content(0))?;
    let (done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = ground.system.clock.monotonic();
    let (made, seen) = thread::scope(|scope| {
        let reader = scope.spawn(|| watch_replaced(ground, &done, &looks));
        let mut made = Ok(0);
        for number in 1.. {
            made = replace::replace(&ground.system, &path, &content(number)).map(|()| number);
            let enough = number >= REPLACEMENTS && looks.load(Ordering::SeqCst) >= LOOKS;
            if made.is_err() || enough || ground.system.clock.monotonic().saturating_sub(start) > MOST_TIME {
                break;
            }
        }
        done.store(true, Ordering::SeqCst);
        (made, reader.join().unwrap_or_default())
    });
    let made = made?;
    let Seen { good, missing, torn, back } = seen;
    if missing + torn + back == 0 {
        let value = format!("atomic ({made} times under {good} reads)");
        return Ok(Finding::fine(WHAT, value, "a reader sees the old file or the new one, always"));
    }
    let value = format!("{made} times: {good} good reads, {missing} missing, {torn} torn, {back} going back");
    let why = "a file that is replaced is not always there and whole: a sound segment may be told lost, a checkpoint damaged";
    Ok(Finding::breaks(Promise::NoRepair, WHAT, value, why, ANOTHER))
}

fn watch_replaced(ground: &Ground, done: &AtomicBool, looks: &AtomicU64) -> Seen {
    let (mut seen, mut last) = (Seen::default(), 0);
    while !done.load(Ordering::SeqCst) {
        looks.fetch_add(1, Ordering::SeqCst);
        let Ok(bytes) = ground.system.read_small(&ground.path("replaced"), WORDS * 8 + 1) else {
            seen.missing += 1;
            continue;
        };
        let word = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).ok();
        match bytes.get(..8).and_then(word) {
            Some(first) if bytes == first.to_le_bytes().repeat(WORDS) => {
                let counter = if first < last { &mut seen.back } else { &mut seen.good };
                *counter += 1;
                last = first;
            }
            _ => seen.torn += 1,
        }
    }
    seen
}

fn forced_refresh(ground: &Ground) -> Result<Finding, StorageError> {
    const WHAT: &str = "forced refresh";
    let path = ground.path("refreshed");
    let writer = ground.system.disk.open(&path, OpenMode::CreateNew)?;
    let reader = ground.system.disk.open(&path, OpenMode::Read)?;
    for length in 1..=20 {
        writer.write_at(b"x", length - 1)?;
        writer.sync()?;
        let seen = (reader.metadata()?.length, ground.system.disk.metadata(&path)?.length);
        if seen != (length, length) {
            let value = format!("{} and {} of {length} bytes seen", seen.0, seen.1);
            let why = "statx(2) with AT_STATX_FORCE_SYNC shows an old length: a relay would not see what was appended";
            return Ok(Finding::breaks(Promise::InOrder, WHAT, value, why, ANOTHER));
        }
    }
    Ok(Finding::fine(
        WHAT,
        "works",
        "statx(2) can ask the server; whether other hosts see it in time: doctor --pair",
    ))
}

const SYNCS: u64 = 200;
const MOST_TIME: Duration = Duration::from_secs(10);

fn sync_latency(ground: &Ground) -> Result<Finding, StorageError> {
    let clock = &ground.system.clock;
    let file = ground.system.disk.open(&ground.path("synced"), OpenMode::CreateNew)?;
    let (bytes, mut times, start) = ([0x5a; 1024], Times::default(), clock.monotonic());
    for number in 0..SYNCS {
        let before = clock.monotonic();
        file.write_at(&bytes, number * 1024)?;
        file.sync()?;
        times.push(clock.monotonic().saturating_sub(before));
        if clock.monotonic().saturating_sub(start) > MOST_TIME {
            break;
        }
    }
    let why = "what an append of 1 KiB waits for when it is alone; appends at the same time share one sync";
    Ok(Finding::fine("sync latency", times.words(), why))
}

/// As [`zoutbox_writer::Options::min_free_space`].
fn free_space(ground: &Ground) -> Result<Finding, StorageError> {
    let space = ground.system.disk.space(&ground.directory)?;
    let mib = |bytes: u64| bytes / (1 << 20);
    let value = format!("{} MiB of {} MiB", mib(space.available), mib(space.total));
    let least = zoutbox_writer::Options::default().min_free_space;
    if space.available < least {
        let why = format!("appends wait while less than {} MiB are free", mib(least));
        return Ok(Finding::costs("free space", value, &why, "make room, or raise the quota"));
    }
    let why = "as statvfs(3) tells, with a ZFS dataset's quota counted in; an append beyond it fails as full, and loses nothing";
    Ok(Finding::fine("free space", value, why))
}

/// By the watcher that the relay itself uses.
fn inotify(ground: &Ground) -> Result<Finding, StorageError> {
    const WHAT: &str = "inotify";
    const ADVICE: &str = "raise fs.inotify.max_user_watches and max_user_instances";
    let layout = Layout::new(ground.path("watched"));
    for directory in [ground.path("watched"), layout.writers()] {
        ground.system.disk.create_dir(&directory)?;
    }
    let share = Share { layout, id: ShareId::from_bytes([0; 16]) };
    let (hear, heard) = mpsc::channel();
    let watcher = match Watcher::new(&ground.system, &share, move |_| hear.send(()).unwrap_or_default()) {
        Ok(watcher) => watcher,
        Err(error) => {
            return Ok(Finding::costs(WHAT, "refused", &format!("{error}: the relay polls"), ADVICE));
        }
    };
    let start = ground.system.clock.monotonic();
    ground.system.disk.open(&share.layout.writers().join("file"), OpenMode::CreateNew)?;
    let finding = if heard.recv_timeout(Duration::from_secs(5)).is_ok() {
        let took = ground.system.clock.monotonic().saturating_sub(start);
        let why = "tells of writers on this host at once; of those on other hosts it never does, and nothing depends on it";
        Finding::fine(WHAT, format!("heard after {}", time(took)), why)
    } else {
        Finding::costs(
            WHAT,
            "silent",
            "the relay sees writers on its own host when it polls, not at once",
            ADVICE,
        )
    };
    drop(watcher);
    Ok(finding)
}

#[cfg(test)]
mod tests;
