//! What the kernel says a process has used: the same source for every process, ours or not.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// `/proc` counts CPU in ticks of this length on every Linux that Rust runs on (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);
/// The places of user and system time in `/proc/PID/stat`, counted behind the name, which may hold anything.
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;

/// The CPU time of all threads of a process so far, those that have ended included.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let (_, fields) = text.rsplit_once(')').with_context(|| format!("{path} has no name"))?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| -> Result<u32> {
        fields
            .get(index)
            .and_then(|field| field.parse().ok())
            .with_context(|| format!("{path}, field {index}"))
    };
    Ok(TICK * ticks(USER_TIME)?.saturating_add(ticks(SYSTEM_TIME)?))
}

/// How much memory a process holds, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// The most it ever held, mapped files included.
    pub(crate) peak: u64,
    /// What it holds now that belongs to no file.
    pub(crate) anonymous: u64,
}

/// The memory of a process.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).with_context(|| format!("{path} has no {name}"))
    };
    Ok(Memory { peak: field("VmHWM")?, anonymous: field("RssAnon")? })
}

#[cfg(test)]
mod tests {
    use super::{cpu, memory};

    #[test]
    fn our_own_use_is_seen() -> anyhow::Result<()> {
        let before = cpu(std::process::id())?;
        let mut held = vec![1_u8; 32 << 20];
        while cpu(std::process::id())? == before {
            for byte in &mut held {
                *byte = byte.wrapping_mul(3);
            }
        }
        let seen = memory(std::process::id())?;
        assert!(seen.peak >= 32 << 20 && seen.anonymous >= 32 << 20, "{seen:?}, {:?}", held.first());
        Ok(())
    }
}
