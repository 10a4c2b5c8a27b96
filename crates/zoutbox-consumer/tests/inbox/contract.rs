//! What every store must do. Each test runs on all three.

use zoutbox_consumer::{Applied, ApplyError, ErrorKind, Identity, Inbox, InboxError, Opened, Options};

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
    a_duplicate_runs_nothing,
    an_effect_that_fails_is_not_marked_and_its_error_comes_back,
    the_same_sequence_of_another_epoch_share_writer_or_consumer_is_another_record,
    records_out_of_order_are_each_applied_once,
    what_is_forgotten_is_refused_and_not_run,
    no_record_has_the_number_zero,
    a_name_or_an_option_that_can_not_be_is_refused,
);

fn apply<G: Ground>(ground: &G, inbox: &mut Inbox<G::S>, id: &str) -> Applied<()> {
    inbox.apply(&record(id), |transaction| ground.effect(transaction, id)).unwrap()
}

fn a_duplicate_runs_nothing<G: Ground>(ground: &G) {
    let mut inbox = ground.inbox();
    let first = inbox
        .apply(&record("orders/1/1"), |transaction| ground.effect(transaction, "orders/1/1").map(|()| 17));
    assert_eq!(first.unwrap(), Applied::Now(17));
    for _ in 0..2 {
        let again = inbox.apply(&record("orders/1/1"), |_| -> Result<(), Failed> { panic!("it ran again") });
        assert_eq!(again.unwrap(), Applied::Duplicate);
    }
    assert_eq!(ground.effects(), ["orders/1/1"]);
}

fn an_effect_that_fails_is_not_marked_and_its_error_comes_back<G: Ground>(ground: &G) {
    let mut inbox = ground.inbox();
    for _ in 0..2 {
        let failed = inbox.apply(&record("orders/1/1"), |_| Err::<(), _>(Failed("no stock".into())));
        assert!(matches!(failed, Err(ApplyError::Effect(Failed(why))) if why == "no stock"));
    }
    assert_eq!(apply(ground, &mut inbox, "orders/1/1"), Applied::Now(()));
    assert_eq!(ground.effects(), ["orders/1/1"]);
}

fn the_same_sequence_of_another_epoch_share_writer_or_consumer_is_another_record<G: Ground>(ground: &G) {
    let mut inbox = ground.inbox();
    for id in ["orders/1/1", "orders/1/2", "orders/2/2", "returns/1/2"] {
        assert_eq!(apply(ground, &mut inbox, id), Applied::Now(()), "{id}");
        assert_eq!(apply(ground, &mut inbox, id), Applied::Duplicate, "{id}");
    }
    let elsewhere = Identity::new("ff".repeat(16).parse().unwrap(), "orders/1/2".parse().unwrap());
    let applied = inbox.apply(&elsewhere, |_| Ok::<_, Failed>(())).unwrap();
    assert_eq!(applied, Applied::Now(()), "another share");
    let mut other = Inbox::open(ground.store(), "others").unwrap();
    assert_eq!(other.opened(), Opened::Empty, "another consumer's memory is its own");
    assert_eq!(apply(ground, &mut other, "orders/1/2"), Applied::Now(()));
}

fn records_out_of_order_are_each_applied_once<G: Ground>(ground: &G) {
    let mut inbox = ground.inbox();
    let order = [1, 2, 7, 8, 9, 7, 8, 3, 20, 5, 9, 4, 6, 20, 10];
    let mut applied: Vec<u64> = Vec::new();
    for sequence in order {
        let id = format!("orders/1/{sequence}");
        let now = apply(ground, &mut inbox, &id) == Applied::Now(());
        assert_eq!(now, !applied.contains(&sequence), "{id}");
        applied.extend(now.then_some(sequence));
    }
    assert_eq!(ground.effects().len(), applied.len());
}

fn what_is_forgotten_is_refused_and_not_run<G: Ground>(ground: &G) {
    let mut inbox = ground.inbox_with(Options { most_runs: 2 });
    for sequence in [10, 20, 30] {
        assert_eq!(apply(ground, &mut inbox, &format!("orders/1/{sequence}")), Applied::Now(()));
    }
    for sequence in [5, 10] {
        let id = format!("orders/1/{sequence}");
        let refused = inbox.apply(&record(&id), |_| -> Result<(), Failed> { panic!("{id} ran") });
        let Err(ApplyError::Inbox(error)) = refused else { panic!("{refused:?}") };
        assert!(matches!(error, InboxError::Forgotten { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unknown);
        assert!(error.to_string().contains(&id) && error.to_string().contains("above 1/10"), "{error}");
    }
    assert_eq!(apply(ground, &mut inbox, "orders/1/20"), Applied::Duplicate);
    assert_eq!(apply(ground, &mut inbox, "orders/1/21"), Applied::Now(()), "what follows goes on");
    assert_eq!(ground.effects().len(), 4);
}

fn no_record_has_the_number_zero<G: Ground>(ground: &G) {
    let mut inbox = ground.inbox();
    let mut identity = record("orders/1/1");
    identity.record.sequence = zoutbox_format::Sequence::new(0);
    let refused = inbox.apply(&identity, |_| Ok::<_, Failed>(()));
    assert!(matches!(refused, Err(ApplyError::Inbox(InboxError::Zero { .. }))), "{refused:?}");
}

fn a_name_or_an_option_that_can_not_be_is_refused<G: Ground>(ground: &G) {
    for name in ["", "Tests", "a/b", &"x".repeat(65)] {
        let error = Inbox::open(ground.store(), name).err().unwrap();
        assert!(matches!(error, InboxError::ConsumerName(_)), "{name}: {error}");
    }
    for most_runs in [0, 65_537] {
        let error = Inbox::open_with(ground.store(), "tests", Options { most_runs }).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}

#[test]
fn a_database_remembers_over_openings_and_tells_when_it_does_not() {
    fn remembers<G: Ground>(ground: &G) {
        let mut inbox = ground.inbox();
        assert_eq!(inbox.opened(), Opened::Empty);
        assert_eq!(apply(ground, &mut inbox, "orders/1/1"), Applied::Now(()));
        drop(inbox);
        let mut inbox = ground.inbox();
        assert_eq!(inbox.opened(), Opened::Existing);
        assert_eq!(apply(ground, &mut inbox, "orders/1/1"), Applied::Duplicate);
    }
    remembers(&Sqlite::new());
    remembers(&Server::new());
}

#[test]
fn what_an_effect_did_before_it_failed_is_taken_back() {
    fn takes_back<G: Ground>(ground: &G) {
        let mut inbox = ground.inbox();
        let failed = inbox.apply(&record("orders/1/1"), |transaction| {
            ground.effect(transaction, "orders/1/1")?;
            Err::<(), _>(Failed("afterwards".into()))
        });
        assert!(matches!(failed, Err(ApplyError::Effect(_))));
        assert!(ground.effects().is_empty());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            inbox.apply(&record("orders/1/1"), |transaction| -> Result<(), Failed> {
                ground.effect(transaction, "orders/1/1")?;
                panic!("a bug in an effect")
            })
        }));
        assert!(panicked.is_err());
        assert!(ground.effects().is_empty());
        assert_eq!(apply(ground, &mut inbox, "orders/1/1"), Applied::Now(()));
    }
    takes_back(&Sqlite::new());
    takes_back(&Server::new());
}
