//! A model of the broker and of lapin that attaches returns wherever lapin might.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

type Record = u64;

/// What can happen next; the indexes choose among what is possible then.
#[derive(Debug, Clone)]
enum Step {
    Publish {
        unroutable: bool,
    },
    /// The broker sends the return of a record that it did not confirm yet. Returns come in the order of publishing.
    Return,
    /// The broker confirms one of the records whose return, if any, is sent. lapin completes it.
    Confirm(usize),
    /// One of the completed publishes is polled, in any order.
    Observe(usize),
}

/// Broker, wire and lapin.
#[derive(Debug, Default)]
struct Model {
    next: Record,
    unroutable: BTreeSet<Record>,
    /// At the broker, in order: records (and tags, which count alike), and whether their return is still to be sent.
    handling: Vec<(Record, bool)>,
    /// lapin's queue of returns.
    queue: VecDeque<Record>,
    completed: Vec<(u64, Option<Record>)>,
}

impl Model {
    fn send_return(&mut self) {
        if let Some((record, due)) = self.handling.iter_mut().find(|(_, due)| *due) {
            *due = false;
            self.queue.push_back(*record);
        }
    }

    fn confirm(&mut self, index: usize) {
        let ready: Vec<usize> = (0..self.handling.len()).filter(|i| !self.handling[*i].1).collect();
        if !ready.is_empty() {
            let (record, _) = self.handling.remove(ready[index % ready.len()]);
            self.completed.push((record, self.queue.pop_front()));
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => prop::bool::weighted(0.4).prop_map(|unroutable| Step::Publish { unroutable }),
        2 => Just(Step::Return),
        3 => any::<usize>().prop_map(Step::Confirm),
        3 => any::<usize>().prop_map(Step::Observe),
    ];
    prop::collection::vec(step, 0..60)
}

/// Runs the steps, then lets everything end; returns the outcomes, checked against what the broker did.
fn run(steps: Vec<Step>, trust: Trust) -> Result<(), TestCaseError> {
    let mut settlement = Settlement { trust, ..Settlement::new() };
    let mut model = Model::default();
    let mut outcomes = Vec::new();
    let end = (0..200).flat_map(|_| [Step::Return, Step::Confirm(0), Step::Observe(0)]);
    for step in steps.into_iter().chain(end) {
        match step {
            Step::Publish { unroutable } => {
                model.next += 1;
                prop_assert_eq!(settlement.published(model.next), model.next);
                model.handling.push((model.next, unroutable));
                if unroutable {
                    model.unroutable.insert(model.next);
                }
            }
            Step::Return => model.send_return(),
            Step::Confirm(index) => model.confirm(index),
            Step::Observe(index) if !model.completed.is_empty() => {
                let (tag, carried) = model.completed.remove(index % model.completed.len());
                settlement.resolved(tag, Resolution::Confirmed, carried.map(|record| (record, ())));
            }
            Step::Observe(_) => {}
        }
        while let Some(outcome) = settlement.poll() {
            let returned = model.unroutable.contains(&outcome.key);
            let expected = if returned { Verdict::Returned(()) } else { Verdict::Settled };
            prop_assert_eq!(&outcome.verdict, &expected, "record {}", outcome.key);
            outcomes.push(outcome.key);
        }
    }
    prop_assert_eq!((settlement.in_flight(), settlement.uncertain()), (0, 0));
    outcomes.sort_unstable();
    prop_assert_eq!(outcomes, (1..=model.next).collect::<Vec<_>>(), "each record has one outcome");
    Ok(())
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_returned_record_is_never_settled_whichever_confirm_carries_its_return(steps in steps()) {
        run(steps, PROVEN)?;
    }
}

#[test]
fn the_model_catches_a_relay_that_trusts_a_confirm_at_once() {
    let mut runner = proptest::test_runner::TestRunner::new(config());
    let at_once = Trust { at_once: true, ..PROVEN };
    assert!(runner.run(&steps(), |steps| run(steps, at_once)).is_err());
}

#[test]
fn behind_a_foreign_return_one_round_is_not_enough_and_two_are() {
    let publish = |unroutable| Step::Publish { unroutable };
    let steps = vec![
        publish(true),
        publish(true),
        Step::Return,
        Step::Return,
        // The second carries the return of the first, and its own is still queued.
        Step::Confirm(1),
        Step::Observe(0),
        // A third, published later, takes it, unseen; then the first completes.
        publish(false),
        Step::Confirm(1),
        Step::Confirm(0),
        Step::Observe(1),
    ];
    run(steps.clone(), PROVEN).expect("two rounds see it");
    assert!(run(steps, Trust { foreign_rounds: 1, ..PROVEN }).is_err());
}

#[test]
fn a_nacked_record_is_not_settled_and_an_unknown_tag_changes_nothing() {
    let mut settlement: Settlement<char, ()> = Settlement::new();
    let tag = settlement.published('a');
    settlement.resolved(tag + 1, Resolution::Confirmed, None);
    settlement.resolved(0, Resolution::Confirmed, None);
    assert_eq!(settlement.poll(), None);
    settlement.resolved(tag, Resolution::Nacked, None);
    settlement.resolved(tag, Resolution::Confirmed, None);
    assert_eq!(settlement.poll(), Some(Outcome { key: 'a', verdict: Verdict::Nacked }));
    assert_eq!(settlement.poll(), None);
}
