//! Which segments may go: those wholly below the *durable* checkpoint, never the writer's newest, after a retention.

use std::collections::BTreeMap;
use std::time::Duration;

use zoutbox_format::SegmentId;
use zoutbox_format::checkpoint::Position;

/// Decides, for one writer, which segments may be removed or archived.
///
/// The retention counts from when this relay first saw that a segment may go; a relay that starts counts anew, so a segment is
/// kept too long rather than too short.
#[derive(Debug, Default)]
pub struct Reclaim {
    reclaimable_since: BTreeMap<SegmentId, Duration>,
}

impl Reclaim {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The segments, of all that are there, that may go at `now`, oldest first. `durable` is what the checkpoint *on the share*
    /// says, `retention` how long to keep a segment after it could have gone.
    ///
    /// A segment in front of the checkpoint's has a successor, so it will never be written again; and it is wholly below, since the
    /// position is in a later one.
    pub fn due(
        &mut self,
        segments: &[SegmentId],
        durable: Position,
        retention: Duration,
        now: Duration,
    ) -> Vec<SegmentId> {
        let newest = segments.iter().max();
        let may_go = |id: &&SegmentId| **id < durable.segment && Some(*id) != newest;
        let since: BTreeMap<_, _> = segments
            .iter()
            .filter(may_go)
            .map(|id| (*id, self.reclaimable_since.get(id).copied().unwrap_or(now)))
            .collect();
        self.reclaimable_since = since;
        let over = |since: &Duration| now.saturating_sub(*since) >= retention;
        self.reclaimable_since.iter().filter(|(_, since)| over(since)).map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zoutbox_format::{Epoch, Sequence};

    fn id(epoch: u64, first: u64) -> SegmentId {
        SegmentId { epoch: Epoch::new(epoch), first_sequence: Sequence::new(first) }
    }

    fn in_front_of(segment: SegmentId, next: u64) -> Position {
        Position { segment, offset: 1, next_sequence: Sequence::new(next) }
    }

    #[test]
    fn only_segments_in_front_of_the_checkpoints_segment_go() {
        let all = [id(1, 1), id(1, 10), id(2, 20), id(2, 30)];
        let due = |position| Reclaim::new().due(&all, position, Duration::ZERO, Duration::ZERO);
        assert_eq!(due(in_front_of(all[0], 9)), []);
        assert_eq!(due(in_front_of(all[2], 20)), all[..2]);
        assert_eq!(due(in_front_of(all[3], 40)), all[..3]);
    }

    #[test]
    fn the_newest_segment_never_goes_even_if_the_checkpoint_is_beyond_it() {
        let all = [id(1, 1), id(1, 10)];
        let beyond = in_front_of(id(9, 99), 99);
        assert_eq!(Reclaim::new().due(&all, beyond, Duration::ZERO, Duration::ZERO), all[..1]);
    }

    #[test]
    fn a_segment_is_kept_for_the_retention_since_it_could_go() {
        let all = [id(1, 1), id(1, 10), id(1, 20)];
        let (second, retention) = (Duration::from_secs(1), Duration::from_secs(10));
        let mut reclaim = Reclaim::new();
        assert_eq!(reclaim.due(&all, in_front_of(all[1], 10), retention, second), []);
        assert_eq!(reclaim.due(&all, in_front_of(all[2], 20), retention, 5 * second), []);
        assert_eq!(reclaim.due(&all, in_front_of(all[2], 20), retention, 11 * second), all[..1]);
        assert_eq!(reclaim.due(&all[1..], in_front_of(all[2], 20), retention, 15 * second), all[1..2]);
    }
}
