//! One segment, opened and checked to be what its name says.

use std::path::{Path, PathBuf};

use zoutbox_format::header::HEADER_LENGTH;
use zoutbox_format::layout::SegmentName;
use zoutbox_format::scan::read_full;
use zoutbox_format::{SegmentHeader, WriterId};
use zoutbox_storage::{DiskFile, OpenMode, Share, StorageError, System};

use crate::damage::DamageReason;
use crate::discover::paths;
use crate::error::ReaderError;

/// An open segment with a sound header.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) header: SegmentHeader,
}

/// What came of opening a segment.
#[derive(Debug)]
pub(crate) enum Opened {
    Sound(Segment),
    /// It is there and can't be used.
    Unusable {
        path: PathBuf,
        reason: DamageReason,
    },
    /// It is not there any more.
    Vanished,
}

/// Opens a segment read-only under whichever of its names it has now.
pub(crate) fn open(
    system: &System,
    share: &Share,
    directory: &Path,
    name: SegmentName,
    writer: &WriterId,
) -> Result<Opened, ReaderError> {
    for path in paths(directory, name.id, name.sealed) {
        let file = match system.disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.is_missing() => continue,
            Err(StorageError::NotAFile { path, .. }) => {
                return Ok(Opened::Unusable { path, reason: DamageReason::Foreign });
            }
            Err(error) => return Err(error.into()),
        };
        // Asks the server, so that a length cached before this host last looked is not believed.
        DiskFile::metadata(&*file)?;
        let mut bytes = [0; HEADER_LENGTH];
        let length = read_full(&*file, &mut bytes, 0)?;
        let header = SegmentHeader::decode(bytes.get(..length).unwrap_or_default());
        return Ok(match header {
            Ok(header) if header.share != share.id || header.writer != *writer || header.id != name.id => {
                Opened::Unusable { path, reason: DamageReason::Foreign }
            }
            Ok(header) => Opened::Sound(Segment { file, header }),
            Err(reason) => Opened::Unusable { path, reason: DamageReason::Header(reason) },
        });
    }
    Ok(Opened::Vanished)
}
