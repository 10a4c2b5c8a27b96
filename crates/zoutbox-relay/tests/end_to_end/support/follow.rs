//! What a message leads to, as whoever gets it would find out: from FORMAT.md, and from no code of the relay.

use std::fs;
use std::os::unix::fs::FileExt;

use lapin::message::Delivery;
use lapin::types::AMQPValue;
use zoutbox_format::frame::parse;
use zoutbox_format::header::HEADER_LENGTH;
use zoutbox_format::layout::SegmentName;
use zoutbox_format::{Parsed, Pointer, Record, RecordId, RecordRef, SegmentHeader};
use zoutbox_storage::Share;

/// What a message says of its record: key, id, and headers, sorted.
pub(crate) type Head = (Option<String>, Option<String>, Vec<(String, String)>);

/// A message, and the records that it stands for.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    pub(crate) topic: String,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    /// `None` for a record that is a message.
    pub(crate) pointer: Option<Pointer>,
    pub(crate) records: Vec<(RecordId, Record)>,
    /// Whether the broker had given it out before, to a connection that broke.
    pub(crate) redelivered: bool,
}

/// Follows a delivery to its records, checking everything on the way that FORMAT.md says of it. `Err` says why it leads to none.
pub(crate) fn follow(share: &Share, delivery: &Delivery) -> Result<Followed, String> {
    let properties = &delivery.properties;
    let id = properties.message_id().as_ref().unwrap().to_string();
    let topic = delivery.routing_key.to_string();
    let first: RecordId = id.parse().unwrap();
    assert_eq!(header(delivery, "zoutbox-share"), Some(text(&share.id.to_string())), "{id}");
    assert_eq!(header(delivery, "zoutbox-writer"), Some(text(first.writer.as_str())), "{id}");
    assert_eq!(header(delivery, "zoutbox-epoch"), Some(integer(first.epoch.get())), "{id}");
    assert_eq!(header(delivery, "zoutbox-seq"), Some(integer(first.sequence.get())), "{id}");
    assert_eq!(*properties.delivery_mode(), Some(2), "{id}");
    let count = header(delivery, "zoutbox-pointer");
    let (pointer, records) = if let Some(count) = count {
        let content_type = properties.content_type().as_ref().map(ToString::to_string);
        assert_eq!(content_type.as_deref(), Some("application/vnd.zoutbox.pointer"), "{id}");
        assert!(delivery.data.len() < 200, "{id} has a body of {} bytes", delivery.data.len());
        let pointer = Pointer::decode(&delivery.data).unwrap();
        assert_eq!((pointer.first(), integer(u64::from(pointer.count))), (first, count));
        let records = read(share, &pointer)?;
        (Some(pointer), records)
    } else {
        (None, vec![(first, inline(delivery))])
    };
    let timestamp = records[0].1.timestamp_ms.unwrap();
    assert_eq!(header(delivery, "zoutbox-timestamp-ms"), Some(integer(timestamp)), "{id}");
    assert_eq!(*properties.timestamp(), Some(timestamp / 1000), "{id}");
    assert!(records.iter().all(|(_, record)| record.topic == topic), "{id}: another topic than {topic}");
    let (body, redelivered) = (delivery.data.clone(), delivery.redelivered);
    Ok(Followed { topic, head: head(delivery), body, pointer, records, redelivered })
}

fn head(delivery: &Delivery) -> Head {
    let known = |name: &str| match header(delivery, name) {
        Some(AMQPValue::LongString(text)) => Some(text.to_string()),
        _ => None,
    };
    let headers = delivery.properties.headers().clone().unwrap_or_default();
    let own = headers.inner().iter().filter(|(name, _)| !name.as_str().starts_with("zoutbox-"));
    let own = own.filter(|(name, _)| !name.as_str().starts_with("x-")).map(|(name, value)| match value {
        AMQPValue::LongString(value) => (name.to_string(), value.to_string()),
        other => panic!("{name} is {other:?}"),
    });
    (known("zoutbox-key"), known("zoutbox-id"), own.collect())
}

fn inline(delivery: &Delivery) -> Record {
    let (key, id, headers) = head(delivery);
    let timestamp_ms = match header(delivery, "zoutbox-timestamp-ms") {
        Some(AMQPValue::LongLongInt(ms)) => Some(u64::try_from(ms).unwrap()),
        _ => None,
    };
    let content_type = delivery.properties.content_type().as_ref().map(ToString::to_string);
    let (topic, payload) = (delivery.routing_key.to_string(), delivery.data.clone());
    Record { topic, key, id, timestamp_ms, content_type, headers, payload }
}

fn read(share: &Share, pointer: &Pointer) -> Result<Vec<(RecordId, Record)>, String> {
    assert_eq!(pointer.share, share.id);
    let name = |sealed| SegmentName { id: pointer.segment, sealed }.file_name();
    let live = share.layout.writer(&pointer.writer);
    let places = [
        live.join(name(false)),
        live.join(name(true)),
        share.layout.archive(&pointer.writer).join(name(true)),
    ];
    let file = places.iter().find_map(|path| fs::File::open(path).ok()).ok_or("its segment is not there")?;
    let mut start = [0; HEADER_LENGTH];
    file.read_exact_at(&mut start, 0).unwrap();
    let segment = SegmentHeader::decode(&start).unwrap();
    assert_eq!(
        (&segment.share, &segment.writer, segment.id),
        (&pointer.share, &pointer.writer, pointer.segment)
    );
    let mut frames = vec![0; pointer.length as usize];
    file.read_exact_at(&mut frames, pointer.offset).map_err(|error| error.to_string())?;
    if !pointer.matches(&frames) {
        return Err("other bytes are there".into());
    }
    let (mut rest, mut records) = (frames.as_slice(), Vec::new());
    while let Parsed::Frame(frame) = parse(rest, segment.crc_seed()) {
        let sequence = frame.sequence;
        assert_eq!(sequence.get(), pointer.sequence.get() + records.len() as u64);
        let id = RecordId { writer: pointer.writer.clone(), epoch: pointer.segment.epoch, sequence };
        records.push((id, owned(&RecordRef::decode(frame.body).unwrap())));
        rest = &rest[frame.length()..];
    }
    assert_eq!((rest.len(), records.len()), (0, pointer.count as usize), "{pointer:?}");
    Ok(records)
}

fn owned(record: &RecordRef<'_>) -> Record {
    Record {
        topic: record.topic.to_owned(),
        key: record.key.map(str::to_owned),
        id: record.id.map(str::to_owned),
        timestamp_ms: Some(record.timestamp_ms),
        content_type: record.content_type.map(str::to_owned),
        headers: record.headers.0.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        payload: record.payload().to_vec(),
    }
}

fn header(delivery: &Delivery, name: &str) -> Option<AMQPValue> {
    delivery.properties.headers().as_ref()?.inner().get(name).cloned()
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn integer(number: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(number).unwrap())
}
