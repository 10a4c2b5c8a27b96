//! The program on the page, and processes that run it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use zoutbox_test_support::{python, wait_until};

use crate::bus::Bus;
use crate::ground::Ground;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/consuming.md");
const PATIENCE: Duration = Duration::from_mins(2);

/// All blocks of Python on the page, one after the other.
pub(crate) fn page() -> String {
    let page = fs::read_to_string(PAGE).unwrap();
    let (mut program, mut blocks, mut inside) = (String::new(), 0, false);
    for line in page.lines() {
        match (inside, line) {
            (false, "```python") => (inside, blocks) = (true, blocks + 1),
            (true, "```") => inside = false,
            (true, line) => program.extend([line, "\n"]),
            (false, _) => {}
        }
    }
    assert!(blocks > 5 && !inside, "{blocks} blocks in {PAGE}");
    program
}

/// A consumer that ends with its test.
pub(crate) struct Consumer {
    process: Child,
    database: PathBuf,
    log: PathBuf,
}

/// What it noted of each record: record, topic, key, headers, payload.
pub(crate) type Received = (String, String, Option<String>, String, Vec<u8>);

impl Consumer {
    /// Starts it, with its memory in the share's root.
    pub(crate) fn start(ground: &Ground, bus: &Bus, name: &str) -> Self {
        Self::start_program(&page(), ground, bus, name)
    }

    pub(crate) fn start_program(program: &str, ground: &Ground, bus: &Bus, name: &str) -> Self {
        let [script, database, log] =
            ["consume.py", "consumed.db", "log"].map(|file| ground.root.join(format!("{name}-{file}")));
        fs::write(&script, program).unwrap();
        let appended = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let process = Command::new(python(&["pika", "msgpack", "sqlite3"]))
            .arg(script)
            .args([Bus::url(), &bus.queue])
            .args([&*ground.root, Path::new(&database)])
            .arg(name)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(appended)
            .spawn()
            .unwrap();
        Self { process, database, log }
    }

    /// What it has noted so far, in its order.
    pub(crate) fn received(&self) -> Vec<Received> {
        let open = Connection::open_with_flags(&self.database, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let Ok(database) = open else { return Vec::new() };
        let query = "SELECT record, topic, key, headers, payload FROM received ORDER BY rowid";
        let Ok(mut rows) = database.prepare(query) else { return Vec::new() };
        let row =
            |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
        rows.query_map((), row).unwrap().map(Result::unwrap).collect()
    }

    /// Waits for so many records.
    pub(crate) fn has(&mut self, records: usize) {
        wait_until(&format!("{records} records are there"), PATIENCE, || {
            self.is_alive();
            self.received().len() >= records
        });
    }

    /// Waits until all is acknowledged.
    pub(crate) fn is_done(&mut self, bus: &Bus) {
        wait_until("everything is acknowledged", PATIENCE, || {
            self.is_alive();
            bus.waiting() == 0
        });
    }

    pub(crate) fn is_alive(&mut self) {
        let ended = self.process.try_wait().unwrap();
        assert!(ended.is_none(), "it ended: {ended:?}: {}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // After `kill` it is gone already.
        drop(self.process.kill());
        drop(self.process.wait());
        if std::thread::panicking() {
            eprintln!("the consumer said: {}", self.log());
        }
    }
}
