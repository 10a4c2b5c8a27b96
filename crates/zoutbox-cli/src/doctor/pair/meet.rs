//! How two doctors find each other: each tries to make `first`, exclusively; who comes too late makes `second`.
//!
//! A file that is there proves nobody alive, and a lock may not be one here. So the first one writes a growing number to
//! `beat` while it waits, and who finds `first` without a beat removes it as a leftover.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zoutbox_storage::{OpenMode, StorageError, System, replace};

use super::super::ground::{remove_tree, within};
use super::super::report::Partner;
use super::super::stop::Stop;
use crate::exit::{Exit, Failure};
use crate::view::absent_is_none;

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

pub(super) fn meet(
    system: &System,
    above: &Path,
    place: &Path,
    patience: Duration,
    stop: &Stop,
) -> Result<Met, Failed> {
    let meeting = Meeting { system, above, place, stop, start: system.clock.monotonic(), patience };
    loop {
        if meeting.claim(Role::First).map_err(Failed::Unwritable)? {
            let met = meeting.wait_for_second();
            if met.is_err() {
                remove_tree(system, place);
                drop(system.disk.remove_dir(above));
            }
            return met;
        }
        let Some(first) = meeting.card(Role::First)? else { continue };
        if !meeting.is_alive()? {
            remove_tree(system, place);
            continue;
        }
        if meeting.claim(Role::Second)? {
            return Ok(Met { role: Role::Second, partner: first });
        }
        // Two others are at it, or one of them was killed a moment ago.
        meeting.pause("two other doctors are measuring here already")?;
    }
}

struct Meeting<'a> {
    system: &'a System,
    above: &'a Path,
    place: &'a Path,
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
            self.system.disk.create_dir(self.place)?;
            replace::create(self.system, &self.path(role), &card)
        })
    }

    fn card(&self, role: Role) -> Result<Option<Partner>, StorageError> {
        let bytes = absent_is_none(self.system.read_small(&self.path(role), MAX_CARD))?;
        // Made whole by a link; what can't be read is of another version, or nobody's.
        Ok(bytes.map(|bytes| {
            let unknown = Partner { host: "unknown".into(), pid: 0 };
            serde_json::from_slice(&bytes).unwrap_or(unknown)
        }))
    }

    fn wait_for_second(&self) -> Result<Met, Failed> {
        let beat = self.system.disk.open(&self.place.join(BEAT), OpenMode::ReadWriteCreate)?;
        for number in 1_u64.. {
            beat.write_at(&number.to_le_bytes(), 0)?;
            beat.sync()?;
            // Asks the server for the directory, so that a new name shows.
            let names = self.system.disk.list(self.place)?;
            if names.iter().any(|entry| entry.name == Role::Second.name())
                && let Some(partner) = self.card(Role::Second)?
            {
                return Ok(Met { role: Role::First, partner });
            }
            self.pause("no partner came: run the same on the other host at about the same time")?;
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

    fn pause(&self, otherwise: &str) -> Result<(), Failed> {
        self.stop.check()?;
        if self.system.clock.monotonic().saturating_sub(self.start) > self.patience {
            let place = self.place.display();
            let message = format!("{otherwise} (waited {} s in {place})", self.patience.as_secs());
            return Err(Failure::new(Exit::Temporary, message).into());
        }
        self.system.clock.sleep(EACH);
        Ok(())
    }
}
