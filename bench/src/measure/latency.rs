//! One caller, one record at a time: the price of the layers above the system calls.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Measured, alternate};
use crate::side::AppendSide;

/// How much to measure.
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) appends: u32,
}

/// Appends a turn that are not counted: the first ones pay for caches the side before has cooled.
const WARM_UP: u32 = 5;

/// The time of every append, by side.
pub(crate) fn run(
    sides: Vec<Box<dyn AppendSide>>,
    work: &Path,
    payload: &[u8],
    plan: &Plan,
) -> Vec<Measured<Duration>> {
    alternate(sides, work, 1, plan.rounds, |side| {
        for _ in 0..WARM_UP {
            side.append(0, payload)?;
        }
        (0..plan.appends)
            .map(|_| {
                let start = Instant::now();
                side.append(0, payload)?;
                Ok(start.elapsed())
            })
            .collect()
    })
}
