//! What callers see: tickets, backpressure, ends.

#![expect(clippy::unwrap_used, reason = "a test that can't do its work fails")]

mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use support::{World, id, put, record, small};
use zoutbox_format::checkpoint::{Checkpoint, Position};
use zoutbox_format::{Epoch, Sequence, ShareId};
use zoutbox_storage::{ErrorKind, Operation};
use zoutbox_writer::{Limit, Options, Ticket, WhenFull, WriterError};

/// So long a test waits before it says that something hangs.
const SAFETY_NET: Duration = Duration::from_mins(1);

/// Runs `work` on a thread, and fails if it never ends.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || drop(done.send(work())));
    is_done.recv_timeout(SAFETY_NET).unwrap()
}

struct Count(AtomicUsize, std::thread::Thread);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.1.unpark();
    }
}

#[test]
fn a_ticket_can_be_awaited_in_any_executor() {
    let world = World::new();
    let writer = world.open(small()).unwrap();
    let mut ticket = writer.append(&record("a")).unwrap();
    let count = Arc::new(Count(AtomicUsize::new(0), std::thread::current()));
    let waker = Waker::from(count.clone());
    let result = loop {
        match Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => break result,
            Poll::Pending => std::thread::park_timeout(SAFETY_NET),
        }
    };
    assert_eq!(result.unwrap(), id(1, 1));
}

#[test]
fn only_the_waker_that_polled_last_is_woken_and_only_once() {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    let mut tickets: Vec<_> = (0..3).map(|_| writer.append(&record("a")).unwrap()).collect();
    let counts: Vec<_> =
        (0..6).map(|_| Arc::new(Count(AtomicUsize::new(0), std::thread::current()))).collect();
    for round in 0..2 {
        for (n, ticket) in tickets.iter_mut().enumerate() {
            let waker = Waker::from(counts[round * 3 + n].clone());
            assert!(Pin::new(ticket).poll(&mut Context::from_waker(&waker)).is_pending());
        }
    }
    writer.step();
    let woken: Vec<_> = counts.iter().map(|count| count.0.load(Ordering::SeqCst)).collect();
    assert_eq!(woken, [0, 0, 0, 1, 1, 1]);
    let waker = Waker::from(counts[0].clone());
    let ready = Pin::new(&mut tickets[2]).poll(&mut Context::from_waker(&waker));
    assert!(matches!(ready, Poll::Ready(Ok(found)) if found == id(1, 3)));
}

#[test]
fn a_ticket_that_is_dropped_does_not_take_its_record_back() {
    let world = World::new();
    let writer = world.open(small()).unwrap();
    drop(writer.append(&record("a")).unwrap());
    assert_eq!(writer.append(&record("b")).unwrap().wait().unwrap(), id(1, 2));
}

#[test]
fn many_threads_each_get_their_own_identity_in_their_own_order() {
    let world = World::new();
    let writer = Arc::new(world.open(small()).unwrap());
    let threads: Vec<_> = (0..16)
        .map(|n| {
            let writer = writer.clone();
            std::thread::spawn(move || -> Vec<_> {
                let tickets: Vec<_> =
                    (0..50).map(|m| writer.append(&record(format!("{n}-{m}"))).unwrap()).collect();
                tickets.into_iter().map(|ticket| ticket.wait().unwrap().sequence.get()).collect()
            })
        })
        .collect();
    let each: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(each.iter().all(|sequences| sequences.is_sorted()));
    let mut all = each.concat();
    all.sort_unstable();
    assert_eq!(all, (1..=800).collect::<Vec<_>>());
}

#[test]
fn flush_returns_when_everything_before_it_is_durable() {
    let world = World::new();
    let writer = world.open(small()).unwrap();
    let tickets: Vec<_> = (0..100).map(|n| writer.append(&record(format!("{n}"))).unwrap()).collect();
    writer.flush().unwrap();
    assert!(tickets.iter().all(|ticket| matches!(ticket.outcome(), Some(Ok(_)))));
}

#[test]
fn flush_tells_of_an_append_that_failed() {
    let world = World::new();
    let writer = world.open(small()).unwrap();
    world.disk.hold(Some((Operation::Write, "next-")));
    world.disk.fail(Operation::Write, "next-", 0, usize::MAX, std::io::ErrorKind::StorageFull);
    let ticket = writer.append(&record("a")).unwrap();
    let disk = world.disk.clone();
    std::thread::spawn(move || {
        // By then somebody flushes.
        std::thread::park_timeout(Duration::from_secs(3));
        disk.hold(None);
    });
    assert_eq!(writer.flush().unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::Full);
    writer.flush().unwrap();
}

#[test]
fn dropping_a_writer_makes_durable_what_was_appended_and_wakes_everyone() {
    let world = World::new();
    let writer = world.open(small()).unwrap();
    let tickets: Vec<_> = (0..50).map(|n| writer.append(&record(format!("{n}"))).unwrap()).collect();
    drop(writer);
    world.disk.crash_hard();
    assert!(tickets.iter().all(|ticket| matches!(ticket.outcome(), Some(Ok(_)))));
    assert_eq!(world.names(".open").len(), 1, "not sealed");
    assert!(world.names("next-").is_empty());
}

#[test]
fn a_panic_in_the_commit_thread_leaves_no_ticket_without_an_outcome() {
    let world = World::new();
    let writer = world.open(small()).unwrap();
    writer.append(&record("a")).unwrap().wait().unwrap();
    world.disk.panic_at(Operation::Write, ".open");
    let tickets: Vec<_> = (0..20).filter_map(|n| writer.append(&record(format!("{n}"))).ok()).collect();
    let kinds = ends(move || tickets.into_iter().map(|t| t.wait().unwrap_err().kind()).collect::<Vec<_>>());
    assert!(kinds.contains(&ErrorKind::Unknown), "{kinds:?}");
    let error = writer.append(&record("b")).unwrap_err();
    assert!(matches!(error, WriterError::Stopped { unknown: false }), "{error}");
    assert!(writer.close().is_err());
}

#[test]
fn a_panic_beside_the_append_path_stops_no_append() {
    let world = World::new();
    let writer = world.open(small()).unwrap();
    world.disk.panic_at(Operation::Create, "next-");
    let writer = ends(move || {
        for _ in 0..60 {
            writer.append(&record("x".repeat(3000))).unwrap().wait().unwrap();
        }
        writer
    });
    writer.close().unwrap();
}

#[test]
fn at_a_limit_an_append_fails_if_that_was_chosen_and_says_which_limit() {
    let world = World::new();
    let mut writer = world.stepped(Options { memory_limit: 2000, ..small() }).unwrap();
    let first: Ticket = writer.append(&record(vec![0; 1500])).unwrap();
    let error = writer.append(&record(vec![0; 1500])).unwrap_err();
    assert!(matches!(error, WriterError::Full { limit: Limit::Memory, allowed: 2000, .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.to_string().contains("memory_limit"), "{error}");
    assert!(writer.step());
    first.wait().unwrap();
    put(&mut writer, "room again").unwrap();
}

#[test]
fn at_a_limit_an_append_waits_if_that_was_chosen_and_goes_on_when_there_is_room() {
    let world = World::new();
    let options = Options { memory_limit: 2000, when_full: WhenFull::Block, ..small() };
    let writer = Arc::new(world.open(options).unwrap());
    world.disk.hold(Some((Operation::Write, "next-")));
    let first = writer.append(&record(vec![0; 1500])).unwrap();
    let second = std::thread::spawn({
        let writer = writer.clone();
        move || writer.append(&record(vec![0; 1500])).and_then(Ticket::wait)
    });
    std::thread::yield_now();
    assert!(!second.is_finished() && first.outcome().is_none(), "it did not wait");
    world.disk.hold(None);
    assert_eq!(ends(move || first.wait()).unwrap(), id(1, 1));
    assert_eq!(ends(move || second.join().unwrap()).unwrap(), id(1, 2));
}

#[test]
fn an_append_that_waits_for_room_is_woken_when_the_writer_ends() {
    let world = World::new();
    let options = Options { memory_limit: 1, when_full: WhenFull::Block, ..small() };
    let writer = Arc::new(world.open(options).unwrap());
    world.disk.panic_at(Operation::Write, "next-");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let writer = writer.clone();
            std::thread::spawn(move || writer.append(&record("x")).and_then(Ticket::wait).is_err())
        })
        .collect();
    assert!(ends(move || threads.into_iter().all(|thread| thread.join().unwrap())));
}

#[test]
fn too_little_free_space_is_full_until_there_is_more() {
    let world = World::new();
    world.disk.set_capacity(Some(1_000_000));
    let options = Options { min_free_space: 2_000_000, ..small() };
    let mut writer = world.stepped(options).unwrap();
    let error = put(&mut writer, "a").unwrap_err();
    assert!(
        matches!(error, WriterError::Full { limit: Limit::FreeSpace, allowed: 2_000_000, .. }),
        "{error}"
    );
    world.disk.set_capacity(None);
    writer.tick();
    put(&mut writer, "a").unwrap();
}

#[test]
fn what_the_broker_has_not_confirmed_counts_until_the_checkpoint_says_otherwise() {
    let world = World::new();
    let options = || Options { unconfirmed_limit: Some(10_000), ..small() };
    let mut writer = world.stepped(options()).unwrap();
    for _ in 0..3 {
        put(&mut writer, &"x".repeat(3000)).unwrap();
    }
    let full = |error: WriterError| matches!(error, WriterError::Full { limit: Limit::Unconfirmed, .. });
    assert!(full(put(&mut writer, &"x".repeat(3000)).unwrap_err()));
    drop(writer);
    // A new process counts what the old one left.
    let mut writer = world.stepped(options()).unwrap();
    assert!(full(put(&mut writer, &"x".repeat(3000)).unwrap_err()));
    let log = support::log::read(&world.system, std::path::Path::new(support::ROOT), support::WRITER);
    let checkpoint = Checkpoint {
        share: log.segments[0].share,
        writer: log.segments[0].writer.clone(),
        relay_epoch: Epoch::FIRST,
        position: Position { segment: log.segments[0].id, offset: 4000, next_sequence: Sequence::new(2) },
        saved_ms: 0,
    };
    let foreign = Checkpoint { share: ShareId::from_bytes([9; 16]), ..checkpoint.clone() };
    for useless in [&b"damaged"[..], &foreign.encode()] {
        world.disk.put("/share/relay/checkpoints/orders", useless);
        writer.tick();
        assert!(full(put(&mut writer, &"x".repeat(3000)).unwrap_err()), "nothing is known to be confirmed");
    }
    world.disk.put("/share/relay/checkpoints/orders", &checkpoint.encode());
    writer.tick();
    put(&mut writer, &"x".repeat(3000)).unwrap();
}

#[test]
fn an_append_that_waits_for_confirmations_looks_for_them_itself() {
    let world = World::new();
    world.disk.set_capacity(Some(50_000));
    let options = Options { min_free_space: 100_000, when_full: WhenFull::Block, ..small() };
    let writer = Arc::new(world.open(options).unwrap());
    let appending = std::thread::spawn({
        let writer = writer.clone();
        move || writer.append(&record("a")).and_then(Ticket::wait)
    });
    world.disk.set_capacity(None);
    let clock = world.clock.clone();
    let found = ends(move || {
        while !appending.is_finished() {
            clock.advance(Duration::from_millis(50));
            std::thread::park_timeout(Duration::from_millis(1));
        }
        appending.join().unwrap()
    });
    assert_eq!(found.unwrap(), id(1, 1));
}

#[test]
fn a_record_beyond_the_format_is_refused_before_it_is_queued() {
    let world = World::new();
    let mut writer = world.stepped(small()).unwrap();
    let too_large = record(vec![0; zoutbox_format::limits::MAX_PAYLOAD + 1]);
    let error = writer.append(&too_large).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("payload"), "{error}");
    assert!(!writer.step());
}
