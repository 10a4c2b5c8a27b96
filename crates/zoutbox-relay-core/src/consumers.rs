//! Which of the consumers that registered still count, as their files show over time.
//!
//! ```text
//!             ┌────────────────────── the file changes ─────────────────────┐
//!             ▼                                                             │
//!   alive: what it says is held ── silent beyond its limit, and seen ──▶ vanished: holds nothing,
//!             │                    unchanged for two intervals             and that is told
//!             └─ unreadable: everything is held, and that is told
//! ```
//!
//! **Two clocks have to agree that a consumer is gone.** What its file says is by the consumer's time of day, and compared with the
//! relay's; either may jump. So the relay must besides have seen the file stand still, by a clock that does not jump, for longer than a
//! living consumer ever lets it. A consumer whose clock is ahead would never be late by that comparison: one that the relay saw
//! stand still for the whole limit is gone as well.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::Hasher;
use std::time::Duration;

use zoutbox_format::{Progress, WriterId};

use crate::need::Needs;

/// A file must have stood still for this many of its intervals.
const STILL_INTERVALS: u32 = 2;
/// And for at least this long, however often it says that it is written.
const STILL_AT_LEAST: Duration = Duration::from_secs(1);

/// The consumers that were seen so far.
#[derive(Debug, Default)]
pub struct Consumers {
    known: BTreeMap<String, Known>,
    omitted: usize,
}

#[derive(Debug)]
struct Known {
    /// Tells one content of the file from another.
    print: u64,
    /// Since when this relay sees that content.
    unchanged_since: Duration,
    state: State,
    /// Since when it is in this state, for this relay.
    since: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Alive,
    Vanished {
        group: WriterId,
        silent: Duration,
    },
    /// With the reason.
    Unreadable(String),
}

/// A file below `consumers/`, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Its name.
    pub name: String,
    /// What it says, or why that can't be known.
    pub found: Result<Progress, String>,
}

/// Something about a consumer that a person wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Whether it asks for attention.
    pub warning: bool,
    /// By the relay's monotonic clock.
    pub since: Duration,
    /// In one line.
    pub what: String,
}

impl Consumers {
    /// Nobody seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in all files that are there now, and tells what is needed, and what has become of whom since the last look.
    ///
    /// `omitted`: how many more files there are, that were not read. `now_ms` is the time of day, `now` the monotonic clock.
    pub fn look(
        &mut self,
        seen: &[Sighting],
        omitted: usize,
        now_ms: u64,
        now: Duration,
    ) -> (Needs, Vec<Remark>) {
        let mut needs = Needs::nothing();
        let mut before = std::mem::take(&mut self.known);
        let mut news = Vec::new();
        for Sighting { name, found } in seen {
            let known = before.remove(name);
            let seen = Known::seen(known.as_ref(), found, now_ms, now);
            match (&seen.state, found) {
                (State::Alive, Ok(progress)) => needs.add(progress),
                (State::Vanished { .. }, _) => {}
                _ => needs.hold_everything(),
            }
            news.extend(seen.news(name, known.as_ref()));
            self.known.insert(name.clone(), seen);
        }
        if omitted > 0 {
            needs.hold_everything();
        }
        if omitted > 0 && self.omitted == 0 {
            news.push(Remark { warning: true, since: now, what: too_many(omitted) });
        }
        self.omitted = omitted;
        (needs, news)
    }

    /// What holds for as long as nothing changes and a person wants to know.
    #[must_use]
    pub fn remarks(&self, now: Duration) -> Vec<Remark> {
        let of = |(name, known): (&String, &Known)| {
            let remark = |what| Remark { warning: true, since: known.since, what };
            known.state.shown(name).map(remark)
        };
        let mut remarks: Vec<_> = self.known.iter().filter_map(of).collect();
        if self.omitted > 0 {
            remarks.push(Remark { warning: true, since: now, what: too_many(self.omitted) });
        }
        remarks
    }

    /// Whether this consumer counts for nothing any more.
    #[must_use]
    pub fn has_vanished(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|known| matches!(known.state, State::Vanished { .. }))
    }
}

/// How long a consumer's file must stand still before it can have vanished.
#[must_use]
pub fn still_for(progress: &Progress) -> Duration {
    Duration::from_millis(progress.interval_ms).saturating_mul(STILL_INTERVALS).max(STILL_AT_LEAST)
}

/// How long a consumer has said nothing, by its clock and the one that gave `now_ms`.
#[must_use]
pub fn silent_for(progress: &Progress, now_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(progress.updated_ms))
}

impl Known {
    fn seen(before: Option<&Self>, found: &Result<Progress, String>, now_ms: u64, now: Duration) -> Self {
        let print = match found {
            Ok(progress) => print(progress),
            Err(_) => 0,
        };
        let same = before.filter(|before| found.is_ok() && before.print == print);
        let unchanged_since = same.map_or(now, |before| before.unchanged_since);
        let still = now.saturating_sub(unchanged_since);
        let state = match found {
            Ok(progress) => judge(progress, still, now_ms),
            Err(reason) => State::Unreadable(reason.clone()),
        };
        let lasts = before.filter(|before| before.state.is_as(&state));
        Self { print, unchanged_since, state, since: lasts.map_or(now, |before| before.since) }
    }

    /// What is new, if anything is.
    fn news(&self, name: &str, before: Option<&Self>) -> Option<Remark> {
        if before.is_some_and(|before| before.state.is_as(&self.state)) {
            return None;
        }
        let (warning, what) = match (self.state.shown(name), before) {
            (Some(what), _) => (true, what),
            (None, Some(_)) => (false, format!("consumer {name} is heard of again: it counts")),
            (None, None) => (false, format!("consumer {name} has registered")),
        };
        Some(Remark { warning, since: self.since, what })
    }
}

fn judge(progress: &Progress, still: Duration, now_ms: u64) -> State {
    let silent = silent_for(progress, now_ms);
    let limit = Duration::from_millis(progress.limit_ms);
    if still >= still_for(progress) && (silent > limit || still > limit) {
        return State::Vanished { group: progress.group.clone(), silent: silent.max(still) };
    }
    State::Alive
}

impl State {
    /// Whether there is nothing new to tell. How long a consumer is silent grows without being news.
    fn is_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Vanished { .. }, Self::Vanished { .. }) => true,
            _ => self == other,
        }
    }

    fn shown(&self, name: &str) -> Option<String> {
        match self {
            Self::Alive => None,
            Self::Vanished { group, silent } => Some(format!(
                "consumer {name} of group {group} has vanished (silent for {}): it holds nothing any more",
                Shown(*silent)
            )),
            Self::Unreadable(reason) => {
                Some(format!("nothing is removed, since nobody knows what consumer {name} needs: {reason}"))
            }
        }
    }
}

fn too_many(omitted: usize) -> String {
    format!("nothing is removed: there are more consumers than can be looked at, {omitted} are left out")
}

/// A duration as people say it.
struct Shown(Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7200 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{} h", seconds / 3600),
        }
    }
}

/// Not only `updated_ms`: a consumer whose clock stands still lives.
fn print(progress: &Progress) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&progress.encode());
    hasher.finish()
}

#[cfg(test)]
mod tests;
