//! Plays histories side by side until there were enough kills, and tells how it went.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use zoutbox_sim::world::random::Random;

use crate::history::{Ground, Grounds, Outcome, Queues, Stage};
use crate::plan::{Plan, Who, by_chance, every_boundary};
use crate::report::Counts;
use crate::request::Kind;
use crate::victim::{self, Scenario};

/// Relays wait most of their time, for the moment at which they look for what they can remove.
const RELAYS_AT_ONCE: usize = 8;
/// Of so many kills one is of a relay.
const ONE_RELAY_OF: u64 = 10;
/// So many broken promises are enough to look at.
const ENOUGH_BROKEN: usize = 5;
const PROGRESS: Duration = Duration::from_secs(5);

/// Kills writers and relays at every system call that reaches the share, and compares what is left with what was promised.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// How many kills to make.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    kills: u64,
    /// Decides which histories are played, and what each power cut leaves.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Whom to kill.
    #[arg(long, value_name = "WHO", default_value = "all")]
    victim: Victims,
    /// This history alone, with all that happens.
    #[arg(long, value_name = "SEED:HISTORY")]
    replay: Option<Plan>,
    /// With --replay: so often, or until a promise is broken. Threads of a victim take turns as they like.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "replay")]
    times: u64,
    /// So many writers at once; as many as there are cores if that is not said.
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// End at the first broken promise.
    #[arg(long)]
    until_caught: bool,
    /// Where the traces of broken promises are kept.
    #[arg(long, value_name = "DIRECTORY", default_value = "target/torture")]
    traces: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// What is killed: opens a writer, appends, closes it.
    #[command(hide = true)]
    Victim {
        root: PathBuf,
        scenario: Scenario,
        run: u64,
        #[arg(long)]
        short: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Victims {
    Writer,
    Relay,
    All,
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    let options = Options::parse();
    let result = match (&options.role, &options.replay) {
        (Some(Role::Victim { root, scenario, run, short }), _) => {
            victim::append(root, *scenario, *run, *short).map(|()| true)
        }
        (None, Some(plan)) => replay(plan, options.times),
        (None, None) => torture(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("zoutbox-torture: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn grounds(stage: &Stage, relay: bool, guarded: bool) -> Result<Grounds> {
    let mut grounds = Grounds::new(stage, guarded)?;
    if relay {
        grounds.relay = Some(Ground::new(stage, &grounds, Queues::start()?)?);
    }
    Ok(grounds)
}

fn replay(plan: &Plan, times: u64) -> Result<bool> {
    let stage = Stage::new()?;
    let grounds = grounds(&stage, plan.who == Who::Relay, true)?;
    for time in 1..=times {
        let outcome = stage.play(plan, &grounds)?;
        if let Some(what) = outcome.broken {
            println!("{}\nBROKEN, the {time}. time: {what}", outcome.trace.join("\n"));
            return Ok(false);
        }
        if times == 1 {
            println!("{}", outcome.trace.join("\n"));
        }
    }
    println!("{plan}: every promise kept, {times} times");
    Ok(true)
}

/// Histories of one kind of victim, until there were enough kills: each change first, then by chance and at each other request in turn.
struct Campaign {
    changes: Vec<Plan>,
    others: Vec<Plan>,
    /// What each can be, and how often it changes something when it is undisturbed.
    kinds: Vec<(Who, usize)>,
    seed: u64,
    wanted: u64,
    next: AtomicU64,
    killed: AtomicU64,
}

impl Campaign {
    fn new(runs: &BTreeMap<Who, Vec<Kind>>, seed: u64, wanted: u64) -> Self {
        let every = runs.iter().flat_map(|(who, requests)| every_boundary(*who, requests, seed));
        let (mut others, mut changes): (Vec<Plan>, Vec<Plan>) =
            every.partition(|plan| plan.kills.iter().any(|kill| kill.of_all));
        // A smaller number of kills shall be of all kinds as well.
        let mut random = Random::new(seed);
        shuffle(&mut changes, &mut random);
        shuffle(&mut others, &mut random);
        let count = |requests: &Vec<Kind>| requests.iter().filter(|kind| kind.changes()).count();
        let kinds = runs.iter().map(|(who, requests)| (*who, count(requests))).collect();
        Self { changes, others, kinds, seed, wanted, next: AtomicU64::new(0), killed: AtomicU64::new(0) }
    }

    fn next(&self) -> Option<Plan> {
        if self.killed.load(Ordering::Relaxed) >= self.wanted {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let at = usize::try_from(number).ok()?;
        let Some(behind) = at.checked_sub(self.changes.len()) else { return self.changes.get(at).cloned() };
        if let Some(plan) = self.others.get(behind / 2).filter(|_| behind % 2 == 1) {
            return Some(plan.clone());
        }
        let (who, changes) = self.kinds.get((behind / 2).checked_rem(self.kinds.len())?)?;
        Some(by_chance(*who, *changes, Random::new(self.seed ^ number.rotate_left(32)).bits()))
    }
}

fn shuffle(plans: &mut [Plan], random: &mut Random) {
    for at in (1..plans.len()).rev() {
        plans.swap(at, random.index(at + 1));
    }
}

struct Progress<'a> {
    options: &'a Options,
    begun: Instant,
    counts: Mutex<Counts>,
    broken: Mutex<Vec<(Plan, String)>>,
    failed: Mutex<Option<anyhow::Error>>,
    stop: AtomicBool,
}

fn torture(options: &Options) -> Result<bool> {
    let stage = Stage::new()?;
    let relays = options.victim != Victims::Writer;
    let grounds = grounds(&stage, relays, !options.until_caught)?;
    let writers = if options.victim == Victims::Relay { &[][..] } else { &Scenario::ALL };
    let mut runs = BTreeMap::new();
    for who in writers.iter().copied().map(Who::Writer).chain(relays.then_some(Who::Relay)) {
        let Some(requests) = undisturbed(&stage, who, &grounds, options)? else { return Ok(false) };
        runs.insert(who, requests);
    }
    let (of_relays, of_writers) = runs.into_iter().partition(|(who, _)| *who == Who::Relay);
    drop(stage);
    let relay_kills = match options.victim {
        Victims::Writer => 0,
        Victims::Relay => options.kills,
        Victims::All => options.kills / ONE_RELAY_OF,
    };
    let campaigns = [
        (Campaign::new(&of_relays, options.seed, relay_kills), RELAYS_AT_ONCE),
        (Campaign::new(&of_writers, options.seed, options.kills - relay_kills), cores(options)),
    ];
    let progress = Progress {
        options,
        begun: Instant::now(),
        counts: Mutex::default(),
        broken: Mutex::default(),
        failed: Mutex::default(),
        stop: AtomicBool::new(false),
    };
    let changes: usize = campaigns.iter().map(|(campaign, _)| campaign.changes.len()).sum();
    let others: usize = campaigns.iter().map(|(campaign, _)| campaign.others.len()).sum();
    println!(
        "every boundary once: {changes} histories at changes, on both sides, as process crash and as power cut; {others} at other requests"
    );
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for (campaign, at_once) in campaigns.iter().filter(|(campaign, _)| campaign.wanted > 0) {
            for _ in 0..*at_once {
                workers.push(scope.spawn(|| progress.work(campaign, &grounds)));
            }
        }
        let mut told = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                println!("{}", lock(&progress.counts).progress(progress.begun.elapsed()));
            }
        }
    });
    progress.end()
}

/// What one asks of the share when nothing disturbs it; `None` if it breaks a promise even so.
fn undisturbed(stage: &Stage, who: Who, grounds: &Grounds, options: &Options) -> Result<Option<Vec<Kind>>> {
    match stage.dry_run(who, grounds)? {
        Ok(requests) => {
            let changes = requests.iter().filter(|kind| kind.changes()).count();
            let all = requests.len();
            println!("{who}: {all} requests when nothing disturbs it, {changes} of them change something");
            Ok(Some(requests))
        }
        Err(what) => {
            if options.until_caught {
                println!(
                    "caught after 0 kills by {who}, undisturbed: {}",
                    what.lines().next().unwrap_or_default()
                );
            }
            println!("{who}: BROKEN, undisturbed: {what}");
            Ok(None)
        }
    }
}

fn cores(options: &Options) -> usize {
    let there = || std::thread::available_parallelism().map_or(1, usize::from);
    options.cores.unwrap_or_else(there).max(1)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress<'_> {
    fn work(&self, campaign: &Campaign, grounds: &Grounds) {
        let worked = Stage::new().and_then(|stage| {
            while !self.stop.load(Ordering::Relaxed)
                && let Some(plan) = campaign.next()
            {
                let outcome = stage.play(&plan, grounds)?;
                campaign.killed.fetch_add(outcome.counts.all_kills(), Ordering::Relaxed);
                self.take(plan, outcome)?;
            }
            Ok(())
        });
        if let Err(error) = worked {
            self.stop.store(true, Ordering::Relaxed);
            lock(&self.failed).get_or_insert(error);
        }
    }

    fn take(&self, plan: Plan, outcome: Outcome) -> Result<()> {
        lock(&self.counts).add(&outcome.counts);
        let Some(what) = outcome.broken else { return Ok(()) };
        let traces = &self.options.traces;
        std::fs::create_dir_all(traces).with_context(|| traces.display().to_string())?;
        let path = traces.join(format!("{}.trace", plan.to_string().replace(':', "-")));
        std::fs::write(&path, format!("{}\nBROKEN: {what}\n", outcome.trace.join("\n")))
            .with_context(|| path.display().to_string())?;
        println!("BROKEN: {what}");
        println!("  replay it: scripts/torture.sh --replay {plan}    its trace: {}", path.display());
        let mut broken = lock(&self.broken);
        broken.push((plan, what));
        if self.options.until_caught || broken.len() >= ENOUGH_BROKEN {
            self.stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn end(self) -> Result<bool> {
        let took = self.begun.elapsed();
        let counts = self.counts.into_inner().unwrap_or_else(PoisonError::into_inner);
        let broken = self.broken.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = self.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        println!("{}", counts.progress(took));
        println!("{}", counts.table().join("\n"));
        if broken.is_empty() && !self.options.until_caught {
            counts.tell();
        }
        let (kills, histories) = (counts.all_kills(), counts.histories);
        if let Some((plan, what)) = broken.first().filter(|_| self.options.until_caught) {
            println!("caught after {kills} kills by {plan}: {}", what.lines().next().unwrap_or_default());
        }
        println!("{kills} kills, {histories} histories, {} broken promises", broken.len());
        Ok(broken.is_empty())
    }
}
