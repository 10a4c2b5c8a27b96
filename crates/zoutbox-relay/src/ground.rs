//! The ground that tests of upkeep stand on: a share made by hand, byte for byte, a clock that tests move, and a disk that can die, be cut
//! off, or let somebody else act between any two of its calls.
#![expect(clippy::disallowed_methods, reason = "tests lay and look at files directly")]

mod disk;
mod draft;
#[path = "../../zoutbox-storage/tests/support/held.rs"]
pub(crate) mod held;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;
use zoutbox_format::checkpoint::Position;
use zoutbox_format::layout::dead_letter_name;
use zoutbox_format::{Epoch, Hour, PayloadName, SegmentId, Sequence, WriterId};
use zoutbox_relay_core::{Need, Needs};
use zoutbox_storage::{Clock, Share, System};
use zoutbox_test_support::{TestRoot, test_roots};

pub(crate) use disk::TestDisk;
use draft::Draft;

use crate::remove::Retention;
use crate::upkeep::Upkeep;

/// Everything goes as soon as it may.
pub(crate) const AT_ONCE: Retention = Retention {
    keep: Duration::ZERO,
    archive: false,
    pointers: false,
    keep_pointed: Duration::ZERO,
    sweep_after: HOUR,
};
pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// Both clocks, moved by tests. The time of day starts at the real one, since that is what files get.
#[derive(Debug)]
pub(crate) struct HandClock {
    start_ms: u64,
    passed_ms: AtomicU64,
}

impl Clock for HandClock {
    fn now_ms(&self) -> u64 {
        self.start_ms + self.passed_ms.load(Ordering::SeqCst)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.passed_ms.load(Ordering::SeqCst))
    }
    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}

impl HandClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.passed_ms.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// A share with one writer, `orders`.
pub(crate) struct Ground {
    pub(crate) disk: TestDisk,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) system: System,
    pub(crate) share: Share,
    pub(crate) writer: WriterId,
    /// The segment that was laid last, so that it can grow.
    live: Option<Draft>,
    _root: TestRoot,
}

impl Ground {
    /// On each kind of disk there is.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        test_roots().into_iter().map(Self::on)
    }

    /// In memory, for what is done very often.
    pub(crate) fn quick() -> Self {
        Self::on(test_roots().swap_remove(0))
    }

    fn on(root: TestRoot) -> Self {
        let start_ms = System::real().clock.now_ms();
        let clock = Arc::new(HandClock { start_ms, passed_ms: AtomicU64::new(0) });
        let disk = TestDisk::new(&root.join("removed"));
        let system = System { disk: Arc::new(disk.clone()), clock: clock.clone(), ..System::real() };
        let share = Share::init(&System::real(), &root.join("share")).unwrap().0;
        let writer = WriterId::new("orders").unwrap();
        fs::create_dir(share.layout.writer(&writer)).unwrap();
        Self { disk, clock, system, share, writer, live: None, _root: root }
    }

    /// Lays a sealed segment behind the last one, with a record for each of these payloads; `""` is a record without one.
    pub(crate) fn segment(&mut self, payloads: &[&str]) -> SegmentId {
        let id = self.open_segment(payloads);
        self.seal();
        id
    }

    /// The same, and not sealed.
    pub(crate) fn open_segment(&mut self, payloads: &[&str]) -> SegmentId {
        let draft = Draft::behind(self.live.as_ref(), self.share.id, &self.writer);
        let id = draft.id();
        self.live = Some(draft);
        for payload in payloads {
            self.append(payload);
        }
        id
    }

    /// Appends a record to the live segment, durably.
    pub(crate) fn append(&mut self, payload: &str) {
        let name = (!payload.is_empty()).then(|| self.name(payload));
        self.append_named(name);
    }

    pub(crate) fn append_named(&mut self, name: Option<PayloadName>) {
        let live = self.live.as_mut().unwrap();
        live.append(name);
        fs::write(self.share.layout.writer(&self.writer).join(live.name()), live.bytes()).unwrap();
    }

    fn seal(&mut self) {
        let directory = self.share.layout.writer(&self.writer);
        let live = self.live.as_mut().unwrap();
        fs::remove_file(directory.join(live.name())).unwrap();
        live.seal();
        fs::write(directory.join(live.name()), live.bytes()).unwrap();
    }

    /// Where the checkpoint is when everything was confirmed.
    pub(crate) fn end(&self) -> Position {
        self.live.as_ref().unwrap().end()
    }

    /// The name of a payload of this writer: of the last hour of yesterday.
    pub(crate) fn name(&self, id: &str) -> PayloadName {
        let yesterday = self.clock.start_ms - self.clock.start_ms % 86_400_000 - 1;
        PayloadName::new(self.writer.clone(), Hour::of(yesterday), id).unwrap()
    }

    pub(crate) fn path(&self, id: &str) -> PathBuf {
        self.share.layout.payload(&self.name(id))
    }

    /// Puts a payload there, new as by the clock now.
    pub(crate) fn put(&self, id: &str) -> PathBuf {
        let path = self.path(id);
        self.put_file(&path);
        path
    }

    pub(crate) fn put_all(&self, ids: &[&str]) {
        for id in ids {
            self.put(id);
        }
    }

    pub(crate) fn put_file(&self, path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_millis(self.clock.now_ms())).unwrap();
    }

    /// From now on it is an error if one of these is not there in front of any call.
    pub(crate) fn watch(&self, ids: &[&str]) {
        let paths: Vec<_> = ids.iter().map(|id| self.path(id)).collect();
        self.disk.hook(Some(Box::new(move |_| {
            for path in &paths {
                assert!(path.exists(), "{} was moved", path.display());
            }
        })));
    }

    /// The ids of the payloads that are there, and the names of what else is.
    pub(crate) fn payloads(&self) -> BTreeSet<String> {
        files(&self.share.layout.payloads(&self.writer))
    }

    /// The segments that are in the log.
    pub(crate) fn segments(&self) -> Vec<SegmentId> {
        let names = zoutbox_reader::segments(&System::real(), &self.share, &self.writer).unwrap();
        names.iter().map(|name| name.id).collect()
    }

    /// What is in the archive.
    pub(crate) fn archive(&self) -> BTreeSet<String> {
        files(&self.share.layout.archive(&self.writer))
    }

    pub(crate) fn letter(&self, sequence: u64, content: &serde_json::Value) -> PathBuf {
        let directory = self.share.layout.dead(&self.writer);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(dead_letter_name(Epoch::FIRST, Sequence::new(sequence)));
        fs::write(&path, content.to_string()).unwrap();
        path
    }

    /// The letter of a pointer into this segment.
    pub(crate) fn letter_into(&self, segment: SegmentId) -> PathBuf {
        let pointer = json!({
            "share": self.share.id.to_string(), "writer": self.writer.as_str(), "epoch": segment.epoch.get(),
            "segment_first": segment.first_sequence.get(), "offset": 160, "length": 99,
            "sequence": segment.first_sequence.get(), "count": 1, "crc": 5,
        });
        let content = json!({ "reason": "no queue", "dead_since_ms": 1, "pointer": pointer });
        self.letter(segment.first_sequence.get(), &content)
    }

    pub(crate) fn remove(&self, upkeep: &mut Upkeep, needs: &Needs) -> crate::Removed {
        upkeep.remove(&self.system, &self.share, self.end(), needs, AT_ONCE).unwrap()
    }

    pub(crate) fn sweep(&self, upkeep: &mut Upkeep) -> crate::Removed {
        upkeep.sweep(&self.system, &self.share, AT_ONCE.sweep_after).unwrap()
    }

    pub(crate) fn upkeep(&self) -> Upkeep {
        Upkeep::new(self.writer.clone())
    }
}

/// The names of all files below a directory.
pub(crate) fn files(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.append(&mut files(&path));
        } else {
            found.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    found
}

pub(crate) fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What is needed when a consumer says that it needs this.
pub(crate) fn needs(ground: &Ground, need: &Need) -> Needs {
    let place = zoutbox_format::Place { passed: need.from(), open: None, parked: need.single().collect() };
    let mut needs = Needs::nothing();
    needs.add(&zoutbox_format::Progress {
        share: ground.share.id,
        group: ground.writer.clone(),
        updated_ms: 0,
        interval_ms: 0,
        limit_ms: 0,
        writers: [(ground.writer.clone(), place)].into(),
    });
    needs
}
