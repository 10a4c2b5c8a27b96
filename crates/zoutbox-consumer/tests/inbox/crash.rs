//! Consumers that die in the middle of an apply, and consumers that compete.

use zoutbox_test_support::{Fault, Hits, Postgres};

use crate::child::{Applying, Said};
use crate::ground::{Ground, Server, Sqlite};

fn name(sequence: usize) -> String {
    format!("orders/1/{sequence}")
}

/// Kills a child in the middle of an apply or between two, again and again, and has each next one told the last few records once more.
fn killed(ground: &impl Ground, place: &str, how: &'static str) {
    const ROUNDS: usize = 12;
    let mut done = 0;
    for round in 1..=ROUNDS {
        let mut child = Applying::start(place);
        let from = done.max(4) - 3;
        child.tell((from..from + 100).map(name));
        let target = name(from + 10 + round % 7);
        let inside = round % 2 == 0;
        while let Some(said) = child.next() {
            match said {
                Said::Applied(id) if !inside && id == target => break,
                Said::In(id) if inside && id == target => break,
                Said::In(_) | Said::Applied(_) | Said::Duplicate(_) => {}
            }
        }
        done = from + 10 + round % 7;
        child.kill();
    }
    let mut child = Applying::start(place);
    child.tell((1..=done + 100).map(name));
    child.finish();
    let mut expected: Vec<String> = (1..=done + 100).map(name).collect();
    expected.sort();
    assert_eq!(ground.effects(), expected, "each effect exactly once");
    Fault::new("inbox", Hits::Consumer, "killed in the middle of an effect, or between two", how)
        .held(ROUNDS, format!("{} records, each with its effect once", expected.len()));
}

#[test]
fn a_consumer_killed_at_any_moment_has_each_effect_once_in_sqlite() {
    let ground = Sqlite::new();
    killed(&ground, ground.path().to_str().unwrap(), "SIGKILL, with SQLite");
}

#[test]
fn a_consumer_killed_at_any_moment_has_each_effect_once_in_postgres() {
    let ground = Server::new();
    killed(&ground, &ground.url, "SIGKILL, with PostgreSQL");
}

/// Two processes are given the same records: new writers' first ones, where there is no row to lock yet, and then one writer's.
fn competing(ground: &impl Ground, place: &str) {
    let firsts = (1..=60).map(|writer| format!("w{writer}/1/1"));
    let records: Vec<String> = firsts.chain((1..=150).map(name)).collect();
    let mut children = [Applying::start(place), Applying::start(place)];
    for child in &mut children {
        child.tell(records.iter().cloned());
    }
    let said: Vec<Said> = children.into_iter().flat_map(Applying::finish).collect();
    let applied = said.iter().filter(|said| matches!(said, Said::Applied(_))).count();
    let duplicates = said.iter().filter(|said| matches!(said, Said::Duplicate(_))).count();
    assert_eq!((applied, duplicates), (records.len(), records.len()));
    let mut expected = records;
    expected.sort();
    assert_eq!(ground.effects(), expected);
}

#[test]
fn two_processes_apply_each_record_once_in_sqlite() {
    let ground = Sqlite::new();
    competing(&ground, ground.path().to_str().unwrap());
}

#[test]
fn two_processes_apply_each_record_once_in_postgres() {
    let ground = Server::new();
    competing(&ground, &ground.url);
}

#[test]
fn two_processes_that_make_the_tables_at_once_both_come_up() {
    for _ in 0..5 {
        let root = Sqlite::new();
        let fresh = root.root.join("fresh.db");
        let server = Server::on(Postgres::shared());
        for place in [fresh.to_str().unwrap(), &server.url] {
            let opening = || Applying::start(place);
            std::thread::scope(|scope| {
                for opened in [scope.spawn(opening), scope.spawn(opening)] {
                    opened.join().unwrap().finish();
                }
            });
        }
    }
}
