//! Watches a side from outside while the queue fills: both sides by the same eye, so that neither reports on itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{Broker, Publisher};
use crate::process;

/// Between two looks until something has arrived: this is how exact the start is.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// Between two looks from then on.
const LOOK: Duration = Duration::from_millis(10);
/// Longer than this without a new message is a failure.
const PATIENCE: Duration = Duration::from_mins(1);

/// What was seen of one backlog.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drained {
    /// From the start of the process to the first message in the queue.
    pub(crate) first: Duration,
    /// From the first message in the queue to the last.
    pub(crate) drain: Duration,
    /// Records a second between the first look that found some and the first that found all.
    pub(crate) rate: f64,
    /// From the last message in the queue to when the side knew: its last confirm, for the relay its last checkpoint.
    pub(crate) known: Duration,
    /// CPU time of the publishing process, from its start to its last confirm.
    pub(crate) cpu: Duration,
    /// CPU time of the broker over the same time.
    pub(crate) broker_cpu: Duration,
    /// The most memory the process held.
    pub(crate) peak: u64,
    /// The most memory that belonged to no file, as sampled.
    pub(crate) peak_anonymous: u64,
}

/// Watches `publisher` until all of `records` are in the queue and confirmed, and stops it. `broker_before` is the broker's
/// CPU time from before the start.
pub(crate) fn drain(
    broker: &Broker,
    mut publisher: Publisher,
    records: u64,
    broker_before: Duration,
) -> Result<Drained> {
    let pid = publisher.party().pid();
    let (first_count, first_at) = await_first(broker, &mut publisher)?;
    let mut peak_anonymous = 0;
    let (mut count, mut grown_at) = (first_count, first_at);
    while count < records {
        std::thread::sleep(LOOK);
        let now = broker.count()?;
        if now > count {
            (count, grown_at) = (now, Instant::now());
        }
        publisher.party().check()?;
        peak_anonymous = peak_anonymous.max(process::memory(pid)?.anonymous);
        ensure!(grown_at.elapsed() < PATIENCE, "stuck at {count} of {records} messages");
    }
    ensure!(first_count < records, "all {records} messages came before the first look: take more");
    publisher.await_last_confirm()?;
    let known = grown_at.elapsed();
    let cpu = process::cpu(pid)?;
    let broker_cpu = process::cpu(broker.pid())?.saturating_sub(broker_before);
    let peak = process::memory(pid)?.peak;
    let (started, drain) = (publisher.party().started(), grown_at - first_at);
    publisher.stop().context("stopping")?;
    ensure!(
        broker.count()? == records,
        "the queue holds more than {records} messages: some were published twice"
    );
    Ok(Drained {
        first: first_at - started,
        drain,
        rate: (records - first_count) as f64 / drain.as_secs_f64(),
        known,
        cpu,
        broker_cpu,
        peak,
        peak_anonymous,
    })
}

/// The first messages in the queue: how many were seen, and when.
fn await_first(broker: &Broker, publisher: &mut Publisher) -> Result<(u64, Instant)> {
    loop {
        let count = broker.count()?;
        let now = Instant::now();
        if count > 0 {
            return Ok((count, now));
        }
        publisher.party().check()?;
        ensure!(publisher.party().started().elapsed() < PATIENCE, "nothing was published");
        std::thread::sleep(FIRST_LOOK);
    }
}
