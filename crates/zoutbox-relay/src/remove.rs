//! Removing what was published: the only place that removes segments. Which ones may go, [`Reclaim`] decides.

use std::time::Duration;

use zoutbox_format::checkpoint::Position;
use zoutbox_format::layout::SegmentName;
use zoutbox_format::{SegmentId, WriterId};
use zoutbox_relay_core::Reclaim;
use zoutbox_storage::{Share, StorageError, System};

use crate::error::RelayError;
use crate::keep::has_damage;

/// What happens to segments that were published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long a segment is kept after all of it was confirmed, in this relay's sight.
    pub keep: Duration,
    /// Whether it is then moved to `archive/`, and not deleted.
    pub archive: bool,
}

/// Removes what may go of one writer; returns how many segments that were.
///
/// # Errors
/// When the share can't be read or changed. What was removed before is removed.
pub fn remove(
    system: &System,
    share: &Share,
    writer: &WriterId,
    reclaim: &mut Reclaim,
    durable: Position,
    retention: Retention,
) -> Result<usize, RelayError> {
    let names = zoutbox_reader::segments(system, share, writer)?;
    let ids: Vec<SegmentId> = names.iter().map(|name| name.id).collect();
    let due = reclaim.due(&ids, durable, retention.keep, system.clock.monotonic());
    for id in &due {
        let archive = retention.archive || has_damage(system, share, writer, *id)?;
        // For a while after a rename both names may show, or only the old one.
        for sealed in [true, false] {
            remove_one(system, share, writer, SegmentName { id: *id, sealed }, archive)?;
        }
    }
    if !due.is_empty() {
        system.disk.sync_dir(&share.layout.writer(writer))?;
    }
    Ok(due.len())
}

fn remove_one(
    system: &System,
    share: &Share,
    writer: &WriterId,
    name: SegmentName,
    archive: bool,
) -> Result<(), StorageError> {
    let path = share.layout.writer(writer).join(name.file_name());
    let removed = if archive {
        let directory = share.layout.archive(writer);
        system.disk.create_dir(&share.layout.archives())?;
        system.disk.create_dir(&directory)?;
        system.disk.sync_dir(&share.layout.archives())?;
        let renamed = system.disk.rename(&path, &directory.join(name.file_name()));
        renamed.and_then(|()| system.disk.sync_dir(&directory))
    } else {
        system.disk.remove_file(&path)
    };
    removed.or_else(|error| if error.is_missing() { Ok(()) } else { Err(error) })
}
