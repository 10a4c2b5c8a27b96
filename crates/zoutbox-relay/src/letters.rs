//! What dead letters hold: the segment that a pointer in one leads into, or the large payload that a record in one names.
//!
//! A letter stands for something that nobody has got yet. As long as it lies in `dead/<writer>/`, what it leads to must stay; whoever
//! takes the letter away lets it go.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::Deserialize;
use zoutbox_format::layout::parse_dead_letter_name;
use zoutbox_format::payload::{CRC_HEADER, PATH_HEADER, PayloadError, SIZE_HEADER};
use zoutbox_format::{Epoch, PayloadName, PayloadReference, SegmentId, Sequence, WriterId};
use zoutbox_relay_core::Need;
use zoutbox_storage::{DiskFile, OpenMode, Share, StorageError, System};

use crate::references::Print;

/// So many letters of a writer are known by heart, in some megabytes.
const MAX_LETTERS: usize = 256 * 1024;
/// So many are read at a look; the others at the next ones.
const READ_AT_ONCE: usize = 4096;
/// No letter is longer, in bytes: a record of 16 MiB, each byte of which JSON may have to write as six.
const MAX_LETTER: u64 = 128 * 1024 * 1024;

type Name = (Epoch, Sequence);

/// The dead letters of one writer, as far as they hold something. A letter that is written again says the same, so that each is
/// read once.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    holding: BTreeMap<Name, Holds>,
    /// Those that hold nothing.
    idle: BTreeSet<Name>,
    payloads: BTreeSet<Print>,
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// All were read.
    #[default]
    Known,
    /// Some are still to be read.
    Reading,
    /// What some hold can't be known, and why.
    Unknown(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Holds {
    segment: Option<SegmentId>,
    payload: Option<Print>,
}

impl Letters {
    /// Takes in what lies there now.
    ///
    /// # Errors
    /// When the directory is there and can't be listed. A letter that can't be read is no error: it holds everything.
    pub(crate) fn look(
        &mut self,
        system: &System,
        share: &Share,
        writer: &WriterId,
    ) -> Result<(), StorageError> {
        let names = match list(system, share, writer) {
            Err(error) if error.is_missing() => BTreeSet::new(),
            other => other?,
        };
        self.holding.retain(|name, _| names.contains(name));
        self.idle.retain(|name| names.contains(name));
        if names.len() > MAX_LETTERS {
            let what = format!("there are {} dead letters, more than can be looked at", names.len());
            self.state = State::Unknown(what);
            return Ok(());
        }
        let is_new = |name: &&Name| !self.holding.contains_key(*name) && !self.idle.contains(*name);
        let new: Vec<Name> = names.iter().filter(is_new).copied().collect();
        self.state = if new.len() > READ_AT_ONCE { State::Reading } else { State::Known };
        for name in new.into_iter().take(READ_AT_ONCE) {
            match read(system, share, writer, name) {
                Ok(None) => {}
                Ok(Some(holds)) if holds == Holds::default() => {
                    self.idle.insert(name);
                }
                Ok(Some(holds)) => {
                    self.holding.insert(name, holds);
                }
                // The first one is told. It is tried again at the next look.
                Err(_) if matches!(self.state, State::Unknown(_)) => {}
                Err(what) => self.state = State::Unknown(what),
            }
        }
        self.payloads = self.holding.values().filter_map(|holds| holds.payload).collect();
        Ok(())
    }

    /// Whether it is known what they hold.
    pub(crate) fn are_known(&self) -> bool {
        self.state == State::Known
    }

    /// Why that can't be known, if a person has to do something about it.
    pub(crate) fn trouble(&self) -> Option<&str> {
        match &self.state {
            State::Unknown(what) => Some(what),
            State::Known | State::Reading => None,
        }
    }

    /// Which segments they hold.
    pub(crate) fn need(&self) -> Need {
        let mut need = if self.are_known() { Need::nothing() } else { Need::everything() };
        self.holding.values().filter_map(|holds| holds.segment).for_each(|segment| need.hold(segment));
        need
    }

    /// Whether one of them holds this payload, as far as they are known.
    pub(crate) fn hold(&self, payload: &PayloadName) -> bool {
        self.payloads.contains(&Print::of(payload))
    }
}

fn list(system: &System, share: &Share, writer: &WriterId) -> Result<BTreeSet<Name>, StorageError> {
    let entries = system.disk.list(&share.layout.dead(writer))?;
    Ok(entries.iter().filter_map(|entry| parse_dead_letter_name(entry.name.to_str()?)).collect())
}

#[derive(Deserialize)]
struct LetterJson {
    #[serde(default)]
    pointer: Option<PointerJson>,
    #[serde(default)]
    record: Option<RecordJson>,
}

#[derive(Deserialize)]
struct PointerJson {
    writer: String,
    epoch: u64,
    segment_first: u64,
}

#[derive(Deserialize)]
struct RecordJson {
    #[serde(default)]
    headers: HeadersJson,
}

/// Those of its headers that matter here.
#[derive(Deserialize, Default)]
struct HeadersJson {
    #[serde(rename = "zoutbox-payload-path")]
    path: Option<String>,
    #[serde(rename = "zoutbox-payload-size")]
    size: Option<String>,
    #[serde(rename = "zoutbox-payload-crc")]
    crc: Option<String>,
}

/// `None` if it is not there any more; why it can't be understood as an error.
fn read(system: &System, share: &Share, writer: &WriterId, name: Name) -> Result<Option<Holds>, String> {
    let file_name = zoutbox_format::layout::dead_letter_name(name.0, name.1);
    let path = share.layout.dead(writer).join(file_name);
    let unknown = |why: String| format!("nobody knows what dead letter {} holds: {why}", path.display());
    let opened = system.disk.open(&path, OpenMode::Read);
    let file = match opened {
        Err(error) if error.is_missing() => return Ok(None),
        other => other.map_err(|error| unknown(error.to_string()))?,
    };
    let length = DiskFile::metadata(&*file).map_err(|error| unknown(error.to_string()))?.length;
    if length > MAX_LETTER {
        return Err(unknown(format!("it is {length} bytes long")));
    }
    // As a stream: the payload of the record in it is passed over, and never in memory.
    let stream = io::BufReader::with_capacity(64 * 1024, Stream { file: &*file, offset: 0 });
    let letter: LetterJson = serde_json::from_reader(stream).map_err(|error| unknown(error.to_string()))?;
    letter.holds(writer).map(Some).map_err(|why| unknown(why.into()))
}

impl LetterJson {
    fn holds(&self, writer: &WriterId) -> Result<Holds, &'static str> {
        if self.pointer.is_none() && self.record.is_none() {
            return Err("it has neither a record nor a pointer");
        }
        let segment = self.pointer.as_ref().map(|pointer| pointer.segment(writer)).transpose()?;
        let payload = self.record.as_ref().map(|record| record.headers.payload()).transpose();
        let payload = payload.map_err(|_| "its record does not name its large payload as it must")?.flatten();
        Ok(Holds { segment, payload: payload.map(|reference| Print::of(&reference.name)) })
    }
}

impl PointerJson {
    fn segment(&self, writer: &WriterId) -> Result<SegmentId, &'static str> {
        if self.writer != writer.as_str() || self.epoch == 0 || self.segment_first == 0 {
            return Err("its pointer leads to no segment of this writer");
        }
        let (epoch, first_sequence) = (Epoch::new(self.epoch), Sequence::new(self.segment_first));
        Ok(SegmentId { epoch, first_sequence })
    }
}

impl HeadersJson {
    fn payload(&self) -> Result<Option<PayloadReference>, PayloadError> {
        PayloadReference::from_headers(|name| match name {
            PATH_HEADER => self.path.as_deref(),
            SIZE_HEADER => self.size.as_deref(),
            CRC_HEADER => self.crc.as_deref(),
            _ => None,
        })
    }
}

/// A file from its beginning to its end.
struct Stream<'a> {
    file: &'a dyn DiskFile,
    offset: u64,
}

impl io::Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset).map_err(io::Error::other)?;
        self.offset += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
