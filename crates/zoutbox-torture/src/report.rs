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
    pub(crate) fn table(&self) -> Vec<String> {
        let rows = self.kills.iter().map(|((who, kind), [before, after])| {
            format!("{who:<9} {:<12} {before:>8} {after:>7}", kind.to_string())
        });
        let [sync, write, short, space] = self.faults;
        let (of_writers, of_relays) = (self.kills_of("writer"), self.kills_of("relay"));
        let (recovering, cuts) = (self.in_recovery, self.power_cuts);
        let Self { acknowledged, delivered, duplicates, segments_removed: removed, .. } = self;
        let sums = [
            format!(
                "{of_writers} kills of writers, {of_relays} of relays ({recovering} while they recovered from one before), {cuts} power cuts"
            ),
            format!("{sync} syncs failed, {write} writes failed, {short} were short, {space} found no space"),
            format!(
                "{acknowledged} records acknowledged; {delivered} messages delivered, {duplicates} of them duplicates; {removed} segments removed"
            ),
        ];
        std::iter::once("victim    killed at      before   after".to_owned())
            .chain(rows)
            .chain(sums)
            .collect()
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
        let (of_writers, of_relays) = (self.kills_of("writer"), self.kills_of("relay"));
        let read = "every acknowledged record there once, intact and in order; nothing there that was refused or never begun; nothing that was \
                    read once changed";
        let sent = format!(
            "{} messages delivered, {} of them duplicates: no record lost, first copies in order, no checkpoint ahead of the queue, no \
             segment gone before its records were there",
            self.delivered, self.duplicates
        );
        let both = match (of_writers, of_relays) {
            (_, 0) => read.to_owned(),
            (0, _) => sent.clone(),
            _ => format!("{read}; {sent}"),
        };
        let killed = "SIGKILL by the FUSE server before or after the N-th request";
        let [sync, write, short, space] = self.faults;
        let lines = [
            ("writer killed at a system call", killed, of_writers, read),
            ("relay killed at a system call", killed, of_relays, sent.as_str()),
            (
                "power cut",
                "of unsynced writes any subset survives, torn at sectors; of unsynced names any subset",
                self.power_cuts,
                &both,
            ),
            (
                "a sync fails",
                "EIO from the FUSE server; what it should have written is dropped, and the next sync succeeds",
                sync,
                &both,
            ),
            ("a write fails", "EIO from the FUSE server", write, &both),
            ("a write is short", "the FUSE server takes half of it", short, &both),
            ("no space left", "ENOSPC from the FUSE server, three times", space, &both),
        ];
        let told =
            lines.into_iter().filter(|(_, _, times, _)| *times > 0).map(|(fault, how, times, kept)| {
                let outcome = if broken == 0 { kept.to_owned() } else { format!("{broken} broken promises") };
                json!({"suite": "torture", "fault": fault, "how": how, "times": times, "outcome": outcome})
            });
        let text: String = told.map(|line| line.to_string() + "\n").collect();
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let mut file = file.with_context(|| path.display().to_string())?;
        file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
    }
}
