//! What is found on a share, and what is told of changes.

use std::sync::mpsc;
use std::time::Duration;

use crate::support::Log;
use zoutbox_format::checkpoint::Position;
use zoutbox_format::{Checkpoint, Epoch, Sequence, ShareId};
use zoutbox_reader::{
    BadCheckpoint, Hint, MAX_IGNORED, StoredCheckpoint, Watcher, checkpoint, segments, writers,
};

#[test]
fn only_directories_with_a_writers_name_are_writers() {
    for log in Log::all() {
        let writers_dir = log.share.layout.writers();
        std::fs::create_dir(writers_dir.join("a-1")).expect("made");
        std::fs::create_dir(writers_dir.join("Not A Writer")).expect("made");
        std::fs::write(writers_dir.join("file"), "").expect("made");
        std::os::unix::fs::symlink("/", writers_dir.join("link")).expect("made");
        let found = writers(&log.system, &log.share).expect("readable");
        assert_eq!(found.writers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a-1", "w"]);
        assert_eq!(found.ignored, ["Not A Writer", "file", "link"]);
    }
}

#[test]
fn of_countless_names_that_are_no_writers_a_hundred_are_named_and_the_rest_is_counted() {
    for log in Log::all() {
        let directory = log.share.layout.writers();
        for number in 0..300 {
            std::fs::write(directory.join(format!("Junk {number:03}")), "").expect("made");
        }
        let found = writers(&log.system, &log.share).expect("readable");
        assert_eq!((found.writers.len(), found.ignored.len(), found.omitted), (1, MAX_IGNORED, 200));
        assert_eq!(found.ignored.last().map(String::as_str), Some("Junk 099"));
    }
}

#[test]
fn what_changes_behind_a_link_or_below_a_writers_directory_raises_no_hint() {
    for log in Log::all() {
        let directory = log.share.layout.writer(&log.writer);
        let elsewhere = log.share.layout.root().join("elsewhere");
        for made in [&directory, &elsewhere, &directory.join("below")] {
            std::fs::create_dir_all(made).expect("made");
        }
        std::os::unix::fs::symlink(&elsewhere, directory.join("link")).expect("made");
        std::os::unix::fs::symlink(&elsewhere, log.share.layout.writers().join("linked")).expect("made");
        let (sender, hints) = mpsc::channel();
        let changed = move |hint| drop(sender.send(hint));
        let _watcher = Watcher::new(&log.system, &log.share, changed).expect("watchable");
        std::fs::write(elsewhere.join("file"), "").expect("made");
        std::fs::write(directory.join("below/file"), "").expect("made");
        assert!(hints.recv_timeout(Duration::from_millis(300)).is_err(), "something else is watched");
        std::fs::write(directory.join("file"), "").expect("made");
        let hint = hints.recv_timeout(Duration::from_secs(20));
        assert_eq!(hint, Ok(Hint::Writer(log.writer.clone())));
    }
}

#[test]
fn a_segment_that_shows_under_both_names_is_listed_once() {
    for log in Log::all() {
        let segment = log.segment(1, 1, None).commits(&[1]).sealed();
        log.put(&segment, false);
        log.put(&segment, true);
        log.put(&log.segment(1, 2, Some(segment.whole())).commits(&[1]), false);
        let names = segments(&log.system, &log.share, &log.writer).expect("readable");
        assert_eq!(names.iter().map(|name| name.sealed).collect::<Vec<_>>(), [true, false]);
    }
}

#[test]
fn a_checkpoint_that_is_damaged_or_foreign_is_never_used() {
    for log in Log::all() {
        let path = log.share.layout.checkpoint(&log.writer);
        let stored = || checkpoint(&log.system, &log.share, &log.writer).expect("readable");
        assert_eq!(stored(), StoredCheckpoint::None);
        let segment = log.segment(1, 1, None).id();
        let mut good = Checkpoint {
            share: log.share.id,
            writer: log.writer.clone(),
            relay_epoch: Epoch::FIRST,
            position: Position { segment, offset: 160, next_sequence: Sequence::FIRST },
            saved_ms: 1,
        };
        std::fs::write(&path, good.encode()).expect("written");
        assert_eq!(stored(), StoredCheckpoint::Found(good.clone()));
        std::fs::write(&path, &good.encode()[..100]).expect("written");
        assert!(matches!(stored(), StoredCheckpoint::Damaged { .. }));
        good.share = ShareId::from_bytes([1; 16]);
        std::fs::write(&path, good.encode()).expect("written");
        assert!(matches!(stored(), StoredCheckpoint::Damaged { reason: BadCheckpoint::Foreign, .. }));
        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir(&path).expect("made");
        assert!(matches!(stored(), StoredCheckpoint::Damaged { reason: BadCheckpoint::NotAFile, .. }));
    }
}

#[test]
fn a_change_by_this_host_is_hinted_with_its_writer_and_reading_is_not() {
    for log in Log::all() {
        let (sender, hints) = mpsc::channel();
        let _watcher =
            Watcher::new(&log.system, &log.share, move |hint| drop(sender.send(hint))).expect("watchable");
        let long = Duration::from_secs(20);
        let path = log.put(&log.segment(1, 1, None).commits(&[1]), false);
        assert_eq!(hints.recv_timeout(long), Ok(Hint::Writer(log.writer.clone())));
        // Hints come in the order of what they are for: whoever was hinted at in between is told by that of another writer made afterwards.
        let hinted_until = |name: &str| {
            std::fs::create_dir(log.share.layout.writers().join(name)).expect("made");
            let mut hinted = Vec::new();
            loop {
                let Ok(Hint::Writer(writer)) = hints.recv_timeout(long) else { panic!("no hint of {name}") };
                if writer.as_str() == name {
                    return hinted;
                }
                hinted.push(writer);
            }
        };
        hinted_until("before");
        std::fs::read(path).expect("readable");
        assert!(!hinted_until("after").contains(&log.writer), "reading raised a hint");
    }
}
