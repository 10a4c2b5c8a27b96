#![expect(clippy::disallowed_methods, reason = "tests look at files directly")]

use std::sync::Arc;

use tokio::runtime::Runtime;
use zoutbox_format::WriterId;
use zoutbox_test_support::{TestRoot, test_roots, wait_until};

use super::*;
use crate::ground::held::HeldDisk;

const LONG: Duration = Duration::from_mins(1);

struct World {
    runtime: Runtime,
    disk: HeldDisk,
    system: System,
    share: Share,
    _root: TestRoot,
}

impl World {
    fn new() -> Self {
        let root = test_roots().pop().unwrap();
        let disk = HeldDisk::default();
        let system = System { disk: Arc::new(disk.clone()), ..System::real() };
        let (share, _) = Share::init(&system, &root.join("share")).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { runtime, disk, system, share, _root: root }
    }

    fn begin(&self) -> Notice {
        let _runtime = self.runtime.enter();
        Notice::begin(self.system.clone(), self.share.clone(), Epoch::new(3))
    }

    fn is_there(&self) -> bool {
        self.share.layout.waits().exists()
    }

    fn read(&self) -> Option<Waits> {
        Waits::decode(&std::fs::read(self.share.layout.waits()).ok()?)
    }

    fn whats(&self) -> Vec<String> {
        self.read().into_iter().flat_map(|waits| waits.waits).map(|wait| wait.what).collect()
    }

    fn wait_for(&self, what: &[&str]) {
        wait_until(&format!("relay/waits says {what:?}"), LONG, || self.whats() == what);
    }

    /// The names of relay/: to see that nothing is left behind.
    fn leftovers(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.share.layout.relay()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("waits")).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Also when a test fails: the runtime waits for the calls that are held when it is dropped.
        self.disk.let_go();
    }
}

fn wait(writer: Option<&str>, what: &str) -> Wait {
    let writer = writer.map(|writer| WriterId::new(writer).unwrap());
    Wait { writer, since: Duration::ZERO, what: what.into() }
}

#[test]
fn the_file_is_there_exactly_while_something_is_waited_for() {
    let world = World::new();
    std::fs::write(world.share.layout.waits(), "of a relay before").unwrap();
    std::fs::write(world.share.layout.relay().join("waits.0123.tmp"), "of a killed one").unwrap();
    let notice = world.begin();
    wait_until("what was left is removed", LONG, || world.leftovers().is_empty());
    let before = world.system.clock.now_ms();
    notice.show(vec![wait(Some("orders"), "b"), wait(None, "a")]);
    world.wait_for(&["a", "b"]);
    let waits = world.read().unwrap();
    assert_eq!(waits.relay_epoch, Epoch::new(3));
    assert!(waits.written_ms >= before && waits.waits.iter().all(|wait| wait.since_ms <= waits.written_ms));
    notice.show(Vec::new());
    wait_until("nothing waits", LONG, || !world.is_there());
    notice.show(vec![wait(None, "c")]);
    world.wait_for(&["c"]);
    world.runtime.block_on(notice.withdraw(true));
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn what_is_waited_for_still_is_not_written_again() {
    let world = World::new();
    let notice = world.begin();
    notice.show(vec![wait(None, "a"), wait(None, "b")]);
    world.wait_for(&["a", "b"]);
    // From here on a write would hang.
    world.disk.hold("waits");
    notice.show(vec![wait(None, "b"), wait(None, "a")]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(world.disk.waiting(), (0, 0));
    notice.show(vec![wait(None, "b")]);
    wait_until("what changed is written", LONG, || world.disk.waiting().1 > 0);
    world.disk.let_go();
    world.wait_for(&["b"]);
}

#[test]
fn a_write_that_hangs_holds_one_thread_and_the_latest_follows_it() {
    let world = World::new();
    let notice = world.begin();
    world.disk.hold("waits");
    notice.show(vec![wait(None, "0")]);
    wait_until("a write hangs", LONG, || world.disk.waiting().0 == 1);
    for number in 1..=100 {
        notice.show(vec![wait(None, &number.to_string())]);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(world.disk.waiting(), (1, 1));
    world.disk.let_go();
    world.wait_for(&["100"]);
}

#[test]
fn a_write_that_hangs_does_not_keep_a_stop() {
    let world = World::new();
    let notice = world.begin();
    world.disk.hold("waits");
    notice.show(vec![wait(None, "a")]);
    wait_until("a write hangs", LONG, || world.disk.waiting().0 == 1);
    let stopped = world.runtime.block_on(async { tokio::time::timeout(LONG, notice.withdraw(true)).await });
    assert!(stopped.is_ok(), "the stop waits for it");
    assert_eq!(world.disk.waiting().0, 1, "it hangs still, and the stop went by");
    world.disk.let_go();
}

#[test]
fn a_relay_that_was_replaced_leaves_the_file_to_its_successor() {
    let world = World::new();
    let notice = world.begin();
    notice.show(vec![wait(None, "a")]);
    world.wait_for(&["a"]);
    world.runtime.block_on(notice.withdraw(false));
    assert!(world.is_there());
}

#[test]
fn a_write_that_fails_harms_nothing() {
    let world = World::new();
    std::fs::create_dir(world.share.layout.waits()).unwrap();
    let notice = world.begin();
    notice.show(vec![wait(None, "a")]);
    world.runtime.block_on(notice.withdraw(true));
    assert_eq!(world.leftovers(), ["waits"]);
}
