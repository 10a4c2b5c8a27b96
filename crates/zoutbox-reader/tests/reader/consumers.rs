//! What lies below `consumers/`: registrations, and everything that can lie there besides.

use std::collections::BTreeMap;

use zoutbox_format::progress::ProgressError;
use zoutbox_format::{Progress, ShareId, WriterId};
use zoutbox_reader::{BadProgress, MAX_CONSUMERS, Registered, consumers};

use crate::support::Log;

fn progress(log: &Log) -> Progress {
    Progress {
        share: log.share.id,
        group: WriterId::new("billing").expect("valid"),
        updated_ms: 1,
        interval_ms: 2,
        limit_ms: 3,
        writers: BTreeMap::new(),
    }
}

fn put(log: &Log, name: &str, bytes: impl AsRef<[u8]>) {
    let directory = log.share.layout.consumers();
    std::fs::create_dir_all(&directory).expect("a share");
    std::fs::write(directory.join(name), bytes).expect("a share");
}

fn read(log: &Log) -> Registered {
    consumers(&log.system, &log.share).expect("a readable share")
}

#[test]
fn a_share_on_which_nobody_registered_has_no_consumers_and_one_that_is_gone_does_not_say_so() {
    for log in Log::all() {
        let found = read(&log);
        assert!(found.consumers.is_empty() && found.omitted == 0);
        // Shares of before have no directory for them.
        std::fs::remove_dir(log.share.layout.consumers()).expect("a share");
        assert!(read(&log).consumers.is_empty());
        std::fs::remove_file(log.share.layout.marker()).expect("a share");
        assert!(consumers(&log.system, &log.share).is_err());
    }
}

#[test]
fn registrations_are_read_and_what_is_none_says_why() {
    for log in Log::all() {
        let sound = progress(&log);
        let text = String::from_utf8(sound.encode()).expect("text");
        let foreign = Progress { share: ShareId::from_bytes([9; 16]), ..sound.clone() };
        put(&log, "b-1", sound.encode());
        put(&log, "b-2", &text[..text.len() / 2]);
        put(&log, "b-3", text.replace("\"format\":1", "\"format\":2"));
        put(&log, "b-4", foreign.encode());
        put(&log, "B 5", sound.encode());
        std::fs::create_dir(log.share.layout.consumers().join("a-directory")).expect("a share");
        std::os::unix::fs::symlink("b-1", log.share.layout.consumers().join("a-link")).expect("a share");
        for nobodys in [".nfs0001", "b-1.0123456789abcdef.tmp"] {
            put(&log, nobodys, "x");
        }
        let found = read(&log);
        let names: Vec<_> = found.consumers.iter().map(|consumer| consumer.name.as_str()).collect();
        assert_eq!(names, ["B 5", "a-directory", "a-link", "b-1", "b-2", "b-3", "b-4"]);
        let is = |index: usize| &found.consumers[index].found;
        assert!(matches!(is(0), Err(BadProgress::Name)));
        assert!(
            matches!(is(1), Err(BadProgress::Unreadable(_)))
                && matches!(is(2), Err(BadProgress::Unreadable(_)))
        );
        assert_eq!(is(3).as_ref().expect("sound"), &sound);
        assert!(matches!(is(4), Err(BadProgress::Content(ProgressError::Malformed))));
        assert!(matches!(is(5), Err(BadProgress::Content(ProgressError::Newer(2)))));
        assert!(matches!(is(6), Err(BadProgress::Foreign)));
    }
}

#[test]
fn the_first_ones_by_name_are_read_and_the_others_counted() {
    // On this host's own file systems: making a thousand files on an emulated file server takes minutes, and the count is not its.
    for log in Log::all().take(2) {
        let bytes = progress(&log).encode();
        for number in 0..MAX_CONSUMERS + 3 {
            put(&log, &format!("c-{number:05}"), &bytes);
        }
        let found = read(&log);
        assert_eq!((found.consumers.len(), found.omitted), (MAX_CONSUMERS, 3));
        assert_eq!(found.consumers.last().expect("many").name, format!("c-{:05}", MAX_CONSUMERS - 1));
    }
}

#[test]
fn files_that_are_too_large_together_are_not_all_read() {
    let log = Log::all().next().expect("a directory");
    let mut large = progress(&log).encode();
    large.resize(4 * 1024 * 1024, b' ');
    for number in 0..20 {
        put(&log, &format!("c-{number:05}"), &large);
    }
    let found = read(&log);
    assert!(found.omitted > 0 && found.consumers.len() + found.omitted == 20);
    assert!(found.consumers.iter().all(|consumer| consumer.found.is_ok()));
    large.push(b' ');
    put(&log, "c-00000", &large);
    let first = &read(&log).consumers[0].found;
    assert!(matches!(first, Err(BadProgress::Content(ProgressError::Malformed))));
}
