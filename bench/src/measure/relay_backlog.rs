//! A backlog to a quorum queue: the relay against the bare loop, in turns, on one broker.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process;
use crate::relay::bare::BareArgs;
use crate::relay::{Backlog, Broker, Drained, Publisher, drain};

/// How much to measure.
pub(crate) struct Plan {
    pub(crate) records: u64,
    pub(crate) record_bytes: u32,
    pub(crate) window: usize,
    pub(crate) rounds: u32,
}

/// What both sides did in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) bare: Drained,
    pub(crate) relay: Drained,
}

/// A deleted queue leaves work behind; the broker gets this long for it.
const SETTLE: Duration = Duration::from_secs(3);

/// Makes the backlog below `work` and gives the sides their turns; who goes first alternates.
pub(crate) fn run(plan: &Plan, relay: &Path, broker: &Broker, work: &Path) -> Result<Vec<Round>> {
    let payload = crate::payload(plan.record_bytes);
    let backlog = Backlog::make(&work.join("backlog"), plan.records, &payload, None)?;
    let bench = Bench { plan, relay, broker, work, backlog };
    (0..plan.rounds)
        .map(|round| {
            let both = bench.round(round)?;
            let (bare, relay) = (both.bare.rate, both.relay.rate);
            eprintln!("round {} of {}: bare {bare:.0}/s, relay {relay:.0}/s", round + 1, plan.rounds);
            Ok(both)
        })
        .collect()
}

struct Bench<'a> {
    plan: &'a Plan,
    relay: &'a Path,
    broker: &'a Broker,
    work: &'a Path,
    backlog: Backlog,
}

impl Bench<'_> {
    fn round(&self, round: u32) -> Result<Round> {
        if round.is_multiple_of(2) {
            let bare = self.bare(round).context("the bare loop")?;
            Ok(Round { bare, relay: self.relay(round).context("the relay")? })
        } else {
            let relay = self.relay(round).context("the relay")?;
            Ok(Round { bare: self.bare(round).context("the bare loop")?, relay })
        }
    }

    fn bare(&self, round: u32) -> Result<Drained> {
        let args = BareArgs {
            amqp: self.broker.url().to_owned(),
            records: self.plan.records,
            record_bytes: self.plan.record_bytes,
            window: self.plan.window,
            wait: false,
        };
        self.turn(|| Publisher::bare(&args, self.work.join(format!("bare-{round}.log"))))
    }

    fn relay(&self, round: u32) -> Result<Drained> {
        let root = self.work.join(format!("share-{round}"));
        self.backlog.replay(&root)?;
        self.turn(|| {
            Publisher::relay(self.relay, &self.backlog, &root, self.broker.url(), Some(self.plan.window))
        })
    }

    fn turn(&self, start: impl FnOnce() -> Result<Publisher>) -> Result<Drained> {
        self.broker.fresh_queue()?;
        std::thread::sleep(SETTLE);
        let broker_before = process::cpu(self.broker.pid())?;
        let drained = drain(self.broker, start()?, self.plan.records, broker_before)?;
        self.broker.delete_queue()?;
        Ok(drained)
    }
}
