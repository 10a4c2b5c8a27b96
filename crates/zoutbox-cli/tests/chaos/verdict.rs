//! What is wrong with the effects, held against the journals. Pure, so that tests can show it everything that could be wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use crate::effects::Effect;
use crate::journal::{Checksum, Journal, Outcome};

/// An epoch and a sequence: which record of its writer.
type Place = (u64, u64);

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wrong {
    Lost {
        record: String,
    },
    Twice {
        record: String,
    },
    /// Another payload or topic than the writer was given.
    Changed {
        record: String,
        what: String,
    },
    /// No writer was given a record like it.
    Invented {
        record: String,
        what: String,
    },
    /// Applied behind a record that comes after it.
    OutOfOrder {
        record: String,
        behind: String,
    },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { record } => write!(f, "{record} was acknowledged and has no effect"),
            Self::Twice { record } => write!(f, "{record} has its effect more than once"),
            Self::Changed { record, what } => write!(f, "{record} is not what was appended: {what}"),
            Self::Invented { record, what } => write!(f, "{record} was never appended: {what}"),
            Self::OutOfOrder { record, behind } => write!(f, "{record} has its effect behind {behind}"),
        }
    }
}

/// What was found in one store.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) wrong: Vec<Wrong>,
    /// Records of unknown outcome that have their effect.
    pub(crate) unknown_applied: u64,
    /// Which records have an effect: all stores must have the same.
    pub(crate) applied: BTreeSet<(String, Place)>,
}

/// Holds the effects of one store, in the order of their positions, against what the writers were given.
pub(crate) fn judge(journals: &[Journal], effects: &[Effect]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut by_writer: BTreeMap<&str, Vec<&Effect>> = BTreeMap::new();
    for effect in effects {
        by_writer.entry(&effect.writer).or_default().push(effect);
    }
    for journal in journals {
        let effects = by_writer.remove(journal.writer.as_str()).unwrap_or_default();
        Judging::new(journal, &mut verdict).judge(&effects);
    }
    for effect in by_writer.into_values().flatten() {
        let what = "no writer of this name".to_owned();
        verdict.wrong.push(Wrong::Invented { record: effect.record(), what });
    }
    verdict
}

/// One writer's effects against its journal.
struct Judging<'a> {
    journal: &'a Journal,
    verdict: &'a mut Verdict,
    acknowledged: HashMap<Place, usize>,
    /// Those of unknown outcome, by what is known of them; the first one given comes last.
    unknown: HashMap<(Checksum, &'a str), Vec<usize>>,
}

impl<'a> Judging<'a> {
    fn new(journal: &'a Journal, verdict: &'a mut Verdict) -> Self {
        let (mut acknowledged, mut unknown) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        for (number, given) in journal.given.iter().enumerate().rev() {
            match &given.outcome {
                Outcome::Acknowledged(id) => {
                    let before = acknowledged.insert((id.epoch.get(), id.sequence.get()), number);
                    assert_eq!(before, None, "{id} was acknowledged for two records");
                }
                Outcome::Unknown => {
                    unknown.entry((given.checksum, given.topic.as_str())).or_default().push(number);
                }
            }
        }
        Self { journal, verdict, acknowledged, unknown }
    }

    fn judge(mut self, effects: &[&'a Effect]) {
        let mut last: Option<(&Effect, usize)> = None;
        for &effect in effects {
            if !self.verdict.applied.insert((effect.writer.clone(), effect.place())) {
                self.verdict.wrong.push(Wrong::Twice { record: effect.record() });
                continue;
            }
            let Some(number) = self.given(effect) else { continue };
            if let Some((before, number_before)) = last
                && (before.place() > effect.place() || number_before > number)
            {
                let (record, behind) = (effect.record(), before.record());
                self.verdict.wrong.push(Wrong::OutOfOrder { record, behind });
            }
            last = Some((effect, number));
        }
        for (epoch, sequence) in self.acknowledged.keys() {
            if !self.verdict.applied.contains(&(self.journal.writer.clone(), (*epoch, *sequence))) {
                let record = format!("{}/{epoch}/{sequence}", self.journal.writer);
                self.verdict.wrong.push(Wrong::Lost { record });
            }
        }
    }

    /// Which of the records that the writer was given this is.
    fn given(&mut self, effect: &'a Effect) -> Option<usize> {
        let record = effect.record();
        let found = format!("topic {}, checksum {}", effect.topic, effect.checksum);
        if let Some(&number) = self.acknowledged.get(&effect.place()) {
            let given = &self.journal.given[number];
            if (given.checksum, given.topic.as_str()) != (effect.checksum, effect.topic.as_str()) {
                let what = format!("{found}, not topic {}, checksum {}", given.topic, given.checksum);
                self.verdict.wrong.push(Wrong::Changed { record, what });
            }
            return Some(number);
        }
        let number = self.unknown.get_mut(&(effect.checksum, effect.topic.as_str())).and_then(Vec::pop);
        if number.is_none() {
            self.verdict.wrong.push(Wrong::Invented { record, what: found });
        } else {
            self.verdict.unknown_applied += 1;
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Given;

    /// A journal of writer `w`: for each record its payload, and its identity if it was acknowledged.
    fn journal(given: &[(&str, Option<&str>)]) -> Journal {
        let given = given.iter().map(|(payload, id)| Given {
            topic: "t".into(),
            checksum: Checksum::of(payload.as_bytes()),
            outcome: id.map_or(Outcome::Unknown, |id| Outcome::Acknowledged(id.parse().unwrap())),
        });
        Journal { writer: "w".into(), given: given.collect() }
    }

    fn effects(records: &[(u64, u64, &str)]) -> Vec<Effect> {
        let effect = |&(epoch, sequence, payload): &(u64, u64, &str)| Effect {
            writer: "w".into(),
            epoch,
            sequence,
            topic: "t".into(),
            checksum: Checksum::of(payload.as_bytes()),
        };
        records.iter().map(effect).collect()
    }

    const GIVEN: &[(&str, Option<&str>)] =
        &[("a", Some("w/1/1")), ("b", Some("w/1/2")), ("c", None), ("d", None), ("e", Some("w/2/4"))];
    const GOOD: &[(u64, u64, &str)] = &[(1, 1, "a"), (1, 2, "b"), (1, 3, "c"), (2, 4, "e")];

    fn wrong(effects: &[Effect]) -> Vec<String> {
        judge(&[journal(GIVEN)], effects).wrong.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_unknown_may_have_its_effect_or_not() {
        assert_eq!(wrong(&effects(GOOD)), [""; 0]);
        assert_eq!(wrong(&effects(&[(1, 1, "a"), (1, 2, "b"), (2, 4, "e")])), [""; 0]);
        assert_eq!(judge(&[journal(GIVEN)], &effects(GOOD)).unknown_applied, 1);
    }

    #[test]
    fn everything_that_can_be_wrong_is_found() {
        let changed = |at: usize, to: (u64, u64, &'static str)| {
            let mut records = GOOD.to_vec();
            records[at] = to;
            wrong(&effects(&records))
        };
        assert_eq!(
            wrong(&effects(&[GOOD[0], GOOD[2], GOOD[3]])),
            ["w/1/2 was acknowledged and has no effect"]
        );
        let twice = [GOOD, &[(1, 2, "b")]].concat();
        assert_eq!(wrong(&effects(&twice)), ["w/1/2 has its effect more than once"]);
        assert_eq!(
            wrong(&effects(&[GOOD[1], GOOD[0], GOOD[2], GOOD[3]])),
            ["w/1/1 has its effect behind w/1/2"]
        );
        let found = changed(1, (1, 2, "x"));
        assert!(found.len() == 1 && found[0].starts_with("w/1/2 is not what was appended"), "{found:?}");
        let found = changed(2, (1, 3, "x"));
        assert!(found.len() == 1 && found[0].starts_with("w/1/3 was never appended"), "{found:?}");
    }

    #[test]
    fn the_order_is_that_in_which_the_writer_was_given_its_records() {
        // The identities are in order, but the payloads changed places.
        let found = wrong(&effects(&[(1, 1, "a"), (1, 2, "b"), (1, 3, "d"), (1, 4, "c"), (2, 4, "e")]));
        assert_eq!(found, ["w/1/4 has its effect behind w/1/3"]);
    }

    #[test]
    fn one_record_of_unknown_outcome_explains_one_effect() {
        let found = wrong(&effects(&[(1, 1, "a"), (1, 2, "b"), (1, 3, "c"), (1, 4, "c"), (2, 4, "e")]));
        assert!(found.len() == 1 && found[0].starts_with("w/1/4 was never appended"), "{found:?}");
    }

    #[test]
    fn another_topic_or_an_unknown_writer_is_wrong() {
        let mut moved = effects(GOOD);
        moved[0].topic = "u".into();
        assert_eq!(wrong(&moved).len(), 1);
        let mut strange = effects(GOOD);
        strange[3].writer = "v".into();
        assert_eq!(
            wrong(&strange),
            ["w/2/4 was acknowledged and has no effect", "v/2/4 was never appended: no writer of this name"]
        );
    }
}
