//! What is checked of a segment besides its records: the seal at its end, and its link to the segment before it. Neither costs a
//! record while the rest is sound, so the reader passes over it; an operator wants to know.

use std::path::PathBuf;

use zoutbox_format::frame::{SEAL_LENGTH, Seal, parse};
use zoutbox_format::header::HEADER_LENGTH;
use zoutbox_format::layout::SegmentName;
use zoutbox_format::scan::read_full;
use zoutbox_format::{FrameKind, Parsed, SegmentHeader, SegmentId, WriterId};
use zoutbox_storage::{DiskFile, OpenMode, Share, StorageError, System};

use crate::finding::locate;

/// What was found.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) path: PathBuf,
    /// Why its link is wrong, if it is.
    pub(super) link: Option<String>,
    /// Where its seal is wrong, if it is, and why.
    pub(super) seal: Option<(u64, &'static str)>,
}

/// Looks at a segment whose listed neighbour is `before`; what lies in front of `reclaimed` may have been removed. A header that can't be read is left to the reader to tell.
pub(super) fn check(
    system: &System,
    share: &Share,
    writer: &WriterId,
    name: SegmentName,
    before: Option<SegmentId>,
    reclaimed: Option<SegmentId>,
) -> Result<Checked, StorageError> {
    let path = locate(system, share, writer, name.id);
    let file = system.disk.open(&path, OpenMode::Read)?;
    let mut bytes = [0; HEADER_LENGTH];
    let length = read_full(&*file, &mut bytes, 0)?;
    let Ok(header) = SegmentHeader::decode(bytes.get(..length).unwrap_or_default()) else {
        return Ok(Checked { path, link: None, seal: None });
    };
    // By the name it has now: it may have been sealed since it was listed.
    let sealed =
        path.file_name().and_then(|name| SegmentName::parse(name.to_str()?)).is_some_and(|n| n.sealed);
    let seal = if sealed { bad_seal(&*file, &header)? } else { None };
    Ok(Checked { link: bad_link(&header, before, reclaimed), path, seal })
}

/// The oldest segment may name one that was reclaimed, and any may name an older one than its neighbour, which then is in nobody's
/// log; and of what was published single ones may be kept in the archive. But none may name nothing, or what was never there.
fn bad_link(
    header: &SegmentHeader,
    before: Option<SegmentId>,
    reclaimed: Option<SegmentId>,
) -> Option<String> {
    let before = before?;
    match header.previous {
        None => Some(format!("the header names no segment before it, but {before} is there")),
        Some(previous) if previous.id > before && reclaimed.is_none_or(|end| previous.id >= end) => {
            Some(format!("the header names segment {} before it, which is not there", previous.id))
        }
        Some(_) => None,
    }
}

/// A sealed segment ends with its seal to the byte.
fn bad_seal(
    file: &(dyn DiskFile + 'static),
    header: &SegmentHeader,
) -> Result<Option<(u64, &'static str)>, StorageError> {
    let length = file.metadata()?.length;
    let offset = length.saturating_sub(SEAL_LENGTH).max(HEADER_LENGTH as u64);
    let mut bytes = vec![0; usize::try_from(SEAL_LENGTH).unwrap_or_default()];
    let read = read_full(file, &mut bytes, offset)?;
    let frame = match parse(bytes.get(..read).unwrap_or_default(), header.crc_seed()) {
        Parsed::Frame(frame) if frame.kind == FrameKind::Seal => frame,
        _ => return Ok(Some((offset, "the segment does not end with a seal, as its name says"))),
    };
    let records = frame.sequence.get().saturating_sub(header.id.first_sequence.get());
    let sound = Seal::decode(frame.body).is_some_and(|seal| seal == Seal { records, offset });
    Ok((!sound).then_some((offset, "the seal does not fit its segment")))
}
