//! The examples, as programs. Cargo builds them with the tests of this crate; otherwise `cargo build --workspace --examples` does.

use std::process::Command;

use zoutbox_test_support::binary;

use crate::ground::{Server, Sqlite};

fn run(name: &str, arguments: &[&str]) -> String {
    let program = binary(&format!("examples/{name}"));
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_example_in_memory_refreshes_once_for_each_record() {
    let said = run("inbox_memory", &[]);
    assert_eq!(said.matches("refreshing").count(), 4, "{said}");
    assert!(said.contains("orders/1/3: a duplicate") && said.contains("orders/2/3: applied"), "{said}");
}

#[test]
fn the_example_with_sqlite_books_once_over_two_runs() {
    let ground = Sqlite::new();
    let path = ground.root.join("booked.db");
    books_once("inbox_sqlite", path.to_str().unwrap());
}

#[test]
fn the_example_with_postgres_books_once_over_two_runs() {
    books_once("inbox_postgres", &Server::new().url);
}

fn books_once(name: &str, database: &str) {
    let first = run(name, &[database]);
    assert!(first.contains("nothing is remembered"), "{first}");
    assert!(first.contains("orders/1/2: booked") && first.contains("orders/1/1: a duplicate"), "{first}");
    let second = run(name, &[database]);
    assert!(!second.contains("nothing is remembered"), "{second}");
    for said in [&first, &second] {
        assert!(said.contains("booked 1250 cents"), "{said}");
    }
}
