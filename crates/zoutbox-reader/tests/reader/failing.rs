//! A share that can't be read for a moment costs a moment, and no record.

use std::ops::ControlFlow;

use zoutbox_reader::Stop;

use crate::support::{Log, drain, ids};

#[test]
fn what_was_shown_before_the_share_failed_counts_and_the_failure_comes_next() {
    for log in Log::all() {
        let first = log.segment(1, 1, None).commits(&[2, 1]).sealed();
        log.put(&first, true);
        log.put(&log.segment(1, 4, Some(first.whole())).commits(&[2]), false);
        let directory = log.share.layout.writer(&log.writer);
        let aside = log.share.layout.root().join("aside");
        let mut tail = log.tail(None);
        let mut shown = Vec::new();
        let stop = tail.read_each(|record| {
            shown.push(record.sequence.get());
            if shown.len() == 3 {
                // What follows is in the next segment, and the listing that would find it fails.
                std::fs::rename(&directory, &aside).expect("renamed");
                std::fs::write(&directory, "in the way").expect("written");
            }
            ControlFlow::Continue(())
        });
        assert_eq!((shown, stop.expect("they count")), (vec![1, 2, 3], Stop::Budget));
        tail.read(usize::MAX).expect_err("the share can't be read");
        std::fs::remove_file(&directory).expect("removed");
        std::fs::rename(&aside, &directory).expect("renamed");
        assert_eq!(drain(&mut tail), (ids(1, 4..=5), vec![]));
    }
}
