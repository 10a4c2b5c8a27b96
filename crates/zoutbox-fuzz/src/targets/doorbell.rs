//! A ring has one encoding, and nothing is allocated for a datagram that is none.

use zoutbox_format::{WriterId, doorbell};

use crate::forge;

pub(crate) fn check(bytes: &[u8]) {
    for bytes in [bytes, &forge::ring(bytes)] {
        let Some(ring) = doorbell::decode(bytes) else { continue };
        let writer = WriterId::new(ring.writer);
        assert!(writer.is_ok(), "{:?} is no writer id", ring.writer);
        let same = writer.is_ok_and(|writer| doorbell::encode(ring.share, &writer)[..] == *bytes);
        assert!(same, "{ring:?} is written otherwise");
    }
}
