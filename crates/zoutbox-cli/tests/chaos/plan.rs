//! What dies when: a schedule that a seed gives and gives again.
//!
//! It comes in rounds. Each holds every kind of fault, in an order and with pauses of its own, so that however short a run is, nothing is
//! left out; and however long it is, no two rounds are alike.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use zoutbox_test_support::{Fault as Told, Hits};

use crate::effects::Store;
use crate::random::Random;

/// A run that has less behind it shows too little, however long it took.
pub(crate) const LEAST_ROUNDS: u64 = 2;

/// What happens to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL to the process of a writer of lines, one of them by its number.
    KillWriter(usize),
    /// SIGKILL to a process that appends a large payload.
    KillLarge,
    /// SIGKILL to the relay that publishes; the other one takes over.
    KillRelay,
    KillConsumer(Store),
    /// SIGKILL to RabbitMQ, and a new start on the same data.
    KillBroker,
    /// RabbitMQ stands still, with everything that the relay publishes meanwhile in its hands; then both die at once, as on one host without
    /// power. What was published is nowhere, and only the checkpoint knows that.
    KillBrokerAndRelay,
    /// SIGKILL to all processes of PostgreSQL, and a new start on the same data.
    KillPostgres,
    /// SIGSTOP, and SIGCONT later.
    FreezeRelay,
    FreezeConsumer(Store),
}

impl Fault {
    /// How often it is part of a round.
    const ROUND: &[(Self, usize)] = &[
        (Self::KillWriter(0), 6),
        (Self::KillLarge, 2),
        (Self::KillRelay, 2),
        (Self::KillConsumer(Store::Sqlite), 2),
        (Self::KillConsumer(Store::Postgres), 2),
        (Self::KillBroker, 1),
        (Self::KillBrokerAndRelay, 1),
        (Self::KillPostgres, 1),
        (Self::FreezeRelay, 1),
        (Self::FreezeConsumer(Store::Sqlite), 1),
        (Self::FreezeConsumer(Store::Postgres), 1),
    ];

    /// One of every kind.
    pub(crate) fn one_of_each() -> impl Iterator<Item = Self> {
        Self::ROUND.iter().map(|(fault, _)| *fault)
    }

    /// Every kind, by the name that reports have it under.
    pub(crate) fn kinds() -> impl Iterator<Item = &'static str> {
        Self::ROUND.iter().map(|(fault, _)| fault.kind())
    }

    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::KillWriter(_) => "kill_writer",
            Self::KillLarge => "kill_large_writer",
            Self::KillRelay => "kill_relay",
            Self::KillConsumer(Store::Sqlite) => "kill_consumer_sqlite",
            Self::KillConsumer(Store::Postgres) => "kill_consumer_postgres",
            Self::KillBroker => "kill_broker",
            Self::KillBrokerAndRelay => "kill_broker_and_relay",
            Self::KillPostgres => "kill_postgres",
            Self::FreezeRelay => "freeze_relay",
            Self::FreezeConsumer(Store::Sqlite) => "freeze_consumer_sqlite",
            Self::FreezeConsumer(Store::Postgres) => "freeze_consumer_postgres",
        }
    }

    /// As the bill of health has it.
    pub(crate) const fn told(self) -> Told {
        const KILL: &str = "SIGKILL at a random moment under load; started again up to 1.5 s later";
        const FREEZE: &str = "SIGSTOP at a random moment under load, SIGCONT 0.5 to 4 s later";
        let (hits, fault, how) = match self {
            Self::KillWriter(_) => (Hits::Writer, "killed (SIGKILL)", KILL),
            Self::KillLarge => (Hits::Writer, "killed while it appends a large payload", KILL),
            Self::KillRelay => (Hits::Relay, "the active relay killed, with a standby", KILL),
            Self::KillConsumer(Store::Sqlite) => (Hits::Consumer, "killed, with SQLite", KILL),
            Self::KillConsumer(Store::Postgres) => (Hits::Consumer, "killed, with PostgreSQL", KILL),
            Self::KillBroker => (Hits::Broker, "killed (SIGKILL)", KILL),
            Self::KillBrokerAndRelay => (
                Hits::Broker,
                "killed together with the relay",
                "the broker is stopped, so that what is published is nowhere; then SIGKILL to both",
            ),
            Self::KillPostgres => (Hits::Database, "PostgreSQL killed", KILL),
            Self::FreezeRelay => (Hits::Relay, "the active relay stands still (SIGSTOP)", FREEZE),
            Self::FreezeConsumer(Store::Sqlite) => (Hits::Consumer, "stands still, with SQLite", FREEZE),
            Self::FreezeConsumer(Store::Postgres) => {
                (Hits::Consumer, "stands still, with PostgreSQL", FREEZE)
            }
        };
        Told::new("chaos", hits, fault, how)
    }

    /// How many of a kind there must have been.
    pub(crate) fn least(kind: &str) -> u64 {
        let in_a_round = Self::ROUND.iter().find(|(fault, _)| fault.kind() == kind).map_or(0, |(_, n)| *n);
        in_a_round as u64 * LEAST_ROUNDS
    }
}

/// One fault, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Counted from 1.
    pub(crate) round: u64,
    /// How long nothing happens before it.
    pub(crate) pause: Duration,
    /// It then waits until records flow all the way to an effect, if they do before long: else most faults would hit who is down already.
    pub(crate) in_the_flow: bool,
    pub(crate) fault: Fault,
    /// How long it lasts, starting again not included; of a broker and a relay, how long they stand still before.
    pub(crate) lasts: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = match self.fault {
            Fault::KillWriter(number) => format!(" {number}"),
            _ => String::new(),
        };
        write!(f, "round {}: {}{number}, for {:?}", self.round, self.fault.kind(), self.lasts)
    }
}

/// The schedule: it never ends by itself.
#[derive(Debug)]
pub(crate) struct Plan {
    random: Random,
    writers: usize,
    round: u64,
    rest: VecDeque<Step>,
}

impl Plan {
    pub(crate) fn new(random: Random, writers: usize) -> Self {
        Self { random, writers, round: 0, rest: VecDeque::new() }
    }

    /// How many rounds are behind it.
    pub(crate) fn rounds(&self) -> u64 {
        if self.rest.is_empty() { self.round } else { self.round - 1 }
    }

    pub(crate) fn next(&mut self) -> Step {
        if self.rest.is_empty() {
            self.round += 1;
            self.rest = self.steps();
        }
        self.rest.pop_front().expect("a round is never empty")
    }

    fn steps(&mut self) -> VecDeque<Step> {
        let mut faults: Vec<_> =
            Fault::ROUND.iter().flat_map(|(fault, times)| std::iter::repeat_n(*fault, *times)).collect();
        self.random.shuffle(&mut faults);
        let step = |fault| {
            let fault = match fault {
                Fault::KillWriter(_) => Fault::KillWriter(self.random.index(self.writers)),
                other => other,
            };
            let lasts = match fault {
                Fault::FreezeRelay | Fault::FreezeConsumer(_) => self.random.millis(500, 4000),
                // Long enough for a checkpoint to be due.
                Fault::KillBrokerAndRelay => self.random.millis(1200, 2500),
                _ => self.random.millis(0, 1500),
            };
            let in_the_flow = self.random.between(1, 3) > 1;
            Step { round: self.round, pause: self.random.millis(50, 1000), in_the_flow, fault, lasts }
        };
        faults.into_iter().map(step).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn steps(seed: u64, count: usize) -> Vec<Step> {
        let mut plan = Plan::new(Random::new(seed, 0), 6);
        (0..count).map(|_| plan.next()).collect()
    }

    #[test]
    fn a_seed_gives_its_schedule_again_and_another_seed_another_one() {
        assert_eq!(steps(7, 100), steps(7, 100));
        assert_ne!(steps(7, 100), steps(8, 100));
    }

    #[test]
    fn after_the_least_rounds_there_were_enough_of_each_kind() {
        let mut plan = Plan::new(Random::new(1, 0), 6);
        let mut counts = BTreeMap::new();
        while plan.rounds() < LEAST_ROUNDS {
            *counts.entry(plan.next().fault.kind()).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), Fault::kinds().count());
        for kind in Fault::kinds() {
            assert!(Fault::least(kind) > 0 && counts[kind] >= Fault::least(kind), "{kind}: {counts:?}");
        }
    }
}
