//! The engine, driven by hand over a real directory, with a broker that says what it is told to say.

#![expect(clippy::disallowed_methods, reason = "tests damage files")]

use std::fs;
use std::sync::Mutex;

use zoutbox_relay_core::Resolution;

use super::*;
use crate::ground::{AT_ONCE, Ground};
use crate::publisher::{Event, Outgoing, Returned};

/// What was published over this connection, and how often another one was wanted.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<(Vec<String>, usize)>>);

impl Told {
    fn published(&self) -> Vec<String> {
        self.0.lock().unwrap().0.clone()
    }

    fn renewals(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

impl Publisher for Told {
    fn publish(&mut self, message: Outgoing) -> Result<u64, Undeliverable> {
        let mut told = self.0.lock().unwrap();
        told.0.push(message.id.to_string());
        Ok(told.0.len() as u64)
    }

    async fn events(&mut self, _: &mut Vec<Event>) {
        std::future::pending::<()>().await;
    }

    async fn close(&mut self) {}

    fn renew(&mut self) -> bool {
        self.0.lock().unwrap().1 += 1;
        false
    }
}

struct Driven {
    ground: Ground,
    engine: SteppedEngine<Told>,
    lease: Arc<Lease>,
    broker: Told,
}

impl Driven {
    /// One that is connected, and has published what there is.
    fn new(ground: Ground, once: bool) -> Self {
        let options = EngineOptions {
            lane: LaneOptions::default(),
            publish: RunOptions::default(),
            window: WindowSize { messages: 100, bytes: 1 << 20 },
            retention: AT_ONCE,
            once,
            report_every: Duration::from_hours(1),
            poll_rate: NonZeroU32::MAX,
            discover_every: Duration::from_secs(5),
            inotify: false,
            doorbell: DoorbellOptions::default(),
        };
        let lease = Arc::new(Lease::try_take(&ground.system, &ground.share).unwrap().unwrap());
        let (system, share, broker) = (ground.system.clone(), ground.share.clone(), Told::default());
        let engine = SteppedEngine::new(system, share, Arc::clone(&lease), broker.clone(), options);
        let mut driven = Self { ground, engine, lease, broker };
        driven.turns(2);
        driven.connect();
        driven.turns(20);
        driven
    }

    /// Over another connection, tags begin again.
    fn connect(&mut self) {
        self.broker.0.lock().unwrap().0.clear();
        self.engine.tell(Event::Up);
    }

    fn turns(&mut self, turns: usize) {
        for _ in 0..turns {
            if self.engine.is_over() {
                return;
            }
            self.engine.turn();
            while self.engine.run_job(0) {}
            self.engine.hear();
            self.ground.clock.advance(Duration::from_millis(20));
        }
    }

    fn resolve(&mut self, tag: u64, resolution: Resolution, returned: bool) {
        let id = self.broker.published()[usize::try_from(tag).unwrap() - 1].clone();
        let reason = Undeliverable::Unroutable("NO_ROUTE".into());
        let returned = returned.then_some(Returned { id, reason });
        self.engine.tell(Event::Resolved { tag, resolution, returned });
    }
}

/// Five records, of which the fourth one is damaged, and one in another segment.
fn damaged() -> Ground {
    let mut ground = Ground::quick();
    let first = ground.segment(&["", "", "", "", ""]);
    ground.segment(&[""]);
    let directory = ground.share.layout.writer(&ground.writer);
    let path = directory.join(zoutbox_format::layout::SegmentName::sealed(first).file_name());
    let mut bytes = fs::read(&path).unwrap();
    let frames: Vec<_> = (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(b"ZFRM")).collect();
    bytes[frames[3] + 30] ^= 1;
    fs::write(&path, bytes).unwrap();
    ground
}

#[test]
fn once_does_not_end_before_what_lies_in_front_of_damage_is_confirmed() {
    for lost in [true, false] {
        let mut driven = Driven::new(damaged(), true);
        assert_eq!(driven.broker.published().len(), 3);
        let mut answered = 0;
        if lost {
            driven.engine.tell(Event::Down { blame: None });
        } else {
            answered = 3;
            (1..=3).for_each(|tag| driven.resolve(tag, Resolution::Nacked, false));
        }
        driven.turns(20);
        assert!(!driven.engine.is_over(), "nothing is confirmed; lost: {lost}");
        if lost {
            driven.connect();
        }
        for _ in 0..600 {
            driven.turns(1);
            let published = driven.broker.published().len() as u64;
            (answered + 1..=published).for_each(|tag| driven.resolve(tag, Resolution::Confirmed, false));
            answered = published;
        }
        assert!(driven.engine.is_over(), "{:?}; lost: {lost}", driven.engine.waits());
    }
}

#[test]
fn once_does_not_end_before_what_lies_in_front_of_a_returned_record_is_confirmed() {
    let mut ground = Ground::quick();
    ground.segment(&["", "", ""]);
    let mut driven = Driven::new(ground, true);
    driven.resolve(1, Resolution::Nacked, false);
    driven.resolve(2, Resolution::Confirmed, true);
    driven.resolve(3, Resolution::Nacked, false);
    driven.turns(20);
    assert!(!driven.engine.is_over(), "the first record was refused");
}

#[test]
fn a_record_that_is_returned_after_it_was_refused_costs_no_connection() {
    let mut ground = Ground::quick();
    ground.segment(&[""]);
    let mut driven = Driven::new(ground, false);
    driven.resolve(1, Resolution::Nacked, false);
    let mut answered = 1;
    // Ten minutes.
    for _ in 0..30_000 {
        driven.turns(1);
        let published = driven.broker.published().len() as u64;
        (answered + 1..=published).for_each(|tag| driven.resolve(tag, Resolution::Confirmed, true));
        answered = published;
    }
    assert!(answered > 50, "it is tried again and again");
    assert_eq!(driven.broker.renewals(), 0);
}

#[test]
fn a_broker_that_confirms_nothing_is_told_of_as_such_only_since_it_could_confirm() {
    let silent = |driven: &Driven| driven.engine.waits().iter().any(|wait| wait.contains("confirms nothing"));
    let mut ground = Ground::quick();
    ground.segment(&[""]);
    let mut driven = Driven::new(ground, false);
    assert!(!silent(&driven), "it is only slow");
    driven.turns(200);
    assert!(silent(&driven));
    driven.engine.tell(Event::Down { blame: None });
    driven.turns(500);
    assert!(!silent(&driven), "it is away");
    driven.connect();
    driven.turns(20);
    assert!((driven.broker.published().len(), silent(&driven)) == (1, false), "it is back, and is only slow");
    driven.turns(200);
    assert!(silent(&driven));
    driven.engine.tell(Event::Blocked("low on memory".into()));
    driven.turns(500);
    driven.engine.tell(Event::Unblocked);
    driven.turns(20);
    assert!(!silent(&driven), "it takes records again, and is only slow");
    driven.turns(200);
    assert!(silent(&driven), "though nothing more was sent");
    driven.resolve(1, Resolution::Confirmed, false);
    assert!(!silent(&driven));
}

#[test]
fn a_lease_is_proven_again_in_time_however_late_the_last_proof_was_heard_of() {
    let mut driven = Driven::new(Ground::quick(), false);
    let begun = driven.lease.proven();
    while driven.lease.proven() == begun {
        driven.engine.turn();
        while driven.engine.run_job(0) {}
        if driven.lease.proven() == begun {
            driven.engine.hear();
        }
        driven.ground.clock.advance(Duration::from_millis(20));
    }
    let proven = driven.lease.proven();
    driven.ground.clock.advance(Duration::from_secs(4));
    driven.engine.hear();
    driven.ground.clock.advance(Duration::from_secs(1));
    driven.turns(5);
    assert!(
        driven.lease.proven() >= proven + PROVE_EVERY,
        "it would not be trusted any more before the next one"
    );
}

#[test]
fn a_relay_that_ends_for_another_reason_still_says_so_when_another_one_took_over() {
    let mut ground = Ground::quick();
    ground.segment(&[""]);
    let mut driven = Driven::new(ground, false);
    let layout = driven.ground.share.layout.clone();
    // What it ends for: a writer with a checkpoint that it can't read.
    let newer = zoutbox_format::WriterId::new("newer").unwrap();
    fs::create_dir(layout.writer(&newer)).unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/v1/checkpoint-newer");
    fs::copy(fixture, layout.checkpoint(&newer)).unwrap();
    // And its lease is gone.
    fs::remove_file(layout.lease()).unwrap();
    driven.ground.clock.advance(Duration::from_secs(5));
    driven.resolve(1, Resolution::Confirmed, false);
    driven.engine.turn();
    while driven.engine.run_job(0) {}
    assert!(!driven.engine.is_over(), "nothing was heard of yet");
    driven.engine.hear();
    driven.turns(300);
    assert!(driven.engine.is_over());
    let ended = driven.engine.end();
    assert!(matches!(ended, Err(RelayError::Fenced { .. })), "{ended:?}");
}
