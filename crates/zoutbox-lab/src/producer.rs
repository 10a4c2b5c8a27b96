//! Producers by the real programs: lines go in, acknowledged identities come out, and the log is compared with both.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::hosts::{Host, Share};
use crate::process::{Ended, LONG, Running, finish};

/// `zoutbox append --acks`, fed line by line until it is stopped. Its n-th acknowledgement is for its n-th line.
pub(crate) struct Producer {
    pub(crate) running: Running,
    stop: Arc<AtomicBool>,
    feeder: JoinHandle<()>,
    prefix: String,
}

/// What a producer knows to be durable: the identity and the payload of each record.
pub(crate) type Acked = Vec<(String, String)>;

impl Producer {
    /// Appends a line every `pause`.
    pub(crate) fn start(host: Host, share: &Share, writer: &str, options: &[&str], pause: Duration) -> Self {
        let mut command = host.command("zoutbox");
        command.arg("append").arg("--root").arg(share.on(host));
        command.args(["--writer", writer, "--topic", writer, "--acks"]).args(share.consent()).args(options);
        let mut running = Running::start(&mut command);
        let stop = Arc::new(AtomicBool::new(false));
        let prefix = format!("{host}-{writer}");
        let (mut input, its_stop, its_prefix) = (running.input(), stop.clone(), prefix.clone());
        let feeder = std::thread::spawn(move || {
            for number in 0.. {
                // It ends by itself when it can append no more.
                let written = writeln!(input, "{}", line(&its_prefix, number)).and_then(|()| input.flush());
                if written.is_err() || its_stop.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(pause);
            }
        });
        Self { running, stop, feeder, prefix }
    }

    pub(crate) fn acked(&self) -> Acked {
        acked(&self.prefix, self.running.lines().into_iter().map(|(_, id)| id))
    }

    #[track_caller]
    pub(crate) fn wait_for_more(&self, records: usize) {
        self.running.wait_for_lines(self.running.count() + records);
    }

    #[track_caller]
    pub(crate) fn wait_until_it_ends_by_itself(&mut self) {
        let running = &mut self.running;
        zoutbox_test_support::wait_until("the producer ends by itself", LONG, || running.has_ended());
    }

    /// Ends its input and waits until it has ended in good order.
    #[track_caller]
    pub(crate) fn finish(self) -> Acked {
        let prefix = self.prefix.clone();
        let ended = self.end();
        ended.succeeded();
        acked(&prefix, ended.lines.into_iter().map(|(_, id)| id))
    }

    /// Ends its input and waits until it has ended, however.
    #[track_caller]
    pub(crate) fn end(self) -> Ended {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.running.end(LONG);
        self.feeder.join().unwrap();
        ended
    }
}

fn line(prefix: &str, number: usize) -> String {
    format!("{prefix} {number:08} {}", "payload ".repeat(number % 40))
}

fn acked(prefix: &str, ids: impl Iterator<Item = String>) -> Acked {
    ids.enumerate().map(|(number, id)| (id, line(prefix, number))).collect()
}

/// All records of a writer, by `zoutbox cat` on a host: identities and payloads, in order.
#[track_caller]
pub(crate) fn log(host: Host, share: &Share, writer: &str) -> Acked {
    let mut command = host.command("zoutbox");
    let ended = finish(command.arg("cat").arg("--root").arg(share.on(host)).args(["--writer", writer]));
    ended.succeeded();
    ended.lines.iter().map(|(_, line)| record(line)).collect()
}

/// Identity and payload of a line of `zoutbox cat` or of the relay.
pub(crate) fn record(line: &str) -> (String, String) {
    let json: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
    let text = |name: &str| json.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    (text("id"), text("payload"))
}

/// Everything acknowledged is in the log with its bytes, once, and the log has no holes.
#[track_caller]
pub(crate) fn assert_all_there(acked: &[(String, String)], log: &[(String, String)]) {
    let known: HashMap<_, _> = log.iter().cloned().collect();
    assert_eq!(known.len(), log.len(), "an identity stands twice in the log");
    for (id, payload) in acked {
        assert_eq!(known.get(id), Some(payload), "{id} was acknowledged");
    }
    let sequences = log.iter().map(|(id, _)| id.rsplit('/').next().unwrap().parse::<u64>().unwrap());
    let wrong: Vec<_> = sequences.zip(1..).filter(|(found, expected)| found != expected).take(3).collect();
    assert!(wrong.is_empty(), "the log has holes: {wrong:?}");
}

/// Everything acknowledged was printed by a relay, first copies in order.
#[track_caller]
pub(crate) fn assert_all_relayed(acked: &[(String, String)], lines: &[String]) {
    let relayed: Vec<_> = lines.iter().map(|line| record(line)).collect();
    let known: HashMap<_, _> = relayed.iter().cloned().collect();
    for (id, payload) in acked {
        assert_eq!(known.get(id), Some(payload), "{id} was acknowledged, and not relayed");
    }
    let ours: HashSet<_> = acked.iter().map(|(id, _)| id).collect();
    let mut seen = HashSet::new();
    let first: Vec<_> = relayed.iter().filter(|(id, _)| ours.contains(id) && seen.insert(id)).collect();
    for (before, after) in first.iter().zip(first.iter().skip(1)) {
        assert!(place(&before.0) < place(&after.0), "{} came before {}", before.0, after.0);
    }
}

/// Epoch and sequence.
fn place(id: &str) -> (u64, u64) {
    let mut parts = id.rsplit('/').map(|part| part.parse().unwrap_or(0));
    let sequence = parts.next().unwrap_or(0);
    (parts.next().unwrap_or(0), sequence)
}
