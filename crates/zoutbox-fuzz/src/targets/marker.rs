//! The small JSON files. Their JSON has many forms, so what was read must be the same when it is written and read again.

use zoutbox_format::doorbell::can_be_rung;
use zoutbox_format::waits::MAX_WAITS_LENGTH;
use zoutbox_format::{Holder, Marker, Progress, Waits};

pub(crate) fn check(bytes: &[u8]) {
    if let Ok(marker) = Marker::decode(bytes) {
        assert!(Marker::decode(&marker.encode()) == Ok(marker), "{marker:?} does not read back");
    }
    if let Some(holder) = Holder::decode(bytes) {
        lock_file(&holder);
    }
    if let Ok(progress) = Progress::decode(bytes) {
        let again = Progress::decode(&progress.encode());
        assert!(again == Ok(progress), "a consumer's progress does not read back");
    }
    if let Some(waits) = Waits::decode(bytes) {
        waits_file(&waits);
    }
}

fn lock_file(holder: &Holder) {
    assert!(
        holder.doorbell.as_ref().is_none_or(can_be_rung),
        "{holder:?} would have writers flood a network"
    );
    let again = Holder::decode(&holder.encode());
    // The host is for people, and is written without what could break a line.
    let same = again.is_some_and(|again| Holder { host: holder.host.clone(), ..again } == *holder);
    assert!(same, "{holder:?} does not read back");
}

fn waits_file(waits: &Waits) {
    let plain = waits.waits.iter().all(|wait| !wait.what.contains(char::is_control));
    assert!(plain, "{waits:?} is not fit for a terminal");
    let bytes = waits.encode();
    assert!(bytes.len() <= MAX_WAITS_LENGTH, "{} bytes are too long", bytes.len());
    let again = Waits::decode(&bytes);
    let told = |waits: &Waits| (waits.waits.len() as u64).saturating_add(waits.omitted);
    // What has no room is counted.
    assert!(again.is_some_and(|again| told(&again) == told(waits)), "waits do not read back");
}
