//! What verify tells: as text while it goes, or as one JSON object in the end.

use serde::Serialize;
use zoutbox_storage::Share;

use crate::exit::{Exit, Failure};
use crate::finding::{Finding, FindingJson};
use crate::output::Output;

/// The counts, and everything that was found.
#[derive(Debug)]
pub(super) struct Report {
    json: bool,
    output: Output,
    pub(super) writers: usize,
    pub(super) segments: usize,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) payloads: u64,
    pub(super) payload_bytes: u64,
    damaged: usize,
    damages: Vec<FindingJson>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    root: &'a str,
    share: String,
    sound: bool,
    writers: usize,
    segments: usize,
    records: u64,
    bytes: u64,
    payloads: u64,
    payload_bytes: u64,
    damages: &'a [FindingJson],
    notes: &'a [String],
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            output: Output::new(),
            writers: 0,
            segments: 0,
            records: 0,
            bytes: 0,
            payloads: 0,
            payload_bytes: 0,
            damaged: 0,
            damages: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "a finding is told once")]
    pub(super) fn damage(&mut self, finding: Finding) -> Result<(), Failure> {
        self.damaged += 1;
        if self.json {
            self.damages.push(finding.json());
            return Ok(());
        }
        self.output.line(&finding.to_string())?;
        self.output.flush()
    }

    pub(super) fn note(&mut self, note: String) -> Result<(), Failure> {
        if self.json {
            self.notes.push(note);
            return Ok(());
        }
        self.output.line(&format!("note: {note}"))
    }

    pub(super) fn finish(&mut self, root: &str, share: &Share) -> Result<Exit, Failure> {
        let sound = self.damaged == 0;
        let Self { writers, segments, records, bytes, payloads, payload_bytes, damaged, .. } = *self;
        if self.json {
            let (damages, notes) = (&self.damages, &self.notes);
            let share = share.id.to_string();
            let document = Document {
                root,
                share,
                sound,
                writers,
                segments,
                records,
                bytes,
                payloads,
                payload_bytes,
                damages,
                notes,
            };
            let text = serde_json::to_string(&document)
                .map_err(|error| Failure::new(Exit::Io, format!("can't write JSON: {error}")))?;
            self.output.line(&text)?;
        } else {
            let end = match damaged {
                0 => "sound".to_owned(),
                1 => "1 damage".to_owned(),
                more => format!("{more} damages"),
            };
            let counts = [count(writers, "writer"), count(segments, "segment")].join(", ");
            let records = format!("{records} {}", if records == 1 { "record" } else { "records" });
            let large = match payloads {
                0 => String::new(),
                1 => format!(", 1 large payload, {payload_bytes} bytes"),
                more => format!(", {more} large payloads, {payload_bytes} bytes"),
            };
            self.output.line(&format!("{end}: {counts}, {records}, {bytes} bytes{large}"))?;
        }
        self.output.flush()?;
        Ok(if sound { Exit::Ok } else { Exit::Damaged })
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("{number} {what}") } else { format!("{number} {what}s") }
}
