//! Pointers that somebody made up, and shares on which somebody laid traps.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use zoutbox_consumer::resolver::{ByteFault, FrameFault};
use zoutbox_consumer::{ErrorKind, HeaderValue, Message, Pointer, ResolveError};
use zoutbox_format::frame::encode_data;
use zoutbox_format::{InvalidFrame, PayloadName, PayloadReference, Record, Sequence, ShareId};

use crate::ground::{Draft, Ground, assert_refused, carry, ground, grounds, segment_id, varied, writer_id};

/// A sealed segment of five records.
fn sealed(ground: &Ground) -> Draft {
    let draft = ground.draft("orders", 1, 1).records(&varied(5)).seal();
    ground.lay(&draft, true);
    draft
}

/// With the CRC of the bytes that it leads to, as whoever forges it can compute it.
fn with_crc(draft: &Draft, pointer: Pointer) -> Pointer {
    let start = usize::try_from(pointer.offset).unwrap();
    let bytes = &draft.bytes[start..start + pointer.length as usize];
    Pointer { crc: crc32fast::hash(bytes), ..pointer }
}

#[test]
fn a_pointer_into_another_share_is_refused() {
    let ground = ground();
    let good = sealed(&ground).pointer(0..2);
    let other = ShareId::from_bytes([1; 16]);
    let foreign = Pointer { share: other, ..good.clone() };
    assert_refused(&ground.refused(&carry(&foreign)), ErrorKind::Invalid, &other.to_string());
    // Also when the headers say that it is of this one, and when they say nothing.
    let mut message = carry(&good);
    message.body = foreign.encode();
    assert_refused(&ground.refused(&message), ErrorKind::Invalid, &other.to_string());
    message.headers.remove("zoutbox-share");
    assert_refused(&ground.refused(&message), ErrorKind::Invalid, &other.to_string());
    message.body = good.encode();
    assert_eq!(ground.resolve(&message).unwrap().len(), 2);
}

#[test]
fn a_pointer_to_others_than_the_headers_say_is_refused() {
    let ground = ground();
    let draft = sealed(&ground);
    let good = draft.pointer(1..3);
    ground.lay(&ground.draft("other", 1, 1).records(&varied(5)).seal(), true);
    let others = [
        Pointer { writer: writer_id("other"), ..good.clone() },
        Pointer { segment: segment_id(2, 1), ..good.clone() },
        draft.pointer(2..4),
        draft.pointer(1..2),
        draft.pointer(1..4),
    ];
    for pointer in others {
        let message = Message { body: pointer.encode(), ..carry(&good) };
        assert_refused(&ground.refused(&message), ErrorKind::Invalid, "its pointer leads to");
    }
}

#[test]
fn a_pointer_that_can_not_be_is_refused_before_anything_is_opened_or_allocated() {
    let ground = ground();
    let good = sealed(&ground).pointer(0..2);
    let absurd = [
        Pointer { length: u32::MAX, ..good.clone() },
        Pointer { offset: u64::MAX, ..good.clone() },
        Pointer { offset: 0, ..good.clone() },
        Pointer { count: u32::MAX, ..good.clone() },
        Pointer { length: 0, ..good.clone() },
    ];
    for pointer in absurd {
        assert_refused(&ground.refused(&carry(&pointer)), ErrorKind::Invalid, "not a pointer");
    }
    let mut newer = carry(&good);
    newer.body[1] = 2;
    assert_refused(&ground.refused(&newer), ErrorKind::Invalid, "update");
}

#[test]
fn no_writer_in_a_pointer_or_header_becomes_a_path_out_of_the_share() {
    let ground = ground();
    let good = carry(&sealed(&ground).pointer(0..1));
    let at = good.body.windows(6).position(|bytes| bytes == b"orders").unwrap();
    for name in ["../../", "/etc//", "a/../b", "orde\0s", "ORDERS", "..\u{0}..."] {
        let mut message = good.clone();
        message.body[at..at + 6].copy_from_slice(&name.as_bytes()[..6]);
        assert_refused(&ground.refused(&message), ErrorKind::Invalid, "not a pointer");
        let name = name.to_owned();
        message.message_id = Some(format!("{name}/1/1"));
        message.headers.insert("zoutbox-writer".to_owned(), HeaderValue::Text(name));
        assert_refused(&ground.refused(&message), ErrorKind::Invalid, "zoutbox-writer");
    }
}

#[test]
fn bytes_that_are_not_exactly_the_records_are_refused_though_their_crc_matches() {
    let ground = ground();
    let draft = sealed(&ground);
    let good = draft.pointer(1..3);
    let refused = |pointer: Pointer| match ground.refused(&carry(&with_crc(&draft, pointer))) {
        error @ ResolveError::Frames { .. } => {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let ResolveError::Frames { fault, .. } = error else { unreachable!() };
            fault
        }
        other => panic!("{other:?}"),
    };
    let middle = Pointer { offset: good.offset + 1, ..good.clone() };
    assert_eq!(refused(middle), FrameFault::Invalid(InvalidFrame::Magic));
    let fewer = Pointer { count: 1, ..good.clone() };
    assert_eq!(refused(fewer), FrameFault::Longer);
    let more = Pointer { count: 3, ..good.clone() };
    assert_eq!(refused(more), FrameFault::Ends(Sequence::new(4)));
    let shorter = Pointer { length: good.length - 1, ..good.clone() };
    assert_eq!(refused(shorter), FrameFault::Ends(Sequence::new(3)));
    let longer = Pointer { length: good.length + 1, ..good.clone() };
    assert_eq!(refused(longer), FrameFault::Longer);
    let renamed = Pointer { sequence: Sequence::new(3), ..good.clone() };
    let (expected, found) = (Sequence::new(3), Sequence::new(2));
    assert_eq!(refused(renamed), FrameFault::Invalid(InvalidFrame::Sequence { expected, found }));
    let all = draft.pointer(3..5);
    let over_the_seal = Pointer { length: all.length + 44, count: 3, ..all };
    assert_eq!(refused(over_the_seal), FrameFault::Seal);
}

#[test]
fn a_pointer_beyond_the_end_of_a_sealed_segment_is_refused() {
    let ground = ground();
    let draft = sealed(&ground);
    let last = draft.pointer(3..5);
    for pointer in [
        Pointer { length: last.length + 45, ..last.clone() },
        Pointer { offset: 1 << 40, ..last.clone() },
        Pointer { offset: draft.bytes.len() as u64, ..last.clone() },
    ] {
        let error = ground.refused(&carry(&pointer));
        assert!(matches!(error, ResolveError::Bytes { fault: ByteFault::Short(_), .. }), "{error:?}");
        assert_refused(&error, ErrorKind::Corrupt, "only");
    }
}

/// A frame in a payload, with the sequence that it needs: the CRC of the whole range matches, that of the frame does not, since
/// it starts from the header of its segment, which whoever appends does not know.
#[test]
fn a_frame_that_somebody_appended_as_a_payload_is_no_frame() {
    let ground = ground();
    let stranger = ground.draft("orders", 9, 9).header;
    let mut body = Vec::new();
    Record::new("bank.transfer", "all of it").borrowed(1).encode(&mut body).unwrap();
    let mut frame = Vec::new();
    encode_data(&mut frame, stranger.crc_seed(), Sequence::new(1), 0, &body);
    let draft = ground.draft("orders", 1, 1).records(&[Record::new("t", frame.clone())]).seal();
    ground.lay(&draft, true);
    let offset = draft.offsets[1] - frame.len();
    let length = u32::try_from(frame.len()).unwrap();
    let forged = Pointer { offset: offset as u64, length, ..draft.pointer(0..1) };
    let error = ground.refused(&carry(&with_crc(&draft, forged)));
    let told = matches!(error, ResolveError::Frames { fault: FrameFault::Invalid(InvalidFrame::Crc), .. });
    assert!(told, "{error:?}");
}

#[test]
fn a_wrong_crc_is_refused() {
    let ground = ground();
    let good = sealed(&ground).pointer(0..3);
    let wrong = Pointer { crc: good.crc ^ 1, ..good };
    assert_refused(&ground.refused(&carry(&wrong)), ErrorKind::Corrupt, "CRC");
}

#[test]
fn frames_that_are_no_records_are_refused_as_what_they_are() {
    let ground = ground();
    let none = ground.draft("orders", 1, 1).records(&varied(1)).body(b"\xC1").seal();
    ground.lay(&none, true);
    let error = ground.refused(&carry(&none.pointer(0..2)));
    assert_refused(&error, ErrorKind::Corrupt, "orders/1/2");

    let mut reserved = ground.draft("orders", 2, 1).records(&varied(1)).seal();
    reserved.bytes[164] = 3;
    let (seed, body) = (reserved.bytes[156..160].to_vec(), reserved.offsets[1]);
    let mut crc = crc32fast::Hasher::new_with_initial(u32::from_le_bytes(seed.try_into().unwrap()));
    crc.update(&reserved.bytes[160..184]);
    crc.update(&reserved.bytes[188..body]);
    reserved.bytes[184..188].copy_from_slice(&crc.finalize().to_le_bytes());
    ground.lay(&reserved, true);
    let error = ground.refused(&carry(&reserved.pointer(0..1)));
    assert_refused(&error, ErrorKind::Invalid, "kind 3 is unknown");

    let name = PayloadName::parse("payloads/other/2023/11/14/22/a").unwrap();
    let reference = PayloadReference { name, size: 1, crc: 1 };
    let others = ground.draft("orders", 3, 1).large(&Record::new("t", ""), &reference).seal();
    ground.lay(&others, true);
    let error = ground.refused(&carry(&others.pointer(0..1)));
    assert_refused(&error, ErrorKind::Corrupt, "another writer");
}

#[test]
fn a_file_with_the_segments_name_that_is_another_segment_is_foreign() {
    let ground = ground();
    let good = ground.draft("orders", 1, 1).records(&varied(2)).seal();
    let mut other_share = good.clone();
    other_share.header.share = ShareId::from_bytes([3; 16]);
    let mut other_writer = good.clone();
    other_writer.header.writer = writer_id("other");
    let mut other_segment = good.clone();
    other_segment.header.id = segment_id(1, 2);
    for draft in [other_share, other_writer, other_segment] {
        let mut bytes = good.bytes.clone();
        bytes[..160].copy_from_slice(&draft.header.encode());
        ground.lay(&Draft { bytes, ..good.clone() }, true);
        let error = ground.refused(&carry(&good.pointer(0..1)));
        assert!(matches!(error, ResolveError::Foreign { .. }), "{error:?}");
        assert_refused(&error, ErrorKind::Corrupt, "another segment");
    }
}

#[test]
fn a_header_that_can_not_be_read_is_damage_in_a_sealed_segment_not_yet_in_a_live_one_and_newer_by_name() {
    let ground = ground();
    let good = ground.draft("orders", 1, 1).records(&varied(2));
    let message = carry(&good.pointer(0..1));
    let mut damaged = good.clone();
    damaged.bytes[20] ^= 1;
    let mut zeros = good.clone();
    zeros.bytes[..4096.min(good.bytes.len())].fill(0);
    let mut short = good.clone();
    short.bytes.truncate(159);
    for draft in [damaged, zeros, short] {
        let open = ground.lay(&draft, false);
        assert_refused(&ground.refused(&message), ErrorKind::Retry, "header");
        fs::remove_file(open).unwrap();
        let sealed = ground.lay(&draft, true);
        let error = ground.refused(&message);
        assert!(matches!(error, ResolveError::Header { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        fs::remove_file(sealed).unwrap();
    }
    let mut newer = good.clone();
    newer.bytes[8] = 2;
    let crc = crc32fast::hash(&newer.bytes[..156]);
    newer.bytes[156..160].copy_from_slice(&crc.to_le_bytes());
    ground.lay(&newer, false);
    assert_refused(&ground.refused(&message), ErrorKind::Fatal, "update");
}

#[test]
fn no_link_on_the_share_is_followed() {
    for ground in grounds() {
        let draft = ground.draft("orders", 1, 1).records(&varied(2)).seal();
        let path = ground.lay(&draft, true);
        let message = carry(&draft.pointer(0..2));
        let refused = |what: &str| {
            let error = ground.refused(&message);
            assert_refused(&error, ErrorKind::Corrupt, "a link");
            assert!(error.to_string().contains(what), "{error}");
        };
        // The segment itself, to a sound copy of it.
        let away = ground.root.join("away");
        fs::rename(&path, &away).unwrap();
        symlink(&away, &path).unwrap();
        refused(".seg");
        fs::remove_file(&path).unwrap();
        fs::rename(&away, &path).unwrap();
        // Its directory.
        let directory = ground.layout.writer(&draft.header.writer);
        fs::rename(&directory, &away).unwrap();
        symlink(&away, &directory).unwrap();
        refused("writers/orders");
        fs::remove_file(&directory).unwrap();
        fs::create_dir(&directory).unwrap();
        // The archive, when that is where it should be.
        fs::remove_dir(ground.layout.archives()).unwrap();
        symlink(&away, ground.layout.archives()).unwrap();
        refused("archive");
    }
}

#[test]
fn what_is_no_file_is_refused_and_never_waited_for() {
    for ground in grounds() {
        let draft = ground.draft("orders", 1, 1).records(&varied(2)).seal();
        let path = ground.lay(&draft, true);
        let message = carry(&draft.pointer(0..2));
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_refused(&ground.refused(&message), ErrorKind::Corrupt, "special file");
        fs::remove_file(&path).unwrap();
        // A socket's path has to be shorter than a segment's.
        drop(UnixListener::bind(ground.root.join("socket")).unwrap());
        fs::rename(ground.root.join("socket"), &path).unwrap();
        assert_refused(&ground.refused(&message), ErrorKind::Corrupt, "special file");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_refused(&ground.refused(&message), ErrorKind::Corrupt, "a directory");
        fs::remove_dir(&path).unwrap();
        let directory = ground.layout.writer(&draft.header.writer);
        fs::remove_dir(&directory).unwrap();
        fs::write(&directory, "a file").unwrap();
        assert_refused(&ground.refused(&message), ErrorKind::Corrupt, "not a directory");
    }
}
