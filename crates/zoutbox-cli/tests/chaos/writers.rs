//! The writers, as processes that live and die, and what each was given and said.
//!
//! ```text
//!            orders: kill, stop                  ┌───────────────┐
//!   plan ─────────────────────▶ thread ──lines──▶│ zoutbox append│──▶ share
//!                               │     ◀──acks────│               │
//!                               ▼                └───────────────┘
//!                            Journal: what was given, and acknowledged or unknown
//! ```
//!
//! A writer that is killed is started again, and given what comes next: what it had not acknowledged is never given again, so that the order
//! of its records is known whatever became of them.

mod large;
mod lines;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use zoutbox_format::RecordId;
use zoutbox_test_support::wait_until;

use crate::ground::{Ground, zoutbox};
use crate::journal::Journal;
use crate::process::append_to;
use crate::random::Random;

/// For what a writer is told to do, in the middle of whatever is done to it. Only a safety net.
const PATIENCE: Duration = Duration::from_mins(5);

/// What all writers have in common.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Acknowledged by all of them.
    pub(crate) acknowledged: AtomicU64,
    /// The consumers are far behind: nothing new for now.
    pub(crate) hold: AtomicBool,
}

/// What to do, for a writer's thread.
enum Order {
    /// Kill the process, in the middle of something if that can be had, and start again after so long. Says how many records were given
    /// and not acknowledged then.
    Kill(Duration, Sender<u64>),
    /// End in good order.
    Stop,
}

/// A writer.
pub(crate) struct Writer {
    pub(crate) id: String,
    orders: Sender<Order>,
    thread: JoinHandle<Journal>,
}

impl Writer {
    /// One of many records of a line each.
    pub(crate) fn of_lines(
        id: &str,
        topic: &str,
        ground: &Arc<Ground>,
        shared: &Arc<Shared>,
        random: Random,
    ) -> Self {
        let (ground, shared) = (Arc::clone(ground), Arc::clone(shared));
        let (writer, topic) = (id.to_owned(), topic.to_owned());
        Self::start(id, move |orders| lines::run(writer, &topic, &ground, &shared, random, &orders))
    }

    /// One of few records with large payloads, of all these topics.
    pub(crate) fn of_large(
        id: &str,
        topics: &'static [&'static str],
        ground: &Arc<Ground>,
        shared: &Arc<Shared>,
        random: Random,
    ) -> Self {
        let (ground, shared) = (Arc::clone(ground), Arc::clone(shared));
        let writer = id.to_owned();
        Self::start(id, move |orders| large::run(writer, topics, &ground, &shared, random, &orders))
    }

    fn start(id: &str, run: impl FnOnce(Receiver<Order>) -> Journal + Send + 'static) -> Self {
        let (orders, received) = channel();
        let thread = std::thread::Builder::new().name(id.into()).spawn(move || run(received)).unwrap();
        Self { id: id.into(), orders, thread }
    }

    /// Kills its process. Returns how many records were given and not acknowledged.
    pub(crate) fn kill(&self, down: Duration) -> u64 {
        let (said, says) = channel();
        self.orders.send(Order::Kill(down, said)).unwrap_or_else(|_| panic!("{} has ended", self.id));
        says.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{} has ended, or hangs: {error}", self.id))
    }

    /// Whether its thread has given up, which it only does in a panic.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    pub(crate) fn stop(self) -> Journal {
        self.orders.send(Order::Stop).unwrap_or_else(|_| panic!("{} has ended", self.id));
        wait_until(&format!("{} ends", self.id), PATIENCE, || self.thread.is_finished());
        self.thread.join().unwrap_or_else(|_| panic!("{} failed: see above", self.id))
    }
}

/// `zoutbox append --acks`, in small segments.
fn append(ground: &Ground, writer: &str, topic: &str) -> Command {
    let mut command = zoutbox();
    command.args(["append", "--acks", "--segment-size", "64KiB", "--segment-age", "3"]);
    command.args(["--writer", writer, "--topic", topic, "--root"]).arg(&ground.root);
    command.stderr(append_to(&log_of(&ground.beside, writer)));
    command
}

pub(crate) fn log_of(beside: &Path, writer: &str) -> PathBuf {
    beside.join(format!("{writer}.log"))
}

/// Reads acknowledgements to their end. A line that was cut off says nothing.
fn acknowledgements(from: impl Read, mut each: impl FnMut(RecordId)) {
    let mut from = BufReader::new(from);
    let mut line = String::new();
    while from.read_line(&mut line).unwrap() > 0 {
        let Some(id) = line.strip_suffix('\n') else { break };
        each(id.parse().unwrap());
        line.clear();
    }
}
