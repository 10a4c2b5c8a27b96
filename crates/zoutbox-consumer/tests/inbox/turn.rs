//! Applying in turn, several at once, and setting aside: on every store.

use zoutbox_consumer::inbox::{Head, Store, Turn};
use zoutbox_consumer::{Applied, ApplyError, ErrorKind, Identity, InboxError, Options, OrderKey, Unkeyed};
use zoutbox_format::{Epoch, SegmentId, Sequence};

use crate::ground::{Failed, Ground, Memory, Server, Sqlite, record};

macro_rules! on_every_store {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn memory() {
                super::$name(&super::Memory::default());
            }

            #[test]
            fn sqlite() {
                super::$name(&super::Sqlite::new());
            }

            #[test]
            fn postgres() {
                super::$name(&super::Server::new());
            }
        }
    )*};
}

on_every_store!(
    what_is_parked_holds_back_later_records_of_its_writer_and_key_only,
    what_is_parked_is_told_in_order_and_once,
    what_was_applied_is_never_parked,
    what_the_window_has_forgotten_its_row_still_tells,
    several_records_are_applied_together_or_not_at_all,
    several_records_go_one_by_one_while_one_of_their_keys_is_parked,
    records_of_two_writers_share_no_transaction,
    a_number_that_no_database_keeps_is_not_parked,
);

fn key(identity: &Identity, key: &str) -> OrderKey {
    OrderKey::of((!key.is_empty()).then_some(key), &identity.record, Unkeyed::Independent)
}

fn segment(epoch: u64) -> SegmentId {
    SegmentId { epoch: Epoch::new(epoch), first_sequence: Sequence::new(3) }
}

struct Desk<'g, G: Ground> {
    ground: &'g G,
    inbox: zoutbox_consumer::Inbox<G::S>,
}

impl<'g, G: Ground> Desk<'g, G> {
    fn new(ground: &'g G) -> Self {
        Self { ground, inbox: ground.inbox() }
    }

    fn apply(&mut self, id: &str, of: &str) -> Turn<()> {
        let identity = record(id);
        let key = key(&identity, of);
        self.inbox.apply_in_turn(&identity, &key, |transaction| self.ground.effect(transaction, id)).unwrap()
    }

    fn park(&mut self, id: &str, of: &str) -> bool {
        let identity = record(id);
        let key = key(&identity, of);
        self.inbox.park(&identity, &key, (Some(segment(identity.record.epoch.get())), "why", 17)).unwrap()
    }

    fn parked(&mut self) -> Vec<String> {
        self.inbox.parked().unwrap().iter().map(|parked| parked.record.to_string()).collect()
    }
}

fn now() -> Turn<()> {
    Turn::Taken { applied: Applied::Now(()), unparked: None }
}

fn unparked(epoch: u64, sequence: u64) -> Turn<()> {
    Turn::Taken { applied: Applied::Now(()), unparked: Some(Head { epoch, sequence, segment: Some(3) }) }
}

fn duplicate() -> Turn<()> {
    Turn::Taken { applied: Applied::Duplicate, unparked: None }
}

fn behind(id: &str) -> Turn<()> {
    Turn::Behind(id.parse().unwrap())
}

fn what_is_parked_holds_back_later_records_of_its_writer_and_key_only<G: Ground>(ground: &G) {
    let mut desk = Desk::new(ground);
    assert!(desk.park("orders/2/5", "a"));
    assert_eq!(desk.apply("orders/2/6", "a"), behind("orders/2/5"));
    assert_eq!(desk.apply("orders/3/1", "a"), behind("orders/2/5"), "a later epoch");
    for (id, of) in [
        ("orders/2/7", "b"),
        ("orders/2/8", ""),
        ("others/2/9", "a"),
        ("orders/2/4", "a"),
        ("orders/1/9", "a"),
    ] {
        assert_eq!(desk.apply(id, of), now(), "{id}");
    }
    assert!(desk.park("orders/2/6", "a"));
    assert_eq!(desk.apply("orders/2/6", "a"), behind("orders/2/5"), "parked itself, and not the first");
    assert_eq!(desk.apply("orders/2/5", "a"), unparked(2, 5));
    assert_eq!(desk.apply("orders/2/5", "a"), duplicate());
    assert_eq!(desk.apply("orders/3/1", "a"), behind("orders/2/6"));
    assert_eq!(desk.apply("orders/2/6", "a"), unparked(2, 6));
    assert_eq!(desk.apply("orders/3/1", "a"), now());
    assert_eq!(desk.parked(), [""; 0]);
}

fn what_is_parked_is_told_in_order_and_once<G: Ground>(ground: &G) {
    let mut desk = Desk::new(ground);
    for id in ["orders/1/30", "orders/1/4", "b/1/1"] {
        assert!(desk.park(id, "a"));
        assert!(!desk.park(id, "a"), "the same again");
    }
    assert_eq!(desk.parked(), ["b/1/1", "orders/1/4", "orders/1/30"]);
    let first = desk.inbox.parked().unwrap().swap_remove(0);
    assert_eq!((first.segment, first.reason.as_str(), first.parked_ms), (Some(segment(1)), "why", 17));
}

fn what_was_applied_is_never_parked<G: Ground>(ground: &G) {
    let mut desk = Desk::new(ground);
    assert_eq!(desk.apply("orders/1/1", "a"), now());
    assert!(!desk.park("orders/1/1", "a"));
    assert_eq!(desk.apply("orders/1/2", "a"), now());
}

fn what_the_window_has_forgotten_its_row_still_tells<G: Ground>(ground: &G) {
    let mut desk = Desk { ground, inbox: ground.inbox_with(Options { most_runs: 1 }) };
    assert!(desk.park("orders/1/2", "a"));
    for id in ["orders/1/1", "orders/1/5", "orders/1/9"] {
        assert_eq!(desk.apply(id, ""), now());
    }
    assert!(!desk.park("orders/1/3", "a"), "nobody knows whether it was applied");
    assert_eq!(desk.apply("orders/1/2", "a"), unparked(1, 2));
    let again = desk.inbox.apply(&record("orders/1/2"), |_| -> Result<(), Failed> { panic!("it ran again") });
    assert!(matches!(again, Err(ApplyError::Inbox(InboxError::Forgotten { .. }))), "{again:?}");
    assert_eq!(ground.effects().iter().filter(|id| *id == "orders/1/2").count(), 1);
}

fn all(ids: &[&str]) -> Vec<(Identity, OrderKey)> {
    ids.iter().map(|id| (record(id), key(&record(id), "a"))).collect()
}

fn several_records_are_applied_together_or_not_at_all<G: Ground>(ground: &G) {
    let mut desk = Desk::new(ground);
    assert_eq!(desk.apply("orders/1/2", "a"), now());
    let ids = ["orders/1/1", "orders/1/2", "orders/1/3"];
    let mut run = |fails: usize| {
        desk.inbox.apply_all(&all(&ids), |index, transaction| {
            ground.effect(transaction, ids[index])?;
            if index == fails { Err(Failed("no".into())) } else { Ok(()) }
        })
    };
    if !G::S::ROLLS_BACK {
        assert!(matches!(run(2), Ok(None)), "what ran could not be taken back");
        assert_eq!(ground.effects(), ["orders/1/2"]);
        return;
    }
    assert!(matches!(run(2), Err(ApplyError::Effect(Failed(_)))));
    assert!(ground.effects() == ["orders/1/2"], "the first one's effect is taken back with the third's");
    assert_eq!(run(9).unwrap(), Some(vec![Applied::Now(()), Applied::Duplicate, Applied::Now(())]));
    assert_eq!(run(0).unwrap(), Some(vec![Applied::Duplicate; 3]));
    assert_eq!(ground.effects(), ids);
}

fn several_records_go_one_by_one_while_one_of_their_keys_is_parked<G: Ground>(ground: &G) {
    let mut desk = Desk::new(ground);
    assert!(desk.park("orders/1/1", "a"));
    let ids = ["orders/1/2", "orders/1/3"];
    assert_eq!(
        desk.inbox.apply_all(&all(&ids), |_, _| -> Result<(), Failed> { panic!("it ran") }).unwrap(),
        None
    );
}

fn records_of_two_writers_share_no_transaction<G: Ground>(ground: &G) {
    let mut desk = Desk::new(ground);
    let error = desk
        .inbox
        .apply_all(&all(&["orders/1/1", "others/1/2"]), |_, _| -> Result<(), Failed> { panic!("it ran") })
        .unwrap_err();
    let ApplyError::Inbox(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

fn a_number_that_no_database_keeps_is_not_parked<G: Ground>(ground: &G) {
    let mut desk = Desk::new(ground);
    let identity = record("orders/1/18446744073709551615");
    let error = desk.inbox.park(&identity, &key(&identity, "a"), (None, "why", 17)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(desk.parked(), [""; 0]);
}
