//! A commit that waits for room on a share that is full without having said so before: a quota that somebody else used up, say.

use std::time::Duration;

use crate::error::WriterError;
use crate::queue::Group;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Of the wait, and of the time that a close takes to be noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A commit that was tried and found no room.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Not here while it is tried.
    group: Option<Group>,
    full: WriterError,
    since: Duration,
    pause: Duration,
}

impl Waiting {
    /// Keeps a group that found no room, in `place`: maybe not for the first time.
    pub(crate) fn keep(place: &mut Option<Self>, group: Group, full: WriterError, now: Duration) {
        if let Some(waiting) = place {
            (waiting.group, waiting.full) = (Some(group), full);
        } else {
            tracing::warn!(error = %full, "the share is full: nothing more becomes durable");
            *place = Some(Self { group: Some(group), full, since: now, pause: FIRST_PAUSE });
        }
    }

    pub(crate) fn take(&mut self) -> Option<Group> {
        self.group.take()
    }

    /// The group, and why it found no room.
    pub(crate) fn into_parts(self) -> Option<(Group, WriterError)> {
        self.group.map(|group| (group, self.full))
    }

    /// How long to wait before it is tried again, longer each time.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        pause
    }

    pub(crate) fn tell_end(&self, now: Duration) {
        let seconds = now.saturating_sub(self.since).as_secs();
        tracing::info!("there is room on the share again, after {seconds} s");
    }
}
