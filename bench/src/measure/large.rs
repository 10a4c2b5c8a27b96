//! Large records, in every mode and straight to the broker, with the same number of bytes of messages in flight on all sides.

use anyhow::{Context as _, Result};

use super::end_to_end::{Plan, Side, Way};

/// Payloads, and whether they are files of their own.
const SIZES: [(u32, bool); 3] = [(64 << 10, false), (1 << 20, false), (16 << 20, true)];
/// Bytes of messages in flight to the broker: what the relay has unless it is told otherwise.
const IN_FLIGHT: u32 = 8 << 20;
/// Bytes of messages that the broker gives out ahead of their acknowledgement.
const AHEAD: u32 = 64 << 20;
/// Bytes that a task appends before it waits until they are durable.
const BURST: u32 = 1 << 20;
/// Tasks that append.
const TASKS: usize = 4;

/// What to measure: a plan a size, `mebibytes` of payload a side.
pub(crate) fn plans(
    mebibytes: u64,
    rounds: u32,
    writers: usize,
    relay_options: &[String],
) -> Result<Vec<Plan>> {
    let plan = |(record_bytes, files): (u32, bool)| {
        let records = (mebibytes << 20) / u64::from(record_bytes);
        let side = |way| Side { way, inbox: false, records };
        Ok(Plan {
            sides: [Way::Bare, Way::Inline, Way::Pointer, Way::Batch].map(side).into(),
            record_bytes,
            rounds,
            warm: 8,
            writers,
            tasks: TASKS,
            burst: usize::try_from(BURST / record_bytes)?.max(1),
            prefetch: u16::try_from(AHEAD / record_bytes).context("prefetch")?.max(4),
            window: usize::try_from(IN_FLIGHT / record_bytes)?.max(2),
            files,
            relay_options: relay_options.to_vec(),
        })
    };
    SIZES.into_iter().map(plan).collect()
}
