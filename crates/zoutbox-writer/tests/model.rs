//! Random histories of appends, faults, crashes and reopenings, against a model of what was promised.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that can't do its work fails")]

mod support;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use support::{ROOT, WRITER, World, log, record, small};
use zoutbox_storage::{ErrorKind, Operation};
use zoutbox_test_support::{Fault, Hits};
use zoutbox_writer::{Options, RecordId, Stepped, Ticket, WhenFull, ZeroAhead};

#[derive(Debug, Clone)]
enum Event {
    Append { size: usize },
    Commit,
    PrepareAhead,
    Tick { seconds: u64 },
    Fail { operation: Operation, name: &'static str, skip: usize, times: usize, error: io::ErrorKind },
    LoseAnswer,
    Heal,
    Full { room: u64 },
    Crash { survival: Vec<u8> },
    Drop,
    Close,
    TakeOver,
}

fn event() -> impl Strategy<Value = Event> {
    let operation = prop::sample::select(vec![
        Operation::Write,
        Operation::Sync,
        Operation::Rename,
        Operation::SyncDirectory,
        Operation::Create,
        Operation::Lock,
        Operation::Remove,
        Operation::Inspect,
    ]);
    let name = prop::sample::select(vec!["next-", ".open", ".seg", "writer.lock", WRITER]);
    let error = prop::sample::select(vec![io::ErrorKind::Other, io::ErrorKind::QuotaExceeded]);
    prop_oneof![
        8 => (1_usize..3000).prop_map(|size| Event::Append { size }),
        1 => (9000_usize..40_000).prop_map(|size| Event::Append { size }),
        8 => Just(Event::Commit),
        3 => Just(Event::PrepareAhead),
        1 => Just(Event::LoseAnswer),
        1 => (0_u64..700).prop_map(|seconds| Event::Tick { seconds }),
        3 => (operation, name, 0_usize..4, 1_usize..4, error).prop_map(|(operation, name, skip, times, error)| {
            Event::Fail { operation, name, skip, times, error }
        }),
        2 => Just(Event::Heal),
        1 => (0_u64..50_000).prop_map(|room| Event::Full { room }),
        2 => vec(any::<u8>(), 1..30).prop_map(|survival| Event::Crash { survival }),
        1 => Just(Event::Drop),
        1 => Just(Event::Close),
        1 => Just(Event::TakeOver),
    ]
}

/// What the writer has promised so far.
#[derive(Default)]
struct Model {
    count: usize,
    pending: Vec<(Ticket, Vec<u8>)>,
    acknowledged: Vec<(RecordId, Vec<u8>)>,
    refused: Vec<Vec<u8>>,
    /// A sync failed: then bytes can be visible that will never be durable, and a process that was started since can't know.
    /// Records that nobody was promised may be seen first, and reported as lost after a power cut.
    sync_failed: bool,
    /// What every identity that anybody could ever see stood for.
    seen: HashMap<RecordId, Vec<u8>>,
}

impl Model {
    fn append(&mut self, writer: &Stepped, size: usize) {
        self.count += 1;
        let mut payload = format!("{}:", self.count).into_bytes();
        payload.resize(payload.len() + size, b'.');
        if let Ok(ticket) = writer.append(&record(payload.clone())) {
            self.pending.push((ticket, payload));
        }
    }

    fn settle(&mut self) {
        for (ticket, payload) in std::mem::take(&mut self.pending) {
            match ticket.outcome() {
                None => self.pending.push((ticket, payload)),
                Some(Ok(id)) => self.acknowledged.push((id, payload)),
                Some(Err(error)) if error.kind() == ErrorKind::Unknown => {}
                Some(Err(_)) => self.refused.push(payload),
            }
        }
    }

    fn check(&mut self, world: &World) {
        world.disk.undisturbed(|| self.check_undisturbed(world));
    }

    fn check_undisturbed(&mut self, world: &World) {
        let root = Path::new(ROOT);
        for (id, payload) in log::visible(&world.system, root, WRITER) {
            let before = self.seen.entry(id.clone()).or_insert_with(|| payload.clone());
            assert_eq!(*before, payload, "{id} stands for two records");
            assert!(!self.refused.contains(&payload), "{id} was refused, and is there");
        }
        let log = log::read(&world.system, root, WRITER);
        assert!(log.lost.is_empty() || self.sync_failed, "lost {:?}", log.lost);
        let mut rest = log.records.iter();
        for (id, payload) in &self.acknowledged {
            assert!(rest.any(|(i, p)| i == id && p == payload), "{id} was acknowledged, and is gone");
        }
        let steps = log.records.windows(2).map(|pair| (&pair[0].0, &pair[1].0));
        for (one, next) in steps {
            let gap = (one.sequence.get() + 1, next.sequence.get());
            assert!(gap.0 == gap.1 || log.lost.contains(&gap), "{one} is followed by {next}");
            assert!(next.epoch >= one.epoch);
        }
    }
}

fn open(world: &World, when_full: WhenFull) -> Stepped {
    world.disk.heal();
    world.disk.set_capacity(None);
    world.stepped(Options { min_free_space: 0, when_full, zero_ahead: ZeroAhead::Always, ..small() }).unwrap()
}

/// What happened in all histories of a test together.
#[derive(Default)]
struct Tally {
    histories: AtomicU64,
    acknowledged: AtomicU64,
    harms: [AtomicU64; HARMS.len()],
}

/// How each event is told of that is a fault.
const HARMS: [(&str, Hits, &str); 6] = [
    ("power cut", Hits::Disk, "in random histories; of what was not synced, any part survives"),
    (
        "calls fail",
        Hits::Disk,
        "in random histories; EIO or EDQUOT of one to three writes, syncs, renames, creations, locks …",
    ),
    ("a rename works and says that it failed", Hits::Disk, "in random histories"),
    ("the share is full for a while", Hits::Share, "in random histories; any bound up to 50 kB more"),
    ("killed", Hits::Writer, "in random histories, between any two of its steps"),
    (
        "taken over while it lives",
        Hits::Writer,
        "in random histories; its locks lapse, and the old one goes on trying",
    ),
];

impl Tally {
    fn note(&self, event: &Event) {
        let harm = match event {
            Event::Crash { .. } => 0,
            Event::Fail { .. } => 1,
            Event::LoseAnswer => 2,
            Event::Full { .. } => 3,
            Event::Drop => 4,
            Event::TakeOver => 5,
            _ => return,
        };
        self.harms[harm].fetch_add(1, Ordering::Relaxed);
    }

    /// For the bill of health.
    fn tell(&self) {
        let (histories, acknowledged) =
            (self.histories.load(Ordering::Relaxed), self.acknowledged.load(Ordering::Relaxed));
        for ((fault, hits, how), times) in HARMS.iter().zip(&self.harms) {
            Fault::new("writer", *hits, fault, how).held(
                times.load(Ordering::Relaxed),
                format!(
                    "{histories} histories, {acknowledged} acknowledged records, each there in its place; no identity meant two"
                ),
            );
        }
    }
}

fn play(events: Vec<Event>, when_full: WhenFull, tally: &Tally) {
    let world = World::new();
    let mut model = Model::default();
    let open = |world: &World| open(world, when_full);
    let mut writer = open(&world);
    for event in events {
        tally.note(&event);
        match event {
            Event::Append { size } => model.append(&writer, size),
            Event::Commit => drop(writer.step()),
            Event::PrepareAhead => writer.prepare_ahead(),
            Event::LoseAnswer => world.disk.fail_after(Operation::Rename, "next-"),
            Event::Tick { seconds } => {
                world.clock.advance(Duration::from_secs(seconds));
                writer.tick();
            }
            Event::Fail { operation, name, skip, times, error } => {
                model.sync_failed |= operation == Operation::Sync;
                world.disk.fail(operation, name, skip, times, error);
            }
            Event::Heal => {
                world.disk.heal();
                world.disk.set_capacity(None);
            }
            Event::Full { room } => world.disk.set_capacity(Some(room)),
            Event::Crash { survival } => {
                let mut bytes = survival.into_iter().cycle();
                world.disk.crash(|| bytes.next().unwrap());
                drop(writer);
                model.settle();
                model.check(&world);
                writer = open(&world);
            }
            Event::Drop => {
                drop(writer);
                writer = open(&world);
            }
            Event::Close => {
                drop(writer.close());
                writer = open(&world);
            }
            Event::TakeOver => {
                world.disk.expire_locks();
                let mut zombie = writer;
                writer = open(&world);
                model.append(&zombie, 10);
                world.disk.set_capacity(None);
                while zombie.step() {}
            }
        }
        model.settle();
        model.check(&world);
    }
    world.disk.heal();
    world.disk.set_capacity(None);
    while writer.step() {}
    model.settle();
    assert!(model.pending.is_empty(), "records wait though there is room");
    world.disk.crash_hard();
    model.check(&world);
    tally.histories.fetch_add(1, Ordering::Relaxed);
    tally.acknowledged.fetch_add(model.acknowledged.len() as u64, Ordering::Relaxed);
}

fn play_many(when_full: WhenFull) {
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    let tally = Tally::default();
    proptest!(config, |(events in vec(event(), 1..60))| play(events, when_full, &tally));
    tally.tell();
}

#[test]
fn whatever_happens_acknowledged_records_stay_and_no_identity_means_two() {
    play_many(WhenFull::Fail);
}

#[test]
fn waiting_for_room_changes_nothing_about_that() {
    play_many(WhenFull::Block);
}
