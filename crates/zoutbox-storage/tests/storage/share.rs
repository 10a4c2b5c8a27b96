//! A share is what has a marker. Everything else is refused, and stays as it was.

use std::path::Path;
use std::thread;

use zoutbox_storage::{ErrorKind, Share, StorageError, System};
use zoutbox_test_support::test_roots;

fn names(path: &Path) -> Vec<String> {
    let entries = System::real().disk.list(path).expect("listed");
    let mut names: Vec<_> = entries.iter().map(|e| e.name.to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_directory_without_a_marker_is_no_share_and_nothing_is_made_in_it() {
    for root in test_roots() {
        let system = System::real();
        let missing = root.join("missing");
        for path in [root.as_ref(), missing.as_path()] {
            let error = Share::open(&system, path).expect_err("no marker");
            assert!(matches!(error, StorageError::NotAShare { .. }), "{error:?}");
            assert_eq!(error.kind(), ErrorKind::Missing);
            assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        }
        assert!(names(&root).is_empty(), "{}: something was made", root.label());
    }
}

#[test]
fn a_share_keeps_its_identity_however_often_it_is_made() {
    for root in test_roots() {
        let (system, path) = (System::real(), root.join("share"));
        let (made, new) = Share::init(&system, &path).expect("made");
        assert!(new);
        let all = ["archive", "consumers", "dead", "payloads", "relay", "writers", "zoutbox.json"];
        assert_eq!(names(&path), all);
        for missing in ["relay/checkpoints", "payloads", "consumers"] {
            std::fs::remove_dir(path.join(missing)).expect("removed");
        }
        std::fs::write(path.join("writers/kept"), b"kept").expect("made");
        let (again, new) = Share::init(&system, &path).expect("completed");
        assert!(!new);
        assert_eq!(again.id, made.id, "{}", root.label());
        assert_eq!(Share::open(&system, &path).expect("a share").id, made.id);
        assert!(path.join("relay/checkpoints").is_dir());
        assert_eq!(names(&path), all, "a share that was made before is completed");
        assert!(path.join("writers/kept").is_file());
    }
}

#[test]
fn two_shares_are_never_the_same() {
    let system = System::real();
    let ids: Vec<_> =
        test_roots().iter().map(|root| Share::init(&system, root).expect("made").0.id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
}

#[test]
fn many_who_make_a_share_at_once_agree_on_one() {
    for root in test_roots() {
        let (system, path) = (System::real(), root.join("share"));
        let made: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Share::init(&system, &path))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic").expect("made")).collect()
        });
        assert_eq!(made.iter().filter(|(_, new)| *new).count(), 1, "{}", root.label());
        assert!(made.iter().all(|(share, _)| share.id == made[0].0.id), "{}", root.label());
        assert_eq!(names(&path).len(), 7, "nothing is left behind");
    }
}

#[test]
fn a_marker_that_is_newer_or_damaged_is_refused_and_left_alone() {
    let cases = [
        (r#"{"format":2,"share":"?"}"#.to_owned(), ErrorKind::Fatal, "update"),
        ("\0\0\0\0".to_owned(), ErrorKind::Corrupt, "not a zoutbox share marker"),
        (String::new(), ErrorKind::Corrupt, "not a zoutbox share marker"),
        (format!(r#"{{"format":1,"share":"{}"}}"#, "x".repeat(5000)), ErrorKind::Corrupt, "larger than"),
    ];
    for root in test_roots() {
        let (system, marker) = (System::real(), root.join("zoutbox.json"));
        for (content, kind, said) in &cases {
            std::fs::write(&marker, content).expect("written");
            for result in [Share::open(&system, &root), Share::init(&system, &root).map(|(share, _)| share)] {
                let error = result.expect_err("refused");
                assert_eq!(error.kind(), *kind, "{error}");
                assert!(error.to_string().starts_with(&marker.display().to_string()), "{error}");
                assert!(error.to_string().contains(said), "{error}");
            }
            assert_eq!(names(&root), ["zoutbox.json"], "{}: something was made", root.label());
            assert_eq!(&std::fs::read_to_string(&marker).expect("there"), content);
        }
    }
}

#[test]
fn what_is_in_the_way_of_a_share_is_named() {
    for root in test_roots() {
        let system = System::real();
        let in_the_way = root.join("file");
        std::fs::write(&in_the_way, b"").expect("made");
        let error = Share::init(&system, &in_the_way).expect_err("a file");
        assert!(error.to_string().contains(&in_the_way.display().to_string()), "{error}");
        let error = Share::open(&system, &in_the_way).expect_err("a file");
        assert!(error.to_string().contains(&in_the_way.display().to_string()), "{error}");
        std::fs::create_dir(root.join("zoutbox.json")).expect("made");
        let error = Share::open(&system, &root).expect_err("a directory for a marker");
        assert!(matches!(error, StorageError::NotAFile { .. }), "{error:?}");
    }
}
