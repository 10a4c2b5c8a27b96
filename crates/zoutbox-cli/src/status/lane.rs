//! One writer's state, with bounded work.
//!
//! ```text
//!   …01.seg    …02.seg    …03.seg    …04.open
//!        ↑ checkpoint                ├──────┤    read: where does the valid prefix end?
//!        └ one record read           ↑
//!        ├───────┤ ├───────┤ ├───────┤           counted: sequences by names, bytes by headers
//! ```

use std::time::Duration;

use serde::Serialize;
use zoutbox_format::checkpoint::Position;
use zoutbox_format::header::HEADER_LENGTH;
use zoutbox_format::layout::SegmentName;
use zoutbox_format::{RecordRef, SegmentHeader, SegmentId, WriterId};
use zoutbox_reader::{StoredCheckpoint, checkpoint, segments};
use zoutbox_storage::{DiskFile, OpenMode, Share, StorageError, System};

use super::HolderJson;
use super::consumers::NeededJson;
use super::relay::WaitJson;
use crate::exit::Failure;
use crate::finding::{Finding, FindingJson};
use crate::pass::{Met, Pass, start_of};

/// A writer's state, as `--json` has it. When its files do not answer, nobody knows a number: then there is none, since 0 would say
/// that all is well.
#[derive(Debug, Default, Serialize)]
pub(super) struct Lane {
    pub(super) writer: String,
    pub(super) durable: Option<u64>,
    pub(super) epoch: Option<u64>,
    pub(super) confirmed: Option<u64>,
    pub(super) lag_records: Option<u64>,
    pub(super) lag_bytes: Option<u64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) segments: Option<usize>,
    pub(super) segment_bytes: Option<u64>,
    pub(super) holder: Option<HolderJson>,
    pub(super) damages: Vec<FindingJson>,
    pub(super) answers: bool,
    pub(super) waits: Vec<WaitJson>,
    /// What consumers need of it; `None` if there is none that counts.
    pub(super) needed: Option<NeededJson>,
    #[serde(skip)]
    pub(super) findings: Vec<Finding>,
}

impl Lane {
    /// Of a writer whose files do not answer.
    pub(super) fn silent(writer: &WriterId) -> Self {
        Self { writer: writer.to_string(), ..Self::default() }
    }
}

/// Looks at one writer.
pub(super) fn look(system: &System, share: &Share, writer: &WriterId) -> Result<Lane, Failure> {
    let mut looking = Looking { system, share, writer, findings: Vec::new() };
    // The checkpoint first: what is confirmed later than the rest is looked at can't show as more than durable.
    let confirmed = looking.confirmed()?;
    let names = segments(system, share, writer)?;
    let durable = looking.durable(&names, confirmed)?;
    let oldest = names.first().map(|name| start_of(name.id));
    let from = confirmed.or(oldest);
    let behind = |position: Position| position.next_sequence.get();
    let lag_records = match (durable, from) {
        (Some(end), Some(from)) => behind(end).saturating_sub(behind(from)),
        _ => 0,
    };
    let waiting = from.filter(|_| lag_records > 0);
    let lag_bytes = match (waiting, durable) {
        (Some(from), Some(end)) => looking.bytes(&names, from, end)?,
        _ => 0,
    };
    let lag_seconds = waiting.map(|from| looking.age(from)).transpose()?.unwrap_or_default();
    let last = |position: Option<Position>| position.map_or(0, |p| behind(p).saturating_sub(1));
    Ok(Lane {
        writer: writer.to_string(),
        durable: Some(last(durable)),
        epoch: Some(names.last().map_or(0, |name| name.id.epoch.get())),
        confirmed: Some(last(confirmed)),
        lag_records: Some(lag_records),
        lag_bytes: Some(lag_bytes),
        lag_seconds: Some(lag_seconds),
        segments: Some(names.len()),
        segment_bytes: Some(names.iter().map(|name| looking.length(*name)).sum::<Result<u64, _>>()?),
        holder: super::holder(system, &share.layout.writer_lock(writer))?,
        damages: looking.findings.iter().map(Finding::json).collect(),
        answers: true,
        waits: Vec::new(),
        needed: None,
        findings: looking.findings,
    })
}

struct Looking<'a> {
    system: &'a System,
    share: &'a Share,
    writer: &'a WriterId,
    findings: Vec<Finding>,
}

impl Looking<'_> {
    /// The watermark's position.
    fn confirmed(&mut self) -> Result<Option<Position>, Failure> {
        Ok(match checkpoint(self.system, self.share, self.writer)? {
            StoredCheckpoint::Found(found) => Some(found.position),
            StoredCheckpoint::None => None,
            StoredCheckpoint::Damaged { path, reason } => {
                self.findings.push(Finding::aside(Some(self.writer), path, 0, reason.to_string()));
                None
            }
        })
    }

    /// Behind the last record of the valid prefix, by reading the newest segment as far as it went when this started.
    fn durable(
        &mut self,
        names: &[SegmentName],
        confirmed: Option<Position>,
    ) -> Result<Option<Position>, Failure> {
        let Some(newest) = names.last().map(|name| name.id) else { return Ok(None) };
        let from = confirmed.filter(|position| position.segment == newest).unwrap_or(start_of(newest));
        let length = names.last().map_or(Ok(0), |name| self.length(*name))?;
        let mut pass = Pass::new(self.system, self.share, self.writer, Some(from));
        let mut end = from;
        while let Some(met) = pass.next()? {
            match met {
                Met::Records(records) => end = records.last().map_or(end, |record| record.after),
                Met::Damage(damage) => {
                    let next_sequence = damage.lost_until.unwrap_or(end.next_sequence).max(end.next_sequence);
                    end = Position { next_sequence, ..end };
                    self.findings.push(Finding::damage(self.system, self.share, &damage));
                }
            }
            // A writer that is faster than this can't keep it reading for ever.
            if end.segment != newest || end.offset >= length {
                break;
            }
        }
        Ok(Some(end))
    }

    /// Bytes of frames from one position to another. Seals and headers do not count.
    fn bytes(&self, names: &[SegmentName], from: Position, end: Position) -> Result<u64, Failure> {
        let mut bytes = 0_u64;
        let between = names.iter().filter(|name| name.id >= from.segment && name.id <= end.segment);
        for name in between {
            let start = if name.id == from.segment { from.offset } else { HEADER_LENGTH as u64 };
            let stop = if name.id == end.segment { end.offset } else { self.end_of(names, *name)? };
            bytes = bytes.saturating_add(stop.saturating_sub(start));
        }
        Ok(bytes)
    }

    /// Where the records of a segment with a successor end: the successor's word, or else the file's length.
    fn end_of(&self, names: &[SegmentName], name: SegmentName) -> Result<u64, Failure> {
        let next = names.iter().find(|other| other.id > name.id);
        let header = next.map(|next| self.header(*next)).transpose()?.flatten();
        match header.and_then(|header| header.previous).filter(|previous| previous.id <= name.id) {
            Some(previous) if previous.id == name.id => Ok(previous.end_offset),
            // In nobody's log.
            Some(_) => Ok(0),
            None => self.length(name),
        }
    }

    fn header(&self, name: SegmentName) -> Result<Option<SegmentHeader>, Failure> {
        let bytes = self.in_either_name(name.id, |path| self.system.read_small(path, HEADER_LENGTH))?;
        Ok(bytes.and_then(|bytes| SegmentHeader::decode(&bytes).ok()))
    }

    fn length(&self, name: SegmentName) -> Result<u64, Failure> {
        let length = self.in_either_name(name.id, |path| {
            let file = self.system.disk.open(path, OpenMode::Read)?;
            Ok(DiskFile::metadata(&*file)?.length)
        })?;
        Ok(length.unwrap_or_default())
    }

    /// A segment can be sealed, or reclaimed, between its listing and now; and something else can lie in its place.
    fn in_either_name<T>(
        &self,
        id: SegmentId,
        look: impl Fn(&std::path::Path) -> Result<T, StorageError>,
    ) -> Result<Option<T>, Failure> {
        let directory = self.share.layout.writer(self.writer);
        for name in [SegmentName::sealed(id), SegmentName::open(id), SegmentName::sealed(id)] {
            match look(&directory.join(name.file_name())) {
                Err(error) if error.is_missing() => {}
                Err(StorageError::NotAFile { .. }) => return Ok(None),
                other => return Ok(Some(other?)),
            }
        }
        Ok(None)
    }

    /// Seconds since the first record behind `from` that can be read.
    fn age(&mut self, from: Position) -> Result<f64, Failure> {
        let mut pass = Pass::new(self.system, self.share, self.writer, Some(from));
        while let Some(met) = pass.next()? {
            match met {
                Met::Records(records) => {
                    let times = records.iter().filter_map(|record| RecordRef::decode(&record.body).ok());
                    if let Some(happened) = times.map(|record| record.timestamp_ms).next() {
                        let age = self.system.clock.now_ms().saturating_sub(happened);
                        return Ok(Duration::from_millis(age).as_secs_f64());
                    }
                }
                Met::Damage(damage) => {
                    let finding = Finding::damage(self.system, self.share, &damage);
                    if !self.findings.contains(&finding) {
                        self.findings.push(finding);
                    }
                }
            }
        }
        Ok(0.0)
    }
}
