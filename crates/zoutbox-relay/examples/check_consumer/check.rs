//! What arrived against what was to arrive.

use std::collections::{BTreeMap, HashMap, HashSet};

use zoutbox_format::RecordId;

/// Epoch and sequence: a record's identity within its writer.
type Place = (u64, u64);

fn place(id: &RecordId) -> Place {
    (id.epoch.get(), id.sequence.get())
}

/// What is known of one writer.
#[derive(Default)]
struct Lane {
    expected: HashMap<Place, u32>,
    seen: HashMap<Place, u32>,
    highest: Place,
    duplicates: u64,
    out_of_order: u64,
    malformed: u64,
    /// Of first copies, as the application gets them.
    payload_bytes: u64,
    messages: u64,
    /// Of all messages, as the broker gave them out.
    broker_bytes: u64,
}

/// What was wrong with one writer's records, as counts.
struct Verdict {
    lost: usize,
    corrupt: u64,
    unexpected: usize,
}

impl Lane {
    /// Whether the record was to be expected here; else what was wrong. `again`: the broker has sent it before.
    fn record(&mut self, id: &RecordId, payload: &[u8], again: bool) -> Result<(), String> {
        let crc = crc32fast::hash(payload);
        if let Some(first) = self.seen.insert(place(id), crc) {
            self.duplicates += 1;
            if first != crc {
                self.malformed += 1;
                return Err(format!("{id}: a duplicate with other bytes"));
            }
            return Ok(());
        }
        self.payload_bytes += payload.len() as u64;
        if place(id) > self.highest {
            self.highest = place(id);
        } else if !again {
            self.out_of_order += 1;
            return Err(format!("{id} came behind {}/{}", self.highest.0, self.highest.1));
        }
        Ok(())
    }

    fn missing(&self) -> usize {
        self.expected.keys().filter(|place| !self.seen.contains_key(*place)).count()
    }

    fn verdict(&self) -> Verdict {
        let changed = self
            .expected
            .iter()
            .filter(|(place, crc)| self.seen.get(*place).is_some_and(|seen| seen != *crc));
        let unexpected = self.seen.keys().filter(|place| !self.expected.contains_key(*place)).count();
        let corrupt = u64::try_from(changed.count()).unwrap_or(u64::MAX) + self.malformed;
        Verdict { lost: self.missing(), corrupt, unexpected }
    }
}

#[derive(Default)]
pub(crate) struct Check {
    lanes: BTreeMap<String, Lane>,
    /// Messages that led to no record.
    unresolved: u64,
    complaints: HashSet<String>,
    /// Overlook all copies of one record.
    overlook: bool,
    overlooked: Option<RecordId>,
}

impl Check {
    pub(crate) fn new(overlook: bool) -> Self {
        Self { overlook, ..Self::default() }
    }

    fn lane(&mut self, id: &RecordId) -> &mut Lane {
        self.lanes.entry(id.writer.to_string()).or_default()
    }

    fn complain(&mut self, what: &str) {
        if self.complaints.len() < 20 && self.complaints.insert(what.to_owned()) {
            eprintln!("\n{what}");
        }
    }

    pub(crate) fn expect(&mut self, id: &RecordId, payload: &[u8]) {
        self.lane(id).expected.insert(place(id), crc32fast::hash(payload));
    }

    /// A message came that is of this record's writer, and had so many bytes.
    pub(crate) fn message(&mut self, id: &RecordId, bytes: u64) {
        let lane = self.lane(id);
        lane.messages += 1;
        lane.broker_bytes += bytes;
    }

    /// A message came that leads to no record.
    pub(crate) fn unresolved(&mut self, what: &str) {
        self.unresolved += 1;
        self.complain(what);
    }

    pub(crate) fn record(&mut self, id: &RecordId, payload: &[u8], again: bool) {
        if self.overlook && self.overlooked.get_or_insert_with(|| id.clone()) == id {
            return;
        }
        if let Err(wrong) = self.lane(id).record(id, payload, again) {
            self.complain(&wrong);
        }
    }

    fn sum(&self, of: impl Fn(&Lane) -> u64) -> u64 {
        self.lanes.values().map(of).sum()
    }

    pub(crate) fn seen(&self) -> u64 {
        self.sum(|lane| lane.seen.len() as u64)
    }

    pub(crate) fn missing(&self) -> u64 {
        self.sum(|lane| lane.missing() as u64)
    }

    pub(crate) fn duplicates(&self) -> u64 {
        self.sum(|lane| lane.duplicates)
    }

    pub(crate) fn out_of_order(&self) -> u64 {
        self.sum(|lane| lane.out_of_order)
    }

    /// Prints what was found; true if all is well.
    pub(crate) fn report(&self) -> bool {
        let mut sound = self.unresolved == 0;
        for (writer, lane) in &self.lanes {
            let Verdict { lost, corrupt, unexpected } = lane.verdict();
            let Lane { duplicates, out_of_order, payload_bytes, messages, broker_bytes, .. } = lane;
            let delivered = lane.seen.len();
            sound &= lost == 0 && corrupt == 0 && unexpected == 0 && *out_of_order == 0;
            println!(
                "{{\"writer\":\"{writer}\",\"delivered\":{delivered},\"duplicates\":{duplicates},\"lost\":{lost},\
                 \"out_of_order\":{out_of_order},\"corrupt\":{corrupt},\"unexpected\":{unexpected},\
                 \"payload_bytes\":{payload_bytes},\"messages\":{messages},\"broker_bytes\":{broker_bytes}}}"
            );
        }
        sound
    }
}
