//! Runs seeds: some, one with its trace, or as many as fit into some minutes, on all cores.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use zoutbox_sim::world::harm::Harm;
use zoutbox_sim::world::trace::Trace;
use zoutbox_sim::world::{Counts, Violation};
use zoutbox_sim::{Broken, Outcome, run};
use zoutbox_storage::System;

/// A deterministic simulation of zoutbox: one seed decides everything.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// How many seeds to run.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    seeds: u64,
    /// The first one.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    first: u64,
    /// Run on for so many minutes, however many seeds that are.
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// This seed alone.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// With `--seed`: print all that happens.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Take a guard of the world out, to see whether a checker notices.
    #[arg(long = "break", value_name = "GUARD", value_parser = broken)]
    broken: Option<Broken>,
    /// On so many cores; all of them if that is not said.
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// End at the first seed that breaks a promise, with a line that says after how many; for the mutation suite.
    #[arg(long)]
    until_caught: bool,
}

fn broken(text: &str) -> Result<Broken, String> {
    let known = Broken::ALL.iter().find(|(name, _)| *name == text);
    let names: Vec<_> = Broken::ALL.iter().map(|(name, _)| *name).collect();
    known.map(|(_, broken)| *broken).ok_or_else(|| format!("one of {}", names.join(", ")))
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs a seed; a panic counts as a broken promise.
fn attempt(seed: u64, broken: Broken, trace: Trace) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| run(seed, broken, trace))).unwrap_or_else(|_| {
        let what = PANIC.with_borrow(Clone::clone);
        let violation = Some(Violation { checker: "panic", what });
        Outcome { violation, counts: Counts::default(), trace: String::new() }
    })
}

struct Progress {
    next: AtomicU64,
    done: AtomicU64,
    stop: AtomicBool,
    counts: Mutex<Counts>,
    failed: Mutex<Vec<(u64, Violation)>>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    std::panic::set_hook(Box::new(|info| PANIC.with_borrow_mut(|text| *text = info.to_string())));
    let broken = options.broken.unwrap_or_default();
    match options.seed {
        Some(seed) => one(seed, broken, options.trace),
        None => many(&options, broken),
    }
}

fn one(seed: u64, broken: Broken, trace: bool) -> ExitCode {
    let outcome = attempt(seed, broken, if trace { Trace::echoed() } else { Trace::default() });
    println!("seed {seed}: {:?}", outcome.counts);
    match outcome.violation {
        None => {
            println!("seed {seed}: every promise kept");
            ExitCode::SUCCESS
        }
        Some(Violation { checker, what }) => {
            println!("seed {seed}: BROKEN: {checker}: {what}");
            ExitCode::FAILURE
        }
    }
}

fn many(options: &Options, broken: Broken) -> ExitCode {
    let clock = System::real().clock;
    let cores =
        options.cores.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let start = clock.monotonic();
    let until = options.minutes.map(|minutes| start + Duration::from_secs(60 * minutes));
    let last = match options.minutes {
        Some(_) => u64::MAX,
        None => options.first.saturating_add(options.seeds),
    };
    let progress = Progress {
        next: AtomicU64::new(options.first),
        done: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        counts: Mutex::default(),
        failed: Mutex::default(),
    };
    let seconds = || clock.monotonic().saturating_sub(start).as_secs_f64();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !progress.stop.load(Ordering::Relaxed) {
                    let seed = progress.next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last || until.is_some_and(|until| clock.monotonic() >= until) {
                        break;
                    }
                    progress.take(seed, attempt(seed, broken, Trace::default()), options.until_caught);
                }
            });
        }
        let mut told = start;
        while options.minutes.is_some()
            && until.is_some_and(|until| clock.monotonic() < until)
            && !progress.stop.load(Ordering::Relaxed)
        {
            clock.sleep(Duration::from_millis(200));
            if clock.monotonic().saturating_sub(told) >= Duration::from_secs(10) {
                told = clock.monotonic();
                progress.tell(seconds(), cores);
            }
        }
    });
    progress.tell(seconds(), cores);
    // What panics from here on is no broken promise, and to be seen.
    drop(std::panic::take_hook());
    if broken == Broken::Nothing && !options.until_caught {
        progress.record();
    }
    progress.end(options.until_caught)
}

impl Progress {
    fn take(&self, seed: u64, outcome: Outcome, until_caught: bool) {
        self.done.fetch_add(1, Ordering::Relaxed);
        let mut counts = self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        counts.add(&outcome.counts);
        drop(counts);
        let Some(violation) = outcome.violation else { return };
        if !until_caught {
            println!("seed {seed}: BROKEN: {}: {}", violation.checker, violation.what);
            println!("  replay it: scripts/sim.sh --seed {seed} --trace");
        }
        self.stop.fetch_or(until_caught, Ordering::Relaxed);
        self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((seed, violation));
    }

    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    fn tell(&self, seconds: f64, cores: usize) {
        let counts = *self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let done = self.done.load(Ordering::Relaxed);
        let harms = Harm::ALL.iter().map(|(harm, name, _)| format!("{} {name}", counts.harms.of(*harm)));
        let harms: Vec<_> = harms.collect();
        let (seeds, recoveries) = (done as f64 / seconds, counts.recoveries as f64 / seconds);
        println!(
            "{done} seeds in {seconds:.1} s on {cores} cores: {seeds:.0} seeds/s, {recoveries:.0} crash-recoveries/s ({} in all); {} records \
             acknowledged, {} messages published, {} segments removed; injected: {}",
            counts.recoveries,
            counts.acknowledged,
            counts.published,
            counts.removed,
            harms.join(", "),
        );
    }

    /// For the bill of health, if every promise was kept.
    fn record(&self) {
        if !self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_empty() {
            return;
        }
        let (done, counts) = (
            self.done.load(Ordering::Relaxed),
            *self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        for (harm, _, fault) in &Harm::ALL {
            fault.held(counts.harms.of(*harm), format_args!("{done} seeds, every promise kept in each"));
        }
    }

    fn end(&self, until_caught: bool) -> ExitCode {
        let failed = self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let done = self.done.load(Ordering::Relaxed);
        match failed.iter().min_by_key(|(seed, _)| *seed) {
            None => {
                println!("{done} seeds, every promise kept");
                ExitCode::SUCCESS
            }
            Some((seed, Violation { checker, what })) if until_caught => {
                println!("caught after {done} seeds by {checker}, seed {seed}: {what}");
                ExitCode::FAILURE
            }
            Some(_) => {
                println!("{done} seeds, {} of them break a promise", failed.len());
                ExitCode::FAILURE
            }
        }
    }
}
