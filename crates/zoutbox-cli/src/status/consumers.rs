//! The consumers that registered, and what is kept for them.
//!
//! Whether one has vanished is told by the clocks alone, its own and this host's. A relay asks for more before it gives one up: it must
//! have seen its file stand still. So one that shows as vanished here may be held for a little longer.

use serde::Serialize;
use zoutbox_format::{Place, Progress, SegmentId, WriterId};
use zoutbox_reader::{Consumer, Registered, consumers};
use zoutbox_relay_core::{Need, Needs, silent_for};
use zoutbox_storage::{Share, System};

use super::lane::Lane;
use super::table::span;
use crate::exit::Failure;

/// So many writers are named in a line.
const NAMED: usize = 5;

/// A consumer, as `--json` has it. What can't be known of one whose file can't be understood is null.
#[derive(Debug, Serialize)]
pub(super) struct ConsumerJson {
    pub(super) name: String,
    group: Option<String>,
    updated_ms: Option<u64>,
    limit_ms: Option<u64>,
    silent_ms: Option<u64>,
    vanished: bool,
    /// Why its file can't be understood. Everything is kept then.
    problem: Option<String>,
    holds: Vec<HoldJson>,
}

/// What a consumer needs of a writer that its file names, by its own word.
#[derive(Debug, Serialize)]
struct HoldJson {
    writer: String,
    /// From which segment on; `None`: everything.
    from: Option<String>,
    parked: Vec<String>,
}

/// What is needed of a writer by all that count, as `--json` has it.
#[derive(Debug, Serialize)]
pub(super) struct NeededJson {
    /// From which segment on; `None`: everything.
    from: Option<String>,
    /// Those in front of it that are needed for themselves.
    parked: Vec<String>,
}

/// What a look at the registrations gave.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) consumers: Vec<ConsumerJson>,
    pub(super) notes: Vec<String>,
    needs: Needs,
    counted: usize,
}

/// Reads all registrations.
pub(super) fn look(system: &System, share: &Share) -> Result<Seen, Failure> {
    let Registered { consumers, omitted } = consumers(system, share)?;
    let now_ms = system.clock.now_ms();
    let mut seen = Seen { consumers: Vec::new(), notes: Vec::new(), needs: Needs::nothing(), counted: 0 };
    for consumer in consumers {
        let shown = ConsumerJson::of(&consumer, now_ms);
        match &consumer.found {
            Ok(progress) if !shown.vanished => seen.needs.add(progress),
            Ok(_) => {}
            Err(_) => seen.needs.hold_everything(),
        }
        seen.counted += usize::from(!shown.vanished);
        seen.consumers.push(shown);
    }
    if omitted > 0 {
        seen.needs.hold_everything();
        seen.counted += omitted;
        seen.notes.push(format!("{omitted} more consumers are left out: the relay removes nothing"));
    }
    Ok(seen)
}

impl Seen {
    /// Adds to a writer's row what is needed of it.
    pub(super) fn fill(&self, lane: &mut Lane) {
        if let Ok(writer) = WriterId::new(&lane.writer)
            && self.counted > 0
        {
            let need = self.needs.of(&writer);
            lane.needed = Some(NeededJson { from: from(&need), parked: texts(need.single()) });
        }
    }
}

fn from(need: &Need) -> Option<String> {
    need.from().filter(|_| !need.is_everything()).map(|from| from.to_string())
}

fn texts(ids: impl Iterator<Item = SegmentId>) -> Vec<String> {
    ids.map(|id| id.to_string()).collect()
}

impl ConsumerJson {
    fn of(consumer: &Consumer, now_ms: u64) -> Self {
        let name = consumer.name.clone();
        match &consumer.found {
            Ok(progress) => Self::sound(name, progress, now_ms),
            Err(problem) => Self {
                name,
                group: None,
                updated_ms: None,
                limit_ms: None,
                silent_ms: None,
                vanished: false,
                problem: Some(problem.to_string()),
                holds: Vec::new(),
            },
        }
    }

    fn sound(name: String, progress: &Progress, now_ms: u64) -> Self {
        let silent_ms = u64::try_from(silent_for(progress, now_ms).as_millis()).unwrap_or(u64::MAX);
        let vanished = silent_ms > progress.limit_ms;
        let holds = if vanished { Vec::new() } else { holds(progress) };
        Self {
            name,
            group: Some(progress.group.to_string()),
            updated_ms: Some(progress.updated_ms),
            limit_ms: Some(progress.limit_ms),
            silent_ms: Some(silent_ms),
            vanished,
            problem: None,
            holds,
        }
    }

    /// In one line, for people.
    pub(super) fn line(&self) -> String {
        let Self { name, group, silent_ms, limit_ms, vanished, problem, .. } = self;
        if let Some(problem) = problem {
            return format!(
                "consumer: {name}: everything is kept, since nobody knows what it needs: {problem}"
            );
        }
        let group = group.as_deref().unwrap_or_default();
        let silent = span(silent_ms.unwrap_or_default());
        if *vanished {
            let limit = span(limit_ms.unwrap_or_default());
            return format!(
                "consumer: {name} of {group}: vanished, holds nothing: silent for {silent}, its limit is {limit}"
            );
        }
        let mut holds: Vec<_> = self.holds.iter().take(NAMED).map(HoldJson::shown).collect();
        let more = self.holds.len().saturating_sub(NAMED);
        if more > 0 {
            holds.push(format!("{more} writers more"));
        }
        holds.push("all of every writer that it has not met".into());
        format!("consumer: {name} of {group}, {silent} ago, needs: {}", holds.join("; "))
    }
}

/// What it says of itself, whatever others of its group say.
fn holds(progress: &Progress) -> Vec<HoldJson> {
    let alone = |(writer, place): (&WriterId, &Place)| {
        let need = Need::of(place);
        HoldJson {
            writer: writer.to_string(),
            from: from(&need),
            parked: texts(place.parked.iter().copied()),
        }
    };
    progress.writers.iter().map(alone).collect()
}

impl HoldJson {
    fn shown(&self) -> String {
        let Self { writer, from, parked } = self;
        let from = from.as_ref().map_or_else(|| "everything".into(), |from| format!("from {from} on"));
        let parked = if parked.is_empty() { String::new() } else { format!(" and {}", parked.join(", ")) };
        format!("{writer} {from}{parked}")
    }
}
