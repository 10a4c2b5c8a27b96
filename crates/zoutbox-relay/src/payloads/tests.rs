//! The relay's steps and a writer's, in every order that they can come in.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use zoutbox_format::checkpoint::Position;
use zoutbox_format::layout::SegmentName;
use zoutbox_format::{PayloadName, WriterId};
use zoutbox_relay_core::Needs;
use zoutbox_storage::{Share, System};

use super::Payloads;
use crate::ground::{AT_ONCE, DAY, Ground, TestDisk, set};
use crate::references::References;
use crate::upkeep::Upkeep;

/// What the relay does, whole or with a step left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relay {
    Sweep,
    /// The segment that named the payload before is removed.
    Remove,
    /// As a sweep, but decides by what it saw before it set the file aside.
    WithoutSecondLook,
    /// As a sweep, but removes the file under its name.
    WithoutSettingAside,
}

/// What the writer does whose caller tries again: all steps, or without looking whether the file is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Whole,
    WithoutCheck,
}

/// It looks for the finished file, appends the record, looks again; then it acknowledges.
const STEPS: usize = 3;

/// A writer in the course of an append. It does not go through the relay's disk.
struct Append {
    ground: Ground,
    writer: Writer,
    done: usize,
}

impl Append {
    fn until(&mut self, done: usize) {
        while self.done < done {
            let there = self.ground.path("x").exists();
            match self.done {
                0 if !there => drop(self.ground.put("x")),
                1 => self.ground.append("x"),
                2 if !there && self.writer == Writer::Whole => drop(self.ground.put("x")),
                _ => {}
            }
            self.done += 1;
        }
    }
}

/// What the relay has.
struct Shell {
    system: System,
    share: Share,
    writer: WriterId,
    disk: TestDisk,
    end: Position,
    name: PayloadName,
}

impl Shell {
    fn of(ground: &Ground) -> Self {
        Self {
            system: ground.system.clone(),
            share: ground.share.clone(),
            writer: ground.writer.clone(),
            disk: ground.disk.clone(),
            end: ground.end(),
            name: ground.name("x"),
        }
    }

    fn act(&self, relay: Relay) {
        let (system, share, writer) = (&self.system, &self.share, &self.writer);
        let payloads = Payloads { system, share, writer };
        let mut upkeep = Upkeep::new(writer.clone());
        let mut references = References::default();
        let is_named = |references: &References| references.name(&self.name, None);
        match relay {
            Relay::Sweep => drop(upkeep.sweep(system, share, AT_ONCE.sweep_after).unwrap()),
            Relay::Remove => {
                upkeep.remove(system, share, self.end, &Needs::nothing(), AT_ONCE).unwrap();
            }
            Relay::WithoutSecondLook => {
                references.update(system, share, writer).unwrap();
                if !is_named(&references) {
                    let aside = payloads.set_aside(vec![self.name.clone()]).unwrap();
                    let aside = payloads.lock(&aside).unwrap();
                    payloads.settle(aside, |_| is_named(&references)).unwrap();
                }
            }
            Relay::WithoutSettingAside => {
                references.update(system, share, writer).unwrap();
                if !is_named(&references) {
                    drop(system.disk.remove_file(&share.layout.payload(&self.name)));
                }
            }
        }
    }
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    /// How many calls the relay made on what the writer touches.
    calls: usize,
    /// Whether the payload is there that was acknowledged.
    kept: bool,
}

/// Whether a writer touches this. If not, its steps may as well come behind a call on it as in front.
fn touches(shell: &Shell, path: &Path) -> bool {
    let directory = shell.share.layout.writer(&shell.writer);
    let live = directory.join(SegmentName::open(shell.end.segment).file_name());
    let payload = shell.share.layout.payload(&shell.name);
    path == directory || path == live || path.starts_with(payload.parent().unwrap())
}

/// Runs the relay, and the writer's steps right in front of those of its calls that `at` says, or behind all of them.
fn run(relay: Relay, writer: Writer, at: [usize; STEPS]) -> Ended {
    let mut ground = Ground::quick();
    if relay == Relay::Remove {
        ground.segment(&["x"]);
    }
    ground.open_segment(&[""]);
    ground.put("x");
    ground.clock.advance(DAY);
    let shell = Arc::new(Shell::of(&ground));
    let append = Arc::new(Mutex::new(Append { ground, writer, done: 0 }));
    let (in_front, calls) = (Arc::clone(&append), Arc::new(AtomicUsize::new(0)));
    let (count, seen) = (Arc::clone(&calls), Arc::clone(&shell));
    shell.disk.hook(Some(Box::new(move |path| {
        if touches(&seen, path) {
            let call = count.fetch_add(1, Ordering::Relaxed);
            in_front.lock().unwrap().until(at.iter().filter(|at| **at <= call).count());
        }
    })));
    shell.act(relay);
    shell.disk.hook(None);
    let calls = calls.load(Ordering::Relaxed);
    let mut append = append.lock().unwrap();
    append.until(STEPS);
    let kept = append.ground.path("x").exists();
    if kept && writer == Writer::Whole {
        // Nor do later ones take it.
        for _ in 0..2 {
            append.ground.clock.advance(DAY);
            append.ground.sweep(&mut append.ground.upkeep());
            assert_eq!(append.ground.payloads(), set(&["x"]), "{relay:?} {at:?}");
        }
    }
    Ended { calls, kept }
}

/// The first order of the writer's steps between the relay's calls in which the payload is lost, and how many orders were tried.
fn loss(relay: Relay, writer: Writer) -> (Option<[usize; STEPS]>, usize) {
    const AFTER: usize = usize::MAX;
    // A record that comes in between makes it look and give back, which are some calls more.
    let calls = run(relay, writer, [AFTER; STEPS]).calls.max(run(relay, writer, [0, AFTER, AFTER]).calls) + 6;
    let mut tried = 0;
    for first in 0..=calls {
        for second in first..=calls {
            for third in second..=calls {
                tried += 1;
                let at = [first, second, third];
                if !run(relay, writer, at).kept {
                    return (Some(at), tried);
                }
            }
        }
    }
    (None, tried)
}

#[test]
fn in_no_order_of_steps_does_a_sweep_take_what_was_acknowledged() {
    let (loss, tried) = loss(Relay::Sweep, Writer::Whole);
    assert!(loss.is_none() && tried > 1000, "{loss:?} of {tried}");
}

#[test]
fn in_no_order_of_steps_does_a_removed_segment_take_what_was_acknowledged_again() {
    let (loss, tried) = loss(Relay::Remove, Writer::Whole);
    assert!(loss.is_none() && tried > 1000, "{loss:?} of {tried}");
}

#[test]
fn every_step_is_needed_or_an_acknowledged_payload_is_lost() {
    for (relay, writer) in [
        (Relay::Sweep, Writer::WithoutCheck),
        (Relay::Remove, Writer::WithoutCheck),
        (Relay::WithoutSecondLook, Writer::Whole),
        (Relay::WithoutSettingAside, Writer::Whole),
    ] {
        let (loss, tried) = loss(relay, writer);
        assert!(loss.is_some(), "{relay:?} {writer:?}: none of {tried}");
    }
}
