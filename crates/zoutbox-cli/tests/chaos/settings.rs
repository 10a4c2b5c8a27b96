//! How long, and which schedule.

use std::env;
use std::time::Duration;

use crate::random::Random;

/// For how long faults go on, in seconds. After that everything is brought up and drains.
const SECONDS: &str = "ZOUTBOX_CHAOS_SECONDS";
const DEFAULT_SECONDS: u64 = 60;
/// A number: the same schedule again.
const SEED: &str = "ZOUTBOX_CHAOS_SEED";

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) faults_for: Duration,
    pub(crate) seed: u64,
}

impl Settings {
    /// From the environment. What can't be understood fails the test: it would otherwise be another test than was asked for.
    pub(crate) fn from_environment() -> Self {
        let number = |name: &str| {
            let text = env::var(name).ok().filter(|text| !text.is_empty())?;
            Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
        };
        Self {
            faults_for: Duration::from_secs(number(SECONDS).unwrap_or(DEFAULT_SECONDS)),
            seed: number(SEED).unwrap_or_else(fresh),
        }
    }

    pub(crate) fn random(&self, stream: u64) -> Random {
        Random::new(self.seed, stream)
    }
}

/// The hasher's keys are of this process alone.
fn fresh() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) % 1_000_000
}
