//! A window as bytes, for the stores.

use zoutbox_format::{ShareId, WriterId};

use super::{MOST_RUNS, Place, Run, Window, WindowError};

pub(super) const VERSION: u8 = 1;
const CRC_LENGTH: usize = 4;
/// A number of 64 bits, seven a byte.
const LONGEST_NUMBER: usize = 10;
const LONGEST: usize = 1 + (3 + 3 * MOST_RUNS) * LONGEST_NUMBER + CRC_LENGTH;

/// What the CRC starts from, so that the state of another writer is never taken for this one's.
pub(crate) fn seed(share: &ShareId, writer: &WriterId) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(share.as_bytes());
    hasher.update(writer.as_str().as_bytes());
    hasher.finalize()
}

fn crc(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

impl Window {
    pub(crate) fn encode(&self, seed: u32) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        let mut before = self.horizon.unwrap_or(Place { epoch: 0, sequence: 0 });
        put(&mut bytes, before.epoch);
        put(&mut bytes, before.sequence);
        put(&mut bytes, self.runs.len() as u64);
        let mut same_epoch_as_a_run = false;
        for run in &self.runs {
            let epochs = run.epoch - before.epoch;
            let base = if epochs == 0 && same_epoch_as_a_run { before.sequence } else { 0 };
            put(&mut bytes, epochs);
            put(&mut bytes, run.first - base);
            put(&mut bytes, run.last - run.first);
            before = run.end();
            same_epoch_as_a_run = true;
        }
        let crc = crc(seed, &bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// # Errors
    /// [`WindowError`]; a newer version is told apart from damage.
    pub(crate) fn decode(bytes: &[u8], seed: u32) -> Result<Self, WindowError> {
        if bytes.len() > LONGEST {
            return Err(WindowError::Damaged);
        }
        let (covered, stored) = bytes.split_last_chunk::<CRC_LENGTH>().ok_or(WindowError::Damaged)?;
        if crc(seed, covered) != u32::from_le_bytes(*stored) {
            return Err(WindowError::Damaged);
        }
        match covered.split_first() {
            Some((&VERSION, rest)) => decode_fields(rest).ok_or(WindowError::Damaged),
            Some((&newer, _)) if newer > VERSION => Err(WindowError::Newer(newer)),
            _ => Err(WindowError::Damaged),
        }
    }
}

fn decode_fields(mut rest: &[u8]) -> Option<Window> {
    let rest = &mut rest;
    let mut before = Place { epoch: take(rest)?, sequence: take(rest)? };
    let horizon = (before != Place { epoch: 0, sequence: 0 }).then_some(before);
    let count = usize::try_from(take(rest)?).ok().filter(|count| *count <= MOST_RUNS)?;
    // A run takes three bytes or more: a false count allocates no more than the bytes are worth.
    let mut runs: Vec<Run> = Vec::with_capacity(count.min(rest.len() / 3));
    for index in 0..count {
        let epochs = take(rest)?;
        let base = if epochs == 0 && index > 0 { before.sequence } else { 0 };
        let epoch = before.epoch.checked_add(epochs)?;
        let first = base.checked_add(take(rest)?)?;
        let last = first.checked_add(take(rest)?)?;
        let run = Run { epoch, first, last };
        let above_the_horizon = horizon.is_none_or(|horizon| horizon < run.start());
        let apart = runs.last().is_none_or(|last| last.end() < run.start() && !last.precedes(run.start()));
        if !above_the_horizon || !apart {
            return None;
        }
        runs.push(run);
        before = run.end();
    }
    rest.is_empty().then_some(Window { horizon, runs })
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low & 0x7F);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// The next number; `None` where there is none, or it is longer than needed.
fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for index in 0..LONGEST_NUMBER {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        let bits = u64::from(byte & 0x7F);
        let shift = 7 * u32::try_from(index).ok()?;
        let shifted = bits << shift;
        if shifted >> shift != bits {
            return None;
        }
        number |= shifted;
        if byte & 0x80 == 0 {
            return (byte != 0 || index == 0).then_some(number);
        }
    }
    None
}
