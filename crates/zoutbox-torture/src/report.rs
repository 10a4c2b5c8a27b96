//! What a run came to, for people and for the bill of health.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::plan::{Fault, When};
use crate::request::Kind;

/// Names the file that gets a line of JSON for each fault.
pub(crate) const FAULTS: &str = "ZOUTBOX_FAULTS";

/// Counts of one or many histories.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) histories: u64,
    pub(crate) victims: u64,
    /// By who it was, the request, and on which side of it.
    pub(crate) kills: BTreeMap<(&'static str, Kind), [u64; 2]>,
    /// Kills of a victim that was only starting up again after one.
    pub(crate) in_recovery: u64,
    pub(crate) power_cuts: u64,
    pub(crate) faults: [u64; 4],
    pub(crate) acknowledged: u64,
    pub(crate) delivered: u64,
    pub(crate) duplicates: u64,
    pub(crate) segments_removed: u64,
}

impl Counts {
    pub(crate) fn killed(&mut self, who: &'static str, kind: Kind, when: When) {
        let [before, after] = self.kills.entry((who, kind)).or_default();
        *(if when == When::Before { before } else { after }) += 1;
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        let [sync, write, short, space] = &mut self.faults;
        *(match fault {
            Fault::Sync => sync,
            Fault::Write => write,
            Fault::Short => short,
            Fault::Space => space,
        }) += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.victims += other.victims;
        for (key, [before, after]) in &other.kills {
            let sum = self.kills.entry(*key).or_default();
            sum[0] += before;
            sum[1] += after;
        }
        self.in_recovery += other.in_recovery;
        self.power_cuts += other.power_cuts;
        for (sum, more) in self.faults.iter_mut().zip(other.faults) {
            *sum += more;
        }
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.duplicates += other.duplicates;
        self.segments_removed += other.segments_removed;
    }

    pub(crate) fn all_kills(&self) -> u64 {
        self.kills.values().flatten().sum()
    }

    fn kills_of(&self, who: &str) -> u64 {
        self.kills.iter().filter(|((of, _), _)| *of == who).flat_map(|(_, sides)| sides).sum()
    }

    /// A table for people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from("victim    killed at      before   after\n");
        for ((who, kind), [before, after]) in &self.kills {
            text += &format!("{who:<9} {:<12} {before:>8} {after:>7}\n", kind.to_string());
        }
        let [sync, write, short, space] = self.faults;
        text += &format!(
            "{} kills of writers, {} of relays ({} while they recovered from one before), {} power cuts\n\
             {sync} syncs failed, {write} writes failed, {short} were short, {space} found no space\n\
             {} records acknowledged; {} messages delivered, {} of them duplicates; {} segments removed by relays\n",
            self.kills_of("writer"),
            self.kills_of("relay"),
            self.in_recovery,
            self.power_cuts,
            self.acknowledged,
            self.delivered,
            self.duplicates,
            self.segments_removed,
        );
        text
    }

    pub(crate) fn progress(&self, took: Duration) -> String {
        let kills = self.all_kills();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = kills as f64 / took.as_secs_f64().max(0.001);
        format!(
            "{kills} kills in {} histories, {} power cuts, {} records acknowledged; {:.0} s, {rate:.0} kills/s",
            self.histories,
            self.power_cuts,
            self.acknowledged,
            took.as_secs_f64()
        )
    }

    /// Appends what was injected to the file of the bill of health, a line a fault.
    pub(crate) fn tell(&self, path: &Path, broken: usize) -> Result<()> {
        let outcome = |kept: String| if broken == 0 { kept } else { format!("{broken} broken promises") };
        let read = format!(
            "{} acknowledged records: each there once, intact and in order; nothing that was never begun or was refused; nothing that was read \
             once changed",
            self.acknowledged
        );
        let sent = format!(
            "{} messages delivered, {} of them duplicates: nothing lost, first copies in order, no segment and no checkpoint ahead of the queue",
            self.delivered, self.duplicates
        );
        let [sync, write, short, space] = self.faults;
        let lines = [
            (
                "writer killed at a system call",
                "SIGKILL by the FUSE server, before or after the N-th request",
                self.kills_of("writer"),
                &read,
            ),
            (
                "relay killed at a system call",
                "SIGKILL by the FUSE server, before or after the N-th request that changes something",
                self.kills_of("relay"),
                &sent,
            ),
            (
                "power cut",
                "of unsynced writes any subset survives, torn at sectors; of unsynced names any subset",
                self.power_cuts,
                &read,
            ),
            (
                "fsync fails",
                "EIO from the FUSE server; what it should have written is dropped, and the next one succeeds",
                sync,
                &read,
            ),
            ("write fails", "EIO from the FUSE server", write, &read),
            ("write is short", "the FUSE server takes half of it", short, &read),
            ("no space left", "ENOSPC from the FUSE server, three times", space, &read),
        ];
        let mut text = String::new();
        for (fault, how, times, kept) in lines.into_iter().filter(|(_, _, times, _)| *times > 0) {
            let line = json!({"suite": "torture", "fault": fault, "how": how, "times": times, "outcome": outcome(kept.clone())});
            text += &format!("{line}\n");
        }
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let mut file = file.with_context(|| path.display().to_string())?;
        file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
    }
}
