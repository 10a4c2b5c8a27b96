//! `zoutbox doctor`: what a person runs before trusting a mount.
//!
//! ```text
//!   mount ─▶ judge (zoutbox-storage) ─┐
//!   zfs get ─▶ zfs ───────────────────┤
//!   alone:     probes, locks ─────────┼─▶ report: a table, or JSON
//!   --pair:    pair, with another host┘
//! ```
//!
//! Everything is tried with real calls below `ROOT/.doctor`, and nothing else below the root is touched.

mod ground;
pub(crate) mod hold;
mod locks;
mod pair;
mod probes;
mod quantiles;
mod report;
mod stop;
mod zfs;

use std::path::Path;

use zoutbox_storage::mount::{Finding, Mount, Promise, judge};
use zoutbox_storage::{ErrorKind, Share, StorageError, System};

use crate::cli::DoctorArguments;
use crate::exit::{Exit, Failure};
use ground::Ground;
use report::Report;
use stop::Stop;

/// The directory below the root that everything happens in.
const BELOW: &str = ".doctor";

pub(crate) fn run(system: &System, arguments: &DoctorArguments) -> Result<Exit, Failure> {
    let stop = Stop::new()?;
    let root = &arguments.root;
    // A directory, and there: what comes first names what is wrong with it.
    system.disk.list(root)?;
    let mut report = Report::new(root, &system.host);
    report.findings.push(marker(system, root)?);
    look(system, root, &mut report)?;
    if arguments.pair {
        pair::run(system, arguments, &stop, &mut report)?;
    } else {
        alone(system, root, &stop, &mut report)?;
    }
    report.print(arguments.json)
}

/// Whether there is a share. There need not be one yet.
fn marker(system: &System, root: &Path) -> Result<Finding, Failure> {
    match Share::open(system, root) {
        Ok(share) => Ok(Finding::fine("share", share.id.to_string(), "it has its marker, zoutbox.json")),
        Err(StorageError::NotAShare { .. }) => Ok(Finding::costs(
            "share",
            "no marker",
            "no tool works on a directory without zoutbox.json: is the share mounted?",
            &format!("zoutbox init {}", root.display()),
        )),
        Err(error) => Err(error.into()),
    }
}

/// The mount, and the dataset behind it.
fn look(system: &System, root: &Path, report: &mut Report) -> Result<(), Failure> {
    let mount = match system.disk.mount(root) {
        Ok(mount) => mount,
        Err(error @ StorageError::UnknownMount { .. }) => {
            let why = "whether the promises hold can't be told";
            let advice = "make /proc/self/mountinfo readable";
            let value = error.to_string();
            report.findings.push(Finding::breaks(Promise::Durable, "mount", value, why, advice));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    report.findings.extend(judge(&mount));
    if mount.is_nfs() {
        report.unseen.push(format!(
            "whether the server's export is 'async', or its dataset has sync=disabled: either loses acknowledged records, \
             {}; on the server, look at `exportfs -v` and `zfs get sync`",
            Promise::Durable
        ));
    }
    dataset(&mount, report);
    report.mount = Some(mount);
    Ok(())
}

fn dataset(mount: &Mount, report: &mut Report) {
    if mount.kind != "zfs" {
        return;
    }
    match zfs::properties("zfs", &mount.source) {
        Ok(properties) => report.findings.extend(zfs::judge(&properties)),
        Err(reason) => report.unseen.push(format!(
            "the properties of the dataset {} ({reason}); sync=disabled would break {}",
            mount.source.display(),
            Promise::Durable
        )),
    }
}

fn alone(system: &System, root: &Path, stop: &Stop, report: &mut Report) -> Result<(), Failure> {
    let ground = match Ground::new(system, root) {
        Ok(ground) => ground,
        Err(error) => {
            report.findings.push(unwritable(error)?);
            return Ok(());
        }
    };
    for (what, promise, probe) in probes::ALL {
        stop.check()?;
        report.findings.push(probe(&ground).unwrap_or_else(|error| failed(what, *promise, &error)));
    }
    Ok(())
}

/// Nothing can be made here. What lies in the way is an error instead.
fn unwritable(error: StorageError) -> Result<Finding, Failure> {
    if !matches!(error, StorageError::Io { .. }) {
        return Err(error.into());
    }
    if error.kind() == ErrorKind::Full {
        return Ok(failed("writing", Promise::Durable, &error));
    }
    let advice = "mount and export it read-write, and let the user that runs zoutbox write";
    Ok(Finding::breaks(Promise::Durable, "writing", "refused", &error.to_string(), advice))
}

/// A call that should have worked. A full share breaks nothing: appends wait.
fn failed(what: &str, promise: Promise, error: &StorageError) -> Finding {
    let (value, why) = ("failed", error.to_string());
    if error.kind() == ErrorKind::Full {
        return Finding::costs(
            what,
            value,
            &why,
            "make room, or raise the quota: appends wait until there is some",
        );
    }
    Finding::breaks(
        promise,
        what,
        value,
        &why,
        "see what the call needs; NFS 3 needs rpc.statd for locks, for example",
    )
}
