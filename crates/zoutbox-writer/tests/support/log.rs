//! Reads a writer's log by the rules of the format: along the chain of headers, each segment up to where its successor says.

use std::collections::BTreeMap;
use std::path::Path;

use zoutbox_format::layout::{Layout, SegmentName};
use zoutbox_format::{
    Gap, PayloadReference, RecordId, RecordRef, Scanner, SegmentHeader, SegmentId, Step, WriterId,
};
use zoutbox_storage::{Disk, OpenMode, System};

/// What a chain holds.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) records: Vec<(RecordId, Vec<u8>)>,
    /// Their times.
    pub(crate) times: Vec<u64>,
    /// The large payloads that records name.
    pub(crate) references: Vec<PayloadReference>,
    pub(crate) segments: Vec<SegmentHeader>,
    /// Gaps that were passed: the sequences lost.
    pub(crate) lost: Vec<(u64, u64)>,
}

fn files(system: &System, root: &Path, writer: &str) -> BTreeMap<SegmentId, Vec<u8>> {
    let directory = Layout::new(root).writer(&WriterId::new(writer).unwrap());
    let mut files = BTreeMap::new();
    for entry in system.disk.list(&directory).unwrap() {
        if let Some(name) = SegmentName::parse(entry.name.to_str().unwrap()) {
            files.insert(name.id, content(&*system.disk, &directory.join(&entry.name)));
        }
    }
    files
}

fn content(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().length).unwrap()];
    let length = zoutbox_format::scan::read_full(&*file, &mut bytes, 0).unwrap();
    bytes.truncate(length);
    bytes
}

/// The log as a reader sees it that follows the newest segment's chain.
pub(crate) fn read(system: &System, root: &Path, writer: &str) -> Log {
    let files = files(system, root, writer);
    let mut log = Log::default();
    let mut chain = Vec::new();
    let mut next = files.keys().next_back().map(|id| (*id, None));
    while let Some((id, end)) = next {
        let bytes = files.get(&id).unwrap_or_else(|| panic!("segment {id} is missing from the chain"));
        let header = SegmentHeader::decode(bytes);
        next = header.as_ref().ok().and_then(|h| h.previous.map(|p| (p.id, Some(p))));
        chain.push((bytes, header, end));
    }
    for (bytes, header, end) in chain.into_iter().rev() {
        let Ok(header) = header else { continue };
        let mut scanner = Scanner::from_start(&header);
        if let Some(end) = end {
            scanner.close_at(end.end_offset);
        }
        let before = log.records.len();
        scan(&mut log, &mut scanner, &header, bytes, end.is_some());
        if let Some(end) = end {
            let (found, named) = (scanner.next_sequence().get(), end.next_sequence.get());
            if found != named {
                log.lost.push((found, named));
            }
        }
        let lost = log.lost.iter().any(|(from, _)| *from == header.id.first_sequence.get());
        assert!(log.records.len() > before || lost, "{} has a name and no record", header.id);
        log.segments.push(header);
    }
    log
}

fn scan(log: &mut Log, scanner: &mut Scanner, header: &SegmentHeader, bytes: &[u8], durable: bool) {
    loop {
        match scanner.step(bytes).unwrap() {
            Step::Record(frame) => {
                let record = RecordRef::decode(frame.body).unwrap();
                log.times.push(record.timestamp_ms);
                log.references.extend(record.large_payload());
                let writer = header.writer.clone();
                let id = RecordId { writer, epoch: header.id.epoch, sequence: frame.sequence };
                log.records.push((id, record.payload().to_vec()));
            }
            Step::Sealed(_) | Step::End => return,
            Step::Unwritten | Step::Partial | Step::Invalid(_) => {
                match scanner.classify_gap(bytes, durable).unwrap() {
                    Gap::Damaged { resume_offset, resume_sequence } => {
                        log.lost.push((scanner.next_sequence().get(), resume_sequence.get()));
                        scanner.resume(resume_offset, resume_sequence);
                    }
                    Gap::Torn | Gap::Unresolved => return,
                }
            }
        }
    }
}

/// Every record that any reader could see now, in any segment, in the chain or not.
pub(crate) fn visible(system: &System, root: &Path, writer: &str) -> Vec<(RecordId, Vec<u8>)> {
    scan_all(system, root, writer).records
}

/// What those records name.
pub(crate) fn named(system: &System, root: &Path, writer: &str) -> Vec<PayloadReference> {
    scan_all(system, root, writer).references
}

fn scan_all(system: &System, root: &Path, writer: &str) -> Log {
    let mut log = Log::default();
    for bytes in files(system, root, writer).values() {
        if let Ok(header) = SegmentHeader::decode(bytes) {
            scan(&mut log, &mut Scanner::from_start(&header), &header, bytes, false);
        }
    }
    log
}
