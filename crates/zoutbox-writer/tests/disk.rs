//! The same promises on real file systems.

mod support;

use std::sync::Arc;

use support::{WRITER, log, record};
use zoutbox_storage::{Share, System};
use zoutbox_test_support::test_roots;
use zoutbox_writer::{Options, Writer, WriterError, ZeroAhead};

#[test]
fn many_threads_rotations_and_reopenings_leave_one_whole_log() {
    for root in test_roots() {
        let system = System::real();
        Share::init(&system, &root).unwrap();
        for zero_ahead in [ZeroAhead::Always, ZeroAhead::Never, ZeroAhead::Auto] {
            let options =
                Options { segment_size: 128 * 1024, min_free_space: 0, zero_ahead, ..Options::default() };
            let writer = Arc::new(Writer::open(&root, WRITER, options).unwrap());
            let threads: Vec<_> = (0..8)
                .map(|n| {
                    let writer = writer.clone();
                    std::thread::spawn(move || {
                        for m in 0..50 {
                            let payload = format!("{n}-{m}-{}", "x".repeat(1024));
                            writer.append(&record(payload)).unwrap().wait().unwrap();
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            Arc::into_inner(writer).unwrap().close().unwrap();
        }
        let log = log::read(&system, &root, WRITER);
        let sequences: Vec<_> = log.records.iter().map(|(id, _)| id.sequence.get()).collect();
        assert_eq!(sequences, (1..=3 * 8 * 50).collect::<Vec<_>>(), "on {}", root.label());
        assert!(log.segments.len() >= 9, "on {}: {} segments", root.label(), log.segments.len());
        assert!(log.lost.is_empty());
    }
}

#[test]
fn a_second_writer_of_the_same_id_is_locked_out_until_the_first_is_dropped() {
    for root in test_roots() {
        Share::init(&System::real(), &root).unwrap();
        let options = || Options { min_free_space: 0, ..Options::default() };
        let first = Writer::open(&root, WRITER, options()).unwrap();
        let error = Writer::open(&root, WRITER, options()).unwrap_err();
        assert!(matches!(error, WriterError::Locked { holder: Some(_), .. }), "on {}: {error}", root.label());
        drop(first);
        drop(Writer::open(&root, WRITER, options()).unwrap());
    }
}
