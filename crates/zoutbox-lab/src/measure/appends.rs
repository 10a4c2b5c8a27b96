//! Appends over NFS, against the least that durable writes of the same size can cost: one write and one sync each.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use zoutbox_format::layout::SegmentName;
use zoutbox_format::scan::{Scanner, Step};
use zoutbox_format::{SegmentHeader, WriterId};
use zoutbox_storage::System;
use zoutbox_writer::{Options, Record, Writer};

use super::{Rpcs, number};
use crate::hosts::{ALPHA, NFS_4_2, Share};
use crate::percentiles::Percentiles;

const PAYLOAD: usize = 256;
const EACH: Duration = Duration::from_secs(10);

/// What a while of appending came to.
struct Run {
    took: Duration,
    each: Vec<Duration>,
    rpcs: Rpcs,
    commits: u64,
}

pub(super) fn measure() {
    let share = Share::new("measure", NFS_4_2);
    let before = bare(&share, "bare-1");
    let alone = group_commit(&share, "alone", 1);
    let many = group_commit(&share, "many", 64);
    let after = bare(&share, "bare-2");
    println!(
        "| appends of {PAYLOAD} bytes over NFS 4.2 | records a second against the bare loop | p50 against it | WRITE a commit | COMMIT a commit | other RPCs a commit | records a commit |"
    );
    println!("|---|---|---|---|---|---|---|");
    let rate = |run: &Run| number(run.each.len() as u64) / run.took.as_secs_f64();
    let bare_rate = f64::midpoint(rate(&before), rate(&after));
    let median = |run: &Run| Percentiles::of(run.each.clone()).median.as_secs_f64();
    let bare_median = f64::midpoint(median(&before), median(&after));
    let runs =
        [("bare loop", &before), ("1 caller", &alone), ("64 callers", &many), ("bare loop again", &after)];
    for (name, run) in runs {
        let a_commit = |count: u64| number(count) / number(run.commits);
        println!(
            "| {name} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} |",
            rate(run) / bare_rate,
            median(run) / bare_median,
            a_commit(run.rpcs.count("WRITE")),
            a_commit(run.rpcs.count("COMMIT")),
            a_commit(run.rpcs.others(&["WRITE", "COMMIT"])),
            a_commit(run.each.len() as u64),
        );
    }
    share.remove();
}

/// `pwrite` and `fdatasync` of a frame's bytes at the end of a growing file.
fn bare(share: &Share, name: &str) -> Run {
    let file = File::create_new(share.on(ALPHA).join(name)).unwrap();
    let bytes = vec![b'x'; PAYLOAD + 64];
    let mount = NFS_4_2.mount(ALPHA);
    let (before, start, mut each) = (Rpcs::of(ALPHA, &mount), Instant::now(), Vec::new());
    while start.elapsed() < EACH {
        let began = Instant::now();
        file.write_all_at(&bytes, (each.len() * bytes.len()) as u64).unwrap();
        file.sync_data().unwrap();
        each.push(began.elapsed());
    }
    let took = start.elapsed();
    let commits = each.len() as u64;
    Run { took, each, rpcs: Rpcs::of(ALPHA, &mount).since(&before), commits }
}

fn group_commit(share: &Share, name: &str, callers: usize) -> Run {
    let writer = Writer::open(share.on(ALPHA), name, Options::default()).unwrap();
    let payload = "x".repeat(PAYLOAD);
    let append = || drop(writer.append(&Record::new("topic", payload.clone())).unwrap().wait().unwrap());
    append();
    let mount = NFS_4_2.mount(ALPHA);
    let (over, all) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let (before, commits, start) = (Rpcs::of(ALPHA, &mount), commits(share, name), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                let mut each = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    append();
                    each.push(began.elapsed());
                }
                all.lock().unwrap().append(&mut each);
            });
        }
        std::thread::sleep(EACH);
        over.store(true, Ordering::Relaxed);
    });
    let took = start.elapsed();
    let rpcs = Rpcs::of(ALPHA, &mount).since(&before);
    writer.close().unwrap();
    Run { took, each: all.into_inner().unwrap(), rpcs, commits: self::commits(share, name) - commits }
}

/// How many commits are in a writer's log: each frame says its place in its commit. Read on the server, where it costs no RPC.
fn commits(share: &Share, writer: &str) -> u64 {
    let root = share.on_server();
    let layout = zoutbox_storage::Share::open(&System::real(), &root).unwrap().layout;
    let directory = layout.writer(&WriterId::new(writer).unwrap());
    let entries = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap());
    let segments = entries.filter(|entry| SegmentName::parse(&entry.file_name().to_string_lossy()).is_some());
    segments.map(|entry| commits_in(&entry.path())).sum()
}

fn commits_in(segment: &Path) -> u64 {
    let bytes = std::fs::read(segment).unwrap();
    let header = SegmentHeader::decode(&bytes).unwrap();
    let (mut scanner, mut commits) = (Scanner::from_start(&header), 0);
    while let Ok(Step::Record(frame)) = scanner.step(bytes.as_slice()) {
        commits += u64::from(frame.commit_index == 0);
    }
    commits
}
