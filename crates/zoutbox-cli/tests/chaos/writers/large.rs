//! A writer of large payloads: a process for each, `zoutbox append --payload FILE`.
//!
//! One that was killed is tried again with the same id, as an application would: the payload is written once, and there may be two records.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Order, Shared, acknowledgements, append};
use crate::ground::Ground;
use crate::journal::{Checksum, Given, Journal, Outcome};
use crate::random::Random;

/// Most are above the threshold from which a payload has a file of its own, 1 MiB; some are below it.
const SIZES: (u64, u64) = (900 << 10, 3 << 20);

pub(super) fn run(
    writer: String,
    topics: &'static [&'static str],
    ground: &Ground,
    shared: &Shared,
    random: Random,
    orders: &Receiver<Order>,
) -> Journal {
    let (journal, took) = (Journal::new(writer), Duration::from_millis(50));
    let mut large = Large { journal, ground, random, took, kill: None };
    loop {
        let payload = large.make(topics);
        let mut acknowledged = false;
        while !acknowledged {
            match orders.recv_timeout(large.random.millis(200, 1500)) {
                Ok(Order::Kill(down, said)) => large.kill = Some((down, said)),
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return large.journal,
                // Whoever gave the order waits for it.
                Err(RecvTimeoutError::Timeout) if large.kill.is_some() => {}
                Err(RecvTimeoutError::Timeout) if shared.hold.load(Ordering::Relaxed) => continue,
                Err(RecvTimeoutError::Timeout) => {}
            }
            acknowledged = large.append(&payload);
        }
        shared.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

struct Payload {
    id: String,
    topic: &'static str,
    file: PathBuf,
    checksum: Checksum,
}

/// How long to be down then, and whom to tell.
type Kill = (Duration, Sender<u64>);

struct Large<'a> {
    journal: Journal,
    ground: &'a Ground,
    random: Random,
    /// How long the last append took: a kill has to come before that.
    took: Duration,
    kill: Option<Kill>,
}

impl Large<'_> {
    fn make(&mut self, topics: &'static [&'static str]) -> Payload {
        let id = format!("payload-{}", self.journal.given.len());
        let file = self.ground.beside.join(format!("{}.payload", self.journal.writer));
        let length = usize::try_from(self.random.between(SIZES.0, SIZES.1)).unwrap();
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.random.next().to_le_bytes());
        }
        std::fs::write(&file, &bytes).unwrap();
        let topic = topics[self.random.index(topics.len())];
        Payload { id, topic, file, checksum: Checksum::of(&bytes) }
    }

    /// Appends it, or kills who does. Returns whether it was acknowledged.
    fn append(&mut self, payload: &Payload) -> bool {
        let mut command = append(self.ground, &self.journal.writer, payload.topic);
        command.args(["--id", &payload.id, "--payload"]).arg(&payload.file);
        let began = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut order = self.kill.take();
        if order.is_some() {
            let most = u64::try_from(self.took.as_micros()).unwrap();
            std::thread::sleep(self.random.micros(0, most));
            child.kill().unwrap();
        }
        let mut acknowledged = Vec::new();
        acknowledgements(child.stdout.take().unwrap(), |id| acknowledged.push(id));
        let status = child.wait().unwrap();
        if status.signal() != Some(Signal::SIGKILL as i32) {
            assert!(status.success(), "{}: {status}, see its log", self.journal.writer);
            assert_eq!(acknowledged.len(), 1, "{} ended well", self.journal.writer);
            self.took = began.elapsed();
            // It was quicker: the next one's turn will come.
            self.kill = order.take();
        }
        let outcome = acknowledged.pop().map_or(Outcome::Unknown, Outcome::Acknowledged);
        let is_acknowledged = outcome != Outcome::Unknown;
        self.journal.given.push(Given { topic: payload.topic.into(), checksum: payload.checksum, outcome });
        if let Some((down, said)) = order {
            said.send(u64::from(!is_acknowledged)).expect("somebody asked");
            std::thread::sleep(down);
        }
        is_acknowledged
    }
}
