//! Many callers, each waiting for its own record: what group commit makes of one disk.

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use super::{Measured, alternate};
use crate::side::AppendSide;

/// How much to measure.
pub(crate) struct Plan {
    pub(crate) callers: usize,
    pub(crate) rounds: u32,
    pub(crate) turn: Duration,
}

/// Records a second of every round, by side.
pub(crate) fn run(
    sides: Vec<Box<dyn AppendSide>>,
    work: &Path,
    payload: &[u8],
    plan: &Plan,
) -> Vec<Measured<f64>> {
    alternate(sides, work, plan.callers, plan.rounds, |side| {
        Ok(vec![records_per_second(side, plan.callers, payload, plan.turn)?])
    })
}

fn records_per_second(side: &dyn AppendSide, callers: usize, payload: &[u8], turn: Duration) -> Result<f64> {
    let threads = side.threads(callers);
    let barrier = Barrier::new(threads + 1);
    let (appends, elapsed) = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..threads)
            .map(|caller| {
                let barrier = &barrier;
                scope.spawn(move || {
                    // Uncounted: connects, prepares and allocates. Its failure may not keep the others waiting.
                    let warm = side.append(caller, payload);
                    barrier.wait();
                    warm?;
                    let deadline = Instant::now() + turn;
                    let mut appends = 0_u64;
                    while Instant::now() < deadline {
                        side.append(caller, payload)?;
                        appends += 1;
                    }
                    anyhow::Ok(appends)
                })
            })
            .collect();
        barrier.wait();
        let start = Instant::now();
        let counts: Vec<_> = callers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        // To the end of the last append, not to the deadline: what was under way is counted, so its time is too.
        (counts, start.elapsed())
    });
    let mut records = 0_u64;
    for count in appends {
        records += count.map_err(|_| anyhow!("a caller panicked"))?.context("appending")?;
    }
    Ok((records * side.records_per_append()) as f64 / elapsed.as_secs_f64())
}
