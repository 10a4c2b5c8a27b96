//! Which history is played: what is killed when, and what is left then. As text, so that one line replays it.
//!
//! ```text
//!   lone+35bp+12ak~20s+*7bk   the scenario; killed before its 35th change, and the power cut; the next victim killed after its 12th, with
//!                             a sync that failed, the first from its 20th change on; the third before its 7th request, whatever that is;
//!                             then one that nobody disturbs
//! ```
//!
//! Between two changes the share is the same wherever a victim dies. So histories count changes; each other request is killed at once as well.

use std::fmt;
use std::str::FromStr;

use zoutbox_sim::world::random::Random;

use crate::request::Kind;
use crate::victim::Scenario;

/// On which side of a request the victim dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// It is never carried out.
    Before,
    /// It is, and the victim never hears of it.
    After,
}

/// What is left for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Everything that was visible: only the process is gone.
    Process,
    /// What a power cut leaves.
    Power,
}

/// What goes wrong besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A sync fails with EIO, and what it should have written is dropped.
    Sync,
    /// A write fails with EIO.
    Write,
    /// A write takes only a part.
    Short,
    /// Three writes find no space.
    Space,
}

/// One victim's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub struct Kill {
    /// The request, from 1 on.
    pub at: usize,
    /// Of all requests, not only of those that change something.
    pub of_all: bool,
    pub when: When,
    pub crash: Crash,
    /// What goes wrong, at the first fitting request from this one on.
    pub fault: Option<(usize, Fault)>,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// A program that appends.
    Writer(Scenario),
    /// `zoutbox-relay`.
    Relay,
}

/// A history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub struct Plan {
    pub who: Who,
    pub kills: Vec<Kill>,
    /// What a power cut leaves, and what a failed sync loses.
    pub seed: u64,
}

/// Every boundary once: before and after each request that changes something, with a process crash and with a power cut; and before each
/// other one.
#[must_use]
pub fn every_boundary(who: Who, requests: &[Kind], seed: u64) -> Vec<Plan> {
    let mut kills = Vec::new();
    let mut changes = 0;
    for (kind, number) in requests.iter().zip(1..) {
        if !kind.changes() {
            let (when, crash) = (When::Before, Crash::Process);
            kills.push(Kill { at: number, of_all: true, when, crash, fault: None });
            continue;
        }
        changes += 1;
        for when in [When::Before, When::After] {
            for crash in [Crash::Process, Crash::Power] {
                kills.push(Kill { at: changes, of_all: false, when, crash, fault: None });
            }
        }
    }
    let plan = |(kill, number): (Kill, u64)| {
        let seed = Random::new(seed ^ number.rotate_left(32)).bits() >> 16;
        Plan { who, kills: vec![kill], seed }
    };
    kills.into_iter().zip(0..).map(plan).collect()
}

/// A recovery makes about so many changes.
const RECOVERY: usize = 10;

/// A history by chance: up to three victims of which each changes about so much, some with a fault.
#[must_use]
pub fn by_chance(who: Who, changes: usize, seed: u64) -> Plan {
    let mut random = Random::new(seed);
    // Each second one that has something to recover dies early, in the middle of that.
    let kills = (0..random.between(1, 3)).map(|victim| Kill {
        at: 1 + if victim > 0 && random.chance(500) { random.index(RECOVERY) } else { random.index(changes) },
        of_all: false,
        when: if random.chance(500) { When::Before } else { When::After },
        crash: if random.chance(400) { Crash::Process } else { Crash::Power },
        fault: random.chance(300).then(|| {
            let faults = [Fault::Sync, Fault::Sync, Fault::Write, Fault::Short, Fault::Space];
            let fault = faults.get(random.index(faults.len())).copied().unwrap_or(Fault::Sync);
            (1 + random.index(changes), fault)
        }),
    });
    let kills = kills.collect();
    Plan { who, kills, seed: random.bits() >> 16 }
}

// --------------------------------------------------------------------------------------------------------------- text

const SCENARIOS: [(&str, Who); 4] = [
    ("lone", Who::Writer(Scenario::Lone)),
    ("crowd", Who::Writer(Scenario::Crowd)),
    ("payloads", Who::Writer(Scenario::Payloads)),
    ("relay", Who::Relay),
];
const FAULTS: [(char, Fault); 4] =
    [('s', Fault::Sync), ('w', Fault::Write), ('h', Fault::Short), ('n', Fault::Space)];

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = SCENARIOS.iter().find(|(_, who)| who == self).map_or("?", |(name, _)| name);
        f.write_str(name)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seed, self.who)?;
        for kill in &self.kills {
            let when = if kill.when == When::Before { 'b' } else { 'a' };
            let crash = if kill.crash == Crash::Process { 'k' } else { 'p' };
            let counted = if kill.of_all { "*" } else { "" };
            write!(f, "+{counted}{}{when}{crash}", kill.at)?;
            if let Some((at, fault)) = kill.fault {
                let letter = FAULTS.iter().find(|(_, it)| *it == fault).map_or('?', |(letter, _)| *letter);
                write!(f, "~{at}{letter}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (seed, history) = text.split_once(':')?;
            let mut parts = history.split('+');
            let name = parts.next()?;
            let (_, who) = SCENARIOS.iter().find(|(known, _)| *known == name)?;
            let kills = parts.map(kill).collect::<Option<Vec<Kill>>>()?;
            Some(Self { who: *who, kills, seed: seed.parse().ok()? })
        };
        parse().ok_or_else(|| format!("'{text}' is not SEED:HISTORY, such as 7:lone+35bp+12ak~20s"))
    }
}

fn kill(text: &str) -> Option<Kill> {
    let (text, of_all) = text.strip_prefix('*').map_or((text, false), |text| (text, true));
    let (kill, fault) = text.split_once('~').map_or((text, None), |(kill, fault)| (kill, Some(fault)));
    let crash = match kill.chars().next_back()? {
        'k' => Crash::Process,
        'p' => Crash::Power,
        _ => return None,
    };
    let kill = kill.get(..kill.len() - 1)?;
    let when = match kill.chars().next_back()? {
        'b' => When::Before,
        'a' => When::After,
        _ => return None,
    };
    let at = kill.get(..kill.len() - 1)?.parse().ok()?;
    let fault = match fault {
        None => None,
        Some(fault) => {
            let letter = fault.chars().next_back()?;
            let (_, which) = FAULTS.iter().find(|(known, _)| *known == letter)?;
            Some((fault.get(..fault.len() - 1)?.parse().ok()?, *which))
        }
    };
    Some(Kill { at, of_all, when, crash, fault })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_what_its_text_says() {
        for seed in 0..500 {
            let who = SCENARIOS.get(usize::try_from(seed % 4).unwrap()).unwrap().1;
            let plan = by_chance(who, 90, seed);
            assert_eq!(plan.to_string().parse(), Ok(plan));
        }
        let text = "7:lone+*35bp+12ak~20s";
        assert_eq!(text.parse::<Plan>().expect("a plan").to_string(), text);
        for bad in [
            "",
            "1",
            "1:",
            "1:nobody",
            "1:lone+",
            "1:lone+3",
            "1:lone+3b",
            "1:lone+bk",
            "1:lone+3bk~4",
            "x:lone",
        ] {
            assert!(bad.parse::<Plan>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_boundary_is_killed_at_on_both_sides_and_both_ways() {
        let requests = [Kind::LookUp, Kind::Write, Kind::Sync];
        let plans = every_boundary(Who::Relay, &requests, 1);
        let all: Vec<String> =
            plans.iter().map(|plan| plan.to_string().split_once('+').unwrap().1.to_owned()).collect();
        assert_eq!(all, ["*1bk", "1bk", "1bp", "1ak", "1ap", "2bk", "2bp", "2ak", "2ap"]);
        let seeds: std::collections::BTreeSet<_> = plans.iter().map(|plan| plan.seed).collect();
        assert_eq!(seeds.len(), plans.len());
    }
}
