//! What victims append: bytes that follow from a number, so that whoever finds them knows what they must be.

use zoutbox_sim::world::random::Random;

/// The payload of append number `number`: both numbers as text, and then what looks like chance. At least as long as the text.
#[must_use]
pub fn payload(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = format!("{number} {length} ").into_bytes();
    fill(&mut bytes, number, length);
    bytes
}

/// Which append a payload is of; `None` for one that is not as it was appended.
#[must_use]
pub fn number_of(found: &[u8]) -> Option<u64> {
    let mut words = found.splitn(3, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
    let (number, length) = (number()?, usize::try_from(number()?).ok()?);
    // Before anything is made of that length.
    let longest = found.len().max(64);
    (length <= longest && payload(number, length) == found).then_some(number)
}

/// The bytes of the large payload with this id.
#[must_use]
pub fn large(id: &str, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    fill(&mut bytes, u64::from(crc32fast::hash(id.as_bytes())), length);
    bytes
}

fn fill(bytes: &mut Vec<u8>, seed: u64, length: usize) {
    let mut random = Random::new(seed);
    while bytes.len() < length {
        let more = random.bits().to_le_bytes();
        bytes.extend(more.iter().take(length - bytes.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_tells_which_append_it_is_of_and_whether_it_is_whole() {
        for (number, length) in [(0, 0), (1, 100), (70_001, 5000)] {
            let mut bytes = payload(number, length);
            assert_eq!(number_of(&bytes), Some(number));
            if let Some(last) = bytes.last_mut().filter(|_| length > 0) {
                *last ^= 1;
                assert_eq!(number_of(&bytes), None, "a changed bit is noticed");
            }
        }
        assert_eq!(number_of(&payload(7, 5000)[..4096]), None, "so is a cut");
        assert_eq!(number_of(b"7 99999999999 x"), None);
        assert_eq!(number_of(b""), None);
    }
}
