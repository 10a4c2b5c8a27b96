//! What is checked of a large payload that a record names: that it is there, of its writer, of the size and CRC that the record says.

use crc32fast::Hasher;
use zoutbox_format::{PayloadReference, WriterId};
use zoutbox_storage::{DiskFile, FileKind, OpenMode, Share, StorageError, System};

use crate::view::absent_is_none;

/// How much is read at a time, in bytes.
const PIECE: usize = 1024 * 1024;

/// What is wrong with it; `None` if nothing is.
pub(super) fn check(
    system: &System,
    share: &Share,
    writer: &WriterId,
    large: &PayloadReference,
) -> Result<Option<String>, StorageError> {
    if large.name.writer() != writer {
        return Ok(Some(format!("the large payload is of writer {}", large.name.writer())));
    }
    let path = share.layout.payload(&large.name);
    let root = share.layout.root();
    let mut above: Vec<_> = path.ancestors().skip(1).take_while(|above| *above != root).collect();
    above.reverse();
    // Also so that the server is asked for the names in each of them.
    for directory in above {
        match absent_is_none(system.disk.metadata(directory))?.map(|metadata| metadata.kind) {
            Some(FileKind::Directory) => {}
            Some(found) => return Ok(Some(format!("{} is {found}, not a directory", directory.display()))),
            None => return Ok(Some(missing())),
        }
    }
    let file = match absent_is_none(system.disk.open(&path, OpenMode::Read)) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(Some(missing())),
        Err(StorageError::NotAFile { found, .. }) => {
            return Ok(Some(format!("the large payload is {found}, not a file")));
        }
        Err(error) => return Err(error),
    };
    match absent_is_none(content(&*file, large))? {
        Some(wrong) => Ok(wrong),
        None => Ok(Some(missing())),
    }
}

fn missing() -> String {
    "the large payload is missing".into()
}

fn content(file: &dyn DiskFile, large: &PayloadReference) -> Result<Option<String>, StorageError> {
    let length = file.metadata()?.length;
    if length != large.size {
        return Ok(Some(format!("the large payload has {length} bytes, its record says {}", large.size)));
    }
    let (mut crc, mut offset) = (Hasher::new(), 0_u64);
    let mut buffer = vec![0; PIECE];
    loop {
        let count = file.read_at(&mut buffer, offset)?;
        if count == 0 {
            break;
        }
        crc.update(buffer.get(..count).unwrap_or_default());
        offset = offset.saturating_add(count as u64);
    }
    let crc = crc.finalize();
    let wrong = || format!("CRC of the large payload is {crc:08x}, its record says {:08x}", large.crc);
    Ok((crc != large.crc).then(wrong))
}
