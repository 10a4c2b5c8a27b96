//! Everything is killed at random, for as long as one likes, and in the end each record has had its effect exactly once and in order.
//!
//! ```text
//!   2 writers: small.inline  ─┐                                            ┌─▶ queue sqlite   ─▶ consumer ─▶ SQLite:     effects
//!   2 writers: small.pointer ─┼─▶ share ─▶ relay (and a standby) ─▶ broker ┤
//!   2 writers: small.batch   ─┤     ▲                                      └─▶ queue postgres ─▶ consumer ─▶ PostgreSQL: effects
//!   1 writer:  large.…       ─┘     └───────────── what pointers lead to ───────────────────────┘                      │
//!        │                                                                                                              │
//!        └── what they were given, and acknowledged ─────────────────────────── compared ───────────────────────────────┘
//! ```
//!
//! Killed (SIGKILL) are writers, the relay, consumers, RabbitMQ and PostgreSQL; relays and consumers also stand still (SIGSTOP) for seconds. All
//! are real processes. Segments are small and nothing is kept longer than somebody needs it, so that rotation, sealing and removal
//! go on all the time. The schedule comes from a seed, which is printed: `ZOUTBOX_CHAOS_SEED` repeats it, `ZOUTBOX_CHAOS_SECONDS` says how long
//! faults go on.

#![expect(clippy::disallowed_methods, reason = "tests look at the real files, and wait on the real clock")]

#[cfg(test)]
mod child;
#[cfg(test)]
mod counting;
#[cfg(test)]
mod crew;
#[cfg(test)]
mod effects;
#[cfg(test)]
mod ground;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod process;
#[cfg(test)]
mod random;
#[cfg(test)]
mod report;
#[cfg(test)]
mod run;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod verdict;
#[cfg(test)]
mod writers;

/// Only a safety net.
#[cfg(test)]
const LONG: std::time::Duration = std::time::Duration::from_mins(2);

#[cfg(test)]
#[test]
fn whatever_is_killed_each_acknowledged_record_has_its_effect_once_and_in_order() {
    let settings = settings::Settings::from_environment();
    let (seconds, seed) = (settings.faults_for.as_secs(), settings.seed);
    report::say(&format!("chaos for {seconds} s, ZOUTBOX_CHAOS_SEED={seed}"));
    let mut run = run::Run::start(settings);
    run.suffer();
    let journals = run.settle();
    run.judge(&journals);
}
