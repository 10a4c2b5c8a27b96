//! Histories of the relay: the real one, over a real broker.
//!
//! ```text
//!   a share with acknowledged records ──▶ relay, killed ──▶ … ──▶ relay, until all is published and removed ──▶ once more
//!                                             │                                                                    │
//!                          queue ── taken after each ── everything below the checkpoint, and of segments that are gone, is there
//!                                                                                                                  └ nothing new
//! ```

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zoutbox_sim::world::random::Random;
use zoutbox_test_support::Broker;

use super::{Grounds, Outcome, Stage, broken, must_work, orders, was_killed};
use crate::content::number_of;
use crate::disk::Disk;
use crate::ledger::Found;
use crate::mount::{Orders, Watched};
use crate::plan::{Crash, Plan};
use crate::process::{Ended, Running};
use crate::readback::Reader;
use crate::request::Kind;
use crate::victim::Scenario;

/// For an undisturbed relay to publish and remove everything. It looks for what it can remove once a second.
const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(2);
/// Of a relay that is stopped in the middle of its work: it changes something some 13 times in all.
const EARLY_CHANGES: usize = 10;
const EARLY: Duration = Duration::from_millis(500);
/// For what broke off before its time.
const LONG: Duration = Duration::from_secs(3);

/// What histories of a relay start on.
pub(crate) struct Ground {
    disk: Disk,
    /// All of it is acknowledged.
    log: Vec<Found>,
    /// Which records each segment holds: up to this sequence, from the one before on.
    segments: BTreeMap<String, u64>,
    queues: Queues,
    next_queue: AtomicU64,
}

/// The one broker, and who takes messages from it.
pub(crate) struct Queues {
    broker: Broker,
    taker: Mutex<Taker>,
    relay: PathBuf,
}

struct Taker {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Taker {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Queues {
    /// Starts the broker. The programs lie beside this one.
    pub(crate) fn start() -> Result<Self> {
        let program = std::env::current_exe()?;
        let beside = program.parent().context("this program lies in a directory")?;
        let (relay, taker) = (beside.join("zoutbox-relay"), beside.join("examples/take_queue"));
        for needed in [&relay, &taker] {
            ensure!(
                needed.is_file(),
                "{} is missing: cargo build --workspace --bins --examples",
                needed.display()
            );
        }
        let broker = Broker::start();
        let mut process = Command::new(taker)
            .args(["--amqp", broker.url()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take().context("piped")?;
        let answers = BufReader::new(process.stdout.take().context("piped")?);
        Ok(Self { broker, taker: Mutex::new(Taker { process, orders, answers }), relay })
    }

    fn order(&self, order: &str) -> Result<Vec<String>> {
        let mut taker = self.taker.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(taker.orders, "{order}")?;
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if taker.answers.read_line(&mut line)? == 0 {
                bail!("take_queue ended");
            }
            match line.trim_end() {
                "." => return Ok(lines),
                line => lines.push(line.to_owned()),
            }
        }
    }

    /// Takes what is in a queue: identity, and which append it is of.
    fn take(&self, queue: &str) -> Result<Vec<(String, Option<u64>)>> {
        let lines = self.order(&format!("take {queue}"))?;
        let each = lines.iter().map(|line| {
            let (id, body) = line.split_once('\t').with_context(|| format!("take_queue said '{line}'"))?;
            Ok((id.to_owned(), number_of(&STANDARD.decode(body)?)))
        });
        each.collect()
    }
}

impl Ground {
    /// Lets a relay start once on the empty share, and appends what shall be relayed.
    pub(crate) fn new(stage: &Stage, grounds: &Grounds, queues: Queues) -> Result<Self> {
        let mut ground = Self {
            disk: grounds.share.clone(),
            log: Vec::new(),
            segments: BTreeMap::new(),
            queues,
            next_queue: AtomicU64::new(1),
        };
        stage.mount.lay(ground.disk.clone());
        // Its ballast is a megabyte, and of no interest here.
        let (ended, _) = stage.run_relay(&ground, "first", &["--once"], orders(None, 0), |_| Ok(false))?;
        ensure!(ended.status.success(), "{}", ended.errors);
        for run in 0..2 {
            let (ended, _) = stage.run_writer(Scenario::Lone, run, false, orders(None, 0))?;
            ensure!(ended.status.success(), "{}", ended.errors);
        }
        let reader = Reader::open(stage.root())?;
        ground.log = reader.log()?;
        let names = reader.segments()?;
        let last = ground.log.len() as u64;
        let ends = names.iter().skip(1).map(|name| name.id.first_sequence.get() - 1).chain([last]);
        ground.segments = names.iter().map(|name| name.id.to_string()).zip(ends).collect();
        ensure!(names.len() > 3, "only {} segments", names.len());
        ground.disk = stage.mount.disk();
        Ok(ground)
    }
}

/// What has reached the queue.
#[derive(Default)]
struct Arrived {
    first: Vec<String>,
    messages: u64,
    checkpoint: u64,
    durable_checkpoint: u64,
}

impl Stage {
    pub(super) fn play_relay(&self, plan: &Plan, ground: &Ground, outcome: &mut Outcome) -> Result<()> {
        let queue = format!("torture-{}", ground.next_queue.fetch_add(1, Ordering::Relaxed));
        self.mount.lay(ground.disk.clone());
        let played = self.play_relay_on(&queue, plan, ground, outcome);
        ground.queues.order(&format!("drop {queue} {queue}"))?;
        played
    }

    fn play_relay_on(&self, queue: &str, plan: &Plan, ground: &Ground, outcome: &mut Outcome) -> Result<()> {
        let mut random = Random::new(plan.seed);
        let mut arrived = Arrived::default();
        for (run, kill) in plan.kills.iter().enumerate() {
            outcome.trace.push(format!("relay {run}"));
            let orders = orders(Some(kill), random.bits());
            let begun = Instant::now();
            let (ended, watched) = self.run_relay(ground, queue, &[], orders, |running| {
                // Before it has changed anything it may not know yet that a signal is an order to stop.
                let at_work = self.mount.asked(Kind::changes) > 0;
                let long = if at_work { LONG } else { PATIENCE };
                Ok(!running.has_ended()? && begun.elapsed() > long)
            })?;
            outcome.trace.extend(ended.errors.lines().map(|line| format!("    ! {line}")));
            if was_killed(&ended, &watched)?
                && let Some((_, kind)) = watched.killed
            {
                outcome.counts.killed("relay", kind, kill.when);
                outcome.counts.in_recovery += u64::from(run > 0);
            } else if !ended.status.success() && watched.faults.is_empty() {
                broken!("the relay failed without a fault: {}\n{}", ended.status, ended.errors);
            }
            self.crash(kill, &watched, &mut random, outcome);
            self.compare_queue(queue, ground, &mut arrived, kill.crash == Crash::Power)?;
        }
        self.stop_early(queue, ground, &mut arrived, 1 + random.index(EARLY_CHANGES), outcome)?;
        self.drain(queue, ground, &mut arrived, outcome)
    }

    /// A relay is stopped in good order in the middle of its work: what it published is confirmed, and its checkpoint says so.
    fn stop_early(
        &self,
        queue: &str,
        ground: &Ground,
        arrived: &mut Arrived,
        changes: usize,
        outcome: &mut Outcome,
    ) -> Result<()> {
        outcome.trace.push(format!("relay, stopped after {changes} changes"));
        let (messages, checkpoint) = (arrived.messages, arrived.checkpoint);
        let begun = Instant::now();
        let (ended, watched) = self.run_relay(ground, queue, &[], orders(None, 0), |_| {
            // The first change is the lease's: before it takes that it may not listen to signals yet. It may have little left to do.
            let asked = self.mount.asked(Kind::changes);
            Ok(asked >= changes || (asked > 0 && begun.elapsed() > EARLY) || begun.elapsed() > PATIENCE)
        })?;
        self.note(outcome, &watched);
        outcome.trace.extend(ended.errors.lines().map(|line| format!("    ! {line}")));
        self.compare_queue(queue, ground, arrived, false)?;
        let (published, saved) = (arrived.messages - messages, arrived.checkpoint.checked_sub(checkpoint));
        if !ended.status.success() || saved != Some(published) {
            let (status, now) = (ended.status, arrived.checkpoint);
            broken!(
                "an orderly stop ended with {status} and {published} published; the checkpoint went from {checkpoint} to {now}:\n{}",
                ended.errors
            );
        }
        Ok(())
    }

    /// An undisturbed relay finishes the work, and the next one finds none.
    fn drain(
        &self,
        queue: &str,
        ground: &Ground,
        arrived: &mut Arrived,
        outcome: &mut Outcome,
    ) -> Result<()> {
        outcome.trace.push("relay, undisturbed".into());
        let begun = Instant::now();
        let end = ground.log.len() as u64;
        let orders = orders(None, 0);
        let (ended, watched) = self.run_relay(ground, queue, &[], orders, |running| {
            if running.has_ended()? {
                return Ok(false);
            }
            let reader = Reader::open(self.root())?;
            // Before it takes the lease it may not listen to signals yet.
            let done = self.mount.asked(Kind::changes) > 0
                && reader.checkpoint()?.is_some_and(|at| at.next_sequence.get() > end)
                && reader.segments()?.len() == 1;
            Ok(done || begun.elapsed() > PATIENCE)
        })?;
        self.note(outcome, &watched);
        outcome.trace.extend(ended.errors.lines().map(|line| format!("    ! {line}")));
        if !ended.status.success() {
            broken!("an undisturbed relay on what was left ended with {}:\n{}", ended.status, ended.errors);
        }
        self.compare_queue(queue, ground, arrived, false)?;
        if arrived.checkpoint != end || arrived.first.len() as u64 != end {
            let (came, at) = (arrived.first.len(), arrived.checkpoint);
            broken!(
                "of {end} records {came} came, and the checkpoint is {at}, after {PATIENCE:?}:\n{}",
                ended.errors
            );
        }
        let reader = Reader::open(self.root())?;
        let left = reader.segments()?.len();
        if left != 1 {
            broken!("{left} segments are left of what was published, after {PATIENCE:?}:\n{}", ended.errors);
        }
        let before = arrived.messages;
        let (ended, watched) =
            self.run_relay(ground, queue, &["--once"], super::orders(None, 0), |_| Ok(false))?;
        self.note(outcome, &watched);
        self.compare_queue(queue, ground, arrived, false)?;
        if !ended.status.success() || arrived.messages != before {
            let again = arrived.messages - before;
            broken!(
                "an orderly restart ended with {} and published {again} again:\n{}",
                ended.status,
                ended.errors
            );
        }
        outcome.counts.delivered += arrived.messages;
        outcome.counts.duplicates += arrived.messages - end;
        outcome.counts.acknowledged += end;
        outcome.counts.segments_removed += u64::try_from(ground.segments.len() - left)?;
        Ok(())
    }

    /// Takes what came, and compares it with what the share says.
    fn compare_queue(
        &self,
        queue: &str,
        ground: &Ground,
        arrived: &mut Arrived,
        durable: bool,
    ) -> Result<()> {
        // Before the queue: what is confirmed later than this is nothing that the share can say.
        let reader = must_work(Reader::open(self.root()))?;
        let checkpoint = must_work(reader.checkpoint())?.map_or(0, |at| at.next_sequence.get() - 1);
        let there = must_work(reader.segments())?;
        for (id, number) in ground.queues.take(queue)? {
            arrived.messages += 1;
            let next = ground.log.get(arrived.first.len());
            let known = ground.log.iter().find(|found| found.id == id);
            match known {
                None => broken!("{id} was delivered and never appended"),
                Some(known) if known.number != number => broken!("{id} was delivered with other content"),
                Some(_) if arrived.first.contains(&id) => {}
                Some(_) if next.is_some_and(|next| next.id == id) => arrived.first.push(id),
                Some(_) => broken!("{id} came before {}", next.map_or("", |next| &next.id)),
            }
        }
        let came = arrived.first.len() as u64;
        if checkpoint > came {
            broken!("the checkpoint says {checkpoint}, and only {came} records are in the queue");
        }
        for (segment, end) in &ground.segments {
            if *end > came && there.iter().all(|name| name.id.to_string() != *segment) {
                broken!(
                    "segment {segment} is gone, with records up to {end}, and only {came} are in the queue"
                );
            }
        }
        if checkpoint < arrived.durable_checkpoint {
            let before = arrived.durable_checkpoint;
            broken!("the checkpoint says {checkpoint}, and had durably said {before}");
        }
        arrived.checkpoint = checkpoint;
        if durable {
            arrived.durable_checkpoint = checkpoint;
        }
        Ok(())
    }

    /// Runs a relay until it ends, or until `enough` says so: then it is stopped in good order.
    fn run_relay(
        &self,
        ground: &Ground,
        queue: &str,
        options: &[&str],
        orders: Orders,
        enough: impl Fn(&mut Running) -> Result<bool>,
    ) -> Result<(Ended, Watched)> {
        let mut command = Command::new(&ground.queues.relay);
        command.arg("--root").arg(self.root()).args(["--amqp", ground.queues.broker.url()]);
        command.args(["--exchange", queue, "--declare-exchange", "fanout", "--declare-queue", queue]);
        command.args(["--queue-type", "classic", "--retention", "0s", "--checkpoint-interval", "5ms"]);
        command.args(["--window", "4", "--poll-max", "1s", "--no-inotify", "--doorbell", "off"]);
        command.args(["--log", "warn,lapin=off"]).args(options);
        self.mount.watch(orders);
        let mut run = || {
            let mut running = Running::start(&mut command, &self.errors())?;
            while !options.contains(&"--once") && !running.has_ended()? {
                if enough(&mut running)? {
                    running.terminate()?;
                    break;
                }
                std::thread::sleep(POLL);
            }
            running.end()
        };
        let ended = run();
        let watched = self.mount.unwatch();
        Ok((ended?, watched))
    }

    /// Every request of an undisturbed relay until it has removed what it could.
    pub(super) fn whole_relay_run(&self, grounds: &Grounds) -> Result<Vec<Kind>> {
        let ground = grounds.relay.as_ref().context("there is no broker")?;
        let queue = format!("torture-{}", ground.next_queue.fetch_add(1, Ordering::Relaxed));
        self.mount.lay(ground.disk.clone());
        let begun = Instant::now();
        // Nobody else asks for anything meanwhile: every request is the relay's. All segments but one go.
        let removals = ground.segments.len() - 1;
        let run = self.run_relay(ground, &queue, &[], orders(None, 0), |_| {
            let done = self.mount.asked(|kind| kind == Kind::Unlink) >= removals;
            Ok(done || begun.elapsed() > PATIENCE)
        });
        ground.queues.order(&format!("drop {queue} {queue}"))?;
        let (ended, watched) = run?;
        ensure!(ended.status.success(), "{}", ended.errors);
        let removed = watched.requests.iter().rposition(|kind| *kind == Kind::Unlink);
        let removed = removed.context("an undisturbed relay removes segments within its time")?;
        let mut requests = watched.requests;
        // Behind that it looks for more, for ever.
        let last = requests.iter().skip(removed).position(|kind| *kind == Kind::SyncDirectory).unwrap_or(0);
        requests.truncate(removed + last + 1);
        Ok(requests)
    }
}
