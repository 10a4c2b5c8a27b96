//! How two doctors find each other: each tries to make `first`, exclusively; who comes too late makes `second`.
//!
//! A file that is there proves nobody alive, and a lock may not be one here. So the first one writes a growing number to
//! `beat` while it waits. Who finds `first` without a beat leaves that place alone, whether its owners are dead or at work,
//! and goes to the next one: `pair-1`, `pair-2`, … Two who do that at once meet there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zoutbox_storage::{Lock, OpenMode, StorageError, System, replace};

use super::super::ground::{live_in, remove_tree, within};
use super::super::report::Partner;
use super::super::stop::Stop;
use crate::exit::{Exit, Failure};
use crate::view::absent_is_none;

/// The directories in which they meet, with a number behind it.
const PLACE: &str = "pair-";
const BEAT: &str = "beat";
const EACH: Duration = Duration::from_millis(100);
/// Who has not beaten for so long is gone.
const GONE: Duration = Duration::from_secs(5);
const MAX_CARD: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Asks and measures.
    First,
    /// Answers.
    Second,
}

impl Role {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

#[derive(Debug)]
pub(super) struct Met {
    pub(super) role: Role,
    pub(super) partner: Partner,
    pub(super) place: PathBuf,
    /// The place's lock, if the first one, and if there are locks.
    pub(super) alive: Option<Lock>,
}

#[derive(Debug)]
pub(super) enum Failed {
    /// Nothing can be made below the root.
    Unwritable(StorageError),
    Other(Failure),
}

impl From<StorageError> for Failed {
    fn from(error: StorageError) -> Self {
        Self::Other(error.into())
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

pub(super) fn meet(system: &System, above: &Path, patience: Duration, stop: &Stop) -> Result<Met, Failed> {
    let start = system.clock.monotonic();
    let mut number = highest(system, above)?.unwrap_or(1);
    loop {
        let place = above.join(format!("{PLACE}{number}"));
        let meeting = Meeting { system, above, place, stop, start, patience };
        if meeting.claim(Role::First).map_err(Failed::Unwritable)? {
            let met = meeting.wait_for_second();
            if met.is_err() {
                remove_tree(system, &meeting.place);
                drop(system.disk.remove_dir(above));
            }
            return met;
        }
        let Some(first) = meeting.card(Role::First)? else { continue };
        if !meeting.is_alive()? {
            number += 1;
        } else if meeting.claim(Role::Second)? {
            return Ok(Met { role: Role::Second, partner: first, place: meeting.place, alive: None });
        }
        meeting.pause()?;
    }
}

/// The last place that anybody went to.
fn highest(system: &System, above: &Path) -> Result<Option<u64>, StorageError> {
    let names = absent_is_none(system.disk.list(above))?.unwrap_or_default();
    Ok(names.iter().filter_map(|entry| entry.name.to_str()?.strip_prefix(PLACE)?.parse().ok()).max())
}

/// Whether this is a place whose first one runs, or ran, on this host.
pub(in super::super) fn is_of_host(system: &System, place: &Path) -> bool {
    let named = place.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PLACE.as_bytes()));
    named
        && card(system, &place.join(Role::First.name()))
            .is_ok_and(|card| card.is_some_and(|card| *card.host == *system.host))
}

/// Makes a place empty but for `first`, which goes last: nobody can claim the place before. Waits for the partner to have closed
/// its files: over NFS, on the same mount, they stay under other names until then.
pub(super) fn leave(system: &System, place: &Path) {
    for _ in 0..20 {
        let mut entries = system.disk.list(place).unwrap_or_default();
        entries.retain(|entry| entry.name != Role::First.name());
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            drop(system.disk.remove_file(&place.join(&entry.name)));
        }
        system.clock.sleep(EACH);
    }
}

fn card(system: &System, path: &Path) -> Result<Option<Partner>, StorageError> {
    let bytes = absent_is_none(system.read_small(path, MAX_CARD))?;
    // Made whole by a link; what can't be read is of another version, or nobody's.
    Ok(bytes.map(|bytes| {
        let unknown = Partner { host: "unknown".into(), pid: 0 };
        serde_json::from_slice(&bytes).unwrap_or(unknown)
    }))
}

struct Meeting<'a> {
    system: &'a System,
    above: &'a Path,
    place: PathBuf,
    stop: &'a Stop,
    start: Duration,
    patience: Duration,
}

impl Meeting<'_> {
    fn path(&self, role: Role) -> PathBuf {
        self.place.join(role.name())
    }

    /// Takes a role, if it is free. The one exclusive step of it all.
    fn claim(&self, role: Role) -> Result<bool, StorageError> {
        let me = Partner { host: self.system.host.to_string(), pid: self.system.pid };
        let card = serde_json::to_vec(&me).unwrap_or_default();
        within(self.system, self.above, || {
            self.system.disk.create_dir(&self.place)?;
            replace::create(self.system, &self.path(role), &card)
        })
    }

    fn card(&self, role: Role) -> Result<Option<Partner>, StorageError> {
        card(self.system, &self.path(role))
    }

    fn wait_for_second(&self) -> Result<Met, Failed> {
        let alive = live_in(self.system, &self.place);
        let beat = self.system.disk.open(&self.place.join(BEAT), OpenMode::ReadWriteCreate)?;
        for number in 1_u64.. {
            beat.write_at(&number.to_le_bytes(), 0)?;
            beat.sync()?;
            // Asks the server for the directory, so that a new name shows.
            let names = self.system.disk.list(&self.place)?;
            if names.iter().any(|entry| entry.name == Role::Second.name())
                && let Some(partner) = self.card(Role::Second)?
            {
                return Ok(Met { role: Role::First, partner, place: self.place.clone(), alive });
            }
            self.pause()?;
        }
        Err(Failure::new(Exit::Temporary, "no partner came").into())
    }

    /// Whether the first one beats.
    fn is_alive(&self) -> Result<bool, Failed> {
        let beat = || absent_is_none(self.system.read_small(&self.place.join(BEAT), 8));
        let (before, start) = (beat()?, self.system.clock.monotonic());
        while self.system.clock.monotonic().saturating_sub(start) < GONE {
            if beat()? != before {
                return Ok(true);
            }
            self.stop.check()?;
            self.system.clock.sleep(EACH);
        }
        Ok(false)
    }

    fn pause(&self) -> Result<(), Failed> {
        self.stop.check()?;
        if self.system.clock.monotonic().saturating_sub(self.start) > self.patience {
            let (waited, place) = (self.patience.as_secs(), self.place.display());
            let message = format!(
                "no partner came within {waited} s: run the same on the other host at about the same time (waited in {place})"
            );
            return Err(Failure::new(Exit::Temporary, message).into());
        }
        self.system.clock.sleep(EACH);
        Ok(())
    }
}
