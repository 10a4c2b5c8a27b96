//! `doctor --pair`: two doctors, on two hosts or one, measure together what one of them sees of the other.
//!
//! ```text
//!   first   makes .doctor/pair-1/first  ◀── sees it is alive ──   second   makes .doctor/pair-1/second
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

use std::path::Path;

use zoutbox_storage::System;

use super::ground::{remove_tree, sweep};
use super::report::{Report, Row};
use super::stop::Stop;
use super::{BELOW, unwritable};
use crate::cli::DoctorArguments;
use crate::exit::Failure;
use channel::{Channel, Message};
pub(super) use meet::is_of_host;
use meet::{Met, Role};

pub(super) fn run(
    system: &System,
    arguments: &DoctorArguments,
    stop: &Stop,
    report: &mut Report,
) -> Result<(), Failure> {
    let above = arguments.root.join(BELOW);
    let met = match meet::meet(system, &above, arguments.timeout, stop) {
        Ok(met) => met,
        Err(meet::Failed::Unwritable(error)) => {
            report.findings.push(unwritable(error)?);
            return Ok(());
        }
        Err(meet::Failed::Other(failure)) => return Err(failure),
    };
    let (measured, parted) = match Channel::open(system, &met.place, met.role, stop) {
        Ok(mut channel) => {
            let measured = measure(system, &met, &mut channel, report);
            let parted = channel.leave(measured.as_ref().err());
            (measured, parted)
        }
        Err(failure) => (Err(failure), false),
    };
    report.partner = Some(met.partner.clone());
    // One of them cleans up: the first, or who is left alone.
    if met.role == Role::First || !parted {
        clean_up(system, &above, met);
    }
    drop(system.disk.remove_dir(&above));
    measured
}

/// What can't be removed is left to the next doctor.
fn clean_up(system: &System, above: &Path, met: Met) {
    drop(sweep(system, above, &met.place));
    drop(met.alive);
    meet::leave(system, &met.place);
    remove_tree(system, &met.place);
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
