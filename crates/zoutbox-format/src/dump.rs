//! Any file of a share, or a pointer's message, as text, for people: what its header says, every frame with its offset, every gap with
//! what it means.
//!
//! ```text
//! segment writer=orders epoch=1 first=1 share=000102030405060708090a0b0c0d0e0f created=1700000000000
//! previous none
//! @160 data sequence=1 index=0 body=15 topic="t" key=nil id=nil time=1 type=nil headers=0 payload=5 "hello"
//! gap @203..240 damaged lost=2 reason="frame CRC does not match"
//! @240 data sequence=3 index=0 body=9 topic="t" key=nil id="7" time=1 type=nil headers=1 "a"="b" payload=0 ""
//! end @277 sealed records=3
//! ```
//!
//! Texts and payloads are shown byte by byte: printable ASCII as it is but for `\"` and `\\`, everything else as `\x` and
//! two hexadecimal digits, and `...` behind the closing quote when only a beginning is shown. So a dump is ASCII whatever
//! the file holds, harms no terminal, and comes out the same in every language.
//!
//! It reads one file and knows nothing of its neighbours, so it can't tell a live segment from an abandoned one, and a
//! segment's last gap is called torn when only its successor could tell otherwise.

use std::fmt::{self, Write};

use crate::bytes::all_zero;
use crate::checkpoint::{CHECKPOINT_LENGTH, Checkpoint};
use crate::frame::{Frame, InvalidFrame, SEAL_LENGTH};
use crate::header::{HEADER_LENGTH, SegmentHeader};
use crate::holder::{HOLDER_LENGTH, Holder};
use crate::identity::Sequence;
use crate::marker::{MAX_MARKER, Marker};
use crate::pointer::{MAX_POINTER_LENGTH, Pointer, PointerError};
use crate::record::RecordRef;
use crate::scan::{Gap, ReadAt, Scanner, Step, read_full};

/// How many bytes of a text or payload are shown.
const SHOWN_BYTES: usize = 48;
/// How many headers of a record are shown.
const SHOWN_HEADERS: usize = 8;
/// Searching behind a gap is bounded, the number of gaps in a forged file is not: after so many it is given up.
const MAX_GAPS: u64 = 1000;
/// How much is read at a time, in bytes, to see whether zeros go on to the end of the file.
const ZEROS_CHUNK: usize = 64 * 1024;

/// What was seen on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dumped {
    /// How many records were read.
    pub records: u64,
    /// How many gaps with readable frames behind them.
    pub gaps: u64,
    /// Where it ended.
    pub end: DumpEnd,
}

/// How a dump ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpEnd {
    /// A sealed segment, a checkpoint, a marker, a lock file or a pointer: whole, if there were no gaps.
    Complete,
    /// A segment without a seal: nothing, or only zeros, behind its last frame.
    Open,
    /// A segment whose last commit never finished, or is damaged: only the segment behind it could tell.
    Torn,
    /// A frame of a kind, or a file of a version, that this zoutbox does not know.
    Unknown,
    /// What follows can't be read, or nothing could.
    Damaged,
}

/// Why a dump was broken off.
#[derive(Debug, thiserror::Error)]
pub enum DumpError<E> {
    /// The file can't be read.
    #[error(transparent)]
    Source(E),
    /// The text can't be written.
    #[error("can't write the dump")]
    Output(#[from] fmt::Error),
}

/// Writes what is in a segment, checkpoint, marker, lock file or pointer of `length` bytes. They are told apart by their first bytes.
///
/// Needs a few hundred KiB of memory, or twice the longest frame's length (at most 16 MiB and a little), whatever is in
/// the file.
///
/// # Errors
/// What the source or the output fails with. Damage is no error: it is what gets written.
pub fn dump<S: ReadAt + ?Sized>(
    source: &S,
    length: u64,
    out: &mut impl Write,
) -> Result<Dumped, DumpError<S::Error>> {
    let mut start = [0; MAX_MARKER + 1];
    let read = read_full(source, &mut start, 0).map_err(DumpError::Source)?;
    let start = start.get(..read).unwrap_or_default();
    if start.starts_with(b"ZOUTCKP") {
        let whole = usize::try_from(length).is_ok_and(|length| length == CHECKPOINT_LENGTH);
        Ok(dump_checkpoint(if whole { start } else { &[] }, out)?)
    } else if let Some(holder) = Holder::decode(start).filter(|_| length == HOLDER_LENGTH as u64) {
        Ok(dump_holder(&holder, out)?)
    } else if start.trim_ascii_start().starts_with(b"{") {
        Ok(dump_marker(start, out)?)
    } else if matches!(start, [0x91..=0x9F, ..]) && length <= MAX_POINTER_LENGTH as u64 {
        Ok(dump_pointer(start, out)?)
    } else {
        dump_segment(source, length, start, out)
    }
}

const fn ended(end: DumpEnd) -> Dumped {
    Dumped { records: 0, gaps: 0, end }
}

fn dump_checkpoint(bytes: &[u8], out: &mut impl Write) -> Result<Dumped, fmt::Error> {
    match Checkpoint::decode(bytes.get(..CHECKPOINT_LENGTH).unwrap_or_default()) {
        Ok(checkpoint) => {
            let Checkpoint { share, writer, relay_epoch, position, saved_ms } = checkpoint;
            writeln!(
                out,
                "checkpoint writer={writer} share={share} relay={relay_epoch} segment={} offset={} next={} saved={saved_ms}",
                position.segment, position.offset, position.next_sequence
            )?;
            Ok(ended(DumpEnd::Complete))
        }
        Err(error @ crate::CheckpointError::Newer(_)) => refused(out, "checkpoint", &error, DumpEnd::Unknown),
        Err(error) => refused(out, "checkpoint", &error, DumpEnd::Damaged),
    }
}

fn dump_marker(bytes: &[u8], out: &mut impl Write) -> Result<Dumped, fmt::Error> {
    match Marker::decode(bytes) {
        Ok(Marker { share }) => {
            writeln!(out, "marker share={share}")?;
            Ok(ended(DumpEnd::Complete))
        }
        Err(error @ crate::MarkerError::Newer { .. }) => refused(out, "marker", &error, DumpEnd::Unknown),
        Err(error) => refused(out, "marker", &error, DumpEnd::Damaged),
    }
}

fn dump_holder(holder: &Holder, out: &mut impl Write) -> Result<Dumped, fmt::Error> {
    let Holder { epoch, next_sequence, host, pid, doorbell } = holder;
    let next = next_sequence.map_or("nil".into(), |next| next.to_string());
    let doorbell = doorbell.map(|address| format!(" doorbell={address}")).unwrap_or_default();
    writeln!(out, "holder epoch={epoch} next={next} host={} pid={pid}{doorbell}", text(host.as_bytes()))?;
    Ok(ended(DumpEnd::Complete))
}

fn dump_pointer(bytes: &[u8], out: &mut impl Write) -> Result<Dumped, fmt::Error> {
    match Pointer::decode(bytes) {
        Ok(pointer) => {
            let Pointer { share, writer, segment, offset, length, sequence, count, crc } = pointer;
            writeln!(
                out,
                "pointer writer={writer} share={share} segment={segment} offset={offset} length={length} sequence={sequence} count={count} crc={crc:08x}"
            )?;
            Ok(ended(DumpEnd::Complete))
        }
        Err(error @ PointerError::Newer(_)) => refused(out, "pointer", &error, DumpEnd::Unknown),
        Err(error @ PointerError::Malformed) => refused(out, "pointer", &error, DumpEnd::Damaged),
    }
}

fn refused(
    out: &mut impl Write,
    what: &str,
    error: &impl fmt::Display,
    end: DumpEnd,
) -> Result<Dumped, fmt::Error> {
    writeln!(out, "unreadable {what} reason={}", Quoted(error.to_string().as_bytes(), usize::MAX))?;
    Ok(ended(end))
}

fn dump_segment<S: ReadAt + ?Sized>(
    source: &S,
    length: u64,
    start: &[u8],
    out: &mut impl Write,
) -> Result<Dumped, DumpError<S::Error>> {
    let header = match SegmentHeader::decode(start.get(..HEADER_LENGTH).unwrap_or(start)) {
        Ok(header) => header,
        Err(error @ crate::HeaderError::Newer(_)) => {
            return Ok(refused(out, "segment", &error, DumpEnd::Unknown)?);
        }
        Err(error) => return Ok(refused(out, "segment", &error, DumpEnd::Damaged)?),
    };
    write_header(&header, out)?;
    let mut scanner = Scanner::from_start(&header);
    let mut dumped = ended(DumpEnd::Open);
    loop {
        let offset = scanner.offset();
        let stop = match scanner.step(source).map_err(DumpError::Source)? {
            Step::Record(frame) => {
                write_record(offset, &frame, out)?;
                dumped.records += 1;
                continue;
            }
            Step::Sealed(seal) => {
                let behind = offset.saturating_add(SEAL_LENGTH);
                write!(out, "end @{offset} sealed records={}", seal.records)?;
                if length > behind {
                    write!(out, " behind={}", length - behind)?;
                }
                writeln!(out)?;
                dumped.end = DumpEnd::Complete;
                return Ok(dumped);
            }
            Step::Unwritten | Step::End => Stopped::Unwritten,
            Step::Partial => Stopped::Partial,
            Step::Invalid(reason) => Stopped::Invalid(reason),
        };
        let end = end_or_resume(source, length, &mut scanner, stop, &mut dumped, out)?;
        if let Some(end) = end {
            dumped.end = end;
            return Ok(dumped);
        }
    }
}

/// Where the scanner could not go on.
#[derive(Clone, Copy)]
enum Stopped {
    Unwritten,
    Partial,
    Invalid(InvalidFrame),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwritten => f.write_str("zeros"),
            Self::Partial => f.write_str("the file ends before the frame does"),
            Self::Invalid(reason) => reason.fmt(f),
        }
    }
}

/// Writes what it means that no record follows; `None` when the scanner can go on behind it.
fn end_or_resume<S: ReadAt + ?Sized>(
    source: &S,
    length: u64,
    scanner: &mut Scanner,
    stop: Stopped,
    dumped: &mut Dumped,
    out: &mut impl Write,
) -> Result<Option<DumpEnd>, DumpError<S::Error>> {
    let (offset, next) = (scanner.offset(), scanner.next_sequence());
    let bytes = length.saturating_sub(offset);
    if let Stopped::Invalid(reason @ InvalidFrame::Kind(_)) = stop {
        writeln!(out, "end @{offset} unknown next={next} reason=\"{reason}\"")?;
        return Ok(Some(DumpEnd::Unknown));
    }
    if matches!(stop, Stopped::Unwritten) && only_zeros(source, offset).map_err(DumpError::Source)? {
        writeln!(out, "end @{offset} open next={next} zeros={bytes}")?;
        return Ok(Some(DumpEnd::Open));
    }
    match scanner.classify_gap(source, false).map_err(DumpError::Source)? {
        Gap::Damaged { resume_offset, resume_sequence } => {
            let lost = Lost(next, resume_sequence);
            writeln!(out, "gap @{offset}..{resume_offset} damaged lost={lost} reason=\"{stop}\"")?;
            dumped.gaps += 1;
            if dumped.gaps < MAX_GAPS {
                scanner.resume(resume_offset, resume_sequence);
                return Ok(None);
            }
            writeln!(
                out,
                "end @{resume_offset} unresolved next={resume_sequence} reason=\"{MAX_GAPS} gaps\""
            )?;
            Ok(Some(DumpEnd::Damaged))
        }
        Gap::Torn => {
            writeln!(out, "end @{offset} torn next={next} bytes={bytes} reason=\"{stop}\"")?;
            Ok(Some(DumpEnd::Torn))
        }
        Gap::Unresolved => {
            writeln!(out, "end @{offset} unresolved next={next} bytes={bytes} reason=\"{stop}\"")?;
            Ok(Some(DumpEnd::Damaged))
        }
    }
}

fn only_zeros<S: ReadAt + ?Sized>(source: &S, mut offset: u64) -> Result<bool, S::Error> {
    let mut chunk = vec![0; ZEROS_CHUNK];
    loop {
        let read = read_full(source, &mut chunk, offset)?;
        if read == 0 {
            return Ok(true);
        }
        if !all_zero(chunk.get(..read).unwrap_or_default()) {
            return Ok(false);
        }
        offset = offset.saturating_add(read as u64);
    }
}

fn write_header(header: &SegmentHeader, out: &mut impl Write) -> fmt::Result {
    let SegmentHeader { share, writer, id, created_ms, previous } = header;
    let (epoch, first) = (id.epoch, id.first_sequence);
    writeln!(out, "segment writer={writer} epoch={epoch} first={first} share={share} created={created_ms}")?;
    match previous {
        Some(p) => writeln!(out, "previous segment={} end={} next={}", p.id, p.end_offset, p.next_sequence),
        None => writeln!(out, "previous none"),
    }
}

fn write_record(offset: u64, frame: &Frame<'_>, out: &mut impl Write) -> fmt::Result {
    let Frame { sequence, commit_index, body, .. } = frame;
    write!(out, "@{offset} data sequence={sequence} index={commit_index} body={}", body.len())?;
    let Ok(record) = RecordRef::decode(body) else {
        return writeln!(out, " not-a-record {}", text(body));
    };
    write!(out, " topic={} key={}", text(record.topic.as_bytes()), Field(record.key))?;
    write!(out, " id={} time={}", Field(record.id), record.timestamp_ms)?;
    write!(out, " type={} headers={}", Field(record.content_type), record.headers.0.len())?;
    for (name, value) in record.headers.0.iter().take(SHOWN_HEADERS) {
        write!(out, " {}={}", text(name.as_bytes()), text(value.as_bytes()))?;
    }
    writeln!(out, " payload={} {}", record.payload().len(), text(record.payload()))
}

/// The lost sequences from the first to the one before the second.
struct Lost(Sequence, Sequence);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.get(), self.1.get()) {
            (from, until) if until <= from => f.write_str("none"),
            (from, until) if until == from + 1 => write!(f, "{from}"),
            (from, until) => write!(f, "{from}..{}", until - 1),
        }
    }
}

/// Bytes in quotes, escaped, cut to the limit.
struct Quoted<'a>(&'a [u8], usize);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes, limit) = *self;
        f.write_char('"')?;
        for byte in bytes.iter().take(limit) {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                b' '..=b'~' => f.write_char(char::from(*byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_str(if bytes.len() > limit { "\"..." } else { "\"" })
    }
}

const fn text(bytes: &[u8]) -> Quoted<'_> {
    Quoted(bytes, SHOWN_BYTES)
}

/// A text, or `nil`.
struct Field<'a>(Option<&'a str>);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => text(value.as_bytes()).fmt(f),
            None => f.write_str("nil"),
        }
    }
}
