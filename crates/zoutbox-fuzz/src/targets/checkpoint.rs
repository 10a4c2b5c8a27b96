//! A checkpoint has one encoding: whatever reads as one is what would be written.

use zoutbox_format::Checkpoint;

use crate::forge;

pub(crate) fn check(bytes: &[u8]) {
    for bytes in [bytes, &forge::checkpoint(bytes)] {
        if let Ok(checkpoint) = Checkpoint::decode(bytes) {
            assert!(checkpoint.encode()[..] == *bytes, "{checkpoint:?} is written otherwise");
        }
    }
}
