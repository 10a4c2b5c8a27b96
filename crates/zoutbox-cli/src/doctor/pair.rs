//! `doctor --pair`: two doctors, on two hosts or one, measure together what one of them sees of the other.
//!
//! ```text
//!   first   makes .doctor/pair/first    ◀── sees it is alive ──   second   makes .doctor/pair/second
//!     │  ask: watch, lock, hold, kill ──── first.log ────▶  │
//!     │  ◀──── second.log ──── answers: watching, seen, …   │
//!   measures, by its own clock                            answers; prints the same findings in the end
//! ```
//!
//! They talk through two files, by the calls the relay tails with; so clocks of two hosts are never compared.

mod answer;
mod ask;
mod channel;
mod meet;

use zoutbox_storage::System;

use super::ground::remove_tree;
use super::report::{Report, Row};
use super::stop::Stop;
use super::{BELOW, unwritable};
use crate::cli::DoctorArguments;
use crate::exit::Failure;
use channel::{Channel, Message};
use meet::{Met, Role};

/// The directory below [`BELOW`] in which they meet.
pub(super) const PLACE: &str = "pair";

pub(super) fn run(
    system: &System,
    arguments: &DoctorArguments,
    stop: &Stop,
    report: &mut Report,
) -> Result<(), Failure> {
    let above = arguments.root.join(BELOW);
    let place = above.join(PLACE);
    let met = match meet::meet(system, &above, &place, arguments.timeout, stop) {
        Ok(met) => met,
        Err(meet::Failed::Unwritable(error)) => {
            report.findings.push(unwritable(error)?);
            return Ok(());
        }
        Err(meet::Failed::Other(failure)) => return Err(failure),
    };
    let (measured, parted) = match Channel::open(system, &place, met.role, stop) {
        Ok(mut channel) => {
            let measured = measure(system, &met, &mut channel, report);
            let parted = channel.leave(measured.as_ref().err());
            (measured, parted)
        }
        Err(failure) => (Err(failure), false),
    };
    // One of them cleans up: the first, or who is left alone.
    if met.role == Role::First || !parted {
        remove_tree(system, &place);
    }
    drop(system.disk.remove_dir(&above));
    report.partner = Some(met.partner);
    measured
}

fn measure(system: &System, met: &Met, channel: &mut Channel, report: &mut Report) -> Result<(), Failure> {
    match met.role {
        Role::First => {
            let findings = ask::ask(system, channel)?;
            channel.send(&Message::Done { rows: findings.iter().map(Row::from).collect() })?;
            report.findings.extend(findings);
        }
        Role::Second => report.rows.extend(answer::answer(system, channel)?),
    }
    Ok(())
}
