//! How far a consumer is, as it tells the relay in `consumers/<name>`: what the pointers still lead to that it may ask for.
//!
//! ```text
//!   segments of one writer   1 ─── 2 ─── 3 ─── 4 ─── 5 ─── 6
//!                                  │     │           │
//!                             parked   open: lowest  passed: nothing below it was
//!                                      not acked     delivered and is not acked
//! ```
//!
//! One JSON object, replaced as a whole every `interval_ms`, so that other languages can register as well. What it means for
//! several consumers of one queue, and for one that vanished, is decided by the relay.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::identity::{SegmentId, ShareId, WriterId};

/// No such file is longer, in bytes.
pub const MAX_PROGRESS_LENGTH: usize = 4 * 1024 * 1024;
/// The version of these files.
pub const PROGRESS_VERSION: u64 = 1;

/// Why bytes are no progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProgressError {
    /// Of a newer version.
    #[error("consumer's progress of version {0}, this zoutbox reads {PROGRESS_VERSION}: update it")]
    Newer(u64),
    /// Something else, or damaged.
    #[error("not a consumer's progress")]
    Malformed,
}

/// How far a consumer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The share.
    pub share: ShareId,
    /// Those who consume one queue between them have one group: what one of them acknowledged, no other will get.
    pub group: WriterId,
    /// When this was written, in milliseconds since 1970-01-01 UTC, by the consumer's clock.
    pub updated_ms: u64,
    /// How often it is written, in milliseconds.
    pub interval_ms: u64,
    /// After so many milliseconds without a new one it holds nothing any more.
    pub limit_ms: u64,
    /// How far it is with each writer. It needs everything of a writer that is not named.
    pub writers: BTreeMap<WriterId, Place>,
}

/// How far a consumer is with one writer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// Every message that it got of a segment below this one is acknowledged; `None`: nothing is known yet.
    pub passed: Option<SegmentId>,
    /// The lowest segment of a message that was delivered and is not acknowledged.
    pub open: Option<SegmentId>,
    /// Segments of messages that were set aside and wait for a person.
    pub parked: Vec<SegmentId>,
}

#[derive(Serialize, Deserialize)]
struct ProgressJson {
    format: u64,
    share: String,
    group: String,
    updated_ms: u64,
    interval_ms: u64,
    limit_ms: u64,
    writers: BTreeMap<String, PlaceJson>,
}

#[derive(Deserialize)]
struct VersionJson {
    format: u64,
}

#[derive(Serialize, Deserialize)]
struct PlaceJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passed: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parked: Vec<String>,
}

impl Progress {
    /// The file's content.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let text = |id: &SegmentId| id.to_string();
        let place = |place: &Place| PlaceJson {
            passed: place.passed.as_ref().map(text),
            open: place.open.as_ref().map(text),
            parked: place.parked.iter().map(text).collect(),
        };
        let json = ProgressJson {
            format: PROGRESS_VERSION,
            share: self.share.to_string(),
            group: self.group.to_string(),
            updated_ms: self.updated_ms,
            interval_ms: self.interval_ms,
            limit_ms: self.limit_ms,
            writers: self.writers.iter().map(|(writer, at)| (writer.to_string(), place(at))).collect(),
        };
        let mut bytes = serde_json::to_vec(&json).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads the file. Members it does not know are ignored.
    ///
    /// # Errors
    /// [`ProgressError`]; a newer version is told apart from damage.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProgressError> {
        if bytes.len() > MAX_PROGRESS_LENGTH {
            return Err(ProgressError::Malformed);
        }
        let version: VersionJson = serde_json::from_slice(bytes).map_err(|_| ProgressError::Malformed)?;
        if version.format > PROGRESS_VERSION {
            return Err(ProgressError::Newer(version.format));
        }
        let json: ProgressJson = serde_json::from_slice(bytes).map_err(|_| ProgressError::Malformed)?;
        Self::from_json(json).ok_or(ProgressError::Malformed)
    }

    fn from_json(json: ProgressJson) -> Option<Self> {
        let writer =
            |(writer, place): (String, PlaceJson)| Some((WriterId::new(&writer).ok()?, place.read()?));
        let progress = Self {
            share: json.share.parse().ok()?,
            group: WriterId::new(&json.group).ok()?,
            updated_ms: json.updated_ms,
            interval_ms: json.interval_ms,
            limit_ms: json.limit_ms,
            writers: json.writers.into_iter().map(writer).collect::<Option<_>>()?,
        };
        (json.format == PROGRESS_VERSION).then_some(progress)
    }
}

impl PlaceJson {
    fn read(self) -> Option<Place> {
        let one = |text: Option<String>| match text {
            None => Some(None),
            Some(text) => text.parse().ok().map(Some),
        };
        let parked = self.parked.iter().map(|text| text.parse().ok()).collect::<Option<_>>()?;
        Some(Place { passed: one(self.passed)?, open: one(self.open)?, parked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Epoch, Sequence};

    fn id(epoch: u64, first: u64) -> SegmentId {
        SegmentId { epoch: Epoch::new(epoch), first_sequence: Sequence::new(first) }
    }

    fn sample() -> Progress {
        let place = Place { passed: Some(id(3, 10)), open: Some(id(3, 4)), parked: vec![id(1, 1), id(2, 7)] };
        let writer = |text: &str| WriterId::new(text).expect("valid");
        Progress {
            share: ShareId::from_bytes([9; 16]),
            group: writer("billing"),
            updated_ms: 1_700_000_000_000,
            interval_ms: 5000,
            limit_ms: 604_800_000,
            writers: [(writer("orders"), place), (writer("quiet"), Place::default())].into(),
        }
    }

    #[test]
    fn progress_reads_back_and_what_is_cut_says_nothing() {
        let bytes = sample().encode();
        assert_eq!(Progress::decode(&bytes), Ok(sample()));
        for length in 0..bytes.len() - 1 {
            assert_eq!(Progress::decode(&bytes[..length]), Err(ProgressError::Malformed), "{length}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_no_progress_and_later_members_are_ignored() {
        let sound = String::from_utf8(sample().encode()).expect("text");
        let changed = |from: &str, to: &str| Progress::decode(sound.replacen(from, to, 1).as_bytes());
        for (from, to) in
            [("orders", "../orders"), ("3-10", "3-0"), ("3-10", "0-1"), ("3-10", "x"), ("{", "[")]
        {
            assert_eq!(changed(from, to), Err(ProgressError::Malformed), "{from} to {to}");
        }
        assert_eq!(changed("\"format\":1", "\"format\":2"), Err(ProgressError::Newer(2)));
        assert_eq!(changed("{", "{\"later\":[],"), Ok(sample()));
    }
}
