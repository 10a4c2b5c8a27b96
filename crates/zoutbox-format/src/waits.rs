//! What the relay waits for, as it tells people in `relay/waits`: informational, and no part of what the format promises. Nobody
//! needs the file, and nothing is decided by it.
//!
//! One line of JSON, replaced as a whole when something begins or ends, and removed when there is nothing to tell.

use serde::{Deserialize, Serialize};

use crate::identity::{Epoch, WriterId};

/// No such file is longer, in bytes: a longer one is damaged.
pub const MAX_WAITS_LENGTH: usize = 256 * 1024;

/// The longest text of one wait, in bytes; the rest is cut.
const MAX_WHAT: usize = 1024;
/// What stands around the waits, in bytes, with room to spare.
const AROUND: usize = 256;

/// What a relay waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// The epoch of the relay that says so. What a relay of an older epoch than the lease's says is over.
    pub relay_epoch: Epoch,
    /// When it was written, in milliseconds since 1970-01-01 UTC.
    pub written_ms: u64,
    /// Each of them.
    pub waits: Vec<Wait>,
    /// How many more there are, for which the file had no room.
    pub omitted: u64,
}

/// One thing that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Whose lane waits; `None`: the relay as a whole.
    pub writer: Option<WriterId>,
    /// What for, for people: one line.
    pub what: String,
    /// Since when, in milliseconds since 1970-01-01 UTC, by the relay's clock.
    pub since_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct WaitsJson {
    relay_epoch: u64,
    written_ms: u64,
    waits: Vec<WaitJson>,
    #[serde(default)]
    omitted: u64,
}

#[derive(Serialize, Deserialize)]
struct WaitJson {
    writer: Option<String>,
    what: String,
    since_ms: u64,
}

impl Waits {
    /// The file's content, at most [`MAX_WAITS_LENGTH`] bytes: what does not fit is counted in `omitted`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut room = MAX_WAITS_LENGTH - AROUND;
        let mut waits = Vec::new();
        for wait in &self.waits {
            let json = WaitJson {
                writer: wait.writer.as_ref().map(ToString::to_string),
                what: one_line(&wait.what),
                since_ms: wait.since_ms,
            };
            // And a comma.
            let length = serde_json::to_vec(&json).map_or(usize::MAX, |bytes| bytes.len().saturating_add(1));
            let Some(left) = room.checked_sub(length) else { break };
            room = left;
            waits.push(json);
        }
        let left_out = self.waits.len().saturating_sub(waits.len());
        let omitted = self.omitted.saturating_add(u64::try_from(left_out).unwrap_or(u64::MAX));
        let (relay_epoch, written_ms) = (self.relay_epoch.get(), self.written_ms);
        let json = WaitsJson { relay_epoch, written_ms, waits, omitted };
        let mut bytes = serde_json::to_vec(&json).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads the file; `None` when it is damaged. What it says is fit to be shown on a terminal.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_WAITS_LENGTH {
            return None;
        }
        let json: WaitsJson =
            serde_json::from_slice(bytes).ok().filter(|json: &WaitsJson| json.relay_epoch > 0)?;
        let wait = |wait: WaitJson| {
            let writer = wait.writer.map(|writer| WriterId::new(&writer)).transpose().ok()?;
            Some(Wait { writer, what: one_line(&wait.what), since_ms: wait.since_ms })
        };
        Some(Self {
            relay_epoch: Epoch::new(json.relay_epoch),
            written_ms: json.written_ms,
            waits: json.waits.into_iter().map(wait).collect::<Option<_>>()?,
            omitted: json.omitted,
        })
    }
}

/// Without control characters: brokers, and whoever can write to the share, put words into it.
fn one_line(what: &str) -> String {
    let mut line = String::new();
    for character in what.chars().map(|character| if character.is_control() { ' ' } else { character }) {
        if line.len() + character.len_utf8() > MAX_WHAT - '…'.len_utf8() {
            line.push('…');
            break;
        }
        line.push(character);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(writer: Option<&str>, what: &str) -> Wait {
        let writer = writer.map(|writer| WriterId::new(writer).expect("valid"));
        Wait { writer, what: what.into(), since_ms: 1_700_000_000_000 }
    }

    fn waits(waits: Vec<Wait>) -> Waits {
        Waits { relay_epoch: Epoch::new(3), written_ms: 1_700_000_000_001, waits, omitted: 0 }
    }

    #[test]
    fn waits_read_back_and_what_is_damaged_says_nothing() {
        let all = waits(vec![wait(None, "the broker is not connected"), wait(Some("orders"), "\"é…\\")]);
        let bytes = all.encode();
        assert_eq!(Waits::decode(&bytes), Some(all));
        for length in 0..bytes.len() - 1 {
            assert_eq!(Waits::decode(&bytes[..length]), None, "{length}");
        }
        let sound = String::from_utf8(bytes).expect("text");
        for (from, to) in [("orders", "../orders"), ("\"relay_epoch\":3", "\"relay_epoch\":0"), ("[", "{")] {
            assert_eq!(Waits::decode(sound.replacen(from, to, 1).as_bytes()), None, "{from}");
        }
    }

    #[test]
    fn members_of_later_versions_are_ignored() {
        let bytes = br#"{"relay_epoch":3,"written_ms":0,"waits":[{"writer":null,"what":"x","since_ms":1,"y":2}],"z":[]}"#;
        assert_eq!(Waits::decode(bytes).map(|waits| waits.waits.len()), Some(1));
    }

    #[test]
    fn however_many_wait_and_whatever_for_the_file_stays_small_and_counts_the_rest() {
        let bomb = "\u{1F4A3}\"".repeat(10_000);
        let all = waits(vec![wait(Some(&"w".repeat(64)), &bomb); 5000]);
        let bytes = all.encode();
        assert!(bytes.len() <= MAX_WAITS_LENGTH, "{}", bytes.len());
        let read = Waits::decode(&bytes).expect("sound");
        assert!(read.waits.len() > 100);
        assert_eq!(read.waits.len() as u64 + read.omitted, 5000);
        assert!(read.waits[0].what.len() <= MAX_WHAT);
    }

    #[test]
    fn a_file_that_is_too_long_says_nothing_even_if_it_could_be_read() {
        let mut bytes = waits(vec![wait(None, "x")]).encode();
        bytes.resize(MAX_WAITS_LENGTH, b' ');
        assert!(Waits::decode(&bytes).is_some());
        bytes.push(b' ');
        assert_eq!(Waits::decode(&bytes), None);
    }

    #[test]
    fn no_control_character_reaches_a_terminal_from_either_side() {
        let read = Waits::decode(&waits(vec![wait(None, "a\u{1b}[2J\nb\u{9b}")]).encode()).expect("sound");
        assert_eq!(read.waits[0].what, "a [2J b ");
        let foreign =
            br#"{"relay_epoch":3,"written_ms":0,"waits":[{"writer":null,"what":"a\u001bb","since_ms":1}]}"#;
        assert_eq!(Waits::decode(foreign).expect("sound").waits[0].what, "a b");
    }
}
