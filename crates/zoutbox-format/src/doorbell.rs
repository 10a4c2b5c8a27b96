//! The ring: the one datagram that a writer sends to the relay's doorbell, to say that it has committed something.
//!
//! ```text
//!   0  8  magic "ZOUTBEL\n"        32  1  writer id: length
//!   8  2  format version (1)       33 64  writer id, zero padded
//!  10  6  zero                     97  3  zero
//!  16 16  share id                100  4  CRC-32 of bytes 0..100
//! ```
//!
//! It is a hint: it may be lost, delayed, repeated or forged, and nothing but a look at the share ever follows from it. The
//! share id keeps strays apart; it proves nothing about who sent it.

use std::net::{IpAddr, SocketAddr};

use crate::bytes::{all_zero, array, crc32, u16_at, u32_at};
use crate::identity::{ShareId, WriterId};
use crate::limits::MAX_WRITER_ID;
use crate::marker::FORMAT_VERSION;

/// The length of a ring, in bytes.
pub const RING_LENGTH: usize = 104;

const MAGIC: [u8; 8] = *b"ZOUTBEL\n";
const CRC_OFFSET: usize = 100;

/// What a ring says: this writer of this share has committed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring<'a> {
    /// The share.
    pub share: ShareId,
    /// The writer: a valid id, not copied, since most rings are answered without one being kept.
    pub writer: &'a str,
}

/// A writer's ring.
#[must_use]
pub fn encode(share: ShareId, writer: &WriterId) -> [u8; RING_LENGTH] {
    let writer = writer.as_str().as_bytes();
    let length = u8::try_from(writer.len()).unwrap_or(u8::MAX);
    let parts: [&[u8]; 6] =
        [&MAGIC, &FORMAT_VERSION.to_le_bytes(), &[0; 6], share.as_bytes(), &[length], writer];
    let mut bytes = [0; RING_LENGTH];
    bytes.iter_mut().zip(parts.iter().copied().flatten()).for_each(|(to, from)| *to = *from);
    let (covered, crc) = bytes.split_at_mut(CRC_OFFSET);
    crc.copy_from_slice(&crc32(0, &[covered]).to_le_bytes());
    bytes
}

/// Reads a datagram; `None` unless it is exactly a ring. Does not allocate, and takes the same small time whatever comes.
#[must_use]
pub fn decode(datagram: &[u8]) -> Option<Ring<'_>> {
    if datagram.len() != RING_LENGTH || !datagram.starts_with(&MAGIC) {
        return None;
    }
    let (covered, crc) = datagram.split_at_checked(CRC_OFFSET)?;
    let sound = u32_at(crc, 0) == Some(crc32(0, &[covered]))
        && u16_at(covered, 8) == Some(FORMAT_VERSION)
        && covered.get(10..16).is_some_and(all_zero);
    let (name, padding) = covered.get(33..)?.split_at_checked(usize::from(*covered.get(32)?))?;
    let writer = std::str::from_utf8(name).ok().filter(|name| WriterId::is_valid(name))?;
    (sound && all_zero(padding)).then_some(Ring { share: ShareId::from_bytes(array(covered, 16)?), writer })
}

/// Whether rings can be sent there: to one host, by an address that means the same everywhere. Whoever can write a lease must
/// not be able to have all producers send to a whole network.
#[must_use]
pub fn can_be_rung(address: &SocketAddr) -> bool {
    let one_host = match address.ip().to_canonical() {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local()),
    };
    one_host && address.port() != 0
}

// A writer id fills its field at most.
const _: () = assert!(33 + MAX_WRITER_ID + 3 == CRC_OFFSET);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share() -> ShareId {
        ShareId::from_bytes(std::array::from_fn(|at| u8::try_from(at).expect("small")))
    }

    fn writer(text: &str) -> WriterId {
        WriterId::new(text).expect("valid")
    }

    /// The bytes of the example in FORMAT.md's section on the doorbell: offset, hexadecimal, two spaces, text.
    fn example() -> Vec<u8> {
        let section = include_str!("../FORMAT.md").split("## Doorbell").nth(1).expect("a section on it");
        let mut bytes = Vec::new();
        for line in section.split("## ").next().expect("its text").lines() {
            let Some((offset, rest)) = line.trim_start().split_once(":  ") else { continue };
            let Ok(offset) = offset.parse::<usize>() else { continue };
            assert_eq!(offset, bytes.len(), "the example goes on at the wrong offset: {line}");
            let hex = rest.split("  ").next().unwrap_or_default().split(' ');
            bytes.extend(hex.map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")));
        }
        bytes
    }

    #[test]
    fn the_example_in_the_document_is_what_is_sent_and_understood() {
        assert_eq!(example(), encode(share(), &writer("orders")));
        assert_eq!(decode(&example()), Some(Ring { share: share(), writer: "orders" }));
    }

    #[test]
    fn a_ring_is_taken_whole_or_not_at_all() {
        for name in ["a".to_owned(), "w".repeat(MAX_WRITER_ID)] {
            let bytes = encode(share(), &writer(&name));
            assert_eq!(decode(&bytes), Some(Ring { share: share(), writer: &name }));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode(&flipped), None, "bit {bit}");
            }
            for length in 0..bytes.len() {
                assert_eq!(decode(&bytes[..length]), None, "{length} bytes");
            }
            assert_eq!(decode(&[&bytes[..], &[0]].concat()), None);
        }
    }

    /// With a CRC that fits, so that what is behind it is looked at.
    fn forged(mut bytes: [u8; RING_LENGTH]) -> [u8; RING_LENGTH] {
        let crc = crc32(0, &[&bytes[..CRC_OFFSET]]).to_le_bytes();
        bytes[CRC_OFFSET..].copy_from_slice(&crc);
        bytes
    }

    #[test]
    fn a_good_crc_does_not_make_a_ring() {
        let good = encode(share(), &writer("orders"));
        assert_eq!(forged(good), good);
        for (at, byte) in
            [(0, 0), (8, 2), (9, 1), (10, 1), (32, 0), (32, 5), (32, 7), (32, 255), (33, b'/'), (99, 1)]
        {
            let mut bytes = good;
            bytes[at] = byte;
            assert_eq!(decode(&forged(bytes)), None, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_decodes_is_what_would_be_sent(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            changes in prop::collection::vec((0..CRC_OFFSET, any::<u8>()), 0..6),
        ) {
            prop_assert_eq!(decode(&bytes), None);
            let mut changed = encode(share(), &writer("orders"));
            for (at, byte) in changes {
                changed[at] = byte;
            }
            let changed = forged(changed);
            if let Some(ring) = decode(&changed) {
                prop_assert_eq!(encode(ring.share, &writer(ring.writer)), changed);
            }
        }
    }
}
