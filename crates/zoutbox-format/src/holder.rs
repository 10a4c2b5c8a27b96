//! Who holds a lock, as the lock's file tells it: `writers/<writer>/writer.lock` and `relay/lease`.
//!
//! One line of JSON, padded with spaces to [`HOLDER_LENGTH`] bytes and written in place, so that it never grows or
//! shrinks. The lock is the truth and the content is what survives its holder: the last epoch that was taken.

use serde::{Deserialize, Serialize};

use crate::identity::{Epoch, Sequence};

/// The length of a lock file, in bytes.
pub const HOLDER_LENGTH: usize = 512;

const MAX_HOST: usize = 128;

/// What a lock file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The epoch its holder took. The next holder takes a higher one.
    pub epoch: Epoch,
    /// For a writer: no record at or above this sequence existed when the epoch was taken. For the relay: none.
    pub next_sequence: Option<Sequence>,
    /// The holder's host name, for people.
    pub host: String,
    /// The holder's process id, for people.
    pub pid: u32,
}

#[derive(Serialize, Deserialize)]
struct HolderJson {
    epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_sequence: Option<u64>,
    #[serde(default)]
    host: String,
    #[serde(default)]
    pid: u32,
}

impl Holder {
    /// The file's content: exactly [`HOLDER_LENGTH`] bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let plain = |c: &char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
        let json = HolderJson {
            epoch: self.epoch.get(),
            next_sequence: self.next_sequence.map(Sequence::get),
            host: self.host.chars().filter(plain).take(MAX_HOST).collect(),
            pid: self.pid,
        };
        let mut bytes = serde_json::to_vec(&json).unwrap_or_default();
        bytes.resize(HOLDER_LENGTH - 1, b' ');
        bytes.push(b'\n');
        bytes
    }

    /// Reads a lock file; `None` when it was never written, or is damaged.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let json: HolderJson = serde_json::from_slice(bytes.get(..HOLDER_LENGTH)?).ok()?;
        let next_sequence = json.next_sequence.filter(|n| *n > 0).map(Sequence::new);
        let holder = Self { epoch: Epoch::new(json.epoch), next_sequence, host: json.host, pid: json.pid };
        (json.epoch > 0).then_some(holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_reads_back_and_a_hostile_host_name_does_no_harm() {
        let mut holder = Holder {
            epoch: Epoch::new(5),
            next_sequence: Some(Sequence::new(8)),
            host: "a-1".into(),
            pid: 4,
        };
        assert_eq!(Holder::decode(&holder.encode()), Some(holder.clone()));
        holder.host = "\"\u{1F4A3}\n\\".repeat(400);
        let bytes = holder.encode();
        assert_eq!(bytes.len(), HOLDER_LENGTH);
        assert_eq!(Holder::decode(&bytes).map(|h| h.host), Some(String::new()));
        assert_eq!(Holder::decode(&[0; HOLDER_LENGTH]), None);
        assert_eq!(Holder::decode(b""), None);
    }
}
