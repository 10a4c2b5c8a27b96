//! Another process that applies records: this very test program, told to run one of its tests as a child.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use zoutbox_consumer::inbox::Store;
use zoutbox_consumer::{Applied, ApplyError, ErrorKind, Inbox, InboxError, PostgresStore, SqliteStore};

use crate::ground::{Failed, record};

/// Where the child shall apply: a URL of PostgreSQL, or the path of an SQLite file.
const WHERE: &str = "ZOUTBOX_INBOX_CHILD";

/// What the child says about a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The effect has run, and its transaction is still open.
    In(String),
    Applied(String),
    Duplicate(String),
}

pub(crate) struct Applying {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Applying {
    /// Starts one, and returns when its inbox is open.
    pub(crate) fn start(place: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut process = Command::new(program)
            .args(["--exact", "child::applies_what_it_is_told", "--nocapture"])
            .env(WHERE, place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while line.trim() != "open" {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "the child ended before it was open");
        }
        Self { process, input, output }
    }

    /// Tells it records to apply, one after the other.
    pub(crate) fn tell(&mut self, records: impl Iterator<Item = String>) {
        let lines: String = records.map(|id| id + "\n").collect();
        self.input.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
    }

    pub(crate) fn next(&mut self) -> Option<Said> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim().split_once(' ') {
                Some(("in", id)) => return Some(Said::In(id.to_owned())),
                Some(("applied", id)) => return Some(Said::Applied(id.to_owned())),
                Some(("duplicate", id)) => return Some(Said::Duplicate(id.to_owned())),
                // What the test harness prints at its end.
                _ => {}
            }
        }
    }

    /// As `kill -9`.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Lets it finish what it was told; returns what it says until then.
    pub(crate) fn finish(mut self) -> Vec<Said> {
        self.input = None;
        let said = std::iter::from_fn(|| self.next()).collect();
        assert!(self.process.wait().unwrap().success(), "the child failed");
        said
    }
}

/// The child: elsewhere it is told nothing, and does nothing.
#[test]
fn applies_what_it_is_told() {
    let Ok(place) = std::env::var(WHERE) else { return };
    if place.starts_with("postgres://") {
        obey(Inbox::open(opened(|| PostgresStore::open(&place)), "tests").unwrap(), |transaction, id| {
            transaction.execute("INSERT INTO effects VALUES ($1)", &[&id])?;
            Ok(())
        });
    } else {
        let path = std::path::Path::new(&place);
        obey(Inbox::open(opened(|| SqliteStore::open(path)), "tests").unwrap(), |transaction, id| {
            transaction.execute("INSERT INTO effects VALUES (?1)", [id])?;
            Ok(())
        });
    }
}

/// What can be opened later is opened again, as any consumer would.
fn opened<S>(mut open: impl FnMut() -> Result<S, InboxError>) -> S {
    loop {
        match open() {
            Ok(store) => return store,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
        }
    }
}

fn obey<S: Store>(mut inbox: Inbox<S>, effect: impl Fn(&mut S::Transaction<'_>, &str) -> Result<(), Failed>) {
    println!("\nopen");
    for id in std::io::stdin().lines() {
        let id = id.unwrap();
        let applied = loop {
            let applied = inbox.apply(&record(&id), |transaction| {
                effect(transaction, &id)?;
                println!("in {id}");
                Ok::<_, Failed>(())
            });
            match applied {
                Ok(applied) => break applied,
                Err(ApplyError::Inbox(error)) if error.kind() == ErrorKind::Retry => {}
                Err(error) => panic!("{id}: {error}"),
            }
        };
        println!("{} {id}", if applied == Applied::Duplicate { "duplicate" } else { "applied" });
    }
}
