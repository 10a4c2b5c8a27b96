//! Registering on the share: saying in `consumers/<name>` what is still needed, so that the relay keeps it.
//!
//! ```text
//!   consumer ── Observer ──▶ tracker ──▶ clerk: a thread ── consumers/<name>, replaced every interval ──▶ relay
//!                              ▲                       └──── relay/checkpoints/… ─┐
//!                              └───────────────── what is confirmed ──────────────┘
//! ```
//!
//! Who consumes inline messages only, without large payloads, needs nothing of the share and need not register.
//!
//! | file | what it holds |
//! |---|---|
//! | at the start | what an earlier life needed, as `open`: what it was sent may still be on its way back to the queue |
//! | `passed` | rises with what is acknowledged, and for all writers with every turn of the queue (see the tracker) |
//! | `open` | falls to what is held, and stays for what a lost connection or an earlier life held, until the queue has turned once |
//! | `parked` | the segments of records that wait in `<queue>.parked`, as the inbox's database has them |
//!
//! A writer that is not named is needed whole; at the first registration that is every writer, until the queue has turned once.
//! A record that was parked out of an inline message holds its segment if its payload is a large one. Messages that could not be resolved, and
//! were parked as they came, hold nothing: what they say can't be trusted.

mod clerk;
mod tracker;

use std::path::{Path, PathBuf};
use std::time::Duration;

use zoutbox_format::layout::TEMPORARY_SUFFIX;
use zoutbox_format::progress::{MAX_PROGRESS_LENGTH, ProgressError};
use zoutbox_format::{Progress, SegmentId, ShareId, WriterId};
use zoutbox_storage::{ErrorKind, Share, StorageError, System};

use crate::consumer::{Look, Observer};
use clerk::Clerk;
use tracker::{Confirmed, Count, Tracker};

/// Reading checkpoints may take this share of the time at most, by this estimate for each.
const READING: Duration = Duration::from_millis(5);

/// Who registers, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistrationOptions {
    /// The file's name: of the form of a writer id, and of one process only.
    pub name: String,
    /// All that consume one queue between them name the same group, of the same form.
    pub group: String,
    /// How often the file is written: 5 s by default, at least 100 ms.
    pub interval: Duration,
    /// How long after the last one it counts, if this process vanishes: 7 days by default. At least ten intervals.
    pub limit: Duration,
    /// How long a broker may take to notice that a connection is gone: 2 minutes by default. What an earlier life had open stays open so long
    /// at least.
    pub settle: Duration,
}

impl RegistrationOptions {
    /// With the defaults.
    #[must_use]
    pub fn new(name: impl Into<String>, group: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            group: group.into(),
            interval: Duration::from_secs(5),
            limit: Duration::from_hours(7 * 24),
            settle: Duration::from_mins(2),
        }
    }
}

/// Why a consumer could not register.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// A name or a time that can't be.
    #[error("{0}")]
    Option(String),
    /// The file is of a newer zoutbox.
    #[error("{}: {source}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it is.
        source: ProgressError,
    },
    /// The file is of another share: this one was made of a copy, or moved here.
    #[error("{} is of share {found}, and lies on share {ours}: remove it", path.display())]
    OtherShare {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: ShareId,
        /// What the marker says.
        ours: ShareId,
    },
    /// The share can't be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is no thread to be had.
    #[error("can't start a thread: {0}")]
    Thread(std::io::Error),
}

impl RegistrationError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Option(_) => ErrorKind::Invalid,
            Self::Newer { .. } | Self::Thread(_) => ErrorKind::Fatal,
            Self::OtherShare { .. } => ErrorKind::Corrupt,
            Self::Storage(error) => error.kind(),
        }
    }
}

/// A consumer's registration: hand it to [`Consumer::observe`](crate::Consumer::observe).
///
/// It is in force when [`Registration::open`] has returned, and stays after the end of the process, for its limit. Who is gone for good
/// removes the file. A file that can't be written later is told in the log, and stops nobody.
#[derive(Debug)]
pub struct Registration {
    system: System,
    options: Named,
    tracker: Tracker,
    clerk: Clerk,
    written: Duration,
    reading: Reading,
}

#[derive(Debug)]
struct Named {
    share: ShareId,
    group: WriterId,
    interval: Duration,
    limit: Duration,
}

/// Of the relay's checkpoints.
#[derive(Debug)]
enum Reading {
    /// Not before then.
    Rests {
        until: Duration,
    },
    Asked,
}

impl Registration {
    /// Registers on the share at `root`.
    ///
    /// # Errors
    /// [`RegistrationError`]: then it is not registered.
    pub fn open(root: impl AsRef<Path>, options: &RegistrationOptions) -> Result<Self, RegistrationError> {
        Self::open_with(System::real(), root, options)
    }

    /// The same, in a given world.
    ///
    /// # Errors
    /// Those of [`Registration::open`].
    pub fn open_with(
        system: System,
        root: impl AsRef<Path>,
        options: &RegistrationOptions,
    ) -> Result<Self, RegistrationError> {
        let share = Share::open(&system, root.as_ref())?;
        let (name, named) = named(&share, options)?;
        let directory = share.layout.consumers();
        system.disk.create_dir(&directory)?;
        system.disk.sync_dir(share.layout.root())?;
        let path = share.layout.consumer(&name);
        let now = system.clock.monotonic();
        let mut tracker = Tracker::new(options.interval, options.settle, now);
        if let Some(before) = earlier(&system, &path, share.id)? {
            tracker.inherit(before);
        }
        clerk::write(&system, &path, named.progress(&system, &tracker))?;
        sweep(&system, &directory, &name);
        let clerk = Clerk::start(system.clone(), share, path).map_err(RegistrationError::Thread)?;
        let reading = Reading::Rests { until: now };
        Ok(Self { system, options: named, tracker, clerk, written: now, reading })
    }

    fn now(&self) -> Duration {
        self.system.clock.monotonic()
    }

    fn write(&mut self) {
        self.written = self.now();
        self.clerk.write(self.options.progress(&self.system, &self.tracker));
    }

    /// What was read since it was asked for, if the queue was counted after that.
    fn confirmed_before(&mut self, look: &Look) -> Option<Confirmed> {
        let (confirmed, read) = self.clerk.found()?;
        let pause = READING.saturating_mul(u32::try_from(confirmed.len()).unwrap_or(u32::MAX));
        self.reading = Reading::Rests { until: self.now().saturating_add(pause.max(self.options.interval)) };
        // A count from before may lack what was confirmed in between.
        (look.asked >= read).then_some(confirmed)
    }
}

impl Named {
    fn progress(&self, system: &System, tracker: &Tracker) -> Progress {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Progress {
            share: self.share,
            group: self.group.clone(),
            updated_ms: system.clock.now_ms(),
            interval_ms: ms(self.interval),
            limit_ms: ms(self.limit),
            writers: tracker.places(),
        }
    }
}

impl Observer for Registration {
    fn delivered(&mut self, delivery: u64, writer: &WriterId, segment: Option<SegmentId>) {
        self.tracker.delivered(delivery, writer, segment);
    }

    fn acked(&mut self, delivery: u64) {
        self.tracker.acked(delivery);
    }

    fn refused(&mut self, delivery: u64) {
        self.tracker.refused(delivery);
    }

    fn returned(&mut self, delivery: u64) {
        let now = self.now();
        self.tracker.returned(delivery, now);
    }

    fn parked(&mut self, writer: &WriterId, segment: Option<SegmentId>) {
        self.tracker.parked(writer, segment);
    }

    fn unparked(&mut self, writer: &WriterId, segment: Option<SegmentId>) {
        self.tracker.unparked(writer, segment);
    }

    fn started(&mut self) {
        self.tracker.started();
    }

    fn lost(&mut self) {
        let now = self.now();
        self.tracker.lost(now);
    }

    fn looked(&mut self, look: Look) {
        let now = self.now();
        let count = Count { waiting: look.waiting, delivered: look.delivered };
        self.tracker.counted(count, now);
        if let Some(confirmed) = self.confirmed_before(&look)
            && !self.tracker.is_turning()
        {
            self.tracker.turn(confirmed, count, now);
        }
        if let Reading::Rests { until } = self.reading
            && !self.tracker.is_turning()
            && now >= until
        {
            self.clerk.read();
            self.reading = Reading::Asked;
        }
    }

    fn tick(&mut self, _: Option<bool>) {
        if self.now().saturating_sub(self.written) >= self.options.interval {
            self.write();
        }
    }

    fn stopped(&mut self) {
        self.write();
        self.clerk.end();
    }
}

fn named(share: &Share, options: &RegistrationOptions) -> Result<(WriterId, Named), RegistrationError> {
    let id = |what: &str, text: &str| {
        let shown: String = text.escape_debug().take(80).collect();
        WriterId::new(text).map_err(|_| {
            RegistrationError::Option(format!(
                "{what} '{shown}': 1 to 64 characters, a-z 0-9 . _ -, the first one a letter or digit"
            ))
        })
    };
    let (name, group) = (id("name", &options.name)?, id("group", &options.group)?);
    if name.as_str().ends_with(TEMPORARY_SUFFIX) {
        return Err(RegistrationError::Option(format!("name '{name}' ends in {TEMPORARY_SUFFIX}")));
    }
    let (interval, limit) = (options.interval, options.limit);
    if interval < Duration::from_millis(100) || limit < interval.saturating_mul(10) {
        return Err(RegistrationError::Option(format!(
            "interval {interval:?} and limit {limit:?}: at least 100ms, and ten intervals"
        )));
    }
    Ok((name, Named { share: share.id, group, interval, limit }))
}

/// What an earlier life said. A damaged file says nothing, and is told of.
fn earlier(system: &System, path: &Path, share: ShareId) -> Result<Option<Progress>, RegistrationError> {
    let bytes = match system.read_small(path, MAX_PROGRESS_LENGTH + 1) {
        Err(error) if error.is_missing() => return Ok(None),
        other => other?,
    };
    match Progress::decode(&bytes) {
        Ok(progress) if progress.share == share => Ok(Some(progress)),
        Ok(Progress { share: found, .. }) => {
            Err(RegistrationError::OtherShare { path: path.to_owned(), found, ours: share })
        }
        Err(source @ ProgressError::Newer(_)) => {
            Err(RegistrationError::Newer { path: path.to_owned(), source })
        }
        Err(ProgressError::Malformed) => {
            tracing::warn!("{} is damaged: what this consumer had open is not known", path.display());
            Ok(None)
        }
    }
}

/// Removes what crashes of this consumer left. Others may be replacing theirs at this moment.
fn sweep(system: &System, directory: &Path, name: &WriterId) {
    let Ok(entries) = system.disk.list(directory) else { return };
    for entry in entries {
        let Some(text) = entry.name.to_str() else { continue };
        let random = text.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('.'));
        let random = random.and_then(|rest| rest.strip_suffix(TEMPORARY_SUFFIX));
        if random.is_some_and(|random| random.len() == 16 && random.bytes().all(|c| c.is_ascii_hexdigit()))
            && let Err(error) = system.disk.remove_file(&directory.join(text))
        {
            tracing::debug!("{error}");
        }
    }
}
