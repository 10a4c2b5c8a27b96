//! What happened, for people as a table and for programs as a line of JSON.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};

use crate::effects::Store;
use crate::journal::{Journal, Outcome};
use crate::plan::{Fault, LEAST_ROUNDS};
use crate::settings::Settings;
use crate::verdict::Verdict;

/// How often something was done, and how often it hit somebody at work.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Count {
    pub(crate) times: u64,
    /// Records were given and not acknowledged, acknowledged and not confirmed, or confirmed and without effect.
    pub(crate) at_work: u64,
}

/// What is known of one store in the end.
#[derive(Debug)]
pub(crate) struct StoreReport {
    pub(crate) store: Store,
    pub(crate) effects: usize,
    pub(crate) duplicates: u64,
    pub(crate) verdict: Verdict,
}

#[derive(Debug)]
pub(crate) struct Report {
    settings: Settings,
    pub(crate) rounds: u64,
    faults: BTreeMap<&'static str, Count>,
    topics: BTreeMap<String, (u64, u64)>,
    pub(crate) stores: Vec<StoreReport>,
}

impl Report {
    pub(crate) fn new(settings: Settings) -> Self {
        let faults = Fault::kinds().map(|kind| (kind, Count::default())).collect();
        Self { settings, rounds: 0, faults, topics: BTreeMap::new(), stores: Vec::new() }
    }

    pub(crate) fn count(&mut self, fault: Fault, at_work: bool) {
        let count = self.faults.entry(fault.kind()).or_default();
        count.times += 1;
        count.at_work += u64::from(at_work);
    }

    pub(crate) fn records(&mut self, journals: &[Journal]) {
        for given in journals.iter().flat_map(|journal| &journal.given) {
            let (acknowledged, unknown) = self.topics.entry(given.topic.clone()).or_default();
            match given.outcome {
                Outcome::Acknowledged(_) => *acknowledged += 1,
                Outcome::Unknown => *unknown += 1,
            }
        }
    }

    /// Everything that must not be, a line each; of many alike the first ones.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (kind, count) in &self.faults {
            let least = Fault::least(kind);
            if count.times < least {
                wrong.push(format!(
                    "only {} times {kind}, at least {least} would prove something",
                    count.times
                ));
            }
        }
        if self.rounds < LEAST_ROUNDS {
            wrong.push(format!("only {} rounds of faults", self.rounds));
        }
        for store in &self.stores {
            if store.duplicates == 0 {
                wrong.push(format!("{}: no record was delivered twice: this shows nothing", store.store));
            }
            let verdict = &store.verdict;
            wrong.extend(verdict.wrong.iter().take(20).map(|what| format!("{}: {what}", store.store)));
            if verdict.wrong.len() > 20 {
                wrong.push(format!("{}: and {} more", store.store, verdict.wrong.len() - 20));
            }
        }
        for pair in self.stores.windows(2) {
            let differ = pair[0].verdict.applied.symmetric_difference(&pair[1].verdict.applied);
            let only =
                |(writer, (epoch, sequence)): &(String, (u64, u64))| format!("{writer}/{epoch}/{sequence}");
            wrong.extend(differ.take(5).map(|record| format!("only one store has {}", only(record))));
        }
        wrong
    }

    /// For the bill of health, when nothing is wrong.
    pub(crate) fn record(&self) {
        let acknowledged: u64 = self.topics.values().map(|(acknowledged, _)| acknowledged).sum();
        for fault in Fault::one_of_each() {
            let Count { times, at_work } = self.faults[fault.kind()];
            let held = format!(
                "{at_work} of them at work; {acknowledged} acknowledged records, each with its effect once and in order, in both databases"
            );
            fault.told().held(times, held);
        }
    }

    fn json(&self) -> Value {
        let faults = |of: fn(&Count) -> u64| -> BTreeMap<_, _> {
            self.faults.iter().map(|(kind, count)| (*kind, of(count))).collect()
        };
        let topic = |(topic, (acknowledged, unknown)): (&String, &(u64, u64))| {
            (topic.clone(), json!({ "acknowledged": acknowledged, "unknown": unknown }))
        };
        let store = |store: &StoreReport| {
            let found = json!({
                "effects": store.effects,
                "duplicates_delivered": store.duplicates,
                "unknown_applied": store.verdict.unknown_applied,
                "wrong": store.verdict.wrong.len(),
            });
            (store.store.name().to_owned(), found)
        };
        json!({ "chaos": {
            "seed": self.settings.seed,
            "seconds": self.settings.faults_for.as_secs(),
            "rounds": self.rounds,
            "faults": faults(|count| count.times),
            "at_work": faults(|count| count.at_work),
            "records": self.topics.iter().map(topic).collect::<serde_json::Map<_, _>>(),
            "stores": self.stores.iter().map(store).collect::<serde_json::Map<_, _>>(),
        }})
    }

    pub(crate) fn print(&self) {
        let mut lines = vec![format!("{:<26} {:>8} {:>8}", "fault", "times", "at work")];
        for (kind, count) in &self.faults {
            lines.push(format!("{:<26} {:>8} {:>8}", kind, count.times, count.at_work));
        }
        lines.push(format!("\n{:<26} {:>12} {:>8}", "records of topic", "acknowledged", "unknown"));
        for (topic, (acknowledged, unknown)) in &self.topics {
            lines.push(format!("{topic:<26} {acknowledged:>12} {unknown:>8}"));
        }
        let heads = ["effects", "of unknown", "duplicates", "wrong"];
        lines.push(format!(
            "\n{:<26} {:>8} {:>10} {:>10} {:>8}",
            "store", heads[0], heads[1], heads[2], heads[3]
        ));
        for StoreReport { store, effects, duplicates, verdict } in &self.stores {
            let (unknown, wrong) = (verdict.unknown_applied, verdict.wrong.len());
            lines
                .push(format!("{:<26} {effects:>8} {unknown:>10} {duplicates:>10} {wrong:>8}", store.name()));
        }
        say(&format!("{}\n\n{}", lines.join("\n"), self.json()));
    }
}

/// To standard output itself: what `println!` says is not shown of tests that pass.
pub(crate) fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}").and_then(|()| out.flush()).expect("standard output");
}
