//! Consumers that are killed at random moments: this very test program, told to run one of its tests as a child.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use zoutbox_consumer::inbox::Store;
use zoutbox_consumer::{
    Consumer, ConsumerAmqp, ConsumerOptions, HandlerError, Inbox, PostgresStore, SqliteStore,
};
use zoutbox_test_support::wait_until;

use crate::queue::{LONG, Queue, runtime};
use crate::running::{inline, inline_resolver, names};
use crate::stores::{Failed, Ground, Server, Sqlite};

/// Where its inbox is: a URL of PostgreSQL, or the path of an SQLite file.
const WHERE: &str = "ZOUTBOX_CONSUMER_CHILD";
const BROKER: &str = "ZOUTBOX_CONSUMER_CHILD_BROKER";
const QUEUE: &str = "ZOUTBOX_CONSUMER_CHILD_QUEUE";
/// Then every tenth record is poison.
const POISON: &str = "ZOUTBOX_CONSUMER_CHILD_POISON";

/// The child: elsewhere it is told nothing, and does nothing.
#[test]
fn consumes_as_it_is_told() {
    let Ok(place) = std::env::var(WHERE) else { return };
    if place.starts_with("postgres://") {
        consume(Inbox::open(PostgresStore::open(&place).unwrap(), "tests").unwrap(), |transaction, id| {
            transaction.execute("INSERT INTO effects VALUES ($1)", &[&id])?;
            Ok(())
        });
    } else {
        let store = SqliteStore::open(std::path::Path::new(&place)).unwrap();
        consume(Inbox::open(store, "tests").unwrap(), |transaction, id| {
            transaction.execute("INSERT INTO effects VALUES (?1)", [id])?;
            Ok(())
        });
    }
}

fn consume<S: Store + Send + 'static>(
    inbox: Inbox<S>,
    effect: impl Fn(&mut S::Transaction<'_>, &str) -> Result<(), Failed> + Send + 'static,
) {
    let amqp = ConsumerAmqp::new(std::env::var(BROKER).unwrap());
    let options = ConsumerOptions::new(amqp, std::env::var(QUEUE).unwrap());
    let poison = std::env::var_os(POISON).is_some();
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let consumer = Consumer::new(options, inline_resolver(), inbox);
    let ended = runtime().block_on(consumer.run(stopped, move |record, transaction| {
        let id = record.identity.record.to_string();
        effect(transaction, &id).map_err(HandlerError::Retry)?;
        // After the effect, which is taken back.
        if poison && id.ends_with('0') {
            return Err(HandlerError::Poison(Failed("ends with 0".into())));
        }
        Ok(())
    }));
    panic!("nobody stopped it: {ended:?}");
}

fn start(place: &str, queue: &Queue, poison: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child::consumes_as_it_is_told", "--nocapture"])
        .env(WHERE, place)
        .env(BROKER, &queue.url)
        .env(QUEUE, &queue.name)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if poison {
        command.env(POISON, "1");
    }
    command.spawn().unwrap()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Numbers that differ in each run: the moments are not the same ones for ever.
fn random(below: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() % below
}

fn killed(ground: &impl Ground, place: &str, queue: &str) {
    const ROUNDS: usize = 12;
    const EACH: usize = 100;
    let queue = Queue::new(queue);
    let total = ROUNDS * EACH;
    for round in 0..ROUNDS {
        let messages: Vec<_> = (round * EACH + 1..=(round + 1) * EACH)
            .map(|n| inline(&format!("orders/1/{n}"), Some(&format!("key-{}", n % 40))))
            .collect();
        queue.publish(&messages);
        let child = start(place, &queue, true);
        let before = ground.effects().len() + queue.count_of(&format!("{}.parked", queue.name)) as usize;
        wait_until("it does something", LONG, || {
            ground.effects().len() + queue.count_of(&format!("{}.parked", queue.name)) as usize > before
        });
        std::thread::sleep(Duration::from_millis(random(150)));
        kill(child);
    }
    let child = start(place, &queue, false);
    wait_until("all that is not parked is applied", LONG, || queue.count_of(&queue.name) == 0);
    wait_until("all are applied", LONG, || {
        queue.unpark();
        ground.effects().len() >= total
    });
    queue.settles_at(0, 0);
    kill(child);
    let mut expected = names(1..=total);
    expected.sort();
    assert_eq!(ground.effects(), expected, "each effect exactly once");
    assert_eq!(ground.inbox().parked().unwrap(), []);
}

#[test]
fn a_consumer_killed_at_any_moment_has_each_effect_once_in_sqlite() {
    let ground = Sqlite::new();
    killed(&ground, ground.path().to_str().unwrap(), "child-sqlite");
}

#[test]
fn a_consumer_killed_at_any_moment_has_each_effect_once_in_postgres() {
    let ground = Server::new();
    killed(&ground, &ground.url, "child-postgres");
}
