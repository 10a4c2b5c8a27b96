//! A pointer has one encoding, and leads to no more than it may.

use zoutbox_format::Pointer;
use zoutbox_format::header::HEADER_LENGTH;
use zoutbox_format::limits::MAX_POINTED;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(pointer) = Pointer::decode(bytes) else { return };
    assert!(pointer.encode() == bytes, "{pointer:?} is written otherwise");
    assert!(pointer.length <= MAX_POINTED && pointer.count > 0, "{pointer:?} leads to too much");
    assert!(pointer.offset >= HEADER_LENGTH as u64, "{pointer:?} leads into a header");
    assert!(pointer.offset.checked_add(u64::from(pointer.length)).is_some(), "{pointer:?} has no end");
    assert!(pointer.sequence >= pointer.segment.first_sequence, "{pointer:?} lies before its segment");
    // Whatever bytes these are, they are most likely not the ones that are meant; the question must be harmless.
    let _matches: bool = pointer.matches(bytes);
}
