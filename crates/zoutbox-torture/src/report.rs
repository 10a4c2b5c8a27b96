//! What a run came to, for people and for the bill of health.

use std::collections::BTreeMap;
use std::time::Duration;

use zoutbox_test_support::faults::{Fault as Injected, Hits};

use crate::plan::{Fault, When};
use crate::request::Kind;

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

    /// Tells the bill of health what was injected. Not before every promise was seen to be kept.
    pub(crate) fn tell(&self) {
        let read = "every acknowledged record there once, intact and in order; nothing there that was refused or never begun; nothing that was \
                    read once changed";
        let sent = format!(
            "{} messages delivered, {} of them duplicates: no record lost, first copies in order, no checkpoint ahead of the queue, no \
             segment gone before its records were there",
            self.delivered, self.duplicates
        );
        let (of_writers, of_relays) = (self.kills_of("writer"), self.kills_of("relay"));
        let both = match (of_writers, of_relays) {
            (_, 0) => read.to_owned(),
            (0, _) => sent.clone(),
            _ => format!("{read}; {sent}"),
        };
        let [sync, write, short, space] = self.faults;
        for (fault, times, held) in [
            (&WRITER_KILLED, of_writers, read),
            (&RELAY_KILLED, of_relays, &sent),
            (&POWER_CUT, self.power_cuts, &both),
            (&SYNC_FAILS, sync, &both),
            (&WRITE_FAILS, write, &both),
            (&WRITE_SHORT, short, &both),
            (&NO_SPACE, space, &both),
        ] {
            if times > 0 {
                fault.held(times, held);
            }
        }
    }
}

const KILLED: &str = "SIGKILL by the FUSE server in front of a request or behind it";
const WRITER_KILLED: Injected = Injected::new("torture", Hits::Writer, "killed at a system call", KILLED);
const RELAY_KILLED: Injected = Injected::new("torture", Hits::Relay, "killed at a system call", KILLED);
const POWER_CUT: Injected = Injected::new(
    "torture",
    Hits::Disk,
    "the power is cut at a system call",
    "of unsynced writes any subset survives, torn at sectors; of unsynced names any subset",
);
const SYNC_FAILS: Injected = Injected::new(
    "torture",
    Hits::Disk,
    "a sync fails",
    "EIO from the FUSE server; what it should have written is dropped, and the next sync succeeds",
);
const WRITE_FAILS: Injected =
    Injected::new("torture", Hits::Disk, "a write fails", "EIO from the FUSE server");
const WRITE_SHORT: Injected =
    Injected::new("torture", Hits::Disk, "a write is short", "the FUSE server takes half of it");
const NO_SPACE: Injected =
    Injected::new("torture", Hits::Share, "no space is left", "ENOSPC from the FUSE server, three times");
