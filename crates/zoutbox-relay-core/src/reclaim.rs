//! Which segments may go: those wholly below the *durable* checkpoint, never the writer's newest, after a retention, and when no
//! consumer needs them any more.
//!
//! ```text
//!   …01    …02    …03    …04    …05    …06    …07      one writer's segments
//!   go     aside  go     stays  stays  stays  stays
//!          │             │             │      └ the newest
//!          │             │             └ the checkpoint is in it
//!          │             └ the first of those that a consumer needs from here on, or that are too young
//!          └ needed for itself alone: by a message that was set aside, or a dead letter
//! ```
//!
//! What is left is always the end of the log without a gap: a gap would look like lost records to whoever reads it from the oldest
//! segment on. So a segment that is needed for itself alone does not hold up those behind it, but goes to another place.

use std::collections::BTreeMap;
use std::time::Duration;

use zoutbox_format::SegmentId;
use zoutbox_format::checkpoint::Position;

use crate::need::Need;

/// Decides, for one writer, which segments may be removed or archived.
///
/// The retention counts from when this relay first saw that a segment was published; a relay that starts counts anew, so a segment is
/// kept too long rather than too short.
#[derive(Debug, Default)]
pub struct Reclaim {
    published_since: BTreeMap<SegmentId, Duration>,
}

/// A segment that leaves the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Which one.
    pub segment: SegmentId,
    /// Whether somebody needs it all the same: then it must be kept elsewhere.
    pub aside: bool,
}

impl Reclaim {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The segments, of all that are there, that leave the log at `now`, oldest first. `durable` is what the checkpoint *on the share*
    /// says, `need` what is still needed, `retention` how long to keep a segment after all of it was published.
    ///
    /// A segment in front of the checkpoint's has a successor, so it will never be written again; and it is wholly below, since the
    /// position is in a later one.
    pub fn due(
        &mut self,
        segments: &[SegmentId],
        durable: Position,
        need: &Need,
        retention: Duration,
        now: Duration,
    ) -> Vec<Due> {
        let newest = segments.iter().max();
        let published = |id: &&SegmentId| **id < durable.segment && Some(*id) != newest;
        let since: BTreeMap<_, _> = segments
            .iter()
            .filter(published)
            .map(|id| (*id, self.published_since.get(id).copied().unwrap_or(now)))
            .collect();
        self.published_since = since;
        let goes = |(id, since): &(&SegmentId, &Duration)| {
            now.saturating_sub(**since) >= retention && need.from().is_none_or(|from| **id < from)
        };
        let leaving = self.published_since.iter().take_while(goes).map(|(id, _)| *id);
        leaving.map(|segment| Due { segment, aside: need.needs(segment) }).collect()
    }
}

#[cfg(test)]
mod tests;
