//! Reading a segment from front to back, and telling a torn tail from damage.
//!
//! ```text
//!        frames in order            what a Scanner says behind them
//!  |header|f|f|f|f|seal|            Sealed
//!  |header|f|f|f|                   Unwritten: nothing there, yet
//!  |header|f|f|f|0000000…           Unwritten: zeros mean "not yet written"
//!  |header|f|f|f|f'                 Partial: a frame starts, the file ends before it does
//!  |header|f|f|f|####|f|f|          Invalid, and then `classify_gap` decides
//! ```
//!
//! The scanner never guesses whether "not yet" means "never": its caller knows if the segment is sealed, followed by
//! another, or live.
//!
//! **Torn or damaged?** Power can be lost in the middle of a commit, and the disk may then hold any subset of that
//! commit's pages: a hole, with valid frames of the same commit behind it. None of them was acknowledged, so that is a
//! torn tail. But a frame of a *later* commit behind the hole proves that everything in front of that commit had been
//! synced, so the hole is damage to acknowledged records. Frames carry their index in their commit for just this.

use crate::bytes::u32_at;
use crate::frame::{FRAME_HEADER_LENGTH, FRAME_MAGIC, Frame, FrameKind, InvalidFrame, Parsed, Seal, parse};
use crate::header::{CrcSeed, SegmentHeader};
use crate::identity::Sequence;
use crate::limits::MAX_BODY;

/// How much is read at a time, in bytes, unless a frame needs more.
const CHUNK: usize = 256 * 1024;
/// How many bytes of implausible frames all searches of a scanner check before they give up, besides twice what lies in front of them in
/// the segment: forged lengths can't make them take quadratic time, neither behind one gap nor behind many.
pub const SEARCH_ALLOWANCE: u64 = 8 * MAX_BODY as u64;

/// So many bytes behind a gap are searched for a sound frame at most: a file may claim to be as long as it likes, and cost nothing to who
/// made it.
pub const MAX_GAP: u64 = 1 << 30;

/// Something with bytes at offsets: a file behind the storage seam, or a slice.
pub trait ReadAt {
    /// What reading can fail with.
    type Error;

    /// Reads into `buffer` from `offset`. Returns how many bytes there were; 0 only at the end.
    ///
    /// # Errors
    /// Whatever the source fails with.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Self::Error>;
}

impl ReadAt for [u8] {
    type Error = std::convert::Infallible;

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Self::Error> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let count = buffer.iter_mut().zip(rest).map(|(to, from)| *to = *from).count();
        Ok(count)
    }
}

/// What lies at the scanner's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The next record; the scanner has moved behind it.
    Record(Frame<'a>),
    /// The seal: the segment ends here and is complete.
    Sealed(Seal),
    /// The end the caller set with [`Scanner::close_at`].
    End,
    /// Nothing, or zeros.
    Unwritten,
    /// The beginning of a frame, and nothing behind it.
    Partial,
    /// No frame, or not the one that follows.
    Invalid(InvalidFrame),
}

/// What lies behind an offset where the scanner could not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// Nothing that was ever acknowledged: a commit that never finished. The log ends at the scanner's offset.
    Torn,
    /// Acknowledged records are damaged: those from the scanner's sequence up to, not including, `resume_sequence`.
    Damaged {
        /// Where the first sound frame behind the damage starts.
        resume_offset: u64,
        /// The sequence from which on the log is readable again.
        resume_sequence: Sequence,
    },
    /// So many forged frames that the search was given up. What follows can't be read.
    Unresolved,
}

/// Reads one segment's frames in order, from any [`ReadAt`], with a bounded buffer.
#[derive(Debug)]
pub struct Scanner {
    seed: CrcSeed,
    first_sequence: Sequence,
    offset: u64,
    next_sequence: Sequence,
    end: Option<u64>,
    /// How many bytes of implausible frames were checked behind the gaps that it went on behind.
    spent: u64,
    /// And behind the gap that it looked at last. Looking there again costs the same again, and counts once.
    checked: u64,
    /// Bytes of the segment from `offset - consumed` on; those before `consumed` are done with.
    buffer: Vec<u8>,
    consumed: usize,
}

impl Scanner {
    /// A scanner of the segment with `header`, in front of `next_sequence` at `offset`.
    #[must_use]
    pub fn new(header: &SegmentHeader, offset: u64, next_sequence: Sequence) -> Self {
        Self {
            seed: header.crc_seed(),
            first_sequence: header.id.first_sequence,
            offset,
            next_sequence,
            end: None,
            spent: 0,
            checked: 0,
            buffer: Vec::new(),
            consumed: 0,
        }
    }

    /// A scanner in front of the segment's first frame.
    #[must_use]
    pub fn from_start(header: &SegmentHeader) -> Self {
        Self::new(header, crate::header::HEADER_LENGTH as u64, header.id.first_sequence)
    }

    /// The byte behind the last frame it returned.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The sequence that follows.
    #[must_use]
    pub const fn next_sequence(&self) -> Sequence {
        self.next_sequence
    }

    /// The segment is known to end at `end`, because the one behind it says so: nothing from there on is read.
    pub const fn close_at(&mut self, end: u64) {
        self.end = Some(end);
    }

    /// Goes on at another place: behind damage.
    pub fn resume(&mut self, offset: u64, next_sequence: Sequence) {
        self.offset = offset;
        self.next_sequence = next_sequence;
        self.spent = self.spent.saturating_add(std::mem::take(&mut self.checked));
        self.forget();
    }

    /// Reads what is at the offset and moves behind it if it is the next record. Asking again after anything else than
    /// a record reads the source again, so a live segment can be followed.
    ///
    /// # Errors
    /// What the source fails with. The scanner has then not moved.
    pub fn step<S: ReadAt + ?Sized>(&mut self, source: &S) -> Result<Step<'_>, S::Error> {
        if self.end.is_some_and(|end| self.offset >= end) {
            return Ok(Step::End);
        }
        let mut fresh = false;
        let found = loop {
            let (status, needed) = match parse(self.window(), self.seed) {
                Parsed::Frame(frame) => break Ok(Found::of(&frame)),
                Parsed::Partial { needed } => (Step::Partial, needed),
                Parsed::Unwritten => (Step::Unwritten, FRAME_HEADER_LENGTH),
                Parsed::Invalid(reason) => (Step::Invalid(reason), FRAME_HEADER_LENGTH),
            };
            // What is in memory may be older than what is in the source: only a fresh look counts.
            let more = status == Step::Partial && self.fill(source, needed)?;
            if !more && fresh {
                break Err(status);
            } else if !more {
                fresh = true;
                self.forget();
                self.fill(source, needed)?;
            }
        };
        match found.and_then(|found| self.check(found)) {
            Ok(found) if found.kind == FrameKind::Data => Ok(Step::Record(self.take(found))),
            Ok(found) => Ok(self.seal(found)),
            Err(step) => {
                self.forget();
                Ok(step)
            }
        }
    }

    fn check(&self, found: Found) -> Result<Found, Step<'static>> {
        let past_end = |end| self.offset.saturating_add(found.length as u64) > end;
        if found.sequence != self.next_sequence {
            let (expected, found) = (self.next_sequence, found.sequence);
            Err(Step::Invalid(InvalidFrame::Sequence { expected, found }))
        } else if self.end.is_some_and(past_end) {
            Err(Step::Invalid(InvalidFrame::Body))
        } else {
            Ok(found)
        }
    }

    fn take(&mut self, found: Found) -> Frame<'_> {
        let start = self.consumed;
        self.consumed += found.length;
        self.offset += found.length as u64;
        self.next_sequence = self.next_sequence.next();
        let bytes = self.buffer.get(start..self.consumed).unwrap_or_default();
        let body = bytes.get(FRAME_HEADER_LENGTH..).unwrap_or_default();
        Frame { kind: found.kind, commit_index: found.commit_index, sequence: found.sequence, body, bytes }
    }

    fn seal(&self, found: Found) -> Step<'static> {
        let body = self.window().get(FRAME_HEADER_LENGTH..found.length).unwrap_or_default();
        let records = self.next_sequence.get().saturating_sub(self.first_sequence.get());
        match Seal::decode(body) {
            Some(seal) if seal.offset == self.offset && seal.records == records => Step::Sealed(seal),
            _ => Step::Invalid(InvalidFrame::Body),
        }
    }

    fn window(&self) -> &[u8] {
        self.buffer.get(self.consumed..).unwrap_or_default()
    }

    fn forget(&mut self) {
        self.buffer.clear();
        self.consumed = 0;
    }

    /// Reads more, so that at least `needed` bytes from the offset are there. False when the source ends before.
    fn fill<S: ReadAt + ?Sized>(&mut self, source: &S, needed: usize) -> Result<bool, S::Error> {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        let had = self.buffer.len();
        let wanted = needed.max(CHUNK).max(had);
        self.buffer.resize(wanted, 0);
        let rest = self.buffer.get_mut(had..).unwrap_or_default();
        let read = read_full(source, rest, self.offset.saturating_add(had as u64));
        self.buffer.truncate(had + *read.as_ref().unwrap_or(&0));
        read.map(|_| self.buffer.len() >= needed)
    }

    /// Looks behind an offset where [`Scanner::step`] could not go on, and tells what it means.
    ///
    /// `durable` says that the caller knows everything up to the segment's end to have been synced, because the segment
    /// is sealed or followed by another: then any sound frame behind the offset makes the gap damage.
    ///
    /// # Errors
    /// What the source fails with.
    pub fn classify_gap<S: ReadAt + ?Sized>(&mut self, source: &S, durable: bool) -> Result<Gap, S::Error> {
        let mut search = Search::new(self);
        let gap = search.classify(source, durable);
        self.checked = search.checked;
        gap
    }
}

/// A frame without its body.
#[derive(Debug, Clone, Copy)]
struct Found {
    kind: FrameKind,
    commit_index: u32,
    sequence: Sequence,
    length: usize,
}

impl Found {
    const fn of(frame: &Frame<'_>) -> Self {
        Self {
            kind: frame.kind,
            commit_index: frame.commit_index,
            sequence: frame.sequence,
            length: frame.length(),
        }
    }
}

enum Sought {
    Frame { offset: u64, found: Found },
    Nothing,
    TooCostly,
}

/// The search for the next sound frame behind a gap.
struct Search<'a> {
    scanner: &'a Scanner,
    window: Vec<u8>,
    window_offset: u64,
    checked: u64,
}

impl<'a> Search<'a> {
    const fn new(scanner: &'a Scanner) -> Self {
        Self { scanner, window: Vec::new(), window_offset: 0, checked: 0 }
    }

    fn classify<S: ReadAt + ?Sized>(&mut self, source: &S, durable: bool) -> Result<Gap, S::Error> {
        let scanner = self.scanner;
        let mut resume = None;
        let mut at = scanner.offset.saturating_add(1);
        loop {
            match self.next_frame(source, at)? {
                Sought::Nothing => return Ok(Gap::Torn),
                Sought::TooCostly => return Ok(Gap::Unresolved),
                Sought::Frame { offset, found } => {
                    let (resume_offset, resume_sequence) = *resume.get_or_insert((offset, found.sequence));
                    let first = found.sequence.get().saturating_sub(u64::from(found.commit_index));
                    let later = first > scanner.next_sequence.get();
                    if durable || later || found.kind == FrameKind::Seal {
                        return Ok(Gap::Damaged { resume_offset, resume_sequence });
                    }
                    at = offset.saturating_add(found.length as u64);
                }
            }
        }
    }

    /// The first sound frame of this segment at or behind `at` that can follow the gap.
    fn next_frame<S: ReadAt + ?Sized>(&mut self, source: &S, mut at: u64) -> Result<Sought, S::Error> {
        loop {
            if self.bytes(source, at, FRAME_MAGIC.len())?.len() < FRAME_MAGIC.len()
                || self.scanner.end.is_some_and(|end| at >= end)
            {
                return Ok(Sought::Nothing);
            }
            if at.saturating_sub(self.scanner.offset) > MAX_GAP {
                return Ok(Sought::TooCostly);
            }
            let ahead = self.bytes(source, at, FRAME_MAGIC.len())?;
            let magic = ahead.windows(FRAME_MAGIC.len()).position(|bytes| bytes == FRAME_MAGIC);
            let Some(distance) = magic else {
                at = at.saturating_add((ahead.len() - FRAME_MAGIC.len() + 1) as u64);
                continue;
            };
            at = at.saturating_add(distance as u64);
            if let Some(found) = self.candidate(source, at)? {
                return Ok(Sought::Frame { offset: at, found });
            }
            let checked = self.scanner.spent.saturating_add(self.checked);
            if checked > SEARCH_ALLOWANCE.saturating_add(at.saturating_mul(2)) {
                return Ok(Sought::TooCostly);
            }
            at = at.saturating_add(1);
        }
    }

    /// Checks for a sound frame at `at` whose sequence can lie there.
    fn candidate<S: ReadAt + ?Sized>(&mut self, source: &S, at: u64) -> Result<Option<Found>, S::Error> {
        let scanner = self.scanner;
        let mut needed = FRAME_HEADER_LENGTH;
        loop {
            let bytes = self.bytes(source, at, needed)?;
            let short = bytes.len() < needed;
            // The window may have had all of a frame already: then its CRC was computed at once.
            let cost = needed.max(announced(bytes).min(bytes.len()));
            match parse(bytes, scanner.seed) {
                Parsed::Partial { needed: more } if !short => {
                    needed = more;
                    continue;
                }
                Parsed::Frame(frame) => {
                    let found = Found::of(&frame);
                    let most = at.saturating_sub(scanner.offset) / FRAME_HEADER_LENGTH as u64 + 1;
                    let ahead = found.sequence.get().checked_sub(scanner.next_sequence.get());
                    let fits = ahead.is_some_and(|ahead| ahead <= most)
                        && scanner.end.is_none_or(|end| at.saturating_add(found.length as u64) <= end);
                    if fits {
                        return Ok(Some(found));
                    }
                }
                _ => {}
            }
            // Also a sound one that can't lie here: whoever forges frames can forge them one in the other.
            self.checked = self.checked.saturating_add(cost as u64);
            return Ok(None);
        }
    }

    /// At least `needed` bytes from `at`, fewer only at the end of the source.
    fn bytes<S: ReadAt + ?Sized>(&mut self, source: &S, at: u64, needed: usize) -> Result<&[u8], S::Error> {
        let skip = at.checked_sub(self.window_offset).and_then(|skip| usize::try_from(skip).ok());
        let have = skip.and_then(|skip| self.window.len().checked_sub(skip)).unwrap_or(0);
        if have < needed {
            self.window.resize(needed.max(CHUNK), 0);
            let read = read_full(source, &mut self.window, at);
            self.window.truncate(*read.as_ref().unwrap_or(&0));
            self.window_offset = at;
            read?;
        }
        let skip = usize::try_from(at - self.window_offset).unwrap_or(usize::MAX);
        Ok(self.window.get(skip..).unwrap_or_default())
    }
}

/// How long the frame is that starts here, if it is one; 0 if its length can't be.
fn announced(bytes: &[u8]) -> usize {
    let length = u32_at(bytes, 8).and_then(|length| usize::try_from(length).ok());
    length.filter(|length| *length <= MAX_BODY).map_or(0, |length| FRAME_HEADER_LENGTH + length)
}

/// Reads until `buffer` is full or the source ends.
///
/// # Errors
/// What the source fails with.
pub fn read_full<S: ReadAt + ?Sized>(source: &S, buffer: &mut [u8], offset: u64) -> Result<usize, S::Error> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read_at(rest, offset.saturating_add(filled as u64))? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{encode_data, encode_seal};
    use crate::header::HEADER_LENGTH;
    use crate::header::tests::header;

    /// A segment whose commits have the given numbers of records, and the offset of every frame.
    fn segment(commits: &[u32], sealed: bool) -> (Vec<u8>, Vec<usize>) {
        let header = header();
        let (mut bytes, mut offsets) = (header.encode().to_vec(), Vec::new());
        let mut sequence = header.id.first_sequence;
        for records in commits {
            for index in 0..*records {
                offsets.push(bytes.len());
                let body = format!("record {sequence}").repeat(3);
                encode_data(&mut bytes, header.crc_seed(), sequence, index, body.as_bytes());
                sequence = sequence.next();
            }
        }
        offsets.push(bytes.len());
        if sealed {
            let seal = Seal { records: offsets.len() as u64 - 1, offset: bytes.len() as u64 };
            encode_seal(&mut bytes, header.crc_seed(), sequence, seal);
        }
        (bytes, offsets)
    }

    /// Scans to where no record follows; returns how many there were.
    fn drain(scanner: &mut Scanner, bytes: &[u8]) -> usize {
        let mut records = 0;
        while let Ok(Step::Record(frame)) = scanner.step(bytes) {
            assert!(frame.body.starts_with(b"record "));
            records += 1;
        }
        records
    }

    #[test]
    fn a_sealed_segment_reads_to_its_seal() {
        let (bytes, _) = segment(&[3, 1, 5], true);
        let mut scanner = Scanner::from_start(&header());
        assert_eq!(drain(&mut scanner, &bytes), 9);
        assert!(matches!(scanner.step(&bytes[..]), Ok(Step::Sealed(Seal { records: 9, .. }))));
    }

    #[test]
    fn a_tail_cut_at_every_byte_loses_only_the_records_it_cuts() {
        let (bytes, offsets) = segment(&[3, 1, 5], false);
        for length in HEADER_LENGTH..=bytes.len() {
            let whole = offsets.iter().filter(|offset| **offset <= length).count() - 1;
            for zeros in [0, 100] {
                let mut cut = bytes[..length].to_vec();
                cut.resize(length + zeros, 0);
                let mut scanner = Scanner::from_start(&header());
                assert_eq!(drain(&mut scanner, &cut), whole, "cut at {length}");
                assert_eq!(scanner.offset(), offsets[whole] as u64);
                assert_eq!(scanner.classify_gap(&cut[..], false), Ok(Gap::Torn));
            }
        }
    }

    #[test]
    fn a_live_segment_can_be_followed_as_it_grows_byte_by_byte() {
        let (bytes, offsets) = segment(&[2, 2], true);
        let mut scanner = Scanner::from_start(&header());
        let mut records = 0;
        for length in HEADER_LENGTH..bytes.len() {
            let mut prepared = bytes[..length].to_vec();
            prepared.resize(bytes.len() + 64, 0);
            records += drain(&mut scanner, &prepared);
            assert_eq!(records, offsets.iter().filter(|offset| **offset <= length).count() - 1);
        }
        assert!(matches!(scanner.step(&bytes[..]), Ok(Step::Sealed(_))));
    }

    #[test]
    fn a_hole_in_the_last_commit_is_torn_and_a_hole_before_it_is_damage() {
        let (bytes, offsets) = segment(&[4, 4], false);
        for damaged in 0..8 {
            let mut broken = bytes.clone();
            broken[offsets[damaged] + 30] ^= 1;
            let mut scanner = Scanner::from_start(&header());
            assert_eq!(drain(&mut scanner, &broken), damaged);
            let damage = Gap::Damaged {
                resume_offset: offsets[damaged + 1] as u64,
                resume_sequence: Sequence::new(42 + damaged as u64 + 1),
            };
            let expected = if damaged < 4 { damage } else { Gap::Torn };
            assert_eq!(scanner.classify_gap(&broken[..], false), Ok(expected), "record {damaged}");
            let expected = if damaged < 7 { damage } else { Gap::Torn };
            assert_eq!(scanner.classify_gap(&broken[..], true), Ok(expected), "record {damaged}, durable");
        }
    }

    #[test]
    fn every_flipped_bit_loses_at_most_the_record_it_hits() {
        let (bytes, offsets) = segment(&[1, 1, 1, 1], true);
        for bit in HEADER_LENGTH * 8..offsets[4] * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            let hit = offsets.iter().filter(|offset| **offset <= bit / 8).count() - 1;
            let mut scanner = Scanner::from_start(&header());
            assert_eq!(drain(&mut scanner, &broken), hit);
            let Ok(Gap::Damaged { resume_offset, resume_sequence }) =
                scanner.classify_gap(&broken[..], false)
            else {
                panic!("bit {bit} is not seen as damage")
            };
            assert_eq!(resume_offset, offsets[hit + 1] as u64);
            scanner.resume(resume_offset, resume_sequence);
            assert_eq!(drain(&mut scanner, &broken), 3 - hit, "bit {bit}");
        }
    }

    #[test]
    fn nothing_is_read_behind_the_end_the_next_segment_names() {
        let (bytes, offsets) = segment(&[2, 2], false);
        let mut scanner = Scanner::from_start(&header());
        scanner.close_at(offsets[2] as u64);
        assert_eq!(drain(&mut scanner, &bytes), 2);
        assert_eq!(scanner.step(&bytes[..]), Ok(Step::End));
        let mut scanner = Scanner::from_start(&header());
        scanner.close_at(offsets[2] as u64 + 1);
        assert_eq!(drain(&mut scanner, &bytes), 2);
        assert_eq!(scanner.step(&bytes[..]), Ok(Step::Invalid(InvalidFrame::Body)));
    }

    #[test]
    fn a_seal_with_a_wrong_count_is_no_seal() {
        let (mut bytes, offsets) = segment(&[2], false);
        let seal = Seal { records: 3, offset: offsets[2] as u64 };
        encode_seal(&mut bytes, header().crc_seed(), Sequence::new(44), seal);
        let mut scanner = Scanner::from_start(&header());
        assert_eq!(drain(&mut scanner, &bytes), 2);
        assert_eq!(scanner.step(&bytes[..]), Ok(Step::Invalid(InvalidFrame::Body)));
    }

    #[test]
    fn forged_lengths_do_not_make_the_search_quadratic() {
        let (mut bytes, _) = segment(&[1], false);
        let mut forged = FRAME_MAGIC.to_vec();
        forged.extend([1, 0, 0, 0]);
        forged.extend(8_000_000_u32.to_le_bytes());
        forged.resize(FRAME_HEADER_LENGTH, 1);
        (0..400_000).for_each(|_| bytes.extend_from_slice(&forged));
        let mut scanner = Scanner::from_start(&header());
        assert_eq!(drain(&mut scanner, &bytes), 1);
        assert_eq!(scanner.classify_gap(&bytes[..], false), Ok(Gap::Unresolved));
    }
}
