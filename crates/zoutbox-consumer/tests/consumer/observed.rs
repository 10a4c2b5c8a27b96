//! What an observer is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use zoutbox_consumer::Observer;
use zoutbox_format::{SegmentId, WriterId};
use zoutbox_test_support::wait_until;

use crate::queue::{LONG, Queue};
use crate::running::{Order, Running, Script};
use crate::share::{self, carry};
use crate::stores::Sqlite;

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Without what is told every second.
    fn told(&self) -> Vec<String> {
        self.all().into_iter().filter(|note| !note.starts_with("tick")).collect()
    }
}

fn shown(segment: Option<SegmentId>) -> String {
    segment.map_or("inline".to_owned(), |segment| segment.to_string())
}

impl Observer for Notes {
    fn delivered(&mut self, delivery: u64, writer: &WriterId, segment: Option<SegmentId>) {
        self.note(format!("delivered {delivery} {writer} {}", shown(segment)));
    }

    fn acked(&mut self, delivery: u64) {
        self.note(format!("acked {delivery}"));
    }

    fn returned(&mut self, delivery: u64) {
        self.note(format!("returned {delivery}"));
    }

    fn parked(&mut self, writer: &WriterId, segment: Option<SegmentId>) {
        self.note(format!("parked {writer} {}", shown(segment)));
    }

    fn unparked(&mut self, writer: &WriterId, segment: Option<SegmentId>) {
        self.note(format!("unparked {writer} {}", shown(segment)));
    }

    fn lost(&mut self) {
        self.note("lost".into());
    }

    fn tick(&mut self, queue_empty: Option<bool>) {
        self.note(format!("tick {queue_empty:?}"));
    }

    fn stopped(&mut self) {
        self.note("stopped".into());
    }
}

#[test]
fn an_observer_hears_of_deliveries_acks_and_what_is_parked_also_after_a_restart() {
    let (ground, share) = (Arc::new(Sqlite::new()), share::ground());
    let (queue, script, notes) = (Queue::new("observed"), Script::default(), Notes::default());
    let records: Vec<_> = share::varied(4).into_iter().map(|record| record.key("same")).collect();
    let draft = share.draft("orders", 2, 7).records(&records);
    share.lay(&draft, false);
    let segment = shown(Some(share::segment_id(2, 7)));
    script.order("orders/2/8", Order::Poison);
    queue.publish(&[carry(&draft.pointer(0..1)), carry(&draft.pointer(1..4))]);
    let observer: Box<dyn Observer + Send> = Box::new(notes.clone());
    let running = Running::observed(&ground, queue.options(), share.resolver(), &script, Some(observer));
    queue.settles_at(0, 3);
    wait_until("it says that the queue is empty", LONG, || {
        notes.all().contains(&"tick Some(true)".to_owned())
    });
    running.stop();
    let told = notes.told();
    for expected in ["delivered 1", "delivered 2"] {
        assert!(told.contains(&format!("{expected} orders {segment}")), "{told:?}");
    }
    let at =
        |what: &str| told.iter().position(|note| note == what).unwrap_or_else(|| panic!("{what}: {told:?}"));
    assert!(at("delivered 1 orders 2-7".replace("2-7", &segment).as_str()) < at("acked 1"));
    assert!(at(&format!("parked orders {segment}")) < at("acked 2"), "noted before it is acknowledged");
    assert_eq!(told.iter().filter(|note| note.starts_with("parked")).count(), 3);
    assert_eq!(told.last().unwrap(), "stopped");

    let notes = Notes::default();
    script.obey_no_more();
    let observer: Box<dyn Observer + Send> = Box::new(notes.clone());
    let running = Running::observed(&ground, queue.options(), share.resolver(), &script, Some(observer));
    wait_until("what is parked is told", LONG, || notes.told().len() >= 3);
    assert_eq!(notes.told()[..3], [(); 3].map(|()| format!("parked orders {segment}")));
    assert_eq!(queue.unpark(), 3);
    queue.settles_at(0, 0);
    running.stop();
    let told = notes.told();
    assert_eq!(
        told.iter().filter(|note| **note == format!("unparked orders {segment}")).count(),
        3,
        "{told:?}"
    );
}

#[test]
fn an_observer_is_not_told_that_the_queue_is_empty_while_something_is_outstanding() {
    let (ground, share) = (Arc::new(Sqlite::new()), share::ground());
    let (queue, script, notes) = (Queue::new("outstanding"), Script::default(), Notes::default());
    let draft = share.draft("orders", 1, 1).records(&share::varied(1));
    // Its bytes are not there.
    queue.publish(&[carry(&draft.pointer(0..1))]);
    let mut options = queue.options();
    options.not_yet_limit = Duration::from_secs(3);
    let observer: Box<dyn Observer + Send> = Box::new(notes.clone());
    let running = Running::observed(&ground, options, share.resolver(), &script, Some(observer));
    wait_until("it is given back", LONG, || notes.all().iter().any(|note| note == "returned 1"));
    wait_until("it comes again", LONG, || notes.all().iter().any(|note| note.starts_with("delivered 2")));
    running.stop();
    let all = notes.all();
    let first = all.iter().position(|note| note.starts_with("delivered 1")).unwrap();
    assert!(all[first..].iter().any(|note| note == "tick None"), "{all:?}");
    assert!(!all[first..].iter().any(|note| note == "tick Some(true)"), "{all:?}");
}
