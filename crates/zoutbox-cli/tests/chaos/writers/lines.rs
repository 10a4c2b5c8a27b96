//! A writer that runs for long and is given a line for each record.

use std::fmt::Write as _;
use std::io::Write;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use zoutbox_format::RecordId;

use super::{Order, Shared, acknowledgements, append};
use crate::ground::Ground;
use crate::journal::{Checksum, Given, Journal, Outcome};
use crate::process::killed;
use crate::random::Random;

pub(super) fn run(
    writer: String,
    topic: &str,
    ground: &Ground,
    shared: &Arc<Shared>,
    mut random: Random,
    orders: &Receiver<Order>,
) -> Journal {
    let mut journal = Journal::new(writer);
    loop {
        let mut running = Running::start(ground, &journal.writer, topic, shared);
        let order = loop {
            match orders.recv_timeout(random.millis(20, 150)) {
                Err(RecvTimeoutError::Timeout) if shared.hold.load(Ordering::Relaxed) => {}
                Err(RecvTimeoutError::Timeout) => running.give(&mut random, journal.given.len()),
                Err(RecvTimeoutError::Disconnected) => break Order::Stop,
                Ok(order) => break order,
            }
        };
        let Order::Kill(down, said) = order else {
            assert!(running.end().success(), "{} did not end well: see its log", journal.writer);
            running.settle(&mut journal);
            return journal;
        };
        // While the process works on what it has just been given.
        running.give(&mut random, journal.given.len());
        std::thread::sleep(random.micros(0, 8000));
        killed(&mut running.child, &journal.writer);
        said.send(running.settle(&mut journal)).expect("somebody asked");
        std::thread::sleep(down);
    }
}

struct Running<'a> {
    child: Child,
    input: Option<ChildStdin>,
    topic: &'a str,
    given: Vec<Checksum>,
    acknowledged: Arc<Mutex<Vec<RecordId>>>,
    reader: Option<JoinHandle<()>>,
}

impl<'a> Running<'a> {
    fn start(ground: &Ground, writer: &str, topic: &'a str, shared: &Arc<Shared>) -> Self {
        let mut child =
            append(ground, writer, topic).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let (all, shared) = (Arc::clone(&acknowledged), Arc::clone(shared));
        let reader = std::thread::spawn(move || {
            acknowledgements(output, |id| {
                shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                all.lock().unwrap().push(id);
            });
        });
        Self { child, input, topic, given: Vec::new(), acknowledged, reader: Some(reader) }
    }

    /// Some lines, in one piece.
    fn give(&mut self, random: &mut Random, before: usize) {
        let mut piece = Vec::new();
        for _ in 0..random.between(1, 12) {
            let line = line(random, before + self.given.len());
            self.given.push(Checksum::of(line.as_bytes()));
            piece.extend_from_slice(line.as_bytes());
            piece.push(b'\n');
        }
        self.input.as_mut().unwrap().write_all(&piece).expect("the writer reads");
    }

    fn end(&mut self) -> ExitStatus {
        self.input = None;
        self.child.wait().unwrap()
    }

    /// Writes down what became of what it was given, and returns how many have no outcome. Its process has ended.
    fn settle(mut self, journal: &mut Journal) -> u64 {
        self.reader.take().unwrap().join().unwrap();
        let acknowledged = std::mem::take(&mut *self.acknowledged.lock().unwrap());
        let unknown = self.given.len().checked_sub(acknowledged.len()).expect("more acks than lines");
        let mut outcomes = acknowledged.into_iter().map(Outcome::Acknowledged);
        let outcome = |checksum: &Checksum| Given {
            topic: self.topic.into(),
            checksum: *checksum,
            outcome: outcomes.next().unwrap_or(Outcome::Unknown),
        };
        journal.given.extend(self.given.iter().map(outcome));
        unknown as u64
    }
}

/// A line that no other one of the writer is like; most are short.
fn line(random: &mut Random, number: usize) -> String {
    let length = match random.between(0, 99) {
        0 => random.between(4_000, 20_000),
        _ => random.between(0, 400),
    };
    let mut line = format!("{number} ");
    while (line.len() as u64) < length {
        write!(line, "{:016x}", random.next()).unwrap();
    }
    line
}
