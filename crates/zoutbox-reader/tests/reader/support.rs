//! Logs made by hand, byte for byte, so that every shape a crash can leave is there to read.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use zoutbox_format::checkpoint::Position;
use zoutbox_format::frame::{Seal, encode_data, encode_seal};
use zoutbox_format::layout::SegmentName;
use zoutbox_format::{Epoch, PreviousSegment, SegmentHeader, SegmentId, Sequence, WriterId};
use zoutbox_reader::{Damage, LogRecord, Stop, Tail};
use zoutbox_storage::{Clock, Share, System};
use zoutbox_test_support::TestRoot;

/// A share with one writer, `w`.
pub(crate) struct Log {
    _root: TestRoot,
    pub(crate) system: System,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) share: Share,
    pub(crate) writer: WriterId,
}

/// A clock that only moves when told to.
#[derive(Debug, Default)]
pub(crate) struct HandClock(AtomicU64);

impl HandClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).expect("short"), Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}

/// A segment's bytes, and where each of its frames starts; the last offset is the end of the records.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) header: SegmentHeader,
    pub(crate) bytes: Vec<u8>,
    pub(crate) offsets: Vec<usize>,
    next: Sequence,
}

impl Draft {
    pub(crate) fn id(&self) -> SegmentId {
        self.header.id
    }

    /// Adds commits with the given numbers of records.
    pub(crate) fn commits(mut self, commits: &[u32]) -> Self {
        for records in commits {
            for index in 0..*records {
                let body = format!("{}/{}", self.header.id.epoch, self.next);
                encode_data(&mut self.bytes, self.header.crc_seed(), self.next, index, body.as_bytes());
                self.next = self.next.next();
                self.offsets.push(self.bytes.len());
            }
        }
        self
    }

    /// Adds a frame with this body.
    pub(crate) fn body(mut self, commit_index: u32, body: &[u8]) -> Self {
        encode_data(&mut self.bytes, self.header.crc_seed(), self.next, commit_index, body);
        self.next = self.next.next();
        self.offsets.push(self.bytes.len());
        self
    }

    /// Adds a frame of a kind that is not known here, otherwise sound.
    pub(crate) fn frame_of_kind(mut self, kind: u8) -> Self {
        let start = self.bytes.len();
        self = self.body(0, b"later");
        let (_, end) = (self.offsets.pop(), self.bytes.len());
        self.bytes[start + 4] = kind;
        let header = u32::from_le_bytes(self.header.encode()[156..160].try_into().expect("4 bytes"));
        let mut crc = crc32fast::Hasher::new_with_initial(header);
        crc.update(&self.bytes[start..start + 24]);
        crc.update(&self.bytes[start + 28..end]);
        self.bytes[start + 24..start + 28].copy_from_slice(&crc.finalize().to_le_bytes());
        self
    }

    pub(crate) fn sealed(mut self) -> Self {
        let records = self.next.get() - self.header.id.first_sequence.get();
        let seal = Seal { records, offset: self.bytes.len() as u64 };
        encode_seal(&mut self.bytes, self.header.crc_seed(), self.next, seal);
        self
    }

    /// Adds bytes that are no frame.
    pub(crate) fn garbage(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// What a successor says of this segment when `records` of it are part of the log.
    pub(crate) fn ending_after(&self, records: usize) -> PreviousSegment {
        PreviousSegment {
            id: self.id(),
            end_offset: self.offsets[records] as u64,
            next_sequence: Sequence::new(self.id().first_sequence.get() + records as u64),
        }
    }

    pub(crate) fn whole(&self) -> PreviousSegment {
        self.ending_after(self.offsets.len() - 1)
    }
}

impl Log {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        zoutbox_test_support::test_roots().into_iter().map(|root| {
            let clock = Arc::new(HandClock::default());
            let system = System { clock: clock.clone(), ..System::real() };
            let share = Share::init(&system, &root.join("share")).expect("a fresh directory").0;
            let writer = WriterId::new("w").expect("valid");
            std::fs::create_dir(share.layout.writer(&writer)).expect("a fresh directory");
            Self { _root: root, system, clock, share, writer }
        })
    }

    /// The beginning of a segment.
    pub(crate) fn segment(&self, epoch: u64, first: u64, previous: Option<PreviousSegment>) -> Draft {
        let id = SegmentId { epoch: Epoch::new(epoch), first_sequence: Sequence::new(first) };
        let (share, writer) = (self.share.id, self.writer.clone());
        let header = SegmentHeader { share, writer, id, created_ms: 0, previous };
        let bytes = header.encode().to_vec();
        Draft { header, offsets: vec![bytes.len()], bytes, next: id.first_sequence }
    }

    pub(crate) fn path(&self, id: SegmentId, sealed: bool) -> PathBuf {
        self.share.layout.writer(&self.writer).join(SegmentName { id, sealed }.file_name())
    }

    /// Lays a segment on the share.
    pub(crate) fn put(&self, segment: &Draft, sealed: bool) -> PathBuf {
        let path = self.path(segment.id(), sealed);
        std::fs::write(&path, &segment.bytes).expect("a writable directory");
        path
    }

    pub(crate) fn tail(&self, from: Option<Position>) -> Tail {
        Tail::new(self.system.clone(), self.share.clone(), self.writer.clone(), from)
    }
}

/// Reads until nothing more comes, passing by all damage. What was read is `epoch/sequence`, as the bodies say.
pub(crate) fn drain(tail: &mut Tail) -> (Vec<String>, Vec<Damage>) {
    let (mut records, mut damages) = (Vec::new(), Vec::new());
    loop {
        let batch = tail.read(64).expect("a readable share");
        records.extend(batch.records.iter().map(text));
        match batch.stop {
            Stop::Budget => {}
            Stop::Repeats { from } => panic!("nobody asked for {from} again"),
            Stop::CaughtUp => return (records, damages),
            Stop::Damaged(damage) => {
                let again = tail.read(64).expect("a readable share");
                assert_eq!(again.stop, Stop::Damaged(damage.clone()), "damage is not passed by itself");
                assert!(again.records.is_empty());
                damages.push(damage);
                tail.skip_damage();
            }
        }
    }
}

/// A record's body, after checking that it is the record it claims to be.
pub(crate) fn text(record: &LogRecord) -> String {
    let body = String::from_utf8(record.body.to_vec()).expect("text");
    assert_eq!(body, format!("{}/{}", record.epoch, record.sequence));
    assert_eq!(record.after.next_sequence, record.sequence.next());
    body
}

pub(crate) fn ids(epoch: u64, sequences: std::ops::RangeInclusive<u64>) -> Vec<String> {
    sequences.map(|sequence| format!("{epoch}/{sequence}")).collect()
}
