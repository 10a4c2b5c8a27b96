//! Gives bytes the CRCs that they would have if somebody had meant them: a fuzzer can't guess one, and whoever can write to a share
//! computes it.

use zoutbox_format::checkpoint::CHECKPOINT_LENGTH;
use zoutbox_format::doorbell::RING_LENGTH;
use zoutbox_format::frame::{FRAME_HEADER_LENGTH, FRAME_MAGIC};
use zoutbox_format::header::HEADER_LENGTH;

/// Where a frame's CRC is.
const FRAME_CRC: usize = 24;
const CRC_LENGTH: usize = 4;

/// A segment with the CRC of its header, and of every frame that is whole and begins where the one before ends, mended. Behind
/// something else, the next magic is taken for the next frame.
#[must_use]
pub fn segment(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let Some(seed) = mend(&mut bytes, 0, HEADER_LENGTH) else { return bytes };
    let mut at = HEADER_LENGTH;
    while let Some(found) = find(&bytes, at) {
        at = mend_frame(&mut bytes, found, seed).unwrap_or(found + 1);
    }
    bytes
}

/// A checkpoint with its CRC mended.
#[must_use]
pub fn checkpoint(bytes: &[u8]) -> Vec<u8> {
    mended(bytes, CHECKPOINT_LENGTH)
}

/// A ring with its CRC mended.
#[must_use]
pub fn ring(bytes: &[u8]) -> Vec<u8> {
    mended(bytes, RING_LENGTH)
}

/// Nothing, if they have another length: then they are refused before anybody looks at a CRC.
fn mended(bytes: &[u8], length: usize) -> Vec<u8> {
    if bytes.len() != length {
        return Vec::new();
    }
    let mut bytes = bytes.to_vec();
    mend(&mut bytes, 0, length);
    bytes
}

/// Writes the CRC of what lies in front of it into the last four of `length` bytes.
fn mend(bytes: &mut [u8], seed: u32, length: usize) -> Option<u32> {
    let (covered, crc) = bytes.get_mut(..length)?.split_at_mut(length.checked_sub(CRC_LENGTH)?);
    let sum = crc32(seed, &[covered]);
    crc.copy_from_slice(&sum.to_le_bytes());
    Some(sum)
}

fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let at = bytes.get(from..)?.windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC)?;
    Some(from + at)
}

/// Mends the frame at `at`, if all of it is there; returns where it ends.
fn mend_frame(bytes: &mut [u8], at: usize, seed: u32) -> Option<usize> {
    let length =
        bytes.get(at + 8..at + 12).and_then(|field| field.try_into().ok()).map(u32::from_le_bytes)?;
    let end = at.checked_add(FRAME_HEADER_LENGTH)?.checked_add(usize::try_from(length).ok()?)?;
    let frame = bytes.get_mut(at..end)?;
    let (header, body) = frame.split_at_mut(FRAME_HEADER_LENGTH);
    let (covered, crc) = header.split_at_mut(FRAME_CRC);
    crc.copy_from_slice(&crc32(seed, &[covered, body]).to_le_bytes());
    Some(end)
}

fn crc32(seed: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}
