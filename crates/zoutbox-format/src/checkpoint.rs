//! The checkpoint: the durable copy of a lane's watermark, one file per writer, replaced by atomic rename.
//!
//! ```text
//!   0  8  magic "ZOUTCKP\n"            56  8  segment: first sequence
//!   8  2  format version (1)           64  8  offset behind the last confirmed frame
//!  10  6  zero                         72  8  saved at (ms since 1970)
//!  16 16  share id                     80  1  writer id: length
//!  32  8  relay epoch                  81 64  writer id, zero padded
//!  40  8  next sequence               145  3  zero
//!  48  8  segment: epoch              148  4  CRC-32 of bytes 0..148
//! ```

use crate::bytes::{all_zero, array, crc32, u16_at, u32_at, u64_at};
use crate::identity::{Epoch, SegmentId, Sequence, ShareId, WriterId};
use crate::limits::MAX_WRITER_ID;
use crate::marker::FORMAT_VERSION;

/// The length of a checkpoint file, in bytes.
pub const CHECKPOINT_LENGTH: usize = 152;

const MAGIC: [u8; 8] = *b"ZOUTCKP\n";
const CRC_OFFSET: usize = 148;

/// Why bytes are no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not as long as a checkpoint, or something else.
    #[error("not a checkpoint")]
    Magic,
    /// A newer format.
    #[error("checkpoint format {0}, this zoutbox reads {FORMAT_VERSION}: update it")]
    Newer(u16),
    /// The CRC does not match, or the fields make no sense.
    #[error("the checkpoint is damaged")]
    Damaged,
}

/// A place in a writer's log: in front of the record with `next_sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The segment.
    pub segment: SegmentId,
    /// The byte in it where the next frame starts.
    pub offset: u64,
    /// The sequence of the next record.
    pub next_sequence: Sequence,
}

/// What a checkpoint file says: everything in front of `position` is confirmed by the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The share.
    pub share: ShareId,
    /// The writer.
    pub writer: WriterId,
    /// The epoch of the relay that saved it. A relay that finds a newer one than its own stops.
    pub relay_epoch: Epoch,
    /// Where to read on.
    pub position: Position,
    /// When it was saved, by the relay's clock, in milliseconds since 1970-01-01 UTC. For people only.
    pub saved_ms: u64,
}

impl Checkpoint {
    /// The file's content.
    #[must_use]
    pub fn encode(&self) -> [u8; CHECKPOINT_LENGTH] {
        let writer = self.writer.as_str().as_bytes();
        let mut name = [0; MAX_WRITER_ID];
        name.iter_mut().zip(writer).for_each(|(to, from)| *to = *from);
        let parts: [&[u8]; 12] = [
            &MAGIC,
            &FORMAT_VERSION.to_le_bytes(),
            &[0; 6],
            self.share.as_bytes(),
            &self.relay_epoch.get().to_le_bytes(),
            &self.position.next_sequence.get().to_le_bytes(),
            &self.position.segment.epoch.get().to_le_bytes(),
            &self.position.segment.first_sequence.get().to_le_bytes(),
            &self.position.offset.to_le_bytes(),
            &self.saved_ms.to_le_bytes(),
            &[u8::try_from(writer.len()).unwrap_or(u8::MAX)],
            &name,
        ];
        let mut bytes = [0; CHECKPOINT_LENGTH];
        let content = parts.iter().flat_map(|part| part.iter());
        bytes.iter_mut().zip(content).for_each(|(to, from)| *to = *from);
        let (covered, crc) = bytes.split_at_mut(CRC_OFFSET);
        crc.copy_from_slice(&crc32(0, &[covered]).to_le_bytes());
        bytes
    }

    /// Reads a checkpoint file.
    ///
    /// # Errors
    /// [`CheckpointError`]; a newer format is told apart from damage.
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        if bytes.len() != CHECKPOINT_LENGTH || !bytes.starts_with(&MAGIC) {
            return Err(CheckpointError::Magic);
        }
        let (covered, crc) = bytes.split_at_checked(CRC_OFFSET).ok_or(CheckpointError::Magic)?;
        if u32_at(crc, 0) != Some(crc32(0, &[covered])) {
            return Err(CheckpointError::Damaged);
        }
        match u16_at(covered, 8) {
            Some(FORMAT_VERSION) => Self::decode_fields(covered).ok_or(CheckpointError::Damaged),
            Some(newer) if newer > FORMAT_VERSION => Err(CheckpointError::Newer(newer)),
            _ => Err(CheckpointError::Damaged),
        }
    }

    fn decode_fields(covered: &[u8]) -> Option<Self> {
        let positive = |offset| u64_at(covered, offset).filter(|number| *number > 0);
        let segment =
            SegmentId { epoch: Epoch::new(positive(48)?), first_sequence: Sequence::new(positive(56)?) };
        let next_sequence = Sequence::new(positive(40)?);
        let position = Position { segment, offset: positive(64)?, next_sequence };
        let length = usize::from(*covered.get(80)?);
        let (name, padding) = covered.get(81..CRC_OFFSET)?.split_at_checked(length)?;
        let writer = WriterId::new(std::str::from_utf8(name).ok()?).ok()?;
        let sound = all_zero(padding)
            && covered.get(10..16).is_some_and(all_zero)
            && next_sequence >= segment.first_sequence;
        sound.then_some(Self {
            share: ShareId::from_bytes(array(covered, 16)?),
            writer,
            relay_epoch: Epoch::new(positive(32)?),
            position,
            saved_ms: u64_at(covered, 72)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        let segment = SegmentId { epoch: Epoch::new(3), first_sequence: Sequence::new(10) };
        Checkpoint {
            share: ShareId::from_bytes([9; 16]),
            writer: WriterId::new("orders").expect("valid"),
            relay_epoch: Epoch::new(7),
            position: Position { segment, offset: 4711, next_sequence: Sequence::new(99) },
            saved_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn a_checkpoint_reads_back_and_no_damage_passes() {
        let bytes = sample().encode();
        assert_eq!(Checkpoint::decode(&bytes), Ok(sample()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Checkpoint::decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Checkpoint::decode(&bytes[..length]).is_err());
        }
        assert!(Checkpoint::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
}
