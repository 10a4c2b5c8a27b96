#![expect(clippy::disallowed_methods, reason = "tests remove and replace files directly")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use zoutbox_storage::{Clock, Operation};

use super::*;
use crate::ground::{Ground, HandClock};

/// Only a safety net.
const LONG: Duration = Duration::from_mins(1);

fn taken(ground: &Ground) -> Lease {
    Lease::try_take(&ground.system, &ground.share).unwrap().expect("nobody has it")
}

fn is_fenced(result: &Result<(), RelayError>) -> bool {
    matches!(result, Err(RelayError::Fenced { .. }))
}

fn the_beginning() -> Position {
    let segment =
        zoutbox_format::SegmentId { epoch: Epoch::FIRST, first_sequence: zoutbox_format::Sequence::FIRST };
    Position {
        segment,
        offset: zoutbox_format::header::HEADER_LENGTH as u64,
        next_sequence: zoutbox_format::Sequence::FIRST,
    }
}

#[test]
fn a_lease_is_trusted_for_ten_seconds_after_the_proof_was_begun() {
    let ground = Ground::quick();
    let lease = taken(&ground);
    let is_trusted = || lease.is_trusted(ground.clock.monotonic());
    ground.clock.advance(TRUST / 2);
    assert!(is_trusted());
    ground.clock.advance(TRUST / 2);
    assert!(!is_trusted(), "it may be another's by now");
    // The proof itself may take any time, and what it proves is how things were at its beginning.
    let clock = ground.clock.clone();
    ground.disk.hook(Some(Box::new(move |_| clock.advance(TRUST / 2))));
    lease.prove().unwrap();
    assert!(!is_trusted());
    ground.disk.hook(None);
    lease.prove().unwrap();
    assert!(is_trusted());
}

#[test]
fn a_lease_that_the_share_does_not_show_any_more_is_lost() {
    for ground in Ground::all() {
        let path = ground.share.layout.lease();
        let lease = taken(&ground);
        lease.save(&ground.writer, the_beginning()).unwrap();
        std::fs::remove_file(&path).unwrap();
        ground.clock.advance(PROOF);
        assert!(is_fenced(&lease.prove()), "it was removed");
        // A second relay takes another file, and the first one still has a lock.
        ground.clock.advance(PROOF);
        let second = taken(&ground);
        let proven = lease.prove();
        assert!(is_fenced(&proven), "it is another's: {proven:?}, {}", second.epoch());
        assert!(is_fenced(&lease.save(&ground.writer, the_beginning())), "a checkpoint of one that lost it");
        second.prove().unwrap();
        std::fs::remove_dir_all(ground.share.layout.root()).unwrap();
        ground.clock.advance(PROOF);
        let gone = second.prove();
        assert!(matches!(gone, Err(RelayError::Storage(StorageError::NotAShare { .. }))), "{gone:?}");
    }
}

#[test]
fn a_proof_that_can_not_be_synced_says_that_the_lease_is_lost_and_a_recent_one_is_not_repeated() {
    let ground = Ground::quick();
    let lease = taken(&ground);
    ground.disk.fail(Operation::Sync, "lease");
    lease.prove().unwrap();
    ground.clock.advance(PROOF);
    assert!(is_fenced(&lease.prove()));
}

/// A server that exports the share no more says so to whoever asks. A checkpoint can't be saved then; but while none is due, waiting costs nothing.
#[test]
fn a_share_that_lets_nobody_in_is_waited_for_in_peace_and_not_trusted_meanwhile() {
    let ground = Ground::quick();
    let lease = taken(&ground);
    let denied = || ground.disk.fail_with(Operation::Sync, "lease", std::io::ErrorKind::PermissionDenied);
    ground.clock.advance(TRUST);
    denied();
    let proven = lease.prove_in_peace();
    assert!(matches!(&proven, Err(RelayError::Storage(error)) if error.is_denied()), "{proven:?}");
    assert!(!lease.is_trusted(ground.clock.monotonic()));
    lease.prove_in_peace().unwrap();
    assert!(lease.is_trusted(ground.clock.monotonic()));
    ground.clock.advance(PROOF);
    ground.disk.fail(Operation::Sync, "lease");
    assert!(is_fenced(&lease.prove_in_peace()), "whatever else fails is another's lock");
    ground.clock.advance(PROOF);
    denied();
    assert!(is_fenced(&lease.prove()), "a checkpoint is not waited with");
}

/// Tells how often it was asked.
#[derive(Debug)]
struct Asked {
    clock: Arc<HandClock>,
    times: AtomicUsize,
}

impl Clock for Asked {
    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
    fn monotonic(&self) -> Duration {
        let now = self.clock.monotonic();
        self.times.fetch_add(1, Ordering::SeqCst);
        now
    }
    fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration);
    }
}

/// On a share whose every answer takes longer than a proof is good for, many lanes that save would queue up behind each other's proofs.
#[test]
fn who_waits_for_a_slow_proof_that_was_begun_after_it_asked_takes_it_for_its_own() {
    let ground = Ground::quick();
    let asked = Arc::new(Asked { clock: Arc::clone(&ground.clock), times: AtomicUsize::new(0) });
    let system = System { clock: asked.clone(), ..ground.system.clone() };
    let lease = Lease::try_take(&system, &ground.share).unwrap().expect("nobody has it");
    ground.clock.advance(PROOF);
    ground.disk.calls();
    lease.prove().unwrap();
    let one_proof = ground.disk.calls();
    ground.clock.advance(PROOF);
    let before = asked.times.load(Ordering::SeqCst);
    let (begun, is_begun) = std::sync::mpsc::channel();
    let clock = Arc::clone(&ground.clock);
    ground.disk.hook(Some(Box::new(move |_| {
        begun.send(()).ok();
        // The first one has asked twice; the second one has asked once, and waits.
        let start = Instant::now();
        while asked.times.load(Ordering::SeqCst) < before + 3 {
            assert!(start.elapsed() < LONG, "the second one does not ask");
            std::thread::yield_now();
        }
        clock.advance(PROOF * 3);
    })));
    std::thread::scope(|threads| {
        let first = threads.spawn(|| lease.prove());
        is_begun.recv_timeout(LONG).unwrap();
        let second = threads.spawn(|| lease.prove());
        first.join().unwrap().unwrap();
        second.join().unwrap().unwrap();
    });
    assert!(one_proof > 0);
    assert_eq!(ground.disk.calls(), one_proof, "it was proven once more");
}
