//! One run: everything starts, faults come by the plan, everything heals, drains and stops, and then it is seen what is there.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zoutbox_test_support::wait_until;

use crate::LONG;
use crate::child::parked;
use crate::crew::Crew;
use crate::effects::Store;
use crate::ground::{Ground, zoutbox};
use crate::journal::Journal;
use crate::plan::{Fault, LEAST_ROUNDS, Plan, Step};
use crate::process::{Program, append_to, freeze};
use crate::report::{Report, StoreReport};
use crate::settings::Settings;
use crate::verdict::judge;
use crate::writers::{Shared, Writer};

const TOPICS: &[&str] = &["small.inline", "small.pointer", "small.batch"];
const LARGE_TOPICS: &[&str] = &["large.inline", "large.pointer", "large.batch"];
/// With so many records acknowledged and without effect, the writers pause: a slow machine shall not drain for hours.
const MOST_BEHIND: u64 = 4000;
/// What should come to its end and does not move at all for this long never will.
const STALLED: Duration = Duration::from_mins(3);
/// How long a fault waits for records to flow.
const FLOW: Duration = Duration::from_secs(3);
/// The file that says what was done when.
const HISTORY: &str = "history.log";

pub(crate) struct Run {
    settings: Settings,
    ground: Arc<Ground>,
    crew: Crew,
    shared: Arc<Shared>,
    writers: Vec<Writer>,
    large: Option<Writer>,
    /// What will start again or go on, by what happens.
    recoveries: HashMap<String, JoinHandle<()>>,
    report: Report,
    began: Instant,
}

impl Run {
    /// Starts everything. The consumers first: they have to be known before there is anything to keep for them.
    pub(crate) fn start(settings: Settings) -> Self {
        let (ground, shared) = (Arc::new(Ground::new()), Arc::new(Shared::default()));
        let mut run = Self {
            settings,
            crew: Crew::new(&ground),
            ground,
            shared,
            writers: Vec::new(),
            large: None,
            recoveries: HashMap::new(),
            report: Report::new(settings),
            began: Instant::now(),
        };
        run.crew.consumers().iter().for_each(|consumer| consumer.start());
        wait_until("the consumers are registered", LONG, || run.ground.registered());
        run.crew.relays().iter().for_each(|relay| relay.start());
        let (ground, shared) = (&run.ground, &run.shared);
        for (topic, stream) in TOPICS.iter().zip((1..).step_by(2)) {
            for number in [1, 2] {
                let id = format!("{}-{number}", topic.rsplit('.').next().unwrap());
                let random = settings.random(stream + number);
                run.writers.push(Writer::of_lines(&id, topic, ground, shared, random));
            }
        }
        run.large = Some(Writer::of_large("large", LARGE_TOPICS, ground, shared, settings.random(100)));
        run
    }

    /// Faults, for as long as was asked for, and until there were enough of each kind.
    pub(crate) fn suffer(&mut self) {
        let mut plan = Plan::new(self.settings.random(0), self.writers.len());
        while self.began.elapsed() < self.settings.faults_for || plan.rounds() < LEAST_ROUNDS {
            let step = plan.next();
            self.pause(step.pause);
            if step.in_the_flow {
                self.wait_for_the_flow();
            }
            self.inflict(step);
            self.report.rounds = plan.rounds();
        }
        for (_, recovery) in self.recoveries.drain() {
            recovery.join().expect("it comes up again");
        }
    }

    /// Waits, and looks after everybody.
    fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        loop {
            self.look_after();
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return;
            }
            std::thread::sleep(rest.min(Duration::from_millis(200)));
        }
    }

    /// Waits until both consumers say that they go on, or not much longer.
    fn wait_for_the_flow(&self) {
        let (began, before) = (Instant::now(), self.positions());
        let flows = || self.positions().iter().zip(before).all(|(now, before)| *now > before);
        while began.elapsed() < FLOW && !flows() {
            self.pause(Duration::from_millis(20));
        }
    }

    /// About how far the consumers are.
    fn positions(&self) -> [u64; 2] {
        Store::ALL.map(|store| position(self.crew.consumer(store)))
    }

    /// Nobody has ended whom nobody killed; and nobody is left far behind.
    fn look_after(&self) {
        for program in self.crew.all() {
            if let Some(status) = program.ended() {
                panic!("{} ended by itself: {status}", program.name);
            }
        }
        for writer in self.writers.iter().chain(&self.large) {
            assert!(!writer.has_ended(), "{} failed", writer.id);
        }
        let far = Store::ALL.iter().any(|store| self.behind(*store) > MOST_BEHIND);
        self.shared.hold.store(far, Ordering::Relaxed);
    }

    /// About how many records are acknowledged and have no effect yet.
    fn behind(&self, store: Store) -> u64 {
        let acknowledged = self.shared.acknowledged.load(Ordering::Relaxed);
        acknowledged.saturating_sub(position(self.crew.consumer(store)))
    }

    /// How many records are durable and not confirmed.
    fn unconfirmed(&self) -> u64 {
        self.ground.status().iter().map(|lane| lane.durable.saturating_sub(lane.confirmed)).sum()
    }

    fn inflict(&mut self, step: Step) {
        let at = self.began.elapsed();
        let work = match step.fault {
            Fault::KillWriter(number) => self.writers[number].kill(step.lasts),
            Fault::KillLarge => self.large.as_ref().unwrap().kill(step.lasts),
            Fault::KillRelay => {
                let relay = Arc::clone(self.crew.active(&self.ground));
                let work = self.unconfirmed();
                self.kill(&relay, step.lasts);
                work
            }
            Fault::FreezeRelay => {
                let relay = Arc::clone(self.crew.active(&self.ground));
                let work = self.unconfirmed();
                self.freeze(&relay, step.lasts);
                work
            }
            Fault::KillConsumer(store) => {
                let work = self.behind(store);
                self.kill(&Arc::clone(self.crew.consumer(store)), step.lasts);
                work
            }
            Fault::FreezeConsumer(store) => {
                let work = self.behind(store);
                self.freeze(&Arc::clone(self.crew.consumer(store)), step.lasts);
                work
            }
            Fault::KillBroker => {
                self.recovered("broker");
                let work = self.unconfirmed();
                self.kill_broker(step.lasts);
                work
            }
            Fault::KillBrokerAndRelay => {
                self.recovered("broker");
                let relay = Arc::clone(self.crew.active(&self.ground));
                freeze(self.ground.broker.pid().expect("a broker"));
                self.pause(step.lasts);
                let work = self.unconfirmed();
                self.kill(&relay, Duration::ZERO);
                self.kill_broker(Duration::ZERO);
                work
            }
            Fault::KillPostgres => {
                self.recovered("postgres");
                let work = self.behind(Store::Postgres);
                self.ground.postgres.kill();
                let ground = Arc::clone(&self.ground);
                self.later("postgres", step.lasts, move || ground.postgres.start_again());
                work
            }
        };
        self.report.count(step.fault, work > 0);
        let line = format!("{:8.3} s  {step}\n", at.as_secs_f64());
        append_to(&self.ground.beside.join(HISTORY)).write_all(line.as_bytes()).unwrap();
    }

    fn kill_broker(&mut self, down: Duration) {
        self.ground.broker.kill();
        let ground = Arc::clone(&self.ground);
        self.later("broker", down, move || ground.broker.start_again());
    }

    fn kill(&mut self, program: &Arc<Program>, down: Duration) {
        self.recovered(&program.name);
        program.kill();
        let killed = Arc::clone(program);
        self.later(&program.name, down, move || killed.start());
    }

    fn freeze(&mut self, program: &Arc<Program>, still: Duration) {
        let thaw = format!("thaw {}", program.name);
        self.recovered(&thaw);
        self.recovered(&program.name);
        let pid = program.freeze();
        let frozen = Arc::clone(program);
        self.later(&thaw, still, move || frozen.thaw(pid));
    }

    /// Waits until what happened before is over.
    fn recovered(&mut self, what: &str) {
        if let Some(before) = self.recoveries.remove(what) {
            before.join().expect("it comes up again");
        }
    }

    fn later(&mut self, what: &str, after: Duration, then: impl FnOnce() + Send + 'static) {
        let recovery = std::thread::spawn(move || {
            std::thread::sleep(after);
            then();
        });
        self.recoveries.insert(what.into(), recovery);
    }

    /// Nothing more goes wrong: everything that is on its way arrives, and everybody ends in good order.
    pub(crate) fn settle(&mut self) -> Vec<Journal> {
        let writers: Vec<_> = self.writers.drain(..).chain(self.large.take()).collect();
        let journals: Vec<_> = writers.into_iter().map(Writer::stop).collect();
        self.until("everything is confirmed", || {
            let lanes = self.ground.status();
            (lanes.len() == journals.len() && lanes.iter().all(|lane| lane.confirmed == lane.durable), lanes)
        });
        self.until("every message is acknowledged", || {
            let queues = self.ground.queues();
            let parked = |(name, messages): &(String, u64)| name.ends_with(".parked") && *messages > 0;
            assert!(!queues.iter().any(parked), "messages are parked: {queues:?}");
            (queues.iter().all(|(_, messages)| *messages == 0), queues)
        });
        self.until("nothing is kept that nobody needs", || {
            let lanes = self.ground.status();
            (lanes.iter().all(|lane| lane.segments == 1), lanes)
        });
        for program in self.crew.all() {
            program.stop();
        }
        journals
    }

    /// However long it takes, as long as it moves.
    fn until<T: PartialEq + std::fmt::Debug>(&self, what: &str, look: impl Fn() -> (bool, T)) {
        let (mut moved, mut last) = (Instant::now(), None);
        loop {
            self.look_after();
            let (done, seen) = look();
            if done {
                return;
            }
            assert!(
                moved.elapsed() < STALLED,
                "nothing moves any more, and it never came that {what}: {seen:?}"
            );
            let seen = Some((self.positions(), seen));
            if seen != last {
                (moved, last) = (Instant::now(), seen);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Holds everything that is there against what the writers were given.
    pub(crate) fn judge(&mut self, journals: &[Journal]) {
        self.report.records(journals);
        for store in Store::ALL {
            let effects = self.ground.database(store).effects();
            let verdict = judge(journals, &effects);
            let said = self.crew.consumer(store).output();
            let more = |line: &str| line.strip_prefix("duplicates ")?.parse::<u64>().ok();
            let duplicates = said.lines().filter_map(more).sum();
            let parked = parked(&self.ground.database(store));
            assert!(parked.is_empty(), "{store}: records are parked: {parked:?}");
            self.report.stores.push(StoreReport { store, effects: effects.len(), duplicates, verdict });
        }
        self.report.print();
        let mut wrong = self.report.wrong();
        wrong.extend(self.share_is_wrong(journals));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        self.report.record();
    }

    fn share_is_wrong(&self, journals: &[Journal]) -> Vec<String> {
        let mut wrong = Vec::new();
        let verified = zoutbox().args(["verify", "--root"]).arg(&self.ground.root).output().unwrap();
        if !verified.status.success() {
            wrong.push(format!("zoutbox verify: {verified:?}"));
        }
        for journal in journals {
            if !self.ground.reclaimed(&journal.writer) {
                wrong.push(format!(
                    "nothing of {} was ever removed: retention was no part of this",
                    journal.writer
                ));
            }
            if fs::read_dir(self.ground.root.join("dead").join(&journal.writer)).is_ok_and(|d| d.count() > 0)
            {
                wrong.push(format!("there are dead letters of {}", journal.writer));
            }
        }
        wrong
    }
}

impl Drop for Run {
    /// For whoever has to find out what went wrong.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        eprintln!("ZOUTBOX_CHAOS_SEED={} gives this schedule again. What was done:", self.settings.seed);
        eprintln!("{}", fs::read_to_string(self.ground.beside.join(HISTORY)).unwrap_or_default());
        for program in self.crew.all() {
            eprintln!("---- the end of what {} said:\n{}", program.name, end_of(program.log(), 3000));
        }
        eprintln!("everything is kept in {:?}", self.ground.keep());
    }
}

/// Where a consumer's effects are, as it says now and then.
fn position(consumer: &Program) -> u64 {
    let said = end_of(consumer.out(), 64 * 1024);
    let positions = said.rsplit('\n').skip(1).filter_map(|line| line.strip_prefix("at ")?.parse().ok());
    positions.max().unwrap_or_default()
}

/// At most so many bytes of a file's end.
fn end_of(file: &Path, most: u64) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = fs::File::open(file) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        file.seek(SeekFrom::Start(length.saturating_sub(most))).unwrap();
        file.read_to_end(&mut bytes).unwrap();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
