//! The writer that is killed: a process of its own, which says on its standard output what it begins and what it was told.
//!
//! ```text
//!   opened               the writer is open: what lay there is its closed past
//!   begun N CALLER       right before the append
//!   acknowledged N ID    its ticket said Ok
//!   unknown N            an error of kind unknown
//!   refused N            any other error: definitely not written
//!   closed               everything is durable and sealed
//! ```
//!
//! A line is out before the next call, so what is read after the process is gone is all that it knew.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use zoutbox_writer::{ErrorKind, Options, Record, Ticket, WhenFull, Writer, WriterError, ZeroAhead};

use crate::content::{large, payload};

/// The writer's id.
pub(crate) const WRITER: &str = "orders";
/// Run `n` of a history appends the numbers from `n * RUN` on.
pub(crate) const RUN: u64 = 1000;
/// The id of a large payload that every run appends.
pub(crate) const SHARED: &str = "shared";
/// Large payloads have this many bytes.
pub(crate) const LARGE: usize = 30_000;
const SEGMENT: u64 = 64 * 1024;
/// A record above it is written in pieces.
const COMMIT: u64 = 16 * 1024;

/// What a victim does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Scenario {
    /// One caller, records of all sizes, more than a segment.
    Lone,
    /// Three callers at once, segments filled with zeros ahead.
    Crowd,
    /// Large payloads with files of their own, one of them tried again by each run.
    Payloads,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lone, Self::Crowd, Self::Payloads];

    fn options(self) -> Options {
        Options {
            segment_size: SEGMENT,
            commit_bytes: COMMIT,
            payload_threshold: 1000,
            zero_ahead: if self == Self::Crowd { ZeroAhead::Always } else { ZeroAhead::Never },
            // Only with it the ends of all segments are looked at.
            unconfirmed_limit: (self == Self::Payloads).then_some(1 << 30),
            when_full: WhenFull::Block,
            doorbell: false,
            ..Options::default()
        }
    }
}

/// Opens the writer, appends and closes it. `run` counts the victims of a history.
///
/// # Errors
/// When the writer can't be opened or closed, or the output is gone. An append that fails is told, and the end is an error as well.
pub fn append(root: &Path, scenario: Scenario, run: u64, short: bool) -> Result<()> {
    let writer = Writer::open(root, WRITER, scenario.options())?;
    say("opened")?;
    let first = run * RUN;
    let all_there = match scenario {
        Scenario::Lone => lone(&writer, first, short)?,
        Scenario::Crowd => crowd(&writer, first, short)?,
        Scenario::Payloads => payloads(&writer, first, short)?,
    };
    writer.close()?;
    say("closed")?;
    if !all_there {
        bail!("an append failed");
    }
    Ok(())
}

fn say(line: impl Display) -> Result<()> {
    // One write a line: standard output would keep a part of it to itself.
    let mut output = std::io::stdout().lock();
    output.write_all(format!("{line}\n").as_bytes())?;
    output.flush().context("nobody listens")
}

/// Waits for an append's outcome and tells it; false if it is not there for certain.
fn settle(number: u64, appended: Result<Ticket, WriterError>) -> Result<bool> {
    match appended.and_then(Ticket::wait) {
        Ok(id) => say(format_args!("acknowledged {number} {id}")).map(|()| true),
        Err(error) => {
            let kind = if error.kind() == ErrorKind::Unknown { "unknown" } else { "refused" };
            say(format_args!("{kind} {number}"))?;
            eprintln!("{number}: {error}");
            Ok(false)
        }
    }
}

fn begin(number: u64, caller: u64) -> Result<()> {
    say(format_args!("begun {number} {caller}"))
}

fn one(writer: &Writer, number: u64, caller: u64, length: usize) -> Result<bool> {
    begin(number, caller)?;
    settle(number, writer.append(&Record::new("torture", payload(number, length))))
}

fn lone(writer: &Writer, first: u64, short: bool) -> Result<bool> {
    let sizes: &[usize] = if short { &[700] } else { &[300, 24_000, 9_000, 40, 30_000, 20_000, 600] };
    let mut all_there = true;
    for (number, length) in (first..).zip(sizes) {
        all_there &= one(writer, number, 0, *length)?;
    }
    Ok(all_there)
}

fn crowd(writer: &Writer, first: u64, short: bool) -> Result<bool> {
    let (callers, each) = if short { (2, 1) } else { (3, 4) };
    std::thread::scope(|scope| {
        let work = |caller: u64| {
            let mut all_there = true;
            for turn in 0..each {
                let number = first + caller * 100 + turn;
                all_there &= one(writer, number, caller, 7_000 + usize::try_from(turn * 900)?)?;
            }
            Ok(all_there)
        };
        let callers: Vec<_> = (0..callers).map(|caller| scope.spawn(move || work(caller))).collect();
        let outcomes = callers.into_iter().map(|caller| match caller.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("a caller panicked"),
        });
        outcomes.collect::<Result<Vec<bool>>>().map(|all| all.iter().all(|it| *it))
    })
}

fn payloads(writer: &Writer, first: u64, short: bool) -> Result<bool> {
    let own = [format!("p{first}"), format!("p{}", first + 1)];
    let ids = [own[0].as_str(), SHARED, own[1].as_str()];
    let mut all_there = true;
    for (number, id) in (first..).zip(if short { &ids[1..2] } else { &ids[..] }) {
        begin(number, 0)?;
        let record = Record::new("torture", "").key(number.to_string()).id(*id);
        all_there &= settle(number, writer.append_payload(&record, &large(id, LARGE)[..]))?;
        all_there &= one(writer, number + 500, 1, 12_000)?;
    }
    Ok(all_there)
}
