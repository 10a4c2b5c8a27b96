//! The examples, as programs. Cargo builds them with the tests of this crate; otherwise `cargo build --workspace --examples` does.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use zoutbox_test_support::{Broker, binary};

use crate::queue::Queue;
use crate::running::{inline, keyed};
use crate::stores::{Server, Sqlite};

fn run(name: &str, queue: &str, database: Option<&str>) -> String {
    let queue = Queue::new(queue);
    let messages = keyed(&["a", "b", "a"]);
    queue.publish(&messages);
    queue.publish(&messages[1..]);
    queue.publish(&[inline("last/1/1", None)]);
    let mut command = Command::new(binary(&format!("examples/{name}")));
    command
        .args([Broker::shared().url(), &queue.name])
        .args(database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = String::new();
    for line in lines {
        said = said + &line.unwrap() + "\n";
        if said.contains("last/1/1") {
            // It ends when its input does.
            drop(child.stdin.take());
        }
    }
    assert!(child.wait().unwrap().success(), "{name}: {said}");
    queue.settles_at(0, 0);
    said
}

fn once(said: &str) {
    for id in ["orders/1/1", "orders/1/2", "orders/1/3", "last/1/1"] {
        assert_eq!(said.matches(id).count(), 1, "{id}: {said}");
    }
    assert!(said.contains("4 applied, 2 duplicates, 0 parked"), "{said}");
}

#[test]
fn the_example_in_memory_applies_each_record_once() {
    once(&run("consume_memory", "example-memory", None));
}

#[test]
fn the_example_with_sqlite_books_each_record_once() {
    let ground = Sqlite::new();
    let path = ground.root.join("booked.db");
    once(&run("consume_sqlite", "example-sqlite", path.to_str()));
}

#[test]
fn the_example_with_postgres_books_each_record_once() {
    once(&run("consume_postgres", "example-postgres", Some(&Server::new().url)));
}
