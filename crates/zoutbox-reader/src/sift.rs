//! Every sound record of one segment, whatever its place in the log.
//!
//! A [`crate::Tail`] follows the log: it passes by what nobody was promised, and gives no record twice. Who removes things must know of
//! more: of every record that anybody may ever read from this file again, be it a copy, or one behind damage.

use std::ops::ControlFlow;
use std::path::PathBuf;

use zoutbox_format::layout::SegmentName;
use zoutbox_format::{Gap, InvalidFrame, RecordRef, Scanner, Sequence, Step, WriterId};
use zoutbox_storage::{DiskFile, Share, StorageError, System};

use crate::damage::DamageReason;
use crate::discover::segments_in;
use crate::error::ReaderError;
use crate::segment::{Opened, Segment, open};

/// So many later segments are asked where one ended. It is the next one, unless that was abandoned.
const ASKED: usize = 3;

/// A segment, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub directory: PathBuf,
    /// Its name there.
    pub name: SegmentName,
}

/// A place within a segment from which on it can be read again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    offset: u64,
    next_sequence: Sequence,
}

/// What came of reading a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sifted {
    /// It is not there any more.
    Vanished,
    /// It is there, and nothing of it can be read.
    Unusable(DamageReason),
    /// It was left before its end was reached.
    Left {
        /// Behind the last record that was given out.
        mark: Mark,
    },
    /// Its sound records were given out.
    Read {
        /// In front of the first place where there was no record: from there it can go on when more may have come.
        mark: Mark,
        /// Whether those were all; else some are damaged.
        whole: bool,
        /// Whether it has a part that only a newer zoutbox can read.
        newer: bool,
    },
}

/// The segments of a writer in its directory and in its archive, in their order. One that shows in both is listed where the writer
/// had it, and may be in the other place.
///
/// # Errors
/// When a directory is there and can't be listed.
pub fn places(system: &System, share: &Share, writer: &WriterId) -> Result<Vec<Place>, ReaderError> {
    let mut places = Vec::new();
    // The archive last: what is moved there between the two looks is then seen at least once.
    for directory in [share.layout.writer(writer), share.layout.archive(writer)] {
        let names = segments_in(system, &directory)?;
        places.extend(names.into_iter().map(|name| Place { directory: directory.clone(), name }));
    }
    places.sort_by_key(|place| (place.name.id, place.directory != share.layout.writer(writer)));
    places.dedup_by_key(|place| place.name.id);
    Ok(places)
}

/// Gives out the records of a segment: all of them, or those behind a mark, until `each` breaks it off. `later` are the segments that
/// follow, as far as they are known. Holds one record at a time.
///
/// A frame whose body is no record is left out: nobody can read it.
///
/// # Errors
/// When the share can't be read.
pub fn sift(
    system: &System,
    share: &Share,
    writer: &WriterId,
    place: &Place,
    later: &[Place],
    from: Option<Mark>,
    mut each: impl FnMut(&RecordRef<'_>) -> ControlFlow<()>,
) -> Result<Sifted, ReaderError> {
    let look = |place: &Place| open(system, share, &place.directory, place.name, writer);
    let Segment { file, header } = match look(place)? {
        Opened::Sound(segment) => segment,
        Opened::Unusable { reason, .. } => return Ok(Sifted::Unusable(reason)),
        Opened::Vanished => return Ok(Sifted::Vanished),
    };
    let mut scanner = match from {
        Some(mark) => Scanner::new(&header, mark.offset, mark.next_sequence),
        None => Scanner::from_start(&header),
    };
    let mut durable = place.name.sealed;
    for later in later.iter().take(ASKED) {
        if let Opened::Sound(Segment { header: next, .. }) = look(later)?
            && let Some(previous) = next.previous.filter(|previous| previous.id == header.id)
        {
            scanner.close_at(previous.end_offset);
            durable = true;
            break;
        }
    }
    // What was visible may have grown before the later ones were made. Who does not see a record may remove what it leads to, so attributes
    // that tell of no change are not believed.
    if !place.name.sealed {
        file.forget_cached()?;
    }
    DiskFile::metadata(&*file)?;
    match records(&mut scanner, &*file, durable, &mut each) {
        Err(error) if error.is_missing() => Ok(Sifted::Vanished),
        other => Ok(other?),
    }
}

fn records(
    scanner: &mut Scanner,
    file: &dyn DiskFile,
    durable: bool,
    each: &mut impl FnMut(&RecordRef<'_>) -> ControlFlow<()>,
) -> Result<Sifted, StorageError> {
    let (mut mark, mut whole, mut newer, mut looked_again) = (None, true, false, false);
    loop {
        let ended = match scanner.step(file)? {
            Step::Record(frame) => {
                let go_on =
                    RecordRef::decode(frame.body).map_or(ControlFlow::Continue(()), |record| each(&record));
                if go_on.is_break() {
                    return Ok(Sifted::Left { mark: here(scanner) });
                }
                looked_again = false;
                continue;
            }
            Step::Sealed(_) | Step::End => true,
            Step::Invalid(InvalidFrame::Kind(_)) => {
                newer = true;
                false
            }
            Step::Unwritten | Step::Partial | Step::Invalid(_) => false,
        };
        if ended {
            let mark = mark.unwrap_or(here(scanner));
            return Ok(Sifted::Read { mark, whole, newer });
        }
        let gap = scanner.classify_gap(file, durable)?;
        if !durable && !looked_again && matches!(gap, Gap::Damaged { .. }) {
            // Commits that were made between the two looks look like that; the first of them is visible by now.
            looked_again = true;
            file.metadata()?;
            continue;
        }
        let mark = *mark.get_or_insert(here(scanner));
        match gap {
            Gap::Damaged { resume_offset, resume_sequence } => {
                whole = false;
                scanner.resume(resume_offset, resume_sequence);
            }
            Gap::Torn => return Ok(Sifted::Read { mark, whole: whole && !durable, newer }),
            Gap::Unresolved => return Ok(Sifted::Read { mark, whole: false, newer }),
        }
    }
}

const fn here(scanner: &Scanner) -> Mark {
    Mark { offset: scanner.offset(), next_sequence: scanner.next_sequence() }
}
