//! The examples, as programs. Cargo builds them with the tests of this crate; otherwise `cargo build --workspace --examples` does.

use std::process::{Command, Stdio};

use zoutbox_test_support::{Broker, binary};

use crate::queue::Queue;
use crate::running::keyed;
use crate::stores::{Server, Sqlite};

fn run(name: &str, queue: &str, database: Option<&str>) -> String {
    let queue = Queue::new(queue);
    let messages = keyed(&["a", "b", "a"]);
    queue.publish(&messages);
    queue.publish(&messages[1..]);
    let mut command = Command::new(binary(&format!("examples/{name}")));
    command
        .args([Broker::shared().url(), &queue.name])
        .args(database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    queue.settles_at(0, 0);
    // It ends when its input does.
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{name}: {said}");
    said
}

fn once(said: &str) {
    for id in ["orders/1/1", "orders/1/2", "orders/1/3"] {
        assert_eq!(said.matches(id).count(), 1, "{id}: {said}");
    }
    assert!(said.contains("3 applied, 2 duplicates, 0 parked"), "{said}");
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
