//! A writer's checkpoint as it lies on the share. A damaged one is a result, not an error: what to do about it (publish again,
//! never skip) is the relay's to decide.

use std::path::PathBuf;

use zoutbox_format::checkpoint::CHECKPOINT_LENGTH;
use zoutbox_format::{Checkpoint, CheckpointError, WriterId};
use zoutbox_storage::{Share, StorageError, System};

use crate::error::ReaderError;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredCheckpoint {
    /// Nothing was ever confirmed, or somebody removed it.
    None,
    /// A sound one.
    Found(Checkpoint),
    /// One that can't be used.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: BadCheckpoint,
    },
}

/// Why a checkpoint can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// Its bytes are not sound.
    #[error(transparent)]
    Content(#[from] CheckpointError),
    /// It is of another share or another writer.
    #[error("the checkpoint belongs to another share or writer")]
    Foreign,
    /// It is not a file.
    #[error("the checkpoint is not a file")]
    NotAFile,
}

/// Reads a writer's checkpoint.
///
/// # Errors
/// When it is there and can't be read.
pub fn checkpoint(
    system: &System,
    share: &Share,
    writer: &WriterId,
) -> Result<StoredCheckpoint, ReaderError> {
    let path = share.layout.checkpoint(writer);
    let bytes = match system.read_small(&path, CHECKPOINT_LENGTH + 1) {
        Ok(bytes) => bytes,
        Err(error) if error.is_missing() => return Ok(StoredCheckpoint::None),
        Err(StorageError::NotAFile { path, .. }) => {
            return Ok(StoredCheckpoint::Damaged { path, reason: BadCheckpoint::NotAFile });
        }
        Err(error) => return Err(error.into()),
    };
    Ok(match Checkpoint::decode(&bytes) {
        Ok(found) if found.share == share.id && found.writer == *writer => StoredCheckpoint::Found(found),
        Ok(_) => StoredCheckpoint::Damaged { path, reason: BadCheckpoint::Foreign },
        Err(reason) => StoredCheckpoint::Damaged { path, reason: reason.into() },
    })
}
