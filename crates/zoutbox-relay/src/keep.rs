//! What the relay sets aside, durably: dead letters and reports on damage. One JSON file each, below `dead/<writer>/`.
//!
//! Writing the same one again is harmless: names tell what the file is about, and it is replaced as a whole.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use zoutbox_format::layout::dead_letter_name;
use zoutbox_format::{RecordId, RecordRef, SegmentId, WriterId};
use zoutbox_reader::Damage;
use zoutbox_storage::{Share, StorageError, System, replace};

/// Writes a record that can't be delivered to `dead/<writer>/<epoch>-<sequence>.json`, with the reason.
///
/// # Errors
/// What the disk says; the record must then not be passed.
pub fn dead_letter(
    system: &System,
    share: &Share,
    id: &RecordId,
    body: &Bytes,
    reason: &str,
) -> Result<(), StorageError> {
    let mut line = Vec::new();
    let record = match RecordRef::decode(body) {
        Ok(record) => {
            zoutbox_reader::json::write_line(&mut line, id, &record);
            serde_json::from_slice(&line).unwrap_or(Value::Null)
        }
        Err(_) => json!({ "id": id.to_string(), "body": STANDARD.encode(body), "body_encoding": "base64" }),
    };
    let letter = json!({ "reason": reason, "dead_since_ms": system.clock.now_ms(), "record": record });
    write(system, share, &id.writer, &dead_letter_name(id.epoch, id.sequence), &letter)
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
