//! Wherever the segment is by now, and when it is nowhere: gone and not yet are told apart.

use std::fs;
use std::path::{Path, PathBuf};

use zoutbox_consumer::resolver::Unseen;
use zoutbox_consumer::{ErrorKind, ResolveError};
use zoutbox_format::Record;
use zoutbox_format::frame::{Seal, encode_seal};

use crate::ground::{Ground, assert_refused, carry, ground, grounds, named, owned, point_at, varied};

fn archive(ground: &Ground, path: &Path) -> PathBuf {
    let directory = ground.layout.archive(&"orders".parse().unwrap());
    fs::create_dir_all(&directory).unwrap();
    let to = directory.join(path.file_name().unwrap());
    fs::rename(path, &to).unwrap();
    to
}

#[test]
fn a_pointer_survives_sealing_and_archiving_with_a_resolver_that_knows_the_segment_and_one_that_does_not() {
    for ground in grounds() {
        let records = varied(4);
        let draft = ground.draft("orders", 1, 1).records(&records);
        let open = ground.lay(&draft, false);
        let message = carry(&draft.pointer(1..3));
        let mut knows = ground.resolver();
        let mut check = || {
            for found in [knows.resolve(message.clone()), ground.resolve(&message)] {
                assert_eq!(owned(&found.unwrap()), named("orders", 2, &records[1..3]));
            }
        };
        check();
        let sealed = ground.lay(&draft.clone().seal(), true);
        fs::remove_file(open).unwrap();
        check();
        archive(&ground, &sealed);
        check();
    }
}

#[test]
fn a_segment_that_was_never_sealed_is_found_in_the_archive_too() {
    let ground = ground();
    let records = varied(2);
    let draft = ground.draft("orders", 1, 1).records(&records);
    archive(&ground, &ground.lay(&draft, false));
    let found = ground.resolve(&carry(&draft.pointer(0..2))).unwrap();
    assert_eq!(owned(&found), named("orders", 1, &records));
}

#[test]
fn the_sealed_segments_of_the_real_writer_are_found() {
    let ground = ground();
    let writer = ground.writer("orders");
    let record = Record::new("t", vec![5; 30_000]).timestamp_ms(1);
    for _ in 0..10 {
        writer.append(&record).unwrap().wait().unwrap();
    }
    writer.close().unwrap();
    let directory = ground.layout.writer(&"orders".parse().unwrap());
    let mut segments: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|kind| kind == "seg"));
    assert!(segments.len() > 3, "{segments:?}");
    for path in segments {
        let found = ground.resolve(&carry(&point_at(&path, 0..1))).unwrap();
        assert_eq!(owned(&found)[0].1, record);
    }
}

#[test]
fn a_segment_that_was_removed_is_expired_and_one_that_is_not_there_yet_is_not() {
    for ground in grounds() {
        let earlier = ground.draft("orders", 1, 1).records(&varied(2)).seal();
        let middle = ground.draft("orders", 1, 3).records(&varied(2)).seal();
        let latest = ground.draft("orders", 1, 5).records(&varied(2)).seal();
        let message = carry(&middle.pointer(0..1));
        // Nothing of this writer, not even its directory; then only what came before.
        for _ in 0..2 {
            let error = ground.refused(&message);
            assert!(matches!(error, ResolveError::NotYet { unseen: Unseen::File, .. }), "{error:?}");
            assert_refused(&error, ErrorKind::Retry, "00000000000000000003.seg");
            ground.lay(&earlier, true);
        }
        let path = ground.lay(&middle, true);
        assert_eq!(ground.resolve(&message).unwrap().len(), 1);
        ground.lay(&latest, true);
        fs::remove_file(path).unwrap();
        let error = ground.refused(&message);
        assert!(matches!(error, ResolveError::Expired { .. }), "{error:?}");
        assert_refused(&error, ErrorKind::Missing, "00000000000000000003.seg was removed");
        // An archive that was cleaned is no reason to wait either.
        fs::create_dir_all(ground.layout.archive(&"orders".parse().unwrap())).unwrap();
        assert!(matches!(ground.refused(&message), ResolveError::Expired { .. }));
    }
}

/// A commit that failed, or that a power cut took, was published all the same: nobody may wait for it for ever.
#[test]
fn what_is_not_in_a_segment_that_a_later_one_follows_never_comes() {
    for ground in grounds() {
        let whole = ground.draft("orders", 1, 1).records(&varied(4));
        let message = carry(&whole.pointer(2..4));
        ground.lay(&ground.draft("orders", 1, 1).records(&varied(2)), false);
        let mut knows = ground.resolver();
        let error = knows.resolve(message.clone()).unwrap_err();
        assert_refused(&error, ErrorKind::Retry, "00000000000000000001.open");
        ground.lay(&ground.draft("orders", 2, 3).records(&varied(1)), false);
        for error in [knows.resolve(message.clone()).unwrap_err(), ground.refused(&message)] {
            assert!(matches!(error, ResolveError::Bytes { .. }), "{error:?}");
            assert_refused(&error, ErrorKind::Corrupt, "has ended");
        }
    }
}

#[test]
fn a_later_epoch_counts_as_later() {
    let ground = ground();
    let gone = ground.draft("orders", 1, 7).records(&varied(1));
    ground.lay(&ground.draft("orders", 2, 3).records(&varied(1)), false);
    assert!(matches!(ground.refused(&carry(&gone.pointer(0..1))), ResolveError::Expired { .. }));
}

#[test]
fn while_the_share_is_away_nothing_is_expired() {
    let ground = ground();
    let gone = ground.draft("orders", 1, 1).records(&varied(1));
    ground.lay(&ground.draft("orders", 1, 2).records(&varied(1)), false);
    let mut resolver = ground.resolver();
    let message = carry(&gone.pointer(0..1));
    let marker = fs::read(ground.layout.marker()).unwrap();
    fs::remove_file(ground.layout.marker()).unwrap();
    let error = resolver.resolve(message.clone()).unwrap_err();
    assert!(matches!(error, ResolveError::ShareGone { .. }), "{error:?}");
    assert_refused(&error, ErrorKind::Retry, "not mounted");
    let other = String::from_utf8(marker.clone()).unwrap().replacen(&ground.share.to_string()[..2], "zz", 1);
    fs::write(ground.layout.marker(), other.replace("zz", "00")).unwrap();
    let error = resolver.resolve(message.clone()).unwrap_err();
    assert!(matches!(error, ResolveError::ShareGone { .. }), "{error:?}");
    fs::write(ground.layout.marker(), marker).unwrap();
    assert!(matches!(resolver.resolve(message).unwrap_err(), ResolveError::Expired { .. }));
}

#[test]
fn bytes_that_are_not_there_are_waited_for_in_a_segment_that_may_grow_and_damage_in_one_that_is_sealed() {
    for ground in grounds() {
        let whole = ground.draft("orders", 1, 1).records(&varied(4));
        let message = carry(&whole.pointer(2..4));
        let mut zeros = whole.clone();
        zeros.bytes[whole.offsets[3] + 30..].fill(0);
        let mut cut = whole.clone();
        cut.bytes.truncate(whole.offsets[3]);
        let mut ahead = cut.clone();
        ahead.bytes.resize(whole.bytes.len() + 1000, 0);
        for draft in [&zeros, &cut, &ahead] {
            let path = ground.lay(draft, false);
            let mut resolver = ground.resolver();
            let error = resolver.resolve(message.clone()).unwrap_err();
            assert!(matches!(error, ResolveError::NotYet { unseen: Unseen::Bytes { .. }, .. }), "{error:?}");
            assert_refused(&error, ErrorKind::Retry, &format!("at offset {}", whole.offsets[2]));
            // The bytes come: the same resolver sees them.
            ground.lay(&whole, false);
            assert_eq!(resolver.resolve(message.clone()).unwrap().len(), 2);
            // The same holes under the name of a sealed one stay.
            fs::remove_file(path).unwrap();
            let sealed = ground.lay(draft, true);
            assert_refused(&ground.refused(&message), ErrorKind::Corrupt, "has ended");
            fs::remove_file(sealed).unwrap();
        }
    }
}

#[test]
fn the_seal_counts_whatever_the_segment_is_called() {
    let ground = ground();
    let whole = ground.draft("orders", 1, 1).records(&varied(4)).seal();
    let mut damaged = whole.clone();
    damaged.bytes[whole.offsets[2] + 30] ^= 1;
    let path = ground.lay(&damaged, false);
    let message = carry(&whole.pointer(2..3));
    assert_refused(&ground.refused(&message), ErrorKind::Corrupt, "CRC");
    // A resolver that opened it before it was sealed knows as well.
    let unsealed = &damaged.bytes[..whole.offsets[4]];
    fs::write(&path, unsealed).unwrap();
    let mut resolver = ground.resolver();
    assert_refused(&resolver.resolve(message.clone()).unwrap_err(), ErrorKind::Retry, "CRC");
    fs::write(&path, &damaged.bytes).unwrap();
    assert_refused(&resolver.resolve(message.clone()).unwrap_err(), ErrorKind::Corrupt, "CRC");
    // A seal that is damaged is none, nor is one that says that it lies elsewhere.
    let mut spoiled = damaged.bytes.clone();
    *spoiled.last_mut().unwrap() ^= 1;
    let mut elsewhere = unsealed.to_vec();
    let seal = Seal { records: 4, offset: elsewhere.len() as u64 + 1 };
    encode_seal(&mut elsewhere, whole.header.crc_seed(), whole.next, seal);
    for bytes in [spoiled, elsewhere] {
        fs::write(&path, bytes).unwrap();
        assert_refused(&ground.refused(&message), ErrorKind::Retry, "CRC");
    }
}
