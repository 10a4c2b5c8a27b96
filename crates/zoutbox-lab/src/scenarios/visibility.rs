//! How soon a host sees what another one appended, with default mount options: the attribute cache is on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use zoutbox_storage::System;
use zoutbox_writer::{Options, Record, Writer};

use super::on_every_version;
use crate::hosts::{ALPHA, BETA, GAMMA, Host, Share, Version};
use crate::percentiles::Percentiles;
use crate::process::{LONG, Running};
use crate::producer::record;

/// Enough to compare medians; `measure` takes more.
const SAMPLES: u32 = 20;

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = on_every_version(
        "visibility: another host's relay hears the doorbell, and reads an append sooner than plain stat without it too",
        growth_is_seen,
    );
    trials.extend(on_every_version(
        "visibility: the relay finds new writers and new segments of other hosts",
        new_names_are_seen,
    ));
    trials
}

/// A relay that prints what it reads, on another host.
pub(super) fn relay(host: Host, share: &Share, options: &[&str]) -> Running {
    let mut command = host.command("zoutbox-relay");
    command.arg("--root").arg(share.on(host)).arg("--stdout").args(share.consent()).args(options);
    let relay = Running::start(&mut command);
    relay.wait_for_error("relaying");
    relay
}

fn growth_is_seen(version: Version) {
    let [rung, polled] = compare(version, SAMPLES);
    println!("NFS {}: relay with doorbell {}", version.0, rung.relay);
    println!("NFS {}: relay that polls {}; plain stat {}", version.0, polled.relay, polled.stat);
    assert!(rung.rings > 0, "the doorbell was not rung");
    assert_eq!(polled.rings, 0);
    assert!(polled.relay.median < polled.stat.median, "the relay saw no sooner than plain stat");
}

/// A relay with the doorbell, and one that only polls.
pub(crate) fn compare(version: Version, samples: u32) -> [Sight; 2] {
    let rung = seen_by_the_relay(version, "rung", &[], samples);
    [rung, seen_by_the_relay(version, "polled", &["--doorbell", "off"], samples)]
}

/// From `append` returning until another host saw the record.
pub(crate) struct Sight {
    /// Those that the relay heard.
    rings: u64,
    pub(crate) relay: Percentiles,
    pub(crate) stat: Percentiles,
}

fn seen_by_the_relay(version: Version, name: &str, options: &[&str], samples: u32) -> Sight {
    let share = Share::new(&format!("visibility-{name}"), version);
    let relay = relay(BETA, &share, options);
    let writer = Writer::open(share.on(ALPHA), "orders", share.options()).unwrap();
    append(&writer, "first");
    relay.wait_for_lines(1);
    // A writer looks for a doorbell now and then, not at every append.
    std::thread::sleep(Duration::from_secs(6));
    append(&writer, "second");
    relay.wait_for_lines(2);

    let stat = Stat::start(segment(&share, GAMMA));
    let mut appended = Vec::new();
    for sample in 0..samples {
        std::thread::sleep(Duration::from_millis(100 + u64::from(sample * 37 % 300)));
        let id = append(&writer, &format!("sample {sample}"));
        let acked = Instant::now();
        let length = std::fs::metadata(segment(&share, ALPHA)).unwrap().len();
        appended.push((id, length, acked));
    }
    relay.wait_for_lines(appended.len() + 2);
    let read: std::collections::HashMap<_, _> =
        relay.lines().into_iter().map(|(when, line)| (record(&line).0, when)).collect();
    let by_relay = appended.iter().map(|(id, _, acked)| read[id].saturating_duration_since(*acked)).collect();
    let by_stat =
        appended.iter().map(|(_, length, acked)| stat.saw(*length).saturating_duration_since(*acked));
    let (by_relay, by_stat) = (Percentiles::of(by_relay), Percentiles::of(by_stat.collect()));
    drop(stat);
    let sight = Sight { rings: rings(&relay.errors()), relay: by_relay, stat: by_stat };
    relay.stop().succeeded();
    writer.close().unwrap();
    share.remove();
    sight
}

/// As the relay's report says.
fn rings(report: &str) -> u64 {
    let count = |line: &str| line.split(", rings ").nth(1)?.split(' ').next()?.parse().ok();
    report.lines().rev().find_map(count).unwrap_or(0)
}

fn new_names_are_seen(version: Version) {
    let share = Share::new("names", version);
    let relay = relay(GAMMA, &share, &[]);
    let options = Options { segment_size: 64 * 1024, ..share.options() };
    let mut expected = 0;
    for writer in ["first", "second", "third"] {
        let writer = Writer::open(share.on(ALPHA), writer, options.clone()).unwrap();
        for _ in 0..3 {
            // Half a segment each: every other append starts a new one.
            append(&writer, &"x".repeat(40 * 1024));
            expected += 1;
        }
        let appended = Instant::now();
        relay.wait_for_lines(expected);
        println!("NFS {}: a new writer and its segments were read after {:?}", version.0, appended.elapsed());
        writer.close().unwrap();
    }
    relay.stop().succeeded();
    share.remove();
}

#[track_caller]
fn append(writer: &Writer, payload: &str) -> String {
    writer.append(&Record::new("topic", payload)).unwrap().wait().unwrap().to_string()
}

/// The only segment there is, as a host names it.
fn segment(share: &Share, host: Host) -> PathBuf {
    let root = share.on(host);
    let layout = zoutbox_storage::Share::open(&System::real(), &root).unwrap().layout;
    let directory = layout.writer(&"orders".parse().unwrap());
    let entries = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().find(|path| path.extension().is_some_and(|end| end == "open")).expect("a segment")
}

/// Watches a file's length as a naive program would.
struct Stat {
    seen: Arc<Mutex<Vec<(Instant, u64)>>>,
    stop: Arc<AtomicBool>,
}

impl Stat {
    fn start(path: PathBuf) -> Self {
        let (seen, stop) = (Arc::<Mutex<Vec<(Instant, u64)>>>::default(), Arc::new(AtomicBool::new(false)));
        let (its_seen, its_stop) = (seen.clone(), stop.clone());
        std::thread::spawn(move || {
            while !its_stop.load(Ordering::Relaxed) {
                let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
                let mut seen = its_seen.lock().unwrap();
                if seen.last().is_none_or(|(_, before)| *before < length) {
                    seen.push((Instant::now(), length));
                }
                drop(seen);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { seen, stop }
    }

    /// When the file was seen to be at least that long.
    fn saw(&self, length: u64) -> Instant {
        let seen =
            || self.seen.lock().unwrap().iter().find(|(_, seen)| *seen >= length).map(|(when, _)| *when);
        zoutbox_test_support::wait_until("stat sees it", LONG, || seen().is_some());
        seen().expect("just seen")
    }
}

impl Drop for Stat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
