//! What a caller may choose, checked before anything is touched.

use std::time::Duration;

use zoutbox_format::limits::MAX_PAYLOAD;

use crate::error::WriterError;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const LEAST_COMMIT: u64 = 4 * KIB;

/// What an append does when there is no room for its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// It waits until there is: for as long as it takes, at a byte limit as well as when the share itself has no space or no quota
    /// left. What was queued before that is tried again and again, at most 1 s apart, and its tickets wait with it.
    /// [`Options::close_patience`] bounds what a close waits.
    #[default]
    Block,
    /// At a byte limit it returns [`WriterError::Full`] at once. Where the share has no space or no quota left, its ticket
    /// says so: with an error of kind [full](zoutbox_storage::ErrorKind::Full), or
    /// [unknown](WriterError::Unknown) if the record may be there.
    Fail,
}

/// Whether the next segment is filled with zeros while the current one is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ZeroAhead {
    /// Where the file system makes syncs of such files cheaper: ext4 and XFS.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// How a writer behaves. All sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// A segment that would grow beyond this is sealed and the next one started: 64 MiB. From 64 KiB to 16 GiB; a single larger
    /// record gets a segment of its own.
    pub segment_size: u64,
    /// A segment with records in it that is older than this is sealed, also when nothing is appended any more, so that the relay
    /// can reclaim it: 10 minutes. Not zero.
    pub segment_age: Duration,
    /// The most that one write and one sync carry: 1 MiB, the largest `wsize` of NFS. From 4 KiB to 1 MiB. A larger record is
    /// written in pieces of this size, each synced. On an NFS mount with a smaller `wsize` it is that.
    pub commit_bytes: u64,
    /// The most that may wait in memory to become durable: 64 MiB. Not zero. A single larger record is let in when nothing else
    /// waits.
    pub memory_limit: u64,
    /// The most that may lie on the share without being confirmed by the broker, as the relay's checkpoint tells: no limit. Not
    /// zero. A single larger record is let in when everything else is confirmed. Large payloads do not count.
    pub unconfirmed_limit: Option<u64>,
    /// Appends stop while the share has less free space than this: 64 MiB. 0 switches the check off. A large payload that would
    /// leave less is given up with [`WriterError::Full`].
    pub min_free_space: u64,
    /// What an append does at one of the three limits above, and when the share is full without having reached one (a quota, say):
    /// wait.
    pub when_full: WhenFull,
    /// How long a writer that is closed or dropped goes on waiting for room on a full share: 10 s. What is not durable by then
    /// fails as with [`WhenFull::Fail`]. Zero: one try.
    pub close_patience: Duration,
    /// The most bytes that [`Writer::append_payload`](crate::Writer::append_payload) puts into the record itself: 1 MiB. From 0 to
    /// 16 MiB. More of them get a file of their own.
    pub payload_threshold: u64,
    /// Whether segments are filled with zeros ahead: where that pays.
    pub zero_ahead: ZeroAhead,
    /// Whether the relay's doorbell is rung after commits, if it announces one: yes. The address comes from `relay/lease`, which
    /// is read at the opening and then at most every 5 s, while something is appended. Without it, or when a datagram is lost,
    /// the relay finds the records at its next look.
    pub doorbell: bool,
    /// Opens a share that is mounted so that a promise does not hold (`soft` or `nolock` on NFS, say): no. Such a mount is
    /// refused otherwise, see [`zoutbox_storage::mount`]; accepting one logs a warning. `zoutbox doctor` tells what is wrong.
    pub accept_unsafe_mount: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_size: 64 * MIB,
            segment_age: Duration::from_mins(10),
            commit_bytes: MIB,
            memory_limit: 64 * MIB,
            unconfirmed_limit: None,
            min_free_space: 64 * MIB,
            when_full: WhenFull::default(),
            close_patience: Duration::from_secs(10),
            payload_threshold: MIB,
            zero_ahead: ZeroAhead::default(),
            doorbell: true,
            accept_unsafe_mount: false,
        }
    }
}

impl Options {
    /// Checks every option.
    ///
    /// # Errors
    /// [`WriterError::InvalidOption`] with the first one that can't be, and why.
    pub fn validate(&self) -> Result<(), WriterError> {
        within("segment_size", self.segment_size, 64 * KIB, 16 * 1024 * MIB)?;
        within("commit_bytes", self.commit_bytes, LEAST_COMMIT, MIB)?;
        within("memory_limit", self.memory_limit, 1, u64::MAX)?;
        within("unconfirmed_limit", self.unconfirmed_limit.unwrap_or(1), 1, u64::MAX)?;
        within("payload_threshold", self.payload_threshold, 0, MAX_PAYLOAD as u64)?;
        if self.segment_age.is_zero() {
            return Err(WriterError::InvalidOption {
                option: "segment_age",
                reason: "it must be longer than zero".into(),
            });
        }
        Ok(())
    }

    /// A commit is one WRITE on the wire: over NFS no reader then sees zeros in front of data.
    pub(crate) fn for_write_size(self, write_size: Option<u64>) -> Self {
        let most = write_size.unwrap_or(u64::MAX);
        Self { commit_bytes: self.commit_bytes.min(most).max(LEAST_COMMIT), ..self }
    }

    pub(crate) fn commit_limit(&self) -> usize {
        usize::try_from(self.commit_bytes).unwrap_or(usize::MAX)
    }
}

fn within(option: &'static str, value: u64, least: u64, most: u64) -> Result<(), WriterError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let reason = match most {
        u64::MAX => format!("{value} bytes, must be at least {least}"),
        _ => format!("{value} bytes, must be from {least} to {most}"),
    };
    Err(WriterError::InvalidOption { option, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_option_is_refused_by_name() {
        assert!(Options::default().validate().is_ok());
        let base = Options::default;
        let cases = [
            (Options { segment_size: 1000, ..base() }, "segment_size"),
            (Options { segment_size: u64::MAX, ..base() }, "segment_size"),
            (Options { commit_bytes: 100, ..base() }, "commit_bytes"),
            (Options { commit_bytes: 2 * MIB, ..base() }, "commit_bytes"),
            (Options { memory_limit: 0, ..base() }, "memory_limit"),
            (Options { unconfirmed_limit: Some(0), ..base() }, "unconfirmed_limit"),
            (Options { payload_threshold: 16 * MIB + 1, ..base() }, "payload_threshold"),
            (Options { segment_age: Duration::ZERO, ..base() }, "segment_age"),
        ];
        for (options, name) in cases {
            let error = options.validate().expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
