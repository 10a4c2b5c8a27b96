//! What these tests share: a disk in memory that forgets what was not synced, and a reader that is not the product's own.
#![expect(dead_code, reason = "each test binary uses its part")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that can't do its work fails"
)]

pub(crate) mod disk;
pub(crate) mod log;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use disk::MemoryDisk;
use zoutbox_storage::{Clock, RealEntropy, RealNetwork, Share, System};
use zoutbox_writer::{Options, Record, RecordId, Stepped, WhenFull, Writer, WriterError};

pub(crate) const ROOT: &str = "/share";
pub(crate) const WRITER: &str = "orders";

/// A clock that only tests move; whoever sleeps moves it too.
#[derive(Debug, Default)]
pub(crate) struct ManualClock(AtomicU64);

impl ManualClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + self.0.load(Ordering::SeqCst)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
    fn sleep(&self, duration: Duration) {
        self.advance(duration);
        std::thread::yield_now();
    }
}

/// A share on a disk in memory.
pub(crate) struct World {
    pub(crate) disk: MemoryDisk,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) system: System,
}

impl World {
    pub(crate) fn new() -> Self {
        let disk = MemoryDisk::default();
        let clock = Arc::new(ManualClock::default());
        let system = System {
            disk: Arc::new(disk.clone()),
            clock: clock.clone(),
            entropy: Arc::new(RealEntropy),
            network: Arc::new(RealNetwork),
            host: "host-a".into(),
            pid: 4711,
        };
        Share::init(&system, Path::new(ROOT)).unwrap();
        disk.sync_everything();
        Self { disk, clock, system }
    }

    pub(crate) fn open(&self, options: Options) -> Result<Writer, WriterError> {
        Writer::open_with(self.system.clone(), ROOT, WRITER, options)
    }

    pub(crate) fn stepped(&self, options: Options) -> Result<Stepped, WriterError> {
        Stepped::open(self.system.clone(), ROOT, WRITER, options)
    }

    /// The files below `payloads`, without that.
    pub(crate) fn payloads(&self) -> Vec<String> {
        let prefix = format!("{ROOT}/payloads/{WRITER}/");
        self.disk.paths().into_iter().filter_map(|p| Some(p.strip_prefix(&prefix)?.to_owned())).collect()
    }

    /// Names in the writer's directory that end with `suffix`, or start with it.
    pub(crate) fn names(&self, part: &str) -> Vec<String> {
        let directory = format!("{ROOT}/writers/{WRITER}/");
        let names =
            self.disk.paths().into_iter().filter_map(|p| Some(p.strip_prefix(&directory)?.to_owned()));
        names.filter(|name| name.contains(part)).collect()
    }
}

pub(crate) fn small() -> Options {
    Options { segment_size: 64 * 1024, commit_bytes: 4096, when_full: WhenFull::Fail, ..Options::default() }
}

/// An input of so many bytes, none of them like its neighbours, made as they are read.
#[derive(Debug, Clone)]
pub(crate) struct Generated {
    at: u64,
    end: u64,
}

impl Generated {
    pub(crate) fn new(length: u64) -> Self {
        Self { at: 0, end: length }
    }

    pub(crate) fn bytes(length: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        Self::new(length).read_to_end(&mut bytes).unwrap();
        bytes
    }
}

impl Read for Generated {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        for byte in &mut buffer[..count] {
            *byte = (self.at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
            self.at += 1;
        }
        Ok(count)
    }
}

pub(crate) fn record(payload: impl Into<Vec<u8>>) -> Record {
    Record::new("orders.created", payload)
}

/// Appends one record and commits it.
pub(crate) fn put(writer: &mut Stepped, payload: &str) -> Result<RecordId, WriterError> {
    let ticket = writer.append(&record(payload))?;
    assert!(writer.step(), "there was something to commit");
    ticket.outcome().unwrap()
}

pub(crate) fn id(epoch: u64, sequence: u64) -> RecordId {
    format!("{WRITER}/{epoch}/{sequence}").parse().unwrap()
}
