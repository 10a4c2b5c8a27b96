//! What is on a share: writers by their directories, segments by their names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use zoutbox_format::layout::SegmentName;
use zoutbox_format::{SegmentId, WriterId};
use zoutbox_storage::{FileKind, Share, System};

use crate::error::ReaderError;

/// So many names that are no writer's are kept: whoever may make one may make a million.
pub const MAX_IGNORED: usize = 100;

/// The writers of a share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Writers {
    /// In the order of their ids.
    pub writers: Vec<WriterId>,
    /// Names below `writers/` that are no writer's directory: the first [`MAX_IGNORED`] of them.
    pub ignored: Vec<String>,
    /// How many more of those there are.
    pub omitted: usize,
}

/// Lists the writers of a share.
///
/// # Errors
/// When the directory can't be listed.
pub fn writers(system: &System, share: &Share) -> Result<Writers, ReaderError> {
    let mut found = Writers::default();
    let mut ignored = BTreeSet::new();
    system.disk.each_entry(&share.layout.writers(), &mut |entry| {
        let name = entry.name.to_string_lossy();
        match WriterId::new(&name) {
            Ok(writer) if entry.kind == FileKind::Directory => found.writers.push(writer),
            _ => {
                ignored.insert(name.escape_debug().to_string());
                if ignored.len() > MAX_IGNORED {
                    ignored.pop_last();
                    found.omitted += 1;
                }
            }
        }
    })?;
    found.writers.sort_unstable();
    found.ignored = ignored.into_iter().collect();
    Ok(found)
}

/// Lists a writer's segments in the order of their records. For a while after a rename an NFS client can show a segment under
/// both of its names: it is listed once, as sealed.
///
/// # Errors
/// When the directory can't be listed; a writer without one has no segments.
pub fn segments(system: &System, share: &Share, writer: &WriterId) -> Result<Vec<SegmentName>, ReaderError> {
    segments_in(system, &share.layout.writer(writer))
}

pub(crate) fn segments_in(system: &System, directory: &Path) -> Result<Vec<SegmentName>, ReaderError> {
    let mut names = Vec::new();
    // Also what is no file: a directory with a segment's name is damage, not something to overlook. Whatever else there is, and however
    // much, is never in memory.
    let listed = system.disk.each_entry(directory, &mut |entry| {
        names.extend(entry.name.to_str().and_then(SegmentName::parse));
    });
    match listed {
        Err(error) if error.is_missing() => return Ok(Vec::new()),
        other => other?,
    }
    names.sort_unstable_by_key(|name| (name.id, !name.sealed));
    names.dedup_by_key(|name| name.id);
    Ok(names)
}

/// The two paths a segment can have; the one in its listed name first.
pub(crate) fn paths(directory: &Path, id: SegmentId, sealed: bool) -> [PathBuf; 2] {
    [sealed, !sealed].map(|sealed| directory.join(SegmentName { id, sealed }.file_name()))
}
