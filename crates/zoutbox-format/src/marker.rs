//! The share marker, `zoutbox.json`: without it no tool works on a root, so that an unmounted mount point is an
//! error and never fills the local disk.

use serde::{Deserialize, Serialize};

use crate::identity::ShareId;

/// The format version this crate reads and writes.
pub const FORMAT_VERSION: u16 = 1;
/// The largest marker that is read, in bytes.
pub const MAX_MARKER: usize = 4096;

/// Why a marker is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    /// Not the JSON of a marker.
    #[error("not a zoutbox share marker: {0}")]
    Malformed(String),
    /// Made by a newer zoutbox.
    #[error("the share has format {found}, this zoutbox reads format {FORMAT_VERSION}: update it")]
    Newer {
        /// The version the marker names.
        found: u64,
    },
}

/// What `zoutbox.json` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// The share's identity, part of every segment.
    pub share: ShareId,
}

#[derive(Serialize, Deserialize)]
struct MarkerJson {
    format: u64,
    share: String,
}

impl Marker {
    /// The file's content.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        format!("{{\"format\":{FORMAT_VERSION},\"share\":\"{}\"}}\n", self.share).into_bytes()
    }

    /// Reads the file's content.
    ///
    /// # Errors
    /// [`MarkerError`], telling a newer format apart from what is no marker at all.
    pub fn decode(bytes: &[u8]) -> Result<Self, MarkerError> {
        let malformed = |reason: String| MarkerError::Malformed(reason);
        if bytes.len() > MAX_MARKER {
            return Err(malformed(format!("larger than {MAX_MARKER} bytes")));
        }
        let json: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        // The version first: a newer marker may have other fields.
        let version = json.get("format").and_then(serde_json::Value::as_u64);
        match version {
            Some(v) if v > u64::from(FORMAT_VERSION) => return Err(MarkerError::Newer { found: v }),
            Some(v) if v == u64::from(FORMAT_VERSION) => {}
            _ => return Err(malformed("no format version".into())),
        }
        let json: MarkerJson = serde_json::from_value(json).map_err(|e| malformed(e.to_string()))?;
        let share = json.share.parse().map_err(|e| malformed(format!("{e}")))?;
        Ok(Self { share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_reads_back_and_a_newer_one_says_so() {
        let marker = Marker { share: ShareId::from_bytes([7; 16]) };
        assert_eq!(Marker::decode(&marker.encode()), Ok(marker));
        let newer = br#"{"format":2,"share":{"shape":"unknown"}}"#;
        assert_eq!(Marker::decode(newer), Err(MarkerError::Newer { found: 2 }));
        for bad in [&b""[..], b"{}", b"[]", b"{\"format\":1}", b"{\"format\":0,\"share\":\"\"}", b"\0\0\0"] {
            assert!(matches!(Marker::decode(bad), Err(MarkerError::Malformed(_))));
        }
    }
}
