//! Sweeping: large payloads that no record names, and what a crash left of writing or of sweeping them.
//!
//! ```text
//!   payloads/orders/2026/03/31/23/  a            named by a record: left alone, never moved
//!                                   b            named by nobody, and old: taken away by the steps in payloads.rs
//!                                   c.swept      of a sweep that did not end: looked up again, and given back or removed
//!                                   d.….tmp      never finished, and old: removed
//!                                   anything else: left alone
//! ```
//!
//! A file's age is the time since its last change, by the server's clock, up to now, by this host's. Whoever writes one for longer than
//! the time of grace changes it all the while.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use zoutbox_format::layout::TEMPORARY_SUFFIX;
use zoutbox_format::payload::SWEPT_SUFFIX;
use zoutbox_format::{Hour, PayloadName};
use zoutbox_storage::{Entry, FileKind, Share, StorageError, System};

use crate::error::RelayError;
use crate::payloads::Payloads;
use crate::upkeep::{Removed, Upkeep};

/// So many payloads are looked up together; each is open for that long.
const TOGETHER: usize = 256;
/// Length of the names of a year's, month's, day's and hour's directory.
const DIGITS: [usize; 4] = [4, 2, 2, 2];
/// Of those, how many make a day.
const DAY: usize = 3;

impl Upkeep {
    /// Sweeps the payloads of the writer. Those of a writer of which it can't be told what it names are kept.
    ///
    /// # Errors
    /// When the share can't be read or changed. What was swept before is swept.
    pub fn sweep(&mut self, system: &System, share: &Share, after: Duration) -> Result<Removed, RelayError> {
        let writer = self.writer.clone();
        let payloads = Payloads { system, share, writer: &writer };
        if !payloads.are_there()? {
            return Ok(Removed::default());
        }
        // What is still known from before must not hold what nobody names any more. Nothing is read for that.
        self.letters.look(system, share, &writer)?;
        self.references.forget_missing(system, share, &writer)?;
        let now_ms = system.clock.now_ms();
        let today = Hour::of(now_ms).to_string();
        let mut sweep = Sweep {
            upkeep: self,
            payloads,
            now_ms,
            after,
            today,
            parts: Vec::new(),
            removed: Removed::default(),
        };
        sweep.directory(&share.layout.payloads(&writer))?;
        Ok(sweep.removed)
    }
}

struct Sweep<'a> {
    upkeep: &'a mut Upkeep,
    payloads: Payloads<'a>,
    now_ms: u64,
    after: Duration,
    /// The present hour, as a path.
    today: String,
    /// Where it is: year, month, day, hour.
    parts: Vec<String>,
    removed: Removed,
}

/// What lies in an hour's directory.
#[derive(Default)]
struct Found {
    finished: Vec<PayloadName>,
    swept: Vec<PayloadName>,
    temporary: Vec<String>,
}

impl Sweep<'_> {
    /// Sweeps below a directory; returns whether nothing is left in it.
    fn directory(&mut self, path: &Path) -> Result<bool, RelayError> {
        let system = self.payloads.system;
        let mut entries = match system.disk.list(path) {
            Err(error) if error.is_missing() => return Ok(true),
            other => other?,
        };
        let Some(digits) = DIGITS.get(self.parts.len()) else {
            return self.hour(path, &entries);
        };
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut left = entries.len();
        for entry in entries.iter().filter(|entry| entry.kind == FileKind::Directory) {
            let Some(name) = entry.name.to_str().filter(|name| is_number(name, *digits)) else { continue };
            self.parts.push(name.to_owned());
            let below = path.join(name);
            let gone = self.directory(&below)? && self.is_past() && remove_directory(system, &below)?;
            left -= usize::from(gone);
            self.parts.pop();
        }
        Ok(left == 0)
    }

    /// Whether the directory belongs to a day that is over: nobody puts anything there any more, unless with an old timestamp.
    fn is_past(&self) -> bool {
        let here = self.parts.get(..DAY).unwrap_or(&self.parts).join("/");
        self.today.get(..here.len()).is_some_and(|today| here.as_str() < today)
    }

    fn hour(&mut self, path: &Path, entries: &[Entry]) -> Result<bool, RelayError> {
        let found = self.sort(entries);
        let mut left = entries.len();
        for name in found.temporary {
            let file = path.join(name);
            // A writer keeps one for as long as it needs the payload, however old that is.
            let nobodys = self.is_old(&file)? && self.payloads.try_lock(&file)?.is_some();
            if nobodys && removed(self.payloads.system.disk.remove_file(&file))? {
                self.removed.temporary += 1;
                left -= 1;
            }
        }
        let mut gone = 0;
        for names in found.swept.chunks(TOGETHER) {
            self.look()?;
            gone += self.upkeep.settle(&self.payloads, names, None)?;
        }
        let mut old = Vec::new();
        for name in found.finished {
            // What is known to be named is not even asked for its age.
            if !self.upkeep.is_named(&name, None)
                && self.is_old(&self.payloads.share.layout.payload(&name))?
            {
                old.push(name);
            }
            if old.len() == TOGETHER {
                gone += self.take_away(std::mem::take(&mut old))?;
            }
        }
        gone += self.take_away(old)?;
        self.removed.payloads += gone;
        Ok(left == gone)
    }

    /// What of the entries has a name of ours. Links and special files have none.
    fn sort(&self, entries: &[Entry]) -> Found {
        let mut found = Found::default();
        let directory = format!("payloads/{}/{}", self.payloads.writer, self.parts.join("/"));
        let payload = |id: &str| PayloadName::parse(&format!("{directory}/{id}"));
        for entry in entries.iter().filter(|entry| entry.kind == FileKind::File) {
            let Some(name) = entry.name.to_str() else { continue };
            if name.ends_with(TEMPORARY_SUFFIX) {
                found.temporary.push(name.to_owned());
            } else if let Some(id) = name.strip_suffix(SWEPT_SUFFIX) {
                found.swept.extend(payload(id));
            } else {
                found.finished.extend(payload(name));
            }
        }
        found
    }

    fn is_old(&self, path: &Path) -> Result<bool, StorageError> {
        let metadata = match self.payloads.system.disk.metadata(path) {
            Err(error) if error.is_missing() => return Ok(false),
            other => other?,
        };
        let age = self.now_ms.saturating_sub(metadata.modified_ns / 1_000_000);
        Ok(metadata.kind == FileKind::File && Duration::from_millis(age) >= self.after)
    }

    /// Looks who names what; returns whether that can be told.
    fn look(&mut self) -> Result<bool, RelayError> {
        let Payloads { system, share, writer } = self.payloads;
        self.upkeep.letters.look(system, share, writer)?;
        self.upkeep.references.update(system, share, writer)?;
        Ok(self.upkeep.sees())
    }

    /// Takes away those that nobody names. Who names them is asked before, so that nothing is moved that a consumer may be reading.
    fn take_away(&mut self, mut names: Vec<PayloadName>) -> Result<usize, RelayError> {
        if names.is_empty() || !self.look()? {
            return Ok(0);
        }
        names.retain(|name| !self.upkeep.is_named(name, None));
        let Payloads { system, share, .. } = self.payloads;
        self.upkeep.take_away(system, share, names, None)
    }
}

fn is_number(name: &str, digits: usize) -> bool {
    name.len() == digits && name.bytes().all(|c| c.is_ascii_digit())
}

/// Whether it was still there.
fn removed(result: Result<(), StorageError>) -> Result<bool, StorageError> {
    match result {
        Err(error) if error.is_missing() => Ok(false),
        other => other.map(|()| true),
    }
}

/// Whether it is gone. One in which there is something after all stays.
fn remove_directory(system: &System, path: &Path) -> Result<bool, StorageError> {
    let in_use = |kind| {
        matches!(kind, ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::ResourceBusy)
    };
    match system.disk.remove_dir(path) {
        Err(StorageError::Io { source, .. }) if in_use(source.kind()) => Ok(false),
        Err(error) if error.is_missing() => Ok(true),
        other => other.map(|()| true),
    }
}

/// Removes what consumers left of replacing their files, once it is old.
///
/// # Errors
/// When the share can't be read or changed.
pub(crate) fn sweep_registrations(
    system: &System,
    share: &Share,
    after: Duration,
) -> Result<usize, StorageError> {
    let directory = share.layout.consumers();
    let entries = match system.disk.list(&directory) {
        Err(error) if error.is_missing() => return Ok(0),
        other => other?,
    };
    let now_ms = system.clock.now_ms();
    let mut count = 0;
    for entry in entries.iter().filter(|entry| entry.kind == FileKind::File) {
        let path = directory.join(&entry.name);
        if !entry.name.to_string_lossy().ends_with(TEMPORARY_SUFFIX) {
            continue;
        }
        let age = match system.disk.metadata(&path) {
            Err(error) if error.is_missing() => continue,
            other => now_ms.saturating_sub(other?.modified_ns / 1_000_000),
        };
        if Duration::from_millis(age) >= after && removed(system.disk.remove_file(&path))? {
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests;
