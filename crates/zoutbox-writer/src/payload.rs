//! Large payloads: bytes that lie in a file of their own before their record is appended.
//!
//! ```text
//!   input ─▶ at most the threshold ─────────────────────────────────────────────▶ a record with its payload in it
//!         └▶ more:
//!   new    <id>.<random>.tmp made, locked ─▶ written, CRC on the way ─▶ sync ─▶ rename to <id> ─▶ sync directory ─▶ append
//!   again  <id> is there: linked to <id>.<random>.tmp, locked ─▶ input measured ─▶ <id> still there? ─▶ sync directory ─▶ append
//!                                                                ─▶ durable ─▶ <id> still there? ─▶ .tmp removed ─▶ ticket
//! ```
//!
//! **Nothing half-made is ever taken for a payload**: a file has a payload's name only when all of its bytes are durable, and a record
//! names it only when the name is. A crash leaves a `.tmp`, which nobody reads and a sweeper removes.
//!
//! **An id names one payload for ever.** A file of that id is never replaced, written to, or read: only its size is compared with
//! what came. The input is read through all the same, since the record needs its size and CRC.
//!
//! # Against a sweeper
//!
//! A finished file that no record names may have been left by a crash, or its record may be on its way. A sweeper that takes it for
//! the first must not get between file and record:
//!
//! ```text
//!   writer                                          sweeper
//!   lock the file                                   rename <id> to <id>.swept, sync directory
//!   is it <id>? else make it so                     lock it; held by somebody ─▶ give it back
//!   append its record                               look through the log: a record names it ─▶ give it back
//!   … the record has its outcome: unlock            remove it
//! ```
//!
//! Whichever locks second sees what the other did: the sweeper that gets the lock after the writer finds the record in the log, and
//! the writer that gets it after the sweeper finds the name gone. The lock is held by the open file, so that it ends with the process
//! that would append, or with its NFS lease, and with that the lock on its segment. A file that was found again has one more name while
//! the writer needs it, the `.tmp`: so even when a sweeper removed it, and did not look at locks, the writer gives the name back before
//! it acknowledges the record.
//!
//! No threads and no waiting but for a lock: a simulator steps the same code.

mod hours;
mod stream;
mod temporary;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zoutbox_format::layout::{Layout, TEMPORARY_SUFFIX};
use zoutbox_format::{Hour, PayloadName, PayloadReference, Record, WriterId};
use zoutbox_storage::{DiskFile, FileKind, OpenMode, Share, StorageError, System};

use crate::error::WriterError;
use crate::options::Options;
use hours::Hours;
use stream::{Measured, Stream};
use temporary::{Held, Temporary};

const HOUR_MS: u64 = 3_600_000;
/// So many hours back a payload is looked for whose record has an id and no time of its own.
const HOURS_BACK: u64 = 24;
/// How long a file may stay locked by somebody else.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
/// How often the same thing is tried that somebody else undid.
const ATTEMPTS: usize = 10;

/// One writer's large payloads.
#[derive(Debug)]
pub(crate) struct Payloads {
    system: System,
    layout: Layout,
    writer: WriterId,
    threshold: u64,
    min_free_space: u64,
    /// The most that is written at a time, in bytes.
    piece: usize,
    hours: Hours,
    /// Held from looking whether a name is free until it is taken.
    naming: Mutex<()>,
}

/// Where the bytes are that came.
pub(crate) enum Placed {
    /// In the record.
    Inline(Record),
    /// In a file that was made for them.
    New(New),
    /// In a file that was there before.
    Again(Again),
}

/// A payload in a new file.
pub(crate) struct New {
    /// The record that names it, encoded.
    pub(crate) body: Vec<u8>,
    /// To be kept open until the record has its outcome: it has the lock.
    pub(crate) file: Box<dyn DiskFile>,
    /// The file, if nobody else will ever look for it: its id is random.
    pub(crate) nobody_elses: Option<PathBuf>,
}

/// A payload in a file that was there. To be kept, and confirmed, until its record has its outcome.
pub(crate) struct Again {
    pub(crate) body: Vec<u8>,
    pub(crate) path: PathBuf,
    size: u64,
    held: Held,
}

/// A file with the record's payload in it, under its name.
enum Named {
    New(Box<dyn DiskFile>),
    Again(Held),
}

/// A payload's name, and the time of its record.
struct Place {
    name: PayloadName,
    path: PathBuf,
    at_ms: u64,
}

impl Payloads {
    /// `write_size` is what the mount says of it.
    pub(crate) fn new(
        system: &System,
        share: &Share,
        writer: &WriterId,
        options: &Options,
        write_size: Option<u64>,
    ) -> Self {
        Self {
            system: system.clone(),
            layout: share.layout.clone(),
            writer: writer.clone(),
            threshold: options.payload_threshold,
            min_free_space: options.min_free_space,
            piece: stream::piece(write_size),
            hours: Hours::new(system, &share.layout),
            naming: Mutex::new(()),
        }
    }

    /// Puts what comes where it belongs. After an error nothing of it is there but what a sweeper removes, or what a retry finds.
    pub(crate) fn place(&self, record: &Record, mut input: &mut dyn Read) -> Result<Placed, WriterError> {
        let now_ms = self.system.clock.now_ms();
        let id = record.id.clone().map_or_else(|| self.random_id(), Ok)?;
        let place = self.at(&id, record.timestamp_ms.unwrap_or(now_ms))?;
        // Whatever is wrong with the record, before anything is read or written.
        encode(record, &place, Measured { size: u64::MAX, crc: u32::MAX })?;
        let mut first = Vec::new();
        let most = self.threshold.saturating_add(1);
        (&mut input).take(most).read_to_end(&mut first).map_err(stream::unreadable)?;
        if first.len() as u64 <= self.threshold {
            return Ok(Placed::Inline(Record { payload: first, ..record.clone() }));
        }
        let mut input = first.as_slice().chain(input);
        let found = if record.id.is_some() { self.find(record, &id, now_ms)? } else { None };
        if let Some((place, held)) = found {
            let measured = stream::measure(&mut input, self.piece)?;
            return self.settled(record, place, measured, Named::Again(held));
        }
        let (held, measured) = self.write(&place, &mut input)?;
        let named = self.name(&place, held)?;
        self.settled(record, place, measured, named)
    }

    /// The name is there and leads to what came: makes it durable, and the record that names it.
    fn settled(
        &self,
        record: &Record,
        place: Place,
        measured: Measured,
        named: Named,
    ) -> Result<Placed, WriterError> {
        let body = encode(record, &place, measured)?;
        match named {
            Named::New(file) => {
                let synced = self.system.disk.sync_dir(directory(&place.path));
                let new = New { body, file, nobody_elses: record.id.is_none().then_some(place.path) };
                match synced {
                    Ok(()) => Ok(Placed::New(new)),
                    Err(error) => {
                        self.discard(new.nobody_elses);
                        Err(error.into())
                    }
                }
            }
            Named::Again(held) => {
                let found = held.file.metadata()?.length;
                if found != measured.size {
                    let given = measured.size;
                    return Err(WriterError::OtherPayload { path: place.path, found, given });
                }
                let again = Again { body, path: place.path, size: found, held };
                self.confirm(&again)?;
                // Whoever gave it its name may have died before that was durable.
                self.system.disk.sync_dir(directory(&again.path))?;
                Ok(Placed::Again(again))
            }
        }
    }

    /// Sees to it that the name leads to a file of that size: a sweeper may have taken it away.
    pub(crate) fn confirm(&self, again: &Again) -> Result<(), WriterError> {
        let disk = &self.system.disk;
        for _ in 0..ATTEMPTS {
            match self.size(&again.path)? {
                Some(found) if found == again.size => return Ok(()),
                Some(found) => {
                    let (path, given) = (again.path.clone(), again.size);
                    return Err(WriterError::OtherPayload { path, found, given });
                }
                None => match disk.link(again.held.path(), &again.path) {
                    Ok(()) => disk.sync_dir(directory(&again.path))?,
                    // Given back in between.
                    Err(error) if is_taken(&error) => {}
                    Err(error) => return Err(error.into()),
                },
            }
        }
        Err(busy(&again.path))
    }

    /// There will be no record of a [new](New) payload: removes it, if nobody will ever look for it.
    pub(crate) fn discard(&self, nobody_elses: Option<PathBuf>) {
        if let Some(path) = nobody_elses
            && let Err(error) = self.system.disk.remove_file(&path)
        {
            tracing::debug!(path = %path.display(), %error, "a payload without a record is left for the sweeper");
        }
    }

    fn at(&self, id: &str, at_ms: u64) -> Result<Place, WriterError> {
        let name = PayloadName::new(self.writer.clone(), Hour::of(at_ms), id)?;
        let path = self.layout.payload(&name);
        Ok(Place { name, path, at_ms })
    }

    fn random_id(&self) -> Result<String, StorageError> {
        let mut bytes = [0; 16];
        self.system.entropy.fill(&mut bytes)?;
        Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
    }

    /// Looks for a finished file of this id: where the record's time says, or from this hour back.
    fn find(&self, record: &Record, id: &str, now_ms: u64) -> Result<Option<(Place, Held)>, WriterError> {
        let (from_ms, hours_back) = record.timestamp_ms.map_or((now_ms, HOURS_BACK), |at_ms| (at_ms, 0));
        for back in 0..=hours_back {
            let place = self.at(id, from_ms.saturating_sub(back * HOUR_MS))?;
            if self.size(&place.path)?.is_some()
                && let Some(held) = self.adopt(&place)?
            {
                return Ok(Some((place, held)));
            }
        }
        Ok(None)
    }

    /// Takes a file that is there: with a name of our own, and the lock. `None` if it has gone.
    fn adopt(&self, place: &Place) -> Result<Option<Held>, WriterError> {
        let disk = &self.system.disk;
        let temporary = self.temporary(place)?;
        let linked =
            self.hours.within(directory(&place.path), || match disk.link(&place.path, temporary.path()) {
                Err(error) if error.is_missing() => Ok(false),
                other => other.map(|()| true),
            })?;
        if !linked {
            return Ok(None);
        }
        let file = match disk.open(temporary.path(), OpenMode::Write) {
            Err(error) if error.is_missing() => return Ok(None),
            other => other?,
        };
        self.lock(place, file, temporary)
    }

    /// Makes a file for what comes, durable but for its name.
    fn write(&self, place: &Place, input: &mut dyn Read) -> Result<(Held, Measured), WriterError> {
        let held = self.create(place)?;
        let stream = Stream {
            disk: &*self.system.disk,
            directory: directory(&place.path),
            file: &*held.file,
            min_free_space: self.min_free_space,
        };
        let measured = stream.write(input, self.piece)?;
        Ok((held, measured))
    }

    fn create(&self, place: &Place) -> Result<Held, WriterError> {
        for _ in 0..ATTEMPTS {
            let temporary = self.temporary(place)?;
            let create = || self.system.disk.open(temporary.path(), OpenMode::CreateNew);
            let file = self.hours.within(directory(&place.path), create)?;
            if let Some(held) = self.lock(place, file, temporary)? {
                return Ok(held);
            }
        }
        Err(busy(&place.path))
    }

    /// Locks a file under its temporary name; `None` if a sweeper that looked at it before has removed that.
    fn lock(
        &self,
        place: &Place,
        file: Box<dyn DiskFile>,
        temporary: Temporary,
    ) -> Result<Option<Held>, WriterError> {
        let held = Held { file, temporary };
        let clock = &self.system.clock;
        let start = clock.monotonic();
        while !held.file.try_lock()? {
            if clock.monotonic().saturating_sub(start) >= PATIENCE {
                return Err(busy(&place.path));
            }
            clock.sleep(POLL);
        }
        Ok(self.size(held.path())?.is_some().then_some(held))
    }

    /// Gives a written file its name, or takes the one that has the name by now.
    fn name(&self, place: &Place, held: Held) -> Result<Named, WriterError> {
        let mut held = held;
        for _ in 0..ATTEMPTS {
            match self.rename(place, held)? {
                Ok(file) => return Ok(Named::New(file)),
                Err(unnamed) => held = unnamed,
            }
            if let Some(other) = self.adopt(place)? {
                return Ok(Named::Again(other));
            }
        }
        Err(busy(&place.path))
    }

    /// Renames a file if its name is free, and gives it back if not. Only this process names files of this writer.
    fn rename(&self, place: &Place, held: Held) -> Result<Result<Box<dyn DiskFile>, Held>, WriterError> {
        let _alone = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        if self.size(&place.path)?.is_some() {
            return Ok(Err(held));
        }
        if let Err(error) = self.system.disk.rename(held.path(), &place.path) {
            // Over NFS an error can mean that only the answer was lost: see what is there.
            match self.size(&place.path) {
                Ok(Some(_)) => {}
                _ => return Err(error.into()),
            }
        }
        Ok(Ok(held.renamed()))
    }

    /// The size of a file, as the server has it; `None` if there is none. The directory is asked first: what is known of its names
    /// may be half a minute old.
    fn size(&self, path: &Path) -> Result<Option<u64>, StorageError> {
        let disk = &self.system.disk;
        match disk.metadata(directory(path)).and_then(|_| disk.metadata(path)) {
            Ok(found) if found.kind == FileKind::File => Ok(Some(found.length)),
            Ok(found) => Err(StorageError::NotAFile { path: path.to_owned(), found: found.kind }),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn temporary(&self, place: &Place) -> Result<Temporary, StorageError> {
        let name = format!("{}.{:016x}{TEMPORARY_SUFFIX}", place.name.id(), self.system.random()?);
        Ok(Temporary::new(Arc::clone(&self.system.disk), place.path.with_file_name(name)))
    }
}

fn busy(path: &Path) -> WriterError {
    WriterError::PayloadBusy { path: path.to_owned() }
}

fn encode(record: &Record, place: &Place, measured: Measured) -> Result<Vec<u8>, WriterError> {
    let Measured { size, crc } = measured;
    let reference = PayloadReference { name: place.name.clone(), size, crc };
    let mut body = Vec::new();
    record.borrowed(place.at_ms).encode_with(&reference, &mut body)?;
    Ok(body)
}

/// A payload's path always has one.
fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn is_taken(error: &StorageError) -> bool {
    matches!(error, StorageError::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists)
}
