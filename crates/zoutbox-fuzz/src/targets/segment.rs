//! A segment, read as the relay does, and as people see it.
//!
//! Work is counted in bytes read. What may be read twice: a chunk for each place at which reading stops, and, behind a gap, what the
//! search for sound frames is allowed in all.

use std::convert::Infallible;

use zoutbox_format::dump::dump;
use zoutbox_format::frame::{Parsed, Seal, encode_data, parse};
use zoutbox_format::scan::SEARCH_ALLOWANCE;
use zoutbox_format::{Frame, Gap, Outline, RecordRef, Scanner, SegmentHeader, Step};

use crate::forge;
use crate::measure::Counted;

/// So many bytes are read at a time.
const CHUNK: u64 = 256 * 1024;
/// A look at a gap, and the search behind it, read so many chunks besides what they pass.
const CHUNKS_A_STOP: u64 = 6;

pub(crate) fn check(bytes: &[u8]) {
    look(bytes);
    look(&forge::segment(bytes));
}

fn look(bytes: &[u8]) {
    let mut text = String::new();
    assert!(dump(bytes, bytes.len() as u64, &mut text).is_ok(), "a slice can be read, and a text written");
    assert!(text.is_ascii(), "a dump is not ASCII");
    drop(text);
    let Ok(header) = SegmentHeader::decode(bytes) else { return };
    assert!(bytes.starts_with(&header.encode()), "{header:?} is written otherwise");
    for durable in [false, true] {
        walk(&header, bytes, None, durable);
    }
    walk(&header, bytes, Some(bytes.len() as u64 / 2), true);
}

/// Reads to the end, past damage.
fn walk(header: &SegmentHeader, bytes: &[u8], end: Option<u64>, durable: bool) {
    let source = Counted::new(bytes);
    let mut scanner = Scanner::from_start(header);
    if let Some(end) = end {
        scanner.close_at(end);
    }
    let mut stops = 1_u64;
    loop {
        let (before, expected) = (scanner.offset(), scanner.next_sequence());
        let Ok(step) = scanner.step(&source);
        match step {
            Step::Record(frame) => {
                assert!(frame.sequence == expected, "{} came instead of {expected}", frame.sequence);
                record(header, &frame);
                assert!(end.is_none_or(|end| scanner.offset() <= end), "a record behind the end");
                assert!(scanner.offset() > before, "the scanner stands still");
                continue;
            }
            Step::Sealed(seal) => {
                // Its commit index says nothing, and is not looked at.
                let rest =
                    usize::try_from(before).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
                let there = match parse(rest, header.crc_seed()) {
                    Parsed::Frame(frame) if frame.sequence == expected => Seal::decode(frame.body),
                    _ => None,
                };
                assert!(there == Some(seal), "{seal:?} is not there");
                break;
            }
            Step::End | Step::Unwritten | Step::Partial | Step::Invalid(_) => {}
        }
        stops += 1;
        let Ok(gap): Result<Gap, Infallible> = scanner.classify_gap(&source, durable);
        let Gap::Damaged { resume_offset, resume_sequence } = gap else { break };
        assert!(resume_offset > before && resume_sequence >= expected, "{gap:?} leads back from {before}");
        scanner.resume(resume_offset, resume_sequence);
    }
    let length = bytes.len() as u64;
    let allowed =
        8 * length + stops * CHUNKS_A_STOP * length.min(CHUNK) + 2 * SEARCH_ALLOWANCE.min(length * length);
    assert!(source.read() <= allowed, "{} bytes were read of {length}, with {stops} stops", source.read());
}

/// A frame and its record write back as they were, and who takes a quick look at one sees the same.
fn record(header: &SegmentHeader, frame: &Frame<'_>) {
    let mut again = Vec::with_capacity(frame.bytes.len());
    encode_data(&mut again, header.crc_seed(), frame.sequence, frame.commit_index, frame.body);
    assert!(again == frame.bytes, "frame {} is written otherwise", frame.sequence);
    let (outline, record) = (Outline::of(frame.body), RecordRef::decode(frame.body));
    assert!(outline.is_ok() == record.is_ok(), "two verdicts on one record: {outline:?}, {record:?}");
    let Ok(record) = record else { return };
    let seen = outline.is_ok_and(|o| o.topic == record.topic && o.timestamp_ms == record.timestamp_ms);
    assert!(seen, "an outline differs from its record");
    let mut body = Vec::new();
    let written = match record.large_payload() {
        // Its three headers are written for it.
        Some(_) => return,
        None => record.encode(&mut body),
    };
    assert!(written.is_ok(), "what was read can't be written: {written:?}");
    // Another form of a value than the shortest is read as well.
    assert!(RecordRef::decode(&body) == Ok(record), "a record does not read back");
}
