//! `zoutbox forget`: takes away the registration of a consumer that has vanished.
//!
//! That it has vanished is decided by the relay's own rule, so this must watch its file for a while: one look and a clock do not tell.

use std::time::Duration;

use zoutbox_format::{Progress, WriterId};
use zoutbox_reader::consumer;
use zoutbox_relay_core::{Consumers, Sighting, silent_for, still_for};
use zoutbox_storage::{Share, System};

use crate::cli::ForgetArguments;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Nobody waits for longer than this to be sure.
const LONGEST: Duration = Duration::from_mins(2);

pub(crate) fn run(system: &System, arguments: &ForgetArguments) -> Result<Exit, Failure> {
    let share = Share::open(system, &arguments.root.path)?;
    let name = &arguments.consumer;
    let path = share.layout.consumer(name);
    let missing = || {
        Failure::new(Exit::NotAShare, format!("{} is not there: nobody registered as that", path.display()))
    };
    let found = consumer(system, &share, name).ok_or_else(missing)?;
    if !arguments.force {
        let progress =
            found.map_err(|problem| not_vanished(name, &format!("nobody knows what it says: {problem}")))?;
        watch(system, &share, name, &progress)?;
    }
    match system.disk.remove_file(&path) {
        Err(error) if error.is_missing() => return Err(missing()),
        other => other?,
    }
    system.disk.sync_dir(&share.layout.consumers())?;
    let mut output = Output::new();
    output.line(&format!("forgot consumer {name}: nothing is kept for it any more"))?;
    output.flush()?;
    Ok(Exit::Ok)
}

/// Comes back if it has vanished.
fn watch(system: &System, share: &Share, name: &WriterId, first: &Progress) -> Result<(), Failure> {
    let silent = silent_for(first, system.clock.now_ms()).as_secs();
    if Duration::from_secs(silent) <= Duration::from_millis(first.limit_ms) {
        let limit = first.limit_ms / 1000;
        return Err(not_vanished(
            name,
            &format!("it was heard of {silent} s ago, and its limit is {limit} s"),
        ));
    }
    let still = still_for(first);
    if still > LONGEST {
        let what = format!("it would have to be watched for {} s to be sure", still.as_secs());
        return Err(not_vanished(name, &what));
    }
    let mut watched = Consumers::new();
    let mut found = Some(Ok(first.clone()));
    for look_again in [true, false] {
        let seen = found.take().map(|found| Sighting { name: name.to_string(), found });
        let (now_ms, now) = (system.clock.now_ms(), system.clock.monotonic());
        watched.look(seen.as_slice(), 0, now_ms, now);
        if look_again {
            system.clock.sleep(still + Duration::from_millis(1));
            found = consumer(system, share, name).map(|found| found.map_err(|problem| problem.to_string()));
        }
    }
    if watched.has_vanished(name.as_str()) {
        Ok(())
    } else {
        Err(not_vanished(name, "its file was written just now"))
    }
}

fn not_vanished(name: &WriterId, why: &str) -> Failure {
    Failure::new(
        Exit::Temporary,
        format!("consumer {name} has not vanished: {why}; --force forgets it all the same"),
    )
}
