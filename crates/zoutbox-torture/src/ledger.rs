//! What was promised, by the lines of the victims, and whether what lies there keeps it. Pure.
//!
//! ```text
//!   begun ──▶ acknowledged   is there, once, as it was, under its identity, for ever
//!        ├──▶ unknown        may be there
//!        ├──▶ refused        is not there
//!        └──▶ killed         may be there; once a later writer was opened behind it, that is decided for ever
//! ```

use std::collections::BTreeMap;

/// A record as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `writer/epoch/sequence`.
    pub id: String,
    /// Its sequence.
    pub sequence: u64,
    /// Which append it is; `None` if its content is none that was ever appended.
    pub number: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Nothing,
    Acknowledged(String),
    Unknown,
    Refused,
}

#[derive(Debug, Clone)]
struct Append {
    caller: u64,
    told: Told,
}

/// The journal of a history.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    appends: BTreeMap<u64, Append>,
    /// The log so far as it can't change any more.
    firm: Vec<Found>,
    /// As it was last seen: firm as soon as a writer has opened behind it, or if nothing of it can get lost.
    seen: Vec<Found>,
}

/// What a victim said before it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Said {
    /// It had opened the writer.
    pub opened: bool,
    /// It had closed it again.
    pub closed: bool,
}

impl Ledger {
    /// Takes what a victim said.
    ///
    /// # Errors
    /// A line that no victim says.
    pub fn take(&mut self, lines: &str) -> Result<Said, String> {
        let mut said = Said::default();
        for line in lines.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = words.get(1).and_then(|number| number.parse::<u64>().ok());
            match (words.as_slice(), number) {
                (["opened"], _) => {
                    said.opened = true;
                    self.firm = std::mem::take(&mut self.seen);
                }
                (["closed"], _) => said.closed = true,
                (["begun", _, caller], Some(number)) => {
                    let caller = caller.parse().map_err(|_| format!("a victim said '{line}'"))?;
                    self.appends.insert(number, Append { caller, told: Told::Nothing });
                }
                ([what, _, ..], Some(number)) => {
                    let told = match (*what, words.get(2)) {
                        ("acknowledged", Some(id)) => Told::Acknowledged((*id).to_owned()),
                        ("unknown", None) => Told::Unknown,
                        ("refused", None) => Told::Refused,
                        _ => return Err(format!("a victim said '{line}'")),
                    };
                    let append = self.appends.get_mut(&number);
                    append.ok_or_else(|| format!("{number} was told of and not begun"))?.told = told;
                }
                _ => return Err(format!("a victim said '{line}'")),
            }
        }
        Ok(said)
    }

    /// How many were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.appends.values().filter(|append| matches!(append.told, Told::Acknowledged(_))).count()
    }

    /// Whether everything that was begun from this number on was acknowledged.
    #[must_use]
    pub fn all_acknowledged_from(&self, first: u64) -> bool {
        self.appends.range(first..).all(|(_, append)| matches!(append.told, Told::Acknowledged(_)))
    }

    /// Compares the log with what was promised, and keeps it. `durable`: nothing of it can get lost any more.
    ///
    /// # Errors
    /// The first promise that is broken.
    pub fn check(&mut self, log: &[Found], durable: bool) -> Result<(), String> {
        self.check_firm(log)?;
        let mut places = BTreeMap::new();
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for (found, expected) in log.iter().zip(1..) {
            let id = &found.id;
            if found.sequence != expected {
                return Err(format!("{id} stands where sequence {expected} should"));
            }
            let number = found.number.ok_or_else(|| format!("{id} is not as it was appended"))?;
            let append =
                self.appends.get(&number).ok_or_else(|| format!("{id}: {number} was never begun"))?;
            if append.told == Told::Refused {
                return Err(format!("{id}: {number} was refused as not written, and is there"));
            }
            if let Some(first) = places.insert(number, id) {
                return Err(format!("{number} is there twice: {first} and {id}"));
            }
            if let Some(before) = last.insert(append.caller, number).filter(|before| *before > number) {
                return Err(format!("{id}: {number} stands behind {before}, which was appended later"));
            }
        }
        for (number, append) in &self.appends {
            let Told::Acknowledged(id) = &append.told else { continue };
            match places.get(number) {
                Some(there) if *there == id => {}
                Some(there) => return Err(format!("{number} was acknowledged as {id} and lies at {there}")),
                None => return Err(format!("{number} was acknowledged as {id} and is gone")),
            }
        }
        log.clone_into(&mut self.seen);
        if durable {
            log.clone_into(&mut self.firm);
        }
        Ok(())
    }

    fn check_firm(&self, log: &[Found]) -> Result<(), String> {
        for (at, before) in self.firm.iter().enumerate() {
            match log.get(at) {
                Some(now) if now == before => {}
                Some(now) => {
                    return Err(format!("{} was read before, and now {} is there", before.id, now.id));
                }
                None => return Err(format!("{} was read before, and is gone", before.id)),
            }
        }
        Ok(())
    }

    /// The power is cut: what was only seen may go.
    pub fn power_cut(&mut self) {
        self.seen.clone_from(&self.firm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(epoch: u64, sequence: u64, number: u64) -> Found {
        Found { id: format!("orders/{epoch}/{sequence}"), sequence, number: Some(number) }
    }

    fn ledger(lines: &str) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.take(lines).expect("known lines");
        ledger
    }

    const LINES: &str = "opened\nbegun 1 0\nacknowledged 1 orders/1/1\nbegun 2 0\nunknown 2\nbegun 3 0\nrefused 3\nbegun 4 1\n";

    #[test]
    fn what_was_not_told_of_may_go_either_way() {
        let one = found(1, 1, 1);
        for log in [vec![one.clone()], vec![one.clone(), found(1, 2, 2)], vec![one, found(2, 2, 4)]] {
            assert_eq!(ledger(LINES).check(&log, true), Ok(()));
        }
    }

    #[test]
    fn each_broken_promise_is_noticed() {
        let one = found(1, 1, 1);
        let cases = [
            (vec![], "is gone"),
            (vec![found(2, 1, 1)], "lies at"),
            (vec![one.clone(), found(1, 2, 3)], "refused"),
            (vec![one.clone(), found(1, 2, 9)], "never begun"),
            (vec![one.clone(), found(1, 2, 1)], "twice"),
            (vec![one.clone(), found(1, 3, 2)], "sequence 2"),
            (vec![found(1, 1, 2), found(1, 2, 1)], "appended later"),
            (vec![one, Found { number: None, ..found(1, 2, 2) }], "not as it was"),
        ];
        for (log, expected) in cases {
            let error = ledger(LINES).check(&log, true).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_was_decided_once_stays() {
        let (one, two) = (found(1, 1, 1), found(1, 2, 2));
        // Seen after a kill, and not durable: a power cut may take it.
        let mut lost = ledger(LINES);
        lost.check(&[one.clone(), two.clone()], false).expect("kept");
        lost.power_cut();
        assert_eq!(lost.check(std::slice::from_ref(&one), true), Ok(()));
        // Not so if a writer was opened behind it.
        let mut kept = ledger(LINES);
        kept.check(&[one.clone(), two.clone()], false).expect("kept");
        kept.take("opened\n").expect("a known line");
        kept.power_cut();
        let error = kept.check(std::slice::from_ref(&one), true).expect_err("gone");
        assert!(error.contains("read before"), "{error}");
        // And not if it had come through a power cut.
        let mut durable = ledger(LINES);
        durable.check(&[one.clone(), two], true).expect("kept");
        assert!(durable.check(&[one], true).is_err());
    }

    #[test]
    fn a_line_that_nobody_says_is_not_passed_over() {
        for line in ["begun x 0", "acknowledged 1 orders/1/1", "begun 1", "closed now", "", "acknowledged"] {
            assert!(Ledger::default().take(&format!("{line}\n")).is_err(), "{line:?}");
        }
    }
}
