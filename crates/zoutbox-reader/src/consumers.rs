//! The consumers that registered on a share, as their files lie there. A file that can't be understood is a result, not an error: what
//! to do about it (hold everything, never guess) is the relay's to decide.

use zoutbox_format::layout::TEMPORARY_SUFFIX;
use zoutbox_format::progress::{MAX_PROGRESS_LENGTH, ProgressError};
use zoutbox_format::{Progress, WriterId};
use zoutbox_storage::{Share, StorageError, System};

use crate::error::ReaderError;

/// So many files are read at most, the first ones in the order of their names.
pub const MAX_CONSUMERS: usize = 1024;
/// And so many bytes of them, all together.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What lies below `consumers/`.
#[derive(Debug, Default)]
pub struct Registered {
    /// The consumers, in the order of their names.
    pub consumers: Vec<Consumer>,
    /// How many files were left out, since there are too many or they are too large together.
    pub omitted: usize,
}

/// A file below `consumers/`.
#[derive(Debug)]
pub struct Consumer {
    /// Its name, made printable.
    pub name: String,
    /// What it says.
    pub found: Result<Progress, BadProgress>,
}

/// Why a consumer's file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BadProgress {
    /// Its bytes are not sound, or are newer.
    #[error(transparent)]
    Content(#[from] ProgressError),
    /// It is of another share.
    #[error("it is of another share")]
    Foreign,
    /// Its name has not the form of a writer id, so it is no consumer's.
    #[error("it has no consumer's name (1 to 64 characters, a-z 0-9 . _ -, the first one a letter or digit)")]
    Name,
    /// It could not be read.
    #[error(transparent)]
    Unreadable(#[from] StorageError),
}

/// Reads what consumers say. Files whose names start with a dot or end in `.tmp` are nobody's yet.
///
/// # Errors
/// When the directory is there and can't be listed.
pub fn consumers(system: &System, share: &Share) -> Result<Registered, ReaderError> {
    let entries = match system.disk.list(&share.layout.consumers()) {
        // Nobody ever registered; but a share that is gone says nothing of the kind.
        Err(error) if error.is_missing() => {
            Share::open(system, share.layout.root())?;
            return Ok(Registered::default());
        }
        other => other?,
    };
    let mut names: Vec<String> =
        entries.iter().map(|entry| entry.name.to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with('.') && !name.ends_with(TEMPORARY_SUFFIX));
    names.sort_unstable();
    let mut registered = Registered::default();
    let mut bytes = 0;
    for (index, name) in names.iter().enumerate() {
        if index == MAX_CONSUMERS || bytes > MAX_BYTES {
            registered.omitted = names.len() - index;
            break;
        }
        let (found, length) = match WriterId::new(name) {
            Ok(id) => read(system, share, &id),
            Err(_) => (Some(Err(BadProgress::Name)), 0),
        };
        bytes += length;
        if let Some(found) = found {
            registered.consumers.push(Consumer { name: name.escape_debug().to_string(), found });
        }
    }
    Ok(registered)
}

/// Reads what one consumer says; `None` if it has not registered.
#[must_use]
pub fn consumer(system: &System, share: &Share, name: &WriterId) -> Option<Result<Progress, BadProgress>> {
    read(system, share, name).0
}

/// And how many bytes were read.
fn read(system: &System, share: &Share, name: &WriterId) -> (Option<Result<Progress, BadProgress>>, usize) {
    let bytes = match system.read_small(&share.layout.consumer(name), MAX_PROGRESS_LENGTH + 1) {
        Err(error) if error.is_missing() && !error.is_stale() => return (None, 0),
        Err(error) => return (Some(Err(error.into())), 0),
        Ok(bytes) => bytes,
    };
    let found = match Progress::decode(&bytes) {
        Ok(progress) if progress.share == share.id => Ok(progress),
        Ok(_) => Err(BadProgress::Foreign),
        Err(error) => Err(error.into()),
    };
    (Some(found), bytes.len())
}
