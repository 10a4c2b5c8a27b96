//! Names from outside. What reads as one shows as it was, is one safe component or a path below its writer, and has no other form.

use std::path::{Component, Path};

use zoutbox_format::layout::{
    SegmentName, dead_letter_name, held_name, is_prepared_name, parse_dead_letter_name, parse_held_name,
};
use zoutbox_format::{PayloadName, RecordId, SegmentId, ShareId, WriterId};

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let same = |what: &str, shown: String| assert!(shown == text, "{what} shows as {shown:?}");
    if let Some(name) = SegmentName::parse(text) {
        same("a segment's name", name.file_name());
    }
    if let Some((epoch, sequence)) = parse_dead_letter_name(text) {
        same("a dead letter's name", dead_letter_name(epoch, sequence));
    }
    if let Some(id) = parse_held_name(text) {
        same("a mark's name", held_name(id));
    }
    if let Ok(id) = text.parse::<RecordId>() {
        same("a record id", id.to_string());
    }
    if let Ok(id) = text.parse::<SegmentId>() {
        same("a segment id", id.to_string());
    }
    if let Ok(id) = text.parse::<ShareId>() {
        // Capital digits are read as well.
        same("a share id", if id.to_string() == text.to_lowercase() { text.into() } else { id.to_string() });
    }
    if let Ok(writer) = WriterId::new(text) {
        same("a writer id", writer.to_string());
        one_component(text);
    }
    if is_prepared_name(text) {
        one_component(text);
    }
    if let Some(name) = PayloadName::parse(text) {
        same("a payload's path", name.to_string());
        let below = Path::new("payloads").join(name.writer().as_str());
        let plain = Path::new(text).components().all(|part| matches!(part, Component::Normal(_)));
        assert!(plain && Path::new(text).starts_with(below), "{text:?} leads out of its writer's payloads");
    }
}

fn one_component(text: &str) {
    let parts: Vec<_> = Path::new(text).components().collect();
    assert!(matches!(parts[..], [Component::Normal(_)]), "{text:?} is not one safe component of a path");
}
