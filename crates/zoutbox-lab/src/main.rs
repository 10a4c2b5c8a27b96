//! The lab suite: what zoutbox promises, on several hosts over real NFS on real ZFS.
//!
//! It runs inside the lab's guest (`scripts/lab.sh`), on the file server's host, and drives the real programs on the hosts:
//!
//! ```text
//!   alpha, beta, gamma          zoutbox, zoutbox-relay, check_consumer, by `lab on HOST …`
//!   /mnt/alpha, /mnt/beta, …    each host's own mount, with its own caches, whoever uses it: also this program itself
//!   lab cut, lab server stop …  what happens to them
//! ```
//!
//! All hosts share one kernel, so one clock times what happens on different hosts.
#![expect(
    clippy::disallowed_methods,
    reason = "a test program drives the real disk, clock and processes directly"
)]
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that can't do its work must fail, and say where"
)]

mod hosts;
mod measure;
mod percentiles;
mod power;
mod process;
mod producer;
mod scenarios;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Conclusion, Trial};

/// How many tests run side by side.
const SIDES: usize = 3;

const USAGE: &str = "\
zoutbox-lab suite [side|alone] [TEST OPTIONS]  every promise but those about power cuts, those that can be kept side by side before those that
                                          can't, or one of both alone; options as of `cargo test -- --help`
zoutbox-lab power append                  appends until the power is cut, and prints what was acknowledged
zoutbox-lab power check PRINTED [all|some]  after a restart: is all of it there, or is some of it lost, as expected?
zoutbox-lab measure [appends|polling|visibility]  figures for the docs, as tables";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["suite", "side", ..] => conclude(&arguments[1..], SIDES, scenarios::side_by_side()).exit_code(),
        ["suite", "alone", ..] => run(&arguments[1..], scenarios::one_by_one()),
        ["suite", ..] => suite(&arguments),
        ["power", "append"] => power::append(),
        ["power", "check", printed] => run(&[], power::check(printed, false)),
        ["power", "check", printed, expected @ ("all" | "some")] => {
            run(&[], power::check(printed, *expected == "some"))
        }
        ["measure"] => measure::run(None),
        ["measure", table] => measure::run(Some(table)),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(64)
        }
    }
}

/// What leaves server and hosts alone runs side by side, since most of it waits; then the rest, one after the other.
fn suite(arguments: &[String]) -> ExitCode {
    let first = conclude(arguments, SIDES, scenarios::side_by_side());
    let second = conclude(arguments, 1, scenarios::one_by_one());
    (if first.has_failed() { first } else { second }).exit_code()
}

fn run(arguments: &[String], trials: Vec<Trial>) -> ExitCode {
    conclude(arguments, 1, trials).exit_code()
}

fn conclude(arguments: &[String], threads: usize, trials: Vec<Trial>) -> Conclusion {
    let mut arguments = Arguments::from_iter(arguments);
    arguments.test_threads = Some(threads);
    libtest_mimic::run(&arguments, trials)
}
