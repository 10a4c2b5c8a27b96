//! Whether a writer or a relay may work on a mount: it refuses what silently breaks a promise, unless it was told to accept that.

use std::path::Path;

use super::{Mount, judge};
use crate::disk::Disk;
use crate::error::StorageError;

/// A mount that may be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    /// Which one; `None` when that can't be told and was accepted.
    pub mount: Option<Mount>,
    /// What breaks a promise and was accepted all the same: a line each, to be logged once.
    pub warnings: Vec<String>,
}

/// Looks how `path` is mounted, or the nearest directory above it that is there.
///
/// # Errors
/// [`StorageError::UnsafeMount`] when the mount breaks a promise; [`StorageError::UnknownMount`] when how it is mounted can't be
/// told. Neither with `accept_unsafe`.
pub fn trust(disk: &dyn Disk, path: &Path, accept_unsafe: bool) -> Result<Trusted, StorageError> {
    let mut place = path;
    loop {
        match (disk.mount(place), place.parent()) {
            (Err(error), Some(above)) if error.is_missing() => place = above,
            (Err(error @ StorageError::UnknownMount { .. }), _) if accept_unsafe => {
                return Ok(Trusted { mount: None, warnings: vec![error.to_string()] });
            }
            (Err(error), _) => return Err(error),
            (Ok(mount), _) => {
                let warnings = refuse(&mount, accept_unsafe)?;
                return Ok(Trusted { mount: Some(mount), warnings });
            }
        }
    }
}

/// As [`trust`], of a mount that is known: what to log, if it may be worked on.
///
/// # Errors
/// [`StorageError::UnsafeMount`], of the first thing that breaks a promise.
pub fn refuse(mount: &Mount, accept_unsafe: bool) -> Result<Vec<String>, StorageError> {
    let mut warnings = Vec::new();
    for finding in judge(mount) {
        let Some(promise) = finding.broken() else { continue };
        let named = finding.option_or_kind(mount);
        let point = mount.point.display();
        let broken = format!("{point} is mounted as {named}, which breaks {promise}: {}", finding.why);
        if finding.refused && !accept_unsafe {
            return Err(StorageError::UnsafeMount { broken, advice: finding.advice, promise });
        }
        warnings.push(broken);
    }
    Ok(warnings)
}
