//! An append of a payload and a sweeper at the same time: every order of their steps.
//!
//! The sweeper takes the file for one that nobody names, with no time of grace at all. It may remove temporary files, and then
//!
//! ```text
//!   sets aside   rename <id> to <id>.swept, sync the directory
//!   asks         is the file locked?                                    only a sweeper that looks at locks
//!   looks        does a record name it?
//!   settles      locked or named: gives it back; else removes it
//! ```

#![expect(clippy::unwrap_used, reason = "a test that can't do its work fails")]

mod support;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use support::disk::MemoryDisk;
use support::{Generated, ROOT, WRITER, World, log, put, record, small};
use zoutbox_format::Hour;
use zoutbox_format::layout::TEMPORARY_SUFFIX;
use zoutbox_storage::{Clock, Disk, ErrorKind, Lock, Operation, System};
use zoutbox_test_support::{Fault, Hits};
use zoutbox_writer::{Options, RecordId, Stepped, WriterError};

const LENGTH: u64 = 6000;

/// A sweeper, and in front of which call of the writer it takes its next step.
struct Sweeper {
    disk: MemoryDisk,
    system: System,
    payload: PathBuf,
    swept: PathBuf,
    manner: Manner,
    steps: Vec<usize>,
    next: usize,
    aside: bool,
    keeps: bool,
}

/// How it goes about it.
#[derive(Debug, Clone, Copy)]
struct Manner {
    looks_at_locks: bool,
    /// Takes temporary files for leftovers, however new they are.
    tidies: bool,
}

impl Sweeper {
    fn new(world: &World, payload: &Path, manner: Manner, steps: &[usize]) -> Self {
        let swept = PathBuf::from(format!("{}.swept", payload.display()));
        Self {
            disk: world.disk.clone(),
            system: world.system.clone(),
            payload: payload.to_owned(),
            swept,
            manner,
            steps: steps.to_vec(),
            next: 0,
            aside: false,
            keeps: false,
        }
    }

    fn go_on(&mut self, calls: usize) {
        while self.steps.get(self.next).is_some_and(|due| *due <= calls) {
            match self.next {
                0 => self.set_aside(),
                1 => self.ask(),
                2 => self.look(),
                _ => self.settle(),
            }
            self.next += 1;
        }
    }

    fn is_held(&self, path: &Path) -> bool {
        self.manner.looks_at_locks && Lock::is_held(&self.disk, path).unwrap()
    }

    fn set_aside(&mut self) {
        let directory = self.payload.parent().unwrap();
        let files = self.disk.list(directory).unwrap_or_default();
        for name in files
            .iter()
            .filter_map(|entry| entry.name.to_str())
            .filter(|name| name.ends_with(TEMPORARY_SUFFIX))
        {
            let path = directory.join(name);
            if self.manner.tidies && !self.is_held(&path) {
                self.disk.remove_file(&path).unwrap();
            }
        }
        self.aside = self.disk.rename(&self.payload, &self.swept).is_ok();
        if self.aside {
            self.disk.sync_dir(directory).unwrap();
        }
    }

    fn ask(&mut self) {
        self.keeps = self.aside && self.is_held(&self.swept);
    }

    fn look(&mut self) {
        let named = log::named(&self.system, Path::new(ROOT), WRITER);
        self.keeps |= named.iter().any(|reference| self.payload.ends_with(reference.name.to_string()));
    }

    fn settle(&mut self) {
        if !self.aside {
            return;
        }
        if self.keeps {
            match self.disk.link(&self.swept, &self.payload) {
                Ok(()) => self.disk.sync_dir(self.payload.parent().unwrap()).unwrap(),
                Err(error) => assert!(error.to_string().contains("already exists"), "{error}"),
            }
        }
        self.disk.remove_file(&self.swept).unwrap();
    }
}

/// What became of an append.
struct Ended {
    calls: usize,
    /// In front of which of its calls the payload has no name yet.
    unnamed: usize,
    outcome: Option<Result<RecordId, WriterError>>,
    /// Somebody can read a record that names the payload.
    named: bool,
    /// If so, the payload is there, whole.
    sound: bool,
}

struct Case<'a> {
    /// The file was there before, and nobody named it.
    again: bool,
    manner: Manner,
    steps: &'a [usize],
    /// The writer dies after so many calls.
    life: Option<usize>,
}

fn play(case: &Case) -> Ended {
    let world = World::new();
    world.disk.set_mount("40 1 0:50 / /share rw - nfs4 server:/outbox rw,vers=4.2,hard,wsize=4096");
    let options = Options { payload_threshold: 1000, min_free_space: 0, ..small() };
    let mut writer = Stepped::open(world.system.clone(), ROOT, WRITER, options).unwrap();
    put(&mut writer, "so that there is a log").unwrap();
    let at_ms = world.clock.now_ms();
    let path = format!("{ROOT}/payloads/{WRITER}/{}/a", Hour::of(at_ms));
    if case.again {
        world.disk.put(&path, &Generated::bytes(LENGTH));
    }
    let sweeper = Sweeper::new(&world, Path::new(&path), case.manner, case.steps);
    let sweeper = Arc::new(Mutex::new(sweeper));
    let meddling = sweeper.clone();
    world.disk.forget_calls();
    world.disk.meddle(move |calls| meddling.lock().unwrap().go_on(calls));
    if let Some(life) = case.life {
        world.disk.die_after(life);
    }
    let record = record("").id("a").timestamp_ms(at_ms);
    let appended = writer.append_payload(&record, Generated::new(LENGTH));
    let outcome = appended.map(|ticket| {
        writer.step();
        ticket.outcome().unwrap()
    });
    world.disk.meddle_no_more();
    let died = world.disk.revive();
    drop(writer);
    let calls = world.disk.calls();
    let renamed = calls.iter().position(|(operation, _)| *operation == Operation::Rename);
    let (calls, unnamed) = (calls.len(), renamed.map_or(0, |index| index + 1));
    sweeper.lock().unwrap().go_on(usize::MAX);
    let named = !log::named(&world.system, Path::new(ROOT), WRITER).is_empty();
    let there = world.disk.paths();
    let sound = !named || there.contains(&path) && world.disk.content(&path) == Generated::bytes(LENGTH);
    let outcome = (!died).then(|| outcome.unwrap_or_else(Err));
    if let Some(Ok(_)) = outcome {
        assert!(named);
    }
    Ended { calls, unnamed, outcome, named, sound }
}

const HONEST: Manner = Manner { looks_at_locks: true, tidies: true };
const UNTIDY: Manner = Manner { tidies: false, ..HONEST };
const RECKLESS: Manner = Manner { looks_at_locks: false, ..HONEST };

/// The calls of an append that nobody disturbs, from the first one on in front of which there is a payload.
fn calls(again: bool) -> Range<usize> {
    let never = [usize::MAX; 4];
    let ended = play(&Case { again, manner: HONEST, steps: &never, life: None });
    assert!(matches!(ended.outcome, Some(Ok(_))) && ended.sound);
    ended.unnamed..ended.calls
}

/// Calls `each` with all ways to take four steps in order, each in front of one of the calls or behind them. With `together`, the second
/// and third are one.
fn orders(calls: Range<usize>, together: bool, mut each: impl FnMut(&[usize; 4])) -> usize {
    let Range { start, end: calls } = calls;
    let mut count = 0;
    for first in start..=calls {
        for second in first..=calls {
            for third in second..=if together { second } else { calls } {
                for fourth in third..=calls {
                    each(&[first, second, third, fourth]);
                    count += 1;
                }
            }
        }
    }
    count
}

#[test]
fn a_payload_that_is_found_again_is_there_when_its_record_is_acknowledged_even_if_a_sweeper_ignores_locks() {
    let (mut acknowledged, mut refused) = (0, 0);
    let calls = calls(true);
    let count = orders(calls.clone(), true, |steps| {
        let case = Case { again: true, manner: RECKLESS, steps, life: None };
        let ended = play(&case);
        match ended.outcome {
            Some(Ok(_)) => {
                acknowledged += 1;
                assert!(ended.sound, "acknowledged without its payload: {steps:?}");
            }
            // The sweeper has removed its other name, too.
            Some(Err(error)) => {
                refused += 1;
                let gone = matches!(error, WriterError::PayloadGone { .. });
                assert!(gone || error.kind() == ErrorKind::Missing, "{steps:?}: {error}");
                assert_eq!(gone, error.kind() == ErrorKind::Unknown);
            }
            None => panic!("nobody died"),
        }
    });
    println!("{count} orders of calls {calls:?}: {acknowledged} acknowledged, {refused} not");
    assert!(acknowledged > 10 * refused);
}

fn a_sweeper_that_looks_at_locks(again: bool) {
    let calls = calls(again);
    let count = orders(calls.clone(), false, |steps| {
        let ended = play(&Case { again, manner: HONEST, steps, life: None });
        let outcome = ended.outcome.unwrap();
        assert!(outcome.is_ok(), "{steps:?}: {}", outcome.unwrap_err());
        assert!(ended.sound, "{steps:?}");
    });
    println!("{count} orders of calls {calls:?}");
}

#[test]
fn a_sweeper_that_looks_at_locks_never_takes_a_new_payload_from_its_record_nor_fails_the_append() {
    a_sweeper_that_looks_at_locks(false);
}

#[test]
fn a_sweeper_that_looks_at_locks_never_takes_an_old_payload_from_its_record_nor_fails_the_append() {
    a_sweeper_that_looks_at_locks(true);
}

/// Before there is a ticket, anybody may already read the record.
#[test]
fn nor_does_it_take_one_when_the_writer_dies_at_any_call() {
    for (again, manner) in [(true, HONEST), (true, UNTIDY), (false, HONEST), (false, UNTIDY)] {
        let calls = calls(again);
        let (mut deaths, mut visible) = (0, 0);
        // The record is written in the last few; before that nothing names the payload.
        for life in calls.end.saturating_sub(9)..=calls.end {
            for first in calls.clone() {
                for second in first..=calls.end {
                    // It may settle at once, or when the writer is long dead.
                    for settles in [second, usize::MAX] {
                        let steps = [first, second, second, settles];
                        let ended = play(&Case { again, manner, steps: &steps, life: Some(life) });
                        assert!(ended.sound, "again {again}, {manner:?}, dead after {life} calls, {steps:?}");
                        deaths += usize::from(ended.outcome.is_none());
                        visible += usize::from(ended.outcome.is_none() && ended.named);
                    }
                }
            }
        }
        Fault::new(
            "writer",
            Hits::Writer,
            "killed while the relay sweeps its payload",
            "at each of its last calls, in every order with the sweep's steps",
        )
        .held(deaths, format!("no record without its payload, in {visible} there was one to read"));
        println!("again {again}, {manner:?}: {deaths} deaths, in {visible} there was a record to read");
        assert!(visible > 0);
    }
}
