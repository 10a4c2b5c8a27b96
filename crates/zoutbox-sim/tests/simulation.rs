//! What the simulation itself has to keep.

use zoutbox_sim::world::trace::Trace;
use zoutbox_sim::{Broken, run};

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    for seed in [1, 2, 3, 42, 4711] {
        let (one, other) =
            (run(seed, Broken::Nothing, Trace::kept()), run(seed, Broken::Nothing, Trace::kept()));
        assert!(one.trace.lines().count() > 1000, "seed {seed} does something");
        assert!(one.trace == other.trace, "seed {seed} does the same twice");
        assert_eq!(one.counts, other.counts);
    }
}

#[test]
fn a_trace_changes_nothing_of_what_it_tells() {
    let (told, untold) = (run(7, Broken::Nothing, Trace::kept()), run(7, Broken::Nothing, Trace::default()));
    assert_eq!((told.counts, untold.trace.as_str()), (untold.counts, ""));
}

/// How many seeds it takes until a checker notices; `None` if none of these does.
fn checker(seed: u64, broken: Broken) -> Option<&'static str> {
    Some(run(seed, broken, Trace::default()).violation?.checker)
}

fn is_caught(broken: Broken) -> bool {
    (1..500).any(|seed| checker(seed, broken).is_some())
}

#[test]
fn a_world_in_which_syncs_do_nothing_is_noticed() {
    assert!(is_caught(Broken::FileSync));
    assert!(is_caught(Broken::DirectorySync));
}

#[test]
fn a_broker_that_forgets_what_it_confirmed_and_an_inbox_that_forgets_are_noticed() {
    // Whichever checker notices first ends a run: within some seeds it is the one that this is for.
    let noticed = |broken, by| (1..50).any(|seed| checker(seed, broken) == Some(by));
    assert!(noticed(Broken::Confirms, "checkpoint"));
    assert!(noticed(Broken::Inbox, "once"));
}

#[test]
fn every_promise_is_kept() {
    for seed in 1..40 {
        let violation = run(seed, Broken::Nothing, Trace::default()).violation;
        assert_eq!(violation, None, "replay it: scripts/sim.sh --seed {seed} --trace");
    }
}
