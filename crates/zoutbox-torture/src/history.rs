//! One history: a victim is killed, something is left, the next one starts on that; the last one is left alone. After each, what lies there is
//! compared with what was promised.

mod relay;
mod writer;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::disk::Disk;
use crate::mount::{Mount, Orders, Watched};
use crate::plan::{Crash, Kill, Plan, Who};
use crate::process::Ended;
use crate::report::Counts;
use crate::request::Kind;
use crate::victim::Scenario;
use zoutbox_sim::world::random::Random;

pub(crate) use relay::{Ground, Queues};

/// What plays histories, one at a time: a mount of its own, and somewhere for what victims complain of.
pub(crate) struct Stage {
    pub(crate) mount: Mount,
    /// Not on the mount.
    scratch: tempfile::TempDir,
    program: PathBuf,
}

/// How a history went.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The promise that was broken.
    pub(crate) broken: Option<String>,
    pub(crate) counts: Counts,
    /// What happened, for people.
    pub(crate) trace: Vec<String>,
}

/// A promise that is broken; other errors mean that the history could not be played.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(pub(crate) String);

/// Fails with a broken promise.
macro_rules! broken {
    ($($text:tt)*) => { return Err($crate::history::Broken(format!($($text)*)).into()) };
}
pub(crate) use broken;

/// An error of something that must work on what is left is a broken promise too.
pub(crate) fn must_work<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| Broken(format!("{error:#}")).into())
}

impl Stage {
    /// Mounts the file system, and lays nothing on it yet.
    pub(crate) fn new() -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("zoutbox-torture-").tempdir()?;
        let point = scratch.path().join("share");
        std::fs::create_dir(&point)?;
        let mount = Mount::new(&point)?;
        let program = std::env::current_exe().context("this program's own path")?;
        Ok(Self { mount, scratch, program })
    }

    fn errors(&self) -> PathBuf {
        self.scratch.path().join("stderr")
    }

    fn root(&self) -> &Path {
        self.mount.point()
    }

    /// Plays a history on what the grounds have for it.
    pub(crate) fn play(&self, plan: &Plan, grounds: &Grounds) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        outcome.counts.histories = 1;
        let played = match plan.who {
            Who::Writer(scenario) => self.play_writer(plan, scenario, &grounds.share, &mut outcome),
            Who::Relay => {
                let ground = grounds.relay.as_ref().context("there is no broker for a history of a relay")?;
                self.play_relay(plan, ground, &mut outcome)
            }
        };
        match played.map_err(anyhow::Error::downcast::<Broken>) {
            Ok(()) => Ok(outcome),
            Err(Ok(Broken(what))) => {
                outcome.trace.extend(self.mount.take_trace());
                Ok(Outcome { broken: Some(what), ..outcome })
            }
            Err(Err(error)) => Err(error.context(format!("history {plan}"))),
        }
    }

    /// What a victim asks of the share when nothing disturbs it; or the promise that it breaks even so.
    pub(crate) fn dry_run(&self, who: Who, grounds: &Grounds) -> Result<Result<Vec<Kind>, String>> {
        let plan = Plan { who, kills: Vec::new(), seed: 0 };
        match self.play(&plan, grounds)?.broken {
            Some(what) => Ok(Err(what)),
            None => self.whole_run(who, grounds).map(Ok),
        }
    }

    /// What happens between the end of a victim and the start of the next.
    fn crash(&self, kill: &Kill, watched: &Watched, random: &mut Random, outcome: &mut Outcome) {
        self.note(outcome, watched);
        if kill.crash == Crash::Power {
            outcome.counts.power_cuts += 1;
            let (content, names) = self.mount.cut_power(random);
            outcome
                .trace
                .push(format!("power cut, with {content} changes of content and {names} of names unsynced"));
        }
    }

    /// Keeps what was seen of a victim.
    fn note(&self, outcome: &mut Outcome, watched: &Watched) {
        outcome.counts.victims += 1;
        outcome.trace.extend(self.mount.take_trace());
        for fault in &watched.faults {
            outcome.counts.fault(*fault);
        }
    }
}

/// What histories start on.
pub(crate) struct Grounds {
    /// A share on which nothing was done yet.
    pub(crate) share: Disk,
    /// For histories of a relay, if there are any.
    pub(crate) relay: Option<Ground>,
}

impl Grounds {
    /// Makes the share, which must be durable then; where a guard is taken out, it is made so: that it is not tells nothing of what is killed
    /// later.
    pub(crate) fn new(stage: &Stage, guarded: bool) -> Result<Self> {
        stage.mount.lay(Disk::new());
        zoutbox_storage::Share::init(&zoutbox_storage::System::real(), stage.root())?;
        let mut share = stage.mount.disk();
        anyhow::ensure!(
            share.at_risk() == (0, 0) || !guarded,
            "a share that was made is not durable: {:?}",
            share.at_risk()
        );
        share.sync_all();
        Ok(Self { share, relay: None })
    }
}

/// What is to become of a victim; of an undisturbed one all requests are counted.
fn orders(kill: Option<&Kill>, seed: u64) -> Orders {
    Orders {
        kill: kill.map(|kill| (kill.at, kill.when)),
        fault: kill.and_then(|kill| kill.fault),
        only_changes: kill.is_some_and(|kill| !kill.of_all),
        seed,
    }
}

/// Whether it was killed as ordered; an end by another signal is a broken promise.
fn was_killed(ended: &Ended, watched: &Watched) -> Result<bool> {
    match (ended.status.signal(), watched.killed.is_some()) {
        (Some(signal), true) if signal == Signal::SIGKILL as i32 => Ok(true),
        (None, false) => Ok(false),
        // It had nothing more to do and was already on its way out.
        (None, true) if ended.status.success() => Ok(true),
        _ => broken!("the victim ended with {}:\n{}", ended.status, ended.errors),
    }
}

impl Scenario {
    fn name(self) -> &'static str {
        match self {
            Self::Lone => "lone",
            Self::Crowd => "crowd",
            Self::Payloads => "payloads",
        }
    }
}
