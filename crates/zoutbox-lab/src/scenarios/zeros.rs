//! No reader ever sees zeros in front of data: a commit is one WRITE.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use zoutbox_writer::{Options, Record, Writer};

use super::trial;
use crate::hosts::{ALPHA, BETA, NFS_4_2, Share};

/// Payloads have no zeros in them, and frames only a few in a row.
const ZEROS: usize = 256;
const LOOKS: usize = 2000;
const LARGEST_WRITE: usize = 1024 * 1024;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "zeros: no reader sees zeros in front of data while another host appends at full speed",
            never_seen,
        ),
        trial("zeros: commits larger than one WRITE are caught by the same check", seen_with_large_commits),
    ]
}

fn never_seen() {
    let share = Share::new("zeros", NFS_4_2);
    let writer = Writer::open(share.on(ALPHA), "orders", Options::default()).unwrap();
    let over = AtomicBool::new(false);
    let payload = "full speed ".repeat(4096);
    writer.append(&Record::new("topic", payload.clone())).unwrap().wait().unwrap();
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let tickets: Vec<_> =
                    (0..64).map(|_| writer.append(&Record::new("topic", payload.clone())).unwrap()).collect();
                for ticket in tickets {
                    ticket.wait().unwrap();
                }
            }
        });
        let directory = share.on(BETA).join("writers/orders");
        let mut seen = Seen::default();
        while seen.looks < LOOKS {
            // The newest segment, which is the one being written.
            let Some(path) = newest(&directory) else { continue };
            seen.add(look(&path, Duration::from_secs(5), LOOKS - seen.looks));
        }
        over.store(true, Ordering::Relaxed);
        seen
    });
    println!("{seen:?}");
    assert_eq!(seen.with_zeros, 0, "{seen:?}");
    assert!(seen.with_news > 20, "the looks saw hardly anything come: {seen:?}");
    writer.close().unwrap();
    share.remove();
}

fn seen_with_large_commits() {
    let share = Share::new("large-commits", NFS_4_2);
    let (here, there) = (share.on(ALPHA).join("raw"), share.on(BETA).join("raw"));
    let file = OpenOptions::new().write(true).create_new(true).open(&here).unwrap();
    // More WRITEs than one, of which a later one may be there first: the more of them, the sooner that is seen on a busy machine.
    let commit = vec![b'x'; 3 * LARGEST_WRITE + 4096];
    file.write_all_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    let over = AtomicBool::new(false);
    let start = Instant::now();
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut offset = 1;
            while !over.load(Ordering::Relaxed) {
                file.write_all_at(&commit, offset).unwrap();
                file.sync_data().unwrap();
                offset += commit.len() as u64;
                if offset > 512 << 20 {
                    file.set_len(1).unwrap();
                    offset = 1;
                }
            }
        });
        let mut seen = Seen::default();
        while seen.with_zeros == 0 && start.elapsed() < Duration::from_mins(6) {
            seen.add(look(&there, Duration::from_secs(2), LOOKS));
        }
        over.store(true, Ordering::Relaxed);
        seen
    });
    println!("{seen:?}");
    assert!(seen.with_zeros > 0, "the check does not see what it is for: {seen:?}");
    share.remove();
}

/// What looks at a growing file found.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    looks: usize,
    /// Looks that found more than the one before.
    with_news: usize,
    /// Looks that found zeros in front of data.
    with_zeros: usize,
}

impl Seen {
    fn add(&mut self, more: Self) {
        self.looks += more.looks;
        self.with_news += more.with_news;
        self.with_zeros += more.with_zeros;
    }
}

/// Looks at a file again and again, each time from the end of the data found before, on a fresh descriptor: opening asks the
/// server.
fn look(path: &Path, patience: Duration, most: usize) -> Seen {
    let (mut seen, mut end, start) = (Seen::default(), 0, Instant::now());
    let mut buffer = vec![0; 4 * LARGEST_WRITE];
    while start.elapsed() < patience && seen.looks < most {
        let Ok(file) = File::open(path) else { break };
        let length = file.metadata().unwrap().len();
        if length < end {
            end = 0;
        }
        let read = file.read_at(&mut buffer, end).unwrap();
        seen.looks += 1;
        let found = &buffer[..read];
        let data = found.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        seen.with_news += usize::from(data > 0);
        seen.with_zeros += usize::from(has_zeros(&found[..data]));
        end += data as u64;
    }
    seen
}

fn has_zeros(data: &[u8]) -> bool {
    data.chunks_exact(ZEROS).any(|chunk| chunk.iter().all(|byte| *byte == 0))
}

fn newest(directory: &Path) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    entries.filter(|path| path.extension().is_some_and(|end| end == "open")).max()
}
