//! The whole way of a record: appended, relayed, through the broker, resolved and checked. Each step is a process of its own.
//!
//! ```text
//!   produce ──▶ share ──▶ zoutbox-relay ──▶ RabbitMQ ──▶ follow, or consume
//!                 └──────────────────── pointers lead to ───┘
//! ```

pub(crate) mod consume;
pub(crate) mod follow;
pub(crate) mod produce;

mod checker;

/// What a process says once it can begin; it then waits for a line.
pub(crate) const READY: &str = "ready";
/// What the consumer says once the records that warm everything up have come.
pub(crate) const WARM: &str = "warm";
/// What a process says once all is done.
pub(crate) const DONE: &str = "done";

/// The checksum in front of a payload, and the number behind it.
const STAMP: usize = 12;
const CHECKSUM: usize = 4;

/// The smallest payload that has room for a stamp.
pub(crate) const LEAST_PAYLOAD: u32 = 16;

/// Makes a payload one of a kind: puts `number` into it, and a checksum of everything else in front.
pub(crate) fn stamp(payload: &mut [u8], number: u64) {
    if let Some(place) = payload.get_mut(CHECKSUM..STAMP) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    if let Some((checksum, rest)) = payload.split_first_chunk_mut::<CHECKSUM>() {
        *checksum = crc32fast::hash(rest).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::{checker::is_sound, stamp};

    #[test]
    fn a_stamped_payload_is_sound_until_a_byte_of_it_changes() {
        let mut payload = crate::payload(64);
        stamp(&mut payload, 7);
        assert!(is_sound(&payload));
        for place in 0..payload.len() {
            let other = payload.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == place));
            assert!(!is_sound(&other.collect::<Vec<u8>>()), "byte {place}");
        }
        let before = payload.clone();
        stamp(&mut payload, 8);
        assert_ne!(before, payload);
    }
}
