//! Who holds a lock, as the lock's file tells it: `writers/<writer>/writer.lock` and `relay/lease`.
//!
//! One line of JSON, padded with spaces to [`HOLDER_LENGTH`] bytes and written in place, so that it never grows or
//! shrinks. The lock is the truth and the content is what survives its holder: the last epoch that was taken.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::doorbell::can_be_rung;
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
    /// For the relay: where it listens for [rings](crate::doorbell). For a writer: none.
    pub doorbell: Option<SocketAddr>,
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
    // Whatever it is: a hint that makes no sense must not hide the epoch.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    doorbell: Value,
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
            doorbell: self.doorbell.map_or(Value::Null, |address| address.to_string().into()),
        };
        let mut bytes = serde_json::to_vec(&json).unwrap_or_default();
        bytes.resize(HOLDER_LENGTH - 1, b' ');
        bytes.push(b'\n');
        bytes
    }

    /// Reads a lock file; `None` when it was never written, or is damaged. A doorbell that can't be one is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let json: HolderJson = serde_json::from_slice(bytes.get(..HOLDER_LENGTH)?).ok()?;
        let next_sequence = json.next_sequence.filter(|n| *n > 0).map(Sequence::new);
        let doorbell = json.doorbell.as_str().and_then(|text| text.parse().ok()).filter(can_be_rung);
        let epoch = Epoch::new(json.epoch);
        let holder = Self { epoch, next_sequence, host: json.host, pid: json.pid, doorbell };
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
            doorbell: Some("10.0.0.1:4711".parse().expect("an address")),
        };
        assert_eq!(Holder::decode(&holder.encode()), Some(holder.clone()));
        holder.host = "\"\u{1F4A3}\n\\".repeat(400);
        let bytes = holder.encode();
        assert_eq!(bytes.len(), HOLDER_LENGTH);
        assert_eq!(Holder::decode(&bytes).map(|h| h.host), Some(String::new()));
        assert_eq!(Holder::decode(&[0; HOLDER_LENGTH]), None);
        assert_eq!(Holder::decode(b""), None);
    }
    #[test]
    fn the_longest_of_everything_fits() {
        let holder = Holder {
            epoch: Epoch::new(u64::MAX),
            next_sequence: Some(Sequence::new(u64::MAX)),
            host: "h".repeat(MAX_HOST),
            pid: u32::MAX,
            doorbell: Some("[1111:2222:3333:4444:5555:6666:7777:8888]:65535".parse().expect("an address")),
        };
        assert_eq!(Holder::decode(&holder.encode()), Some(holder));
    }

    #[test]
    fn a_doorbell_that_makes_no_sense_is_none_and_hides_nothing() {
        let with = |doorbell: &str| {
            let mut bytes = format!(r#"{{"epoch":7,"host":"h","pid":1,"doorbell":{doorbell},"new":[]}}"#);
            bytes.push_str(&" ".repeat(HOLDER_LENGTH - bytes.len()));
            Holder::decode(bytes.as_bytes())
        };
        let none =
            Holder { epoch: Epoch::new(7), next_sequence: None, host: "h".into(), pid: 1, doorbell: None };
        for bad in ["null", "4711", "[]", "{}", r#""""#, r#""host:1""#, r#""10.0.0.1""#, r#""10.0.0.1:0""#] {
            assert_eq!(with(bad), Some(none.clone()), "{bad}");
        }
        for not_one_host in
            ["0.0.0.0:9", "224.0.0.1:9", "255.255.255.255:9", "[::]:9", "[ff02::1]:9", "[::ffff:224.0.0.1]:9"]
        {
            assert_eq!(with(&format!("\"{not_one_host}\"")), Some(none.clone()), "{not_one_host}");
        }
        let good = Some("[fd00::1]:9".parse().expect("an address"));
        assert_eq!(with("\"[fd00::1]:9\""), Some(Holder { doorbell: good, ..none }));
    }
}
