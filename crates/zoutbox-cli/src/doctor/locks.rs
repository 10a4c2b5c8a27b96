//! Whether a lock keeps out another descriptor and another process, and is let go when its holder is killed.

use std::path::Path;
use std::time::Duration;

use zoutbox_storage::mount::{Finding, Promise};
use zoutbox_storage::{Lock, Operation, StorageError, System};

use super::ground::Ground;
use super::hold::Holder;
use super::quantiles::time;

pub(super) const WHAT: &str = "locks tried";

/// A lock that its holder has left, or was killed with, is free within this time, or is not let go at all.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);
pub(super) const POLL: Duration = Duration::from_millis(10);

const ADVICE: &str = "use NFS 4.1 or later, or a local disk; for NFS 3, lockd and rpc.statd on both sides";

pub(super) fn locks(ground: &Ground) -> Result<Finding, StorageError> {
    let (system, path) = (&ground.system, ground.path("lock"));
    let breaks = |value: &str, why: &str| Ok(Finding::breaks(Promise::InOrder, WHAT, value, why, ADVICE));
    let Some(own) = Lock::try_path(&*system.disk, &path)? else {
        return breaks("refused", "a lock that nobody has was not given");
    };
    if Lock::try_path(&*system.disk, &path)?.is_some() {
        return breaks(
            "shared",
            "a second descriptor got a lock that was held: two writers of one id could both go on",
        );
    }
    if holder(&path)?.holds {
        return breaks(
            "shared",
            "a second process got a lock that was held: two writers of one id could both go on",
        );
    }
    drop(own);
    let held = when_free(system, || Ok(Some(holder(&path)?).filter(|holder| holder.holds)))?;
    let Some((holder, _)) = held else {
        return breaks("kept", "a lock that was let go stays taken: nobody could take a writer over");
    };
    if Lock::try_path(&*system.disk, &path)?.is_some() {
        return breaks(
            "shared",
            "a lock that another process holds was given: two writers of one id could both go on",
        );
    }
    drop(holder);
    let Some((_, waited)) = when_free(system, || Lock::try_path(&*system.disk, &path))? else {
        return breaks("kept", "the lock of a killed process stays taken: nobody could take its writer over");
    };
    let value = format!("exclusive; free {} after kill -9", time(waited));
    Ok(Finding::fine(WHAT, value, "no second writer of an id, and a killed one can be taken over"))
}

/// Tries until there is something, and tells how long that took.
pub(super) fn when_free<T>(
    system: &System,
    mut get: impl FnMut() -> Result<Option<T>, StorageError>,
) -> Result<Option<(T, Duration)>, StorageError> {
    let start = system.clock.monotonic();
    loop {
        let got = get()?;
        let waited = system.clock.monotonic().saturating_sub(start);
        match got {
            Some(got) => return Ok(Some((got, waited))),
            None if waited > PATIENCE => return Ok(None),
            None => system.clock.sleep(POLL),
        }
    }
}

pub(super) fn holder(path: &Path) -> Result<Holder, StorageError> {
    Holder::start(path).map_err(|source| StorageError::Io {
        operation: Operation::Lock,
        path: path.to_owned(),
        offset: None,
        source,
    })
}
