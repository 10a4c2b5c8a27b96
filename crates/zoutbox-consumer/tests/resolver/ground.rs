//! A share, segments on it, and the messages that a relay makes of them, from `FORMAT.md` alone.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use zoutbox_consumer::{
    ErrorKind, HeaderValue, Message, Payload, Pointer, Records, ResolveError, Resolver, ResolverOptions,
};
use zoutbox_format::frame::{Seal, encode_data, encode_seal};
use zoutbox_format::header::HEADER_LENGTH;
use zoutbox_format::layout::{Layout, SegmentName};
use zoutbox_format::pointer::POINTER_CONTENT_TYPE;
use zoutbox_format::{
    Epoch, PayloadReference, Record, RecordId, Scanner, SegmentHeader, SegmentId, Sequence, ShareId, Step,
    WriterId,
};
use zoutbox_storage::{Share, System};
use zoutbox_test_support::{TestRoot, test_roots};
use zoutbox_writer::{Options, Writer};

pub(crate) const TIME: u64 = 1_700_000_000_123;

pub(crate) struct Ground {
    pub(crate) root: TestRoot,
    pub(crate) share: ShareId,
    pub(crate) layout: Layout,
}

/// One on every kind of file system.
pub(crate) fn grounds() -> Vec<Ground> {
    let ground = |root: TestRoot| {
        let (share, _) = Share::init(&System::real(), &root).unwrap();
        let layout = Layout::new(&*root);
        Ground { root, share: share.id, layout }
    };
    test_roots().into_iter().map(ground).collect()
}

/// One where the kind of file system does not matter.
pub(crate) fn ground() -> Ground {
    grounds().swap_remove(0)
}

pub(crate) fn writer_id(text: &str) -> WriterId {
    WriterId::new(text).unwrap()
}

pub(crate) fn segment_id(epoch: u64, first: u64) -> SegmentId {
    SegmentId { epoch: Epoch::new(epoch), first_sequence: Sequence::new(first) }
}

/// Records that differ in everything that a record has.
pub(crate) fn varied(count: usize) -> Vec<Record> {
    let record = |index: usize| {
        let mut record =
            Record::new(format!("topic.{}", index % 3), format!("payload {index} ").repeat(index))
                .timestamp_ms(TIME + index as u64);
        if index.is_multiple_of(2) {
            record = record.key(format!("key-{index}")).header("b", index.to_string()).header("a", "");
        }
        if index.is_multiple_of(3) {
            record = record.id(format!("id-{index}")).content_type("text/plain");
        }
        record
    };
    (0..count).map(record).collect()
}

impl Ground {
    /// The real writer, with small segments.
    pub(crate) fn writer(&self, name: &str) -> Writer {
        let options =
            Options { segment_size: 64 * 1024, min_free_space: 0, doorbell: false, ..Options::default() };
        Writer::open(&*self.root, name, options).unwrap()
    }

    /// Appends with the real writer, which then closes; returns the segment that it wrote.
    pub(crate) fn append(&self, name: &str, records: &[Record]) -> PathBuf {
        let writer = self.writer(name);
        let tickets: Vec<_> = records.iter().map(|record| writer.append(record).unwrap()).collect();
        let first = tickets.into_iter().map(|ticket| ticket.wait().unwrap()).next().unwrap();
        writer.close().unwrap();
        let id = SegmentId { epoch: first.epoch, first_sequence: first.sequence };
        let path = |sealed| self.layout.writer(&first.writer).join(SegmentName { id, sealed }.file_name());
        [path(true), path(false)].into_iter().find(|path| path.exists()).unwrap()
    }

    /// A segment made by hand.
    pub(crate) fn draft(&self, writer: &str, epoch: u64, first: u64) -> Draft {
        let header = SegmentHeader {
            share: self.share,
            writer: writer_id(writer),
            id: segment_id(epoch, first),
            created_ms: TIME,
            previous: None,
        };
        let bytes = header.encode().to_vec();
        Draft { next: header.id.first_sequence, header, bytes, offsets: vec![HEADER_LENGTH] }
    }

    pub(crate) fn lay(&self, draft: &Draft, sealed: bool) -> PathBuf {
        let directory = self.layout.writer(&draft.header.writer);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(SegmentName { id: draft.header.id, sealed }.file_name());
        fs::write(&path, &draft.bytes).unwrap();
        path
    }

    pub(crate) fn resolver(&self) -> Resolver {
        Resolver::open(&*self.root, ResolverOptions::default()).unwrap()
    }

    /// Resolves with a resolver that knows nothing yet.
    pub(crate) fn resolve(&self, message: &Message) -> Result<Records, ResolveError> {
        self.resolver().resolve(message.clone())
    }

    /// What it comes to, as an error.
    pub(crate) fn refused(&self, message: &Message) -> ResolveError {
        self.resolve(message).expect_err("this must not resolve")
    }

    /// An inline message, as a relay publishes it.
    pub(crate) fn inline(&self, id: &str, record: &Record) -> Message {
        let id: RecordId = id.parse().unwrap();
        let mut message = message(self.share, &id, &record.topic, record.timestamp_ms.unwrap());
        let text = |text: &String| HeaderValue::Text(text.clone());
        message.headers.extend(record.headers.iter().map(|(name, value)| (name.clone(), text(value))));
        message.headers.extend(record.key.iter().map(|key| ("zoutbox-key".to_owned(), text(key))));
        message.headers.extend(record.id.iter().map(|id| ("zoutbox-id".to_owned(), text(id))));
        message.content_type.clone_from(&record.content_type);
        message.body.clone_from(&record.payload);
        message
    }
}

/// Properties and headers that all messages have.
fn message(share: ShareId, id: &RecordId, topic: &str, timestamp_ms: u64) -> Message {
    let number = |number: u64| HeaderValue::Integer(i64::try_from(number).unwrap());
    let headers = [
        ("zoutbox-share", HeaderValue::Text(share.to_string())),
        ("zoutbox-writer", HeaderValue::Text(id.writer.to_string())),
        ("zoutbox-epoch", number(id.epoch.get())),
        ("zoutbox-seq", number(id.sequence.get())),
        ("zoutbox-timestamp-ms", number(timestamp_ms)),
    ];
    Message {
        topic: topic.to_owned(),
        message_id: Some(id.to_string()),
        content_type: None,
        timestamp_s: Some(timestamp_ms / 1000),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        body: Vec::new(),
    }
}

/// The message that carries this pointer.
pub(crate) fn carry(pointer: &Pointer) -> Message {
    let mut message = message(pointer.share, &pointer.first(), "topic.0", TIME);
    message.headers.insert("zoutbox-pointer".to_owned(), HeaderValue::Integer(pointer.count.into()));
    message.content_type = Some(POINTER_CONTENT_TYPE.to_owned());
    message.body = pointer.encode();
    message
}

/// A segment in the making; `offsets` are where its frames start, and the end.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) header: SegmentHeader,
    pub(crate) bytes: Vec<u8>,
    pub(crate) offsets: Vec<usize>,
    pub(crate) next: Sequence,
}

impl Draft {
    pub(crate) fn records(self, records: &[Record]) -> Self {
        records.iter().fold(self, |draft, record| {
            let mut body = Vec::new();
            record.borrowed(TIME).encode(&mut body).unwrap();
            draft.body(&body)
        })
    }

    pub(crate) fn large(self, record: &Record, reference: &PayloadReference) -> Self {
        let mut body = Vec::new();
        record.borrowed(TIME).encode_with(reference, &mut body).unwrap();
        self.body(&body)
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        encode_data(&mut self.bytes, self.header.crc_seed(), self.next, 0, body);
        self.next = self.next.next();
        self.offsets.push(self.bytes.len());
        self
    }

    pub(crate) fn seal(mut self) -> Self {
        let records = self.next.get() - self.header.id.first_sequence.get();
        let seal = Seal { records, offset: self.bytes.len() as u64 };
        encode_seal(&mut self.bytes, self.header.crc_seed(), self.next, seal);
        self
    }

    /// A pointer to some of its records, by index.
    pub(crate) fn pointer(&self, records: Range<usize>) -> Pointer {
        point(&self.header, &self.bytes, &self.offsets, records)
    }
}

/// A pointer to some records of the segment in this file, by index.
pub(crate) fn point_at(path: &Path, records: Range<usize>) -> Pointer {
    let bytes = fs::read(path).unwrap();
    let header = SegmentHeader::decode(&bytes).unwrap();
    let mut scanner = Scanner::from_start(&header);
    let mut offsets = vec![HEADER_LENGTH];
    while let Ok(Step::Record(_)) = scanner.step(&bytes[..]) {
        offsets.push(usize::try_from(scanner.offset()).unwrap());
    }
    point(&header, &bytes, &offsets, records)
}

fn point(header: &SegmentHeader, bytes: &[u8], offsets: &[usize], records: Range<usize>) -> Pointer {
    let range = offsets[records.start]..offsets[records.end];
    Pointer {
        share: header.share,
        writer: header.writer.clone(),
        segment: header.id,
        offset: range.start as u64,
        length: u32::try_from(range.len()).unwrap(),
        sequence: Sequence::new(header.id.first_sequence.get() + records.start as u64),
        count: u32::try_from(records.len()).unwrap(),
        crc: crc32fast::hash(&bytes[range]),
    }
}

/// The records, owned, for comparing; payloads in their files are read.
pub(crate) fn owned(records: &Records) -> Vec<(String, Record)> {
    let mut all = Vec::new();
    for resolved in records.iter() {
        let payload = match &resolved.payload {
            Payload::Bytes(bytes) => bytes.to_vec(),
            Payload::Large(large) => {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut large.open().unwrap(), &mut bytes).unwrap();
                bytes
            }
        };
        let record = Record {
            topic: resolved.topic.to_owned(),
            key: resolved.key.map(str::to_owned),
            id: resolved.id.map(str::to_owned),
            timestamp_ms: Some(resolved.timestamp_ms),
            content_type: resolved.content_type.map(str::to_owned),
            headers: resolved.headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            payload,
        };
        all.push((resolved.identity.record.to_string(), record));
    }
    assert_eq!(all.len(), records.len());
    assert!(records.get(records.len()).is_none());
    all
}

/// The same with the identities that these records have as the so many'th of a writer's first epoch.
pub(crate) fn named(writer: &str, first: usize, records: &[Record]) -> Vec<(String, Record)> {
    let name = |(index, record): (usize, &Record)| (format!("{writer}/1/{}", first + index), record.clone());
    records.iter().enumerate().map(name).collect()
}

/// With the headers in the order of their names, as inline messages have them.
pub(crate) fn sorted(mut record: Record) -> Record {
    record.headers = record.headers.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
    record
}

/// That it is refused as what it is, with a text that says so.
pub(crate) fn assert_refused(error: &ResolveError, kind: ErrorKind, said: &str) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(said), "no {said:?} in: {error}");
}
