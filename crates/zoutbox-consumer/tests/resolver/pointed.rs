//! Pointers to what the real writer wrote: one record, a batch, all of a segment, while it is written and afterwards.

use zoutbox_consumer::{ErrorKind, Pointer, Resolver, ResolverOptions};
use zoutbox_format::Record;

use crate::ground::{assert_refused, carry, ground, grounds, named, owned, point_at, varied};

#[test]
fn every_run_of_a_segments_records_resolves_to_exactly_those() {
    for ground in grounds() {
        let records = varied(7);
        let path = ground.append("orders", &records);
        let mut resolver = ground.resolver();
        for start in 0..records.len() {
            for end in start + 1..=records.len() {
                let pointer = point_at(&path, start..end);
                let found = resolver.resolve(carry(&pointer)).unwrap();
                let expected = named("orders", start + 1, &records[start..end]);
                assert_eq!(owned(&found), expected, "{}", ground.root.label());
                assert!(found.iter().all(|record| record.identity.share == ground.share));
            }
        }
    }
}

#[test]
fn each_record_of_a_batch_has_a_pointer_of_its_own_that_leads_to_it_alone() {
    let ground = ground();
    let records = varied(6);
    let path = ground.append("orders", &records);
    let batch = ground.resolve(&carry(&point_at(&path, 1..6))).unwrap();
    for (index, record) in batch.iter().enumerate() {
        let pointer: Pointer = record.pointer.unwrap();
        assert_eq!(pointer, point_at(&path, index + 1..index + 2));
        let alone = ground.resolve(&carry(&pointer)).unwrap();
        assert_eq!(owned(&alone), named("orders", index + 2, &records[index + 1..index + 2]));
    }
}

#[test]
fn records_are_resolved_while_their_segment_is_still_written() {
    for ground in grounds() {
        let writer = ground.writer("orders");
        let mut resolver = ground.resolver();
        let records = varied(5);
        for (index, record) in records.iter().enumerate() {
            writer.append(record).unwrap().wait().unwrap();
            let path = ground.layout.writer(&"orders".parse().unwrap());
            let path = path.join("00000000000000000001-00000000000000000001.open");
            let found = resolver.resolve(carry(&point_at(&path, index..index + 1))).unwrap();
            assert_eq!(owned(&found), named("orders", index + 1, std::slice::from_ref(record)));
        }
        writer.close().unwrap();
    }
}

#[test]
fn many_segments_of_many_writers_resolve_with_few_files_open() {
    let ground = ground();
    let records = varied(3);
    let names: Vec<String> = (0..10).map(|index| format!("w{index}")).collect();
    let paths: Vec<_> = names.iter().map(|name| ground.append(name, &records)).collect();
    for cached_segments in [0, 1, 3, 100] {
        let options = ResolverOptions { cached_segments, ..ResolverOptions::default() };
        let mut resolver = Resolver::open(&*ground.root, options).unwrap();
        for round in 0..3 {
            for (name, path) in names.iter().zip(&paths) {
                let found = resolver.resolve(carry(&point_at(path, round..3))).unwrap();
                assert_eq!(owned(&found), named(name, round + 1, &records[round..]));
            }
            let open = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
                let target = std::fs::read_link(entry.unwrap().path()).ok()?;
                target.starts_with(&*ground.root).then_some(target)
            });
            assert!(open.count() <= cached_segments.max(1), "{cached_segments}");
        }
    }
}

#[test]
fn the_records_outlive_the_resolver_and_go_to_another_thread() {
    let ground = ground();
    let records = varied(4);
    let path = ground.append("orders", &records);
    let mut resolver = ground.resolver();
    let first = resolver.resolve(carry(&point_at(&path, 0..2))).unwrap();
    let second = resolver.resolve(carry(&point_at(&path, 2..4))).unwrap();
    std::thread::spawn(move || drop(resolver)).join().unwrap();
    assert!(format!("{first:?}").len() < 1000, "what is shown for debugging must not be all the bytes");
    let moved = std::thread::spawn(move || (owned(&first), owned(&second)));
    let (first, second) = moved.join().unwrap();
    assert_eq!([first, second].concat(), named("orders", 1, &records));
}

#[test]
fn what_is_longer_than_the_consumer_wants_is_refused_before_it_is_read() {
    let ground = ground();
    let path = ground.append("orders", &[Record::new("t", vec![1; 1000])]);
    let pointer = point_at(&path, 0..1);
    let with = |max_bytes| {
        let options = ResolverOptions { max_bytes, ..ResolverOptions::default() };
        Resolver::open(&*ground.root, options).unwrap().resolve(carry(&pointer))
    };
    assert_eq!(with(pointer.length).unwrap().len(), 1);
    assert_refused(&with(pointer.length - 1).unwrap_err(), ErrorKind::Invalid, "max_bytes");
}

#[test]
fn the_largest_record_resolves() {
    let ground = ground();
    let record = Record::new("t", vec![3; 16 * 1024 * 1024]).timestamp_ms(1);
    let path = ground.append("orders", std::slice::from_ref(&record));
    let found = ground.resolve(&carry(&point_at(&path, 0..1))).unwrap();
    assert_eq!(owned(&found), named("orders", 1, &[record]));
}

#[test]
fn without_a_share_pointers_say_that_one_is_needed() {
    let ground = ground();
    let path = ground.append("orders", &varied(1));
    let message = carry(&point_at(&path, 0..1));
    for share in [None, Some(ground.share)] {
        let error = Resolver::inline_only(share).resolve(message.clone()).unwrap_err();
        assert_refused(&error, ErrorKind::Fatal, "mount it");
        assert!(error.to_string().contains("orders/1/1"), "{error}");
    }
}

#[test]
fn no_share_no_resolver() {
    let ground = ground();
    std::fs::remove_file(ground.layout.marker()).unwrap();
    let error = Resolver::open(&*ground.root, ResolverOptions::default()).unwrap_err();
    assert_refused(&error, ErrorKind::Missing, "not mounted");
}
