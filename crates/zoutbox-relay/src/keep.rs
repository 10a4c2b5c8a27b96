//! What the relay sets aside, durably: dead letters and reports on damage. One JSON file each, below `dead/<writer>/`.
//!
//! Writing the same one again is harmless: names tell what the file is about, and it is replaced as a whole.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use zoutbox_format::layout::dead_letter_name;
use zoutbox_format::{Pointer, RecordId, RecordRef, SegmentId, WriterId};
use zoutbox_reader::Damage;
use zoutbox_storage::{Share, StorageError, System, replace};

use crate::publisher::Content;

/// Writes what can't be delivered to `dead/<writer>/<epoch>-<sequence>.json`, with the reason: a record as a whole, or the pointer to
/// records, under the identity of the first one. `pointer` names the segment that must be kept for it.
///
/// # Errors
/// What the disk says; the message must then not be passed.
pub fn dead_letter(
    system: &System,
    share: &Share,
    id: &RecordId,
    content: &Content,
    reason: &str,
) -> Result<(), StorageError> {
    let dead_since_ms = system.clock.now_ms();
    let letter = match content {
        Content::Record(body) => {
            json!({ "reason": reason, "dead_since_ms": dead_since_ms, "record": record(id, body) })
        }
        Content::Run(run) => {
            let pointer = pointer(&run.pointer(share.id, id.writer.clone()));
            json!({ "reason": reason, "dead_since_ms": dead_since_ms, "topic": run.topic, "pointer": pointer })
        }
    };
    write(system, share, &id.writer, &dead_letter_name(id.epoch, id.sequence), &letter)
}

fn record(id: &RecordId, body: &Bytes) -> Value {
    let mut line = Vec::new();
    match RecordRef::decode(body) {
        Ok(record) => {
            zoutbox_reader::json::write_line(&mut line, id, &record);
            serde_json::from_slice(&line).unwrap_or(Value::Null)
        }
        Err(_) => json!({ "id": id.to_string(), "body": STANDARD.encode(body), "body_encoding": "base64" }),
    }
}

fn pointer(pointer: &Pointer) -> Value {
    let Pointer { share, writer, segment, offset, length, sequence, count, crc } = pointer;
    json!({
        "share": share.to_string(),
        "writer": writer.as_str(),
        "epoch": segment.epoch.get(),
        "segment_first": segment.first_sequence.get(),
        "offset": offset,
        "length": length,
        "sequence": sequence.get(),
        "count": count,
        "crc": crc,
    })
}

/// Writes what is lost to `dead/<writer>/damage-<segment>-<offset>.json`.
///
/// # Errors
/// What the disk says; the damage must then not be passed.
pub fn quarantine(system: &System, share: &Share, damage: &Damage) -> Result<(), StorageError> {
    let name = format!("{}{}.json", damage_prefix(damage.segment), damage.offset);
    let report = json!({
        "file": damage.path.display().to_string(),
        "offset": damage.offset,
        "reason": damage.reason.to_string(),
        "lost": damage.lost(),
        "lost_from": damage.lost_from.get(),
        "lost_until": damage.lost_until.map(zoutbox_format::Sequence::get),
        "found_ms": system.clock.now_ms(),
    });
    write(system, share, &damage.writer, &name, &report)
}

fn damage_prefix(segment: SegmentId) -> String {
    format!("damage-{}-{}-", segment.epoch, segment.first_sequence)
}

/// Whether damage was passed in this segment: then it is evidence, and archived instead of deleted.
pub(crate) fn has_damage(
    system: &System,
    share: &Share,
    writer: &WriterId,
    segment: SegmentId,
) -> Result<bool, StorageError> {
    let prefix = damage_prefix(segment);
    match system.disk.list(&share.layout.dead(writer)) {
        Ok(entries) => Ok(entries.iter().any(|entry| entry.name.to_string_lossy().starts_with(&prefix))),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}

fn write(
    system: &System,
    share: &Share,
    writer: &WriterId,
    name: &str,
    content: &Value,
) -> Result<(), StorageError> {
    let directory = share.layout.dead(writer);
    system.disk.create_dir(&share.layout.dead_letters())?;
    system.disk.create_dir(&directory)?;
    system.disk.sync_dir(&share.layout.dead_letters())?;
    let mut bytes = content.to_string().into_bytes();
    bytes.push(b'\n');
    replace::replace(system, &directory.join(name), &bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use zoutbox_format::checkpoint::Position;
    use zoutbox_format::{Hour, PayloadName, PayloadReference, Record, Sequence};
    use zoutbox_relay_core::{Key, Run};
    use zoutbox_test_support::test_roots;

    use super::*;

    /// The letter that `content` becomes as `orders/3/42`, and the share's id.
    fn letter(content: &Content) -> (Value, String) {
        let root = test_roots().pop().unwrap();
        let system = System::real();
        let (share, _) = Share::init(&system, &root.join("share")).unwrap();
        let id: RecordId = "orders/3/42".parse().unwrap();
        dead_letter(&system, &share, &id, content, "nobody wants it").unwrap();
        let path = share.layout.dead(&id.writer).join(dead_letter_name(id.epoch, id.sequence));
        let mut letter: Value = serde_json::from_slice(&system.read_small(&path, 10_000).unwrap()).unwrap();
        let since = letter.as_object_mut().unwrap().remove("dead_since_ms");
        assert!(since.is_some_and(|since| since.is_u64()));
        (letter, share.id.to_string())
    }

    #[test]
    fn the_letter_of_a_pointer_names_its_segment_and_its_topic() {
        let segment = SegmentId { epoch: zoutbox_format::Epoch::new(3), first_sequence: Sequence::new(40) };
        let run = Run {
            first: Key { epoch: segment.epoch, sequence: Sequence::new(42) },
            segment,
            offset: 4711,
            length: 1000,
            count: 7,
            crc: u32::MAX,
            after: Position { segment, offset: 5711, next_sequence: Sequence::new(49) },
            topic: "orders.created".into(),
            timestamp_ms: 1,
            head: None,
        };
        let (letter, share) = letter(&Content::Run(Arc::new(run)));
        let pointer = json!({
            "share": share, "writer": "orders", "epoch": 3, "segment_first": 40, "offset": 4711, "length": 1000,
            "sequence": 42, "count": 7, "crc": 4_294_967_295_u32,
        });
        assert_eq!(
            letter,
            json!({ "reason": "nobody wants it", "topic": "orders.created", "pointer": pointer })
        );
    }

    #[test]
    fn the_letter_of_a_record_with_a_large_payload_names_the_file() {
        let name = PayloadName::new("orders".parse().unwrap(), Hour::of(0), "scan").unwrap();
        let large = PayloadReference { name, size: 5_000_000_000, crc: 0xAB };
        let mut body = Vec::new();
        Record::new("scans", "").header("a", "b").borrowed(1).encode_with(&large, &mut body).unwrap();
        let (letter, _) = letter(&Content::Record(body.into()));
        let headers = json!({
            "a": "b",
            "zoutbox-payload-path": "payloads/orders/1970/01/01/00/scan",
            "zoutbox-payload-size": "5000000000",
            "zoutbox-payload-crc": "000000ab",
        });
        assert_eq!((&letter["record"]["headers"], &letter["record"]["payload"]), (&headers, &json!("")));
    }
}
