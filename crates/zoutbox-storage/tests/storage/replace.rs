//! A replaced file is the old one or the new one to everybody; a created one has exactly one creator.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use zoutbox_storage::{System, replace};
use zoutbox_test_support::test_roots;

/// A content of which no part passes for the whole of another: as long as its number says, and full of it.
fn content(number: u32) -> Vec<u8> {
    let length = 4 * (1 + usize::try_from(number % 2000).expect("small"));
    number.to_le_bytes().repeat(length / 4)
}

#[test]
fn a_reader_sees_the_old_content_or_the_new_one_and_never_none() {
    for root in test_roots() {
        // On an emulated file server a look takes as long as a hundred here.
        let looks = if root.label() == "given" { 1000 } else { 5000 };
        let (system, path) = (System::real(), root.join("checkpoint"));
        replace::replace(&system, &path, &content(0)).expect("made");
        let (replaced, stop) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while stop.load(Ordering::SeqCst) == 0 {
                    let number = replaced.load(Ordering::SeqCst) + 1;
                    replace::replace(&system, &path, &content(number)).expect("replaced");
                    replaced.store(number, Ordering::SeqCst);
                }
            });
            let (mut reads, mut latest) = (0, 0);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                while reads < looks || replaced.load(Ordering::SeqCst) < 50 {
                    let bytes = system.read_small(&path, 1 << 16).expect("it is always there");
                    let number = u32::from_le_bytes(*bytes.first_chunk().expect("never empty"));
                    assert_eq!(bytes, content(number), "{}: a mixture", root.label());
                    assert!(number >= latest, "{}: an older content came back", root.label());
                    (reads, latest) = (reads + 1, number);
                }
            }));
            stop.store(1, Ordering::SeqCst);
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        assert_eq!(system.disk.list(&root).expect("listed").len(), 1, "nothing is left behind");
    }
}

#[test]
fn of_many_who_create_a_file_at_once_exactly_one_does() {
    for root in test_roots() {
        for round in 0..20 {
            let (system, path) = (System::real(), root.join(format!("file-{round}")));
            let create = |number| replace::create(&system, &path, &content(number)).expect("tried");
            let made: Vec<u32> = thread::scope(|scope| {
                let create = &create;
                let threads: Vec<_> = (0..8).map(|n| (n, scope.spawn(move || create(n)))).collect();
                let done = threads.into_iter().map(|(n, thread)| (n, thread.join().expect("no panic")));
                done.filter_map(|(n, made)| made.then_some(n)).collect()
            });
            assert_eq!(made.len(), 1, "{}: made by {made:?}", root.label());
            assert_eq!(std::fs::read(&path).expect("there"), content(made[0]));
        }
        let system = System::real();
        assert_eq!(replace::sweep(&system, &root).expect("swept"), 0, "nothing is left behind");
        assert_eq!(system.disk.list(&root).expect("listed").len(), 20);
    }
}

#[test]
fn sweeping_removes_leftovers_and_nothing_else() {
    for root in test_roots() {
        let system = System::real();
        for name in ["a.0000.tmp", "b.tmp", "checkpoint", "tmp", "x.tmp.seg"] {
            std::fs::write(root.join(name), b"x").expect("made");
        }
        std::fs::create_dir(root.join("directory.tmp")).expect("made");
        assert_eq!(replace::sweep(&system, &root).expect("swept"), 2);
        let left = system.disk.list(&root).expect("listed");
        let mut names: Vec<_> = left.iter().map(|e| e.name.to_str().expect("text")).collect();
        names.sort_unstable();
        assert_eq!(names, ["checkpoint", "directory.tmp", "tmp", "x.tmp.seg"], "{}", root.label());
    }
}

#[test]
fn a_replacement_that_can_not_be_made_leaves_nothing_and_names_the_path() {
    for root in test_roots() {
        let system = System::real();
        let path = root.join("missing/checkpoint");
        let error = replace::replace(&system, &path, b"x").expect_err("no such directory");
        assert!(error.is_missing() && error.to_string().contains("missing/checkpoint"), "{error}");
        std::fs::create_dir(root.join("taken")).expect("made");
        assert!(replace::replace(&system, &root.join("taken"), b"x").is_err(), "a directory is there");
        assert!(!replace::create(&system, &root.join("taken"), b"x").expect("tried"), "the name is taken");
    }
}
