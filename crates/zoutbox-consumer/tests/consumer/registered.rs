//! What a consumer says on the share while it runs.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zoutbox_consumer::{ErrorKind, Observer, Registration, RegistrationError, RegistrationOptions};
use zoutbox_format::checkpoint::Position;
use zoutbox_format::{Checkpoint, Epoch, Place, Progress, Record, SegmentId};
use zoutbox_test_support::wait_until;

use crate::queue::{LONG, Queue};
use crate::running::{Order, Running, Script};
use crate::share::{self, carry, segment_id, writer_id};
use crate::stores::{Failed, Ground, Sqlite};

fn options() -> RegistrationOptions {
    let mut options = RegistrationOptions::new("billing-1", "billing");
    options.interval = Duration::from_millis(200);
    options.settle = Duration::ZERO;
    options
}

fn register(share: &share::Ground, options: &RegistrationOptions) -> Box<dyn Observer + Send> {
    Box::new(Registration::open(&*share.root, options).unwrap())
}

fn said(share: &share::Ground) -> Progress {
    Progress::decode(&fs::read(share.root.join("consumers/billing-1")).unwrap()).unwrap()
}

fn of(share: &share::Ground, writer: &str) -> Option<Place> {
    said(share).writers.remove(&writer_id(writer))
}

/// As a relay that has confirmed everything in front of this segment.
fn confirm(share: &share::Ground, writer: &str, segment: SegmentId) {
    let position = Position { segment, offset: 160, next_sequence: segment.first_sequence };
    let checkpoint = Checkpoint {
        share: share.share,
        writer: writer_id(writer),
        relay_epoch: Epoch::FIRST,
        position,
        saved_ms: 1,
    };
    fs::write(share.layout.checkpoint(&checkpoint.writer), checkpoint.encode()).unwrap();
}

fn passed(segment: SegmentId) -> Place {
    Place { passed: Some(segment), ..Place::default() }
}

#[test]
fn the_file_says_what_is_open_what_has_passed_and_after_a_turn_of_the_queue_also_elsewhere() {
    let (ground, share, queue) = (Sqlite::new(), share::ground(), Queue::new("registered"));
    let segments = [(1, 1), (1, 3)].map(|(epoch, first)| {
        let draft = share.draft("orders", epoch, first).records(&share::varied(2));
        share.lay(&draft, false);
        draft
    });
    let registration = register(&share, &options());
    let first = said(&share);
    assert_eq!((first.writers.len(), first.group.as_str()), (0, "billing"), "all of every writer");
    assert_eq!((first.interval_ms, first.limit_ms), (200, 7 * 24 * 3_600_000));

    let go_on = Arc::new(AtomicBool::new(false));
    let goes = Arc::clone(&go_on);
    let running = Running::with(
        queue.options(),
        share.resolver(),
        ground.inbox(),
        Some(registration),
        move |resolved, transaction| {
            let id = resolved.identity.record.to_string();
            if id == "orders/1/3" {
                wait_until("the test lets the handler go on", LONG, || goes.load(Ordering::SeqCst));
            }
            transaction.execute("INSERT INTO effects VALUES (?1)", [&id])?;
            Ok(())
        },
    );
    confirm(&share, "elsewhere", segment_id(4, 40));
    wait_until("the idle queue has turned", LONG, || {
        of(&share, "elsewhere") == Some(passed(segment_id(4, 40)))
    });
    queue.publish(&segments.iter().map(|draft| carry(&draft.pointer(0..2))).collect::<Vec<_>>());
    let held = Place { passed: Some(segment_id(1, 1)), open: Some(segment_id(1, 3)), parked: Vec::new() };
    wait_until("the second is held", LONG, || of(&share, "orders") == Some(held.clone()));
    // While something is held nothing turns.
    confirm(&share, "elsewhere", segment_id(4, 50));
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(of(&share, "elsewhere"), Some(passed(segment_id(4, 40))));
    go_on.store(true, Ordering::SeqCst);
    wait_until("it has passed", LONG, || of(&share, "orders") == Some(passed(segment_id(1, 3))));
    wait_until("the queue has turned again", LONG, || {
        of(&share, "elsewhere") == Some(passed(segment_id(4, 50)))
    });
    let before = said(&share).updated_ms;
    wait_until("the file is written again and again", LONG, || said(&share).updated_ms > before + 1000);
    running.stop();
    assert_eq!(fs::read_dir(share.root.join("consumers")).unwrap().count(), 1, "nothing is left over");
}

#[test]
fn a_parked_record_holds_its_segment_until_it_is_applied_also_over_a_restart() {
    let (ground, share) = (Arc::new(Sqlite::new()), share::ground());
    let (queue, script) = (Queue::new("registered-parked"), Script::default());
    let draft = share.draft("orders", 2, 7).records(&share::varied(3));
    share.lay(&draft, false);
    script.order("orders/2/8", Order::Poison);
    queue.publish(&[carry(&draft.pointer(0..3))]);
    let start = || {
        let registration = register(&share, &options());
        Running::observed(&ground, queue.options(), share.resolver(), &script, Some(registration))
    };
    let holds =
        |share: &share::Ground| of(share, "orders").is_some_and(|place| place.parked == [segment_id(2, 7)]);
    let running = start();
    wait_until("it holds", LONG, || holds(&share));
    running.stop();
    assert!(holds(&share), "at the end too");
    script.obey_no_more();
    let running = start();
    assert!(holds(&share), "from the start on");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(holds(&share));
    assert_eq!(queue.unpark(), 1);
    wait_until("it lets go", LONG, || of(&share, "orders").is_some_and(|place| place.parked.is_empty()));
    running.stop();
}

#[test]
fn what_an_earlier_life_needed_is_needed_until_the_queue_has_turned() {
    let (ground, share) = (Arc::new(Sqlite::new()), share::ground());
    let (queue, script) = (Queue::new("registered-again"), Script::default());
    confirm(&share, "orders", segment_id(3, 30));
    let open = Place { passed: Some(segment_id(2, 20)), open: Some(segment_id(1, 1)), parked: Vec::new() };
    let earlier = Progress {
        share: share.share,
        group: writer_id("billing"),
        updated_ms: 1,
        interval_ms: 200,
        limit_ms: 1_000_000,
        writers: [(writer_id("orders"), open.clone())].into(),
    };
    fs::create_dir_all(share.root.join("consumers")).unwrap();
    fs::write(share.root.join("consumers/billing-1"), earlier.encode()).unwrap();
    let leftover = share.root.join("consumers/billing-1.0123456789abcdef.tmp");
    fs::write(&leftover, b"half").unwrap();
    let mut options = options();
    // From the registration on: the queue has to be seen to turn before it is over, also on a busy machine.
    options.settle = Duration::from_secs(30);
    let registration = register(&share, &options);
    assert!(!leftover.exists());
    let running = Running::observed(&ground, queue.options(), share.resolver(), &script, Some(registration));
    wait_until("the queue has turned", LONG, || {
        of(&share, "orders").is_some_and(|place| place.passed == Some(segment_id(3, 30)))
    });
    assert_eq!(of(&share, "orders").unwrap().open, open.open, "the broker may not have taken it back yet");
    wait_until("it lets go", LONG, || of(&share, "orders") == Some(passed(segment_id(3, 30))));
    running.stop();
}

#[test]
fn a_file_that_can_not_be_written_stops_nobody_and_is_written_when_it_can_be() {
    let (ground, share) = (Arc::new(Sqlite::new()), share::ground());
    let (queue, script) = (Queue::new("registered-not"), Script::default());
    let registration = register(&share, &options());
    let running = Running::observed(&ground, queue.options(), share.resolver(), &script, Some(registration));
    let consumers = share.root.join("consumers");
    fs::remove_dir_all(&consumers).unwrap();
    fs::write(&consumers, b"in the way").unwrap();
    let path = share.append("orders", &share::varied(2));
    queue.publish(&[carry(&share::point_at(&path, 0..2))]);
    script.wait_for_applied(2);
    queue.settles_at(0, 0);
    fs::remove_file(&consumers).unwrap();
    fs::create_dir(&consumers).unwrap();
    wait_until("it is written", LONG, || {
        consumers.join("billing-1").exists()
            && of(&share, "orders").is_some_and(|place| place.passed.is_some())
    });
    running.stop();
}

#[test]
fn what_can_not_be_registered_is_refused_and_leaves_the_file_as_it_is() {
    let share = share::ground();
    let refused = |change: &dyn Fn(&mut RegistrationOptions)| {
        let mut options = options();
        change(&mut options);
        Registration::open(&*share.root, &options).err().unwrap()
    };
    let changes: [&dyn Fn(&mut RegistrationOptions); 5] = [
        &|options| options.name = "../up".into(),
        &|options| options.name = "x.tmp".into(),
        &|options| options.group = String::new(),
        &|options| options.interval = Duration::from_millis(10),
        &|options| options.limit = options.interval,
    ];
    for change in changes {
        assert_eq!(refused(change).kind(), ErrorKind::Invalid);
    }
    fs::create_dir_all(share.root.join("consumers")).unwrap();
    let path = share.root.join("consumers/billing-1");
    fs::write(&path, br#"{"format":2}"#).unwrap();
    assert!(matches!(refused(&|_| ()), RegistrationError::Newer { .. }));
    drop(Registration::open(&*share.root, &{
        let mut other = options();
        other.name = "other".into();
        other
    }));
    let other = fs::read_to_string(share.root.join("consumers/other")).unwrap();
    let foreign = other.replace(&share.share.to_string(), &"f".repeat(32));
    fs::write(&path, &foreign).unwrap();
    assert!(matches!(refused(&|_| ()), RegistrationError::OtherShare { .. }));
    assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
    assert_eq!(
        Registration::open(share.root.join("consumers"), &options()).err().unwrap().kind(),
        ErrorKind::Missing
    );
}

/// The payload goes with the segment of its record; where that is, an inline message does not say.
#[test]
fn a_parked_record_with_a_large_payload_holds_the_segment_that_it_lies_in() {
    let (ground, share) = (Sqlite::new(), share::ground());
    let queue = Queue::new("registered-large");
    for first in [1, 5, 9] {
        share.lay(&share.draft("orders", 1, first).records(&share::varied(4)), false);
    }
    let mut record = Record::new("topic", "").timestamp_ms(share::TIME);
    let name = "payloads/orders/2023/11/14/22/p-1";
    for (header, value) in [("path", name), ("size", "0"), ("crc", "00000000")] {
        record = record.header(format!("zoutbox-payload-{header}"), value);
    }
    queue.publish(&[share.inline("orders/1/7", &record)]);
    let running = Running::with(
        queue.options(),
        share.resolver(),
        ground.inbox(),
        Some(register(&share, &options())),
        |_, _| Err(zoutbox_consumer::HandlerError::Poison(Failed("no".into()))),
    );
    wait_until("it holds", LONG, || {
        of(&share, "orders").is_some_and(|place| place.parked == [segment_id(1, 5)])
    });
    running.stop();
}
