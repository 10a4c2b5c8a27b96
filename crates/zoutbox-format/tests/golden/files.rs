//! What every golden file holds, made with today's encoder and then damaged where its name says so.

use zoutbox_format::checkpoint::{Checkpoint, Position};
use zoutbox_format::frame::{FRAME_HEADER_LENGTH, Seal, encode_data, encode_seal};
use zoutbox_format::limits::MAX_BODY;
use zoutbox_format::pointer::crc;
use zoutbox_format::{
    Epoch, Holder, Hour, Marker, PayloadName, PayloadReference, Pointer, PreviousSegment, Record,
    SegmentHeader, SegmentId, Sequence, ShareId, WriterId,
};

const TIME: u64 = 1_700_000_000_000;

/// A segment in the making, and where its frames start.
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) bytes: Vec<u8>,
    pub(crate) offsets: Vec<usize>,
    next: Sequence,
}

impl Segment {
    pub(crate) fn new(epoch: u64, first: u64, previous: Option<(SegmentId, u64)>) -> Self {
        let next = Sequence::new(first);
        let header = SegmentHeader {
            share: share(),
            writer: writer(),
            id: segment_id(epoch, first),
            created_ms: TIME,
            previous: previous.map(|(id, end_offset)| PreviousSegment {
                id,
                end_offset,
                next_sequence: next,
            }),
        };
        let bytes = header.encode().to_vec();
        Self { header, bytes, offsets: Vec::new(), next }
    }

    /// Appends records that were written and synced together.
    pub(crate) fn commit(mut self, records: &[Record]) -> Self {
        for (index, record) in (0..).zip(records) {
            let mut body = Vec::new();
            record.borrowed(TIME).encode(&mut body).expect("a golden record is within the limits");
            self = self.body(index, &body);
        }
        self
    }

    pub(crate) fn body(mut self, commit_index: u32, body: &[u8]) -> Self {
        self.offsets.push(self.bytes.len());
        encode_data(&mut self.bytes, self.header.crc_seed(), self.next, commit_index, body);
        self.next = self.next.next();
        self
    }

    pub(crate) fn seal(self) -> Self {
        let records = self.offsets.len() as u64;
        self.seal_as(records)
    }

    fn seal_as(mut self, records: u64) -> Self {
        let offset = self.bytes.len() as u64;
        self.offsets.push(self.bytes.len());
        encode_seal(&mut self.bytes, self.header.crc_seed(), self.next, Seal { records, offset });
        self
    }

    /// Spoils bytes at an offset within a frame, leaving its CRC as it was.
    fn damage(mut self, frame: usize, at: usize) -> Self {
        self.bytes[self.offsets[frame] + at] ^= 0x10;
        self
    }

    /// Changes a byte within the last frame, and makes its CRC match again.
    fn forge(mut self, at: usize, value: u8) -> Self {
        let frame = self.bytes.split_off(*self.offsets.last().expect("a frame"));
        let mut forged = frame;
        forged[at] = value;
        let seed = u32::from_le_bytes(*self.bytes[156..].first_chunk().expect("a header"));
        let mut crc = crc32fast::Hasher::new_with_initial(seed);
        crc.update(&forged[..24]);
        crc.update(&forged[28..]);
        forged[24..28].copy_from_slice(&crc.finalize().to_le_bytes());
        self.bytes.extend(forged);
        self
    }

    fn cut(mut self, length: usize) -> Self {
        self.bytes.truncate(length);
        self
    }

    fn append(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }
}

fn share() -> ShareId {
    ShareId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
}

fn writer() -> WriterId {
    WriterId::new("orders").expect("a writer id")
}

fn segment_id(epoch: u64, first: u64) -> SegmentId {
    SegmentId { epoch: Epoch::new(epoch), first_sequence: Sequence::new(first) }
}

fn plain(number: u32) -> Record {
    Record::new("orders.created", format!("{{\"order\":{number}}}"))
}

fn plains(numbers: std::ops::Range<u32>) -> Vec<Record> {
    numbers.map(plain).collect()
}

/// The segment that FORMAT.md takes apart.
pub(crate) fn smallest() -> Segment {
    let record = Record::new("orders.created", "hello").content_type("text/plain").header("a", "b");
    Segment::new(1, 1, None).commit(&[record]).seal()
}

/// Three commits of three, one and two records.
pub(crate) fn sealed() -> Segment {
    open().seal()
}

fn open() -> Segment {
    Segment::new(1, 1, None).commit(&plains(1..4)).commit(&plains(4..5)).commit(&plains(5..7))
}

/// Every field at its extremes.
fn fields() -> Segment {
    let full = Record::new("grüße.日本語", [0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'\n'])
        .key("customer-4")
        .id("6f1c")
        .timestamp_ms(u64::MAX)
        .content_type("application/octet-stream")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("empty", "");
    let many = (0..20).fold(Record::new("t", "x"), |r, i| r.header(format!("h{i}"), format!("v{i}")));
    let long = Record::new("t".repeat(255), vec![b'p'; 70_000]).key("k".repeat(200));
    let empty = Record::new("", "").timestamp_ms(0).key("").id("").content_type("");
    let nil = Record::new("", "").timestamp_ms(0);
    let middle = Record::new("t", vec![b'q'; 300]).timestamp_ms(200);
    Segment::new(1, 1, None).commit(&[full, many, long, empty]).commit(&[nil, middle]).seal()
}

/// A record with its payload in a file of its own, between two others.
fn large_payload() -> Segment {
    let name = PayloadName::new(writer(), Hour::of(TIME), "scan-17.tiff").expect("a payload's name");
    let large = PayloadReference { name, size: 5_000_000_000, crc: 0x00C0_FFEE };
    let record = Record::new("orders.scanned", "").content_type("image/tiff").header("a", "b");
    let mut body = Vec::new();
    record.borrowed(TIME).encode_with(&large, &mut body).expect("a golden record is within the limits");
    Segment::new(1, 1, None).commit(&plains(1..2)).body(0, &body).commit(&plains(3..4)).seal()
}

/// Where some of the records of `sealed.seg` lie, counted from 0.
fn pointer(records: std::ops::Range<usize>) -> Pointer {
    let Segment { header, bytes, offsets, .. } = sealed();
    let (from, to) = (offsets[records.start], offsets[records.end]);
    Pointer {
        share: header.share,
        writer: header.writer,
        segment: header.id,
        offset: from as u64,
        length: u32::try_from(to - from).expect("short"),
        sequence: Sequence::new(header.id.first_sequence.get() + records.start as u64),
        count: u32::try_from(records.len()).expect("few"),
        crc: crc(&bytes[from..to]),
    }
}

fn pointer_newer() -> Vec<u8> {
    let mut bytes = pointer(1..2).encode();
    bytes[1] = 2;
    bytes
}

fn zeros_between() -> Segment {
    let mut segment = sealed();
    let hole = segment.offsets[1]..segment.offsets[3];
    segment.bytes[hole].fill(0);
    segment
}

/// The frame of another segment (same sequence, same body) where the fourth record was.
fn foreign_frame() -> Segment {
    let other = Segment::new(2, 1, None).commit(&plains(1..4)).commit(&plains(4..5));
    let mut segment = sealed();
    let (start, end) = (segment.offsets[3], segment.offsets[4]);
    segment.bytes[start..end].copy_from_slice(&other.bytes[start..end]);
    segment
}

/// The second record is damaged, and where the third was lies the first once more, as a write to the wrong place leaves it.
fn misplaced_frame() -> Segment {
    let mut segment = sealed().damage(1, 40);
    let (first, third) = (segment.offsets[0], segment.offsets[2]);
    let copied = segment.bytes[first..segment.offsets[1]].to_vec();
    segment.bytes[third..third + copied.len()].copy_from_slice(&copied);
    segment
}

fn torn_hole() -> Segment {
    let segment = open().commit(&plains(7..11));
    segment.damage(7, 40)
}

fn over_long() -> Segment {
    let mut segment = sealed();
    let length = u32::try_from(MAX_BODY + 1).expect("fits").to_le_bytes();
    let at = segment.offsets[1] + 8;
    segment.bytes[at..at + 4].copy_from_slice(&length);
    segment
}

fn header_damage() -> Segment {
    let mut segment = sealed();
    segment.bytes[40] ^= 0x10;
    segment
}

fn header_newer() -> Segment {
    let mut segment = sealed();
    segment.bytes[8] = 2;
    let crc = crc32fast::hash(&segment.bytes[..156]).to_le_bytes();
    segment.bytes[156..160].copy_from_slice(&crc);
    segment
}

fn checkpoint() -> Vec<u8> {
    let position = Position { segment: segment_id(2, 7), offset: 4711, next_sequence: Sequence::new(99) };
    let checkpoint =
        Checkpoint { share: share(), writer: writer(), relay_epoch: Epoch::new(3), position, saved_ms: TIME };
    checkpoint.encode().to_vec()
}

fn checkpoint_newer() -> Vec<u8> {
    let mut bytes = checkpoint();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..148]).to_le_bytes();
    bytes[148..].copy_from_slice(&crc);
    bytes
}

fn flipped(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 1;
    bytes
}

fn holder(next_sequence: Option<Sequence>) -> Vec<u8> {
    Holder { epoch: Epoch::new(5), next_sequence, host: "node-1".into(), pid: 4242, doorbell: None }.encode()
}

/// Every golden file: name and content.
pub(crate) fn golden() -> Vec<(&'static str, Vec<u8>)> {
    let open_end = open().bytes.len();
    let second = Segment::new(2, 7, Some((segment_id(1, 1), open_end as u64)));
    let cut_frame = open().offsets[5] + FRAME_HEADER_LENGTH + 10;
    let segments = [
        ("smallest.seg", smallest()),
        ("sealed.seg", sealed()),
        ("open.seg", open()),
        ("open-zeros.seg", open().append(&[0; 1000])),
        ("fields.seg", fields()),
        ("second-epoch.seg", second.commit(&plains(7..9)).seal()),
        ("behind-the-seal.seg", sealed().append(&[0; 100])),
        ("torn-tail.seg", open().cut(cut_frame)),
        ("torn-tail-zeros.seg", open().cut(cut_frame).append(&[0; 500])),
        ("torn-hole.seg", torn_hole()),
        ("flipped-bit.seg", sealed().damage(1, 40)),
        ("flipped-bit-open.seg", open().damage(1, 40)),
        ("flipped-length.seg", sealed().damage(3, 10)),
        ("zeros-between.seg", zeros_between()),
        ("damaged-header.seg", header_damage()),
        ("truncated-header.seg", sealed().cut(100)),
        ("empty.seg", sealed().cut(0)),
        ("newer.seg", header_newer()),
        ("foreign-frame.seg", foreign_frame()),
        ("misplaced-frame.seg", misplaced_frame()),
        ("reserved-kind.seg", open().forge(4, 3)),
        ("over-long.seg", over_long()),
        ("wrong-sequence.seg", open().forge(16, 9)),
        ("wrong-seal.seg", open().seal_as(7)),
        ("large-payload.seg", large_payload()),
        ("not-a-record.seg", Segment::new(1, 1, None).body(0, b"\x97 no record").seal()),
    ];
    let share = Marker { share: share() };
    let others = [
        ("checkpoint", checkpoint()),
        ("checkpoint-damaged", flipped(checkpoint(), 50)),
        ("checkpoint-newer", checkpoint_newer()),
        ("marker.json", share.encode()),
        ("marker-newer.json", b"{\"format\":2,\"share\":{\"shape\":\"unknown\"}}\n".to_vec()),
        ("marker-malformed.json", b"{\"formt\":1}\n".to_vec()),
        ("writer.lock", holder(Some(Sequence::new(8)))),
        ("lease", holder(None)),
        ("pointer", pointer(3..4).encode()),
        ("pointer-batch", pointer(1..5).encode()),
        ("pointer-newer", pointer_newer()),
        ("pointer-to-nothing", Pointer { count: 0, ..pointer(1..5) }.encode()),
    ];
    segments.into_iter().map(|(name, segment)| (name, segment.bytes)).chain(others).collect()
}
