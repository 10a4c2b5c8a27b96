//! A backlog of many segments: how long the relay takes to its first publish, and what it holds in memory meanwhile.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::process;
use crate::relay::{Backlog, Broker, Drained, Publisher, drain};

/// How much to measure.
pub(crate) struct Plan {
    pub(crate) segments: u64,
    pub(crate) per_segment: u64,
    pub(crate) record_bytes: u32,
    pub(crate) window: Option<usize>,
    pub(crate) rounds: u32,
}

/// What was measured, and what on.
pub(crate) struct Started {
    pub(crate) segments: usize,
    pub(crate) records: u64,
    pub(crate) rounds: Vec<Drained>,
}

/// Makes the backlog below `work` and starts the relay on a fresh copy of it, round after round.
pub(crate) fn run(plan: &Plan, relay: &Path, broker: &Broker, work: &Path) -> Result<Started> {
    let payload = crate::payload(plan.record_bytes);
    let records = plan.segments * plan.per_segment;
    let backlog = Backlog::make(&work.join("backlog"), records, &payload, Some(plan.per_segment))?;
    let rounds = (0..plan.rounds).map(|round| {
        let root = work.join(format!("share-{round}"));
        backlog.replay(&root)?;
        broker.fresh_queue()?;
        let broker_before = process::cpu(broker.pid())?;
        let publisher = Publisher::relay(relay, &backlog, &root, broker.url(), plan.window)?;
        let drained = drain(broker, publisher, records, broker_before).context("the relay")?;
        broker.delete_queue()?;
        Ok(drained)
    });
    Ok(Started { segments: backlog.segments, records, rounds: rounds.collect::<Result<_>>()? })
}
