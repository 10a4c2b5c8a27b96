//! A whole relay in this process, on a disk whose calls can be held.
#![expect(clippy::disallowed_methods, reason = "tests take files away directly")]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use zoutbox_format::Progress;
use zoutbox_storage::{Share, System};
use zoutbox_test_support::{TestRoot, test_roots, wait_until};
use zoutbox_writer::{Options as WriterOptions, Record, Writer};

use super::*;
use crate::ground::held::HeldDisk;
use crate::{LinePublisher, Options, RelayError, Span, relay, settings};

/// A safety net for what takes a moment.
const LONG: Duration = Duration::from_mins(2);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn count(&self) -> usize {
        self.0.lock().unwrap().split(|byte| *byte == b'\n').count() - 1
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What the relay runs in. It ends also when the test fails: dropped by itself it would wait for the calls that are held.
struct Running<'a> {
    runtime: Option<Runtime>,
    disk: &'a HeldDisk,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.disk.let_go();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct World {
    disk: HeldDisk,
    system: System,
    share: Share,
    lines: Lines,
    _root: TestRoot,
}

impl World {
    fn new() -> Self {
        let root = test_roots().pop().unwrap();
        let disk = HeldDisk::default();
        let system = System { disk: Arc::new(disk.clone()), ..System::real() };
        let share = Share::init(&system, &root.join("share")).unwrap().0;
        Self { disk, system, share, lines: Lines::default(), _root: root }
    }

    /// As many segments as records.
    fn append(&self, records: usize) {
        for _ in 0..records {
            let writer = Writer::open(self.share.layout.root(), "orders", WriterOptions::default()).unwrap();
            writer.append(&Record::new("t", "x")).unwrap().wait().unwrap();
            writer.close().unwrap();
        }
    }

    fn register(&self, name: &str) {
        let progress = Progress {
            share: self.share.id,
            group: WriterId::new(name).unwrap(),
            updated_ms: self.system.clock.now_ms(),
            interval_ms: 600_000,
            limit_ms: 600_000,
            writers: BTreeMap::new(),
        };
        self.system.disk.create_dir(&self.share.layout.consumers()).unwrap();
        let path = self.share.layout.consumer(&WriterId::new(name).unwrap());
        zoutbox_storage::replace::replace(&System::real(), &path, &progress.encode()).unwrap();
    }

    fn segments(&self) -> usize {
        zoutbox_reader::segments(&System::real(), &self.share, &WriterId::new("orders").unwrap())
            .unwrap()
            .len()
    }

    /// Runs a relay that removes at once while `test` goes on.
    fn while_relaying(&self, test: impl FnOnce()) -> Result<(), RelayError> {
        let options = Options { retention: Some(Span(Duration::ZERO)), ..Options::default() };
        let engine = settings::engine(&options).unwrap();
        let publisher = LinePublisher::new(Box::new(self.lines.clone()));
        let (stop, stopped) = watch::channel(false);
        let running = Running { runtime: Some(Runtime::new().unwrap()), disk: &self.disk };
        let runtime = running.runtime.as_ref().unwrap();
        let relaying =
            runtime.spawn(relay(self.system.clone(), self.share.clone(), publisher, engine, stopped));
        test();
        stop.send(true).unwrap();
        let ending = runtime.block_on(async { tokio::time::timeout(LONG, relaying).await });
        ending.expect("the relay stops").unwrap()
    }
}

#[test]
fn a_consumers_file_that_does_not_answer_keeps_everything_and_holds_up_no_lane() {
    let world = World::new();
    world.append(3);
    world.register("billing");
    world.disk.hold("consumers/billing");
    let ended = world.while_relaying(|| {
        wait_until("what was there is published", LONG, || world.lines.count() == 3);
        wait_until("the look hangs", LONG, || world.disk.waiting().0 == 1);
        world.append(2);
        wait_until("what came meanwhile is published", LONG, || world.lines.count() == 5);
        world.system.clock.sleep(Duration::from_secs(3));
        assert_eq!((world.segments(), world.disk.waiting()), (5, (1, 1)), "one look, and nothing removed");
        std::fs::remove_file(world.share.layout.consumers().join("billing")).unwrap();
        world.disk.let_go();
        wait_until("the others are removed", LONG, || world.segments() == 1);
    });
    ended.unwrap();
}

#[test]
fn a_removal_that_hangs_holds_up_neither_lane_nor_checkpoint() {
    let world = World::new();
    world.append(3);
    world.disk.hold("dead/orders");
    let ended = world.while_relaying(|| {
        wait_until("a removal hangs", LONG, || world.disk.waiting().0 == 1);
        world.append(2);
        wait_until("what came meanwhile is published", LONG, || world.lines.count() == 5);
        let checkpoint = || {
            let writer = WriterId::new("orders").unwrap();
            match zoutbox_reader::checkpoint(&System::real(), &world.share, &writer).unwrap() {
                zoutbox_reader::StoredCheckpoint::Found(found) => found.position.next_sequence.get(),
                _ => 0,
            }
        };
        wait_until("the checkpoint is saved", LONG, || checkpoint() == 6);
        assert_eq!(world.segments(), 5);
        world.disk.let_go();
        wait_until("the others are removed", LONG, || world.segments() == 1);
    });
    ended.unwrap();
}

#[test]
fn consumers_that_can_not_be_looked_at_keep_everything() {
    let world = World::new();
    world.append(3);
    let directory = world.share.layout.consumers();
    std::fs::remove_dir(&directory).unwrap();
    std::fs::write(&directory, "in the way").unwrap();
    let ended = world.while_relaying(|| {
        wait_until("what was there is published", LONG, || world.lines.count() == 3);
        world.system.clock.sleep(Duration::from_secs(3));
        assert_eq!(world.segments(), 3);
        std::fs::remove_file(&directory).unwrap();
        wait_until("the others are removed", LONG, || world.segments() == 1);
    });
    ended.unwrap();
}

#[test]
fn pauses_follow_the_times_that_were_asked_for() {
    let of = |keep: u64, sweep: u64| {
        let retention = Retention {
            keep: Duration::from_secs(keep),
            archive: false,
            pointers: false,
            keep_pointed: Duration::ZERO,
            sweep_after: Duration::from_secs(sweep),
        };
        (removal_pause(retention).as_secs(), sweep_pause(retention).as_secs())
    };
    assert_eq!(of(0, 0), (1, 60));
    assert_eq!(of(40, 1000), (10, 250));
    assert_eq!(of(86_400, 86_400), (60, 3600));
}
