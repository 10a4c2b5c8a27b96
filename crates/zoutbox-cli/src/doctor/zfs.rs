//! A dataset's properties, by the `zfs` command, and what they mean.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::Command;

use zoutbox_storage::mount::{Finding, Promise};

/// Property to value.
pub(super) type Properties = BTreeMap<String, String>;

const ASKED: &str = "sync,quota,refquota,recordsize,compression,atime,logbias,xattr";

/// Asks `command`, which is `zfs`. What went wrong is one line.
pub(super) fn properties(command: impl AsRef<OsStr>, dataset: &OsStr) -> Result<Properties, String> {
    let asked =
        Command::new(command).args(["get", "-H", "-p", "-o", "property,value", ASKED]).arg(dataset).output();
    let output = asked.map_err(|error| format!("can't run zfs: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("zfs get: {}", said.lines().next().unwrap_or("it failed and said nothing")));
    }
    let pairs = text.lines().filter_map(|line| line.split_once('\t'));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// One finding for each property that was told.
pub(super) fn judge(properties: &Properties) -> Vec<Finding> {
    properties.iter().map(|(name, value)| one(name, value)).collect()
}

fn one(name: &str, value: &str) -> Finding {
    let what = format!("zfs {name}");
    let fine = |why| Finding::fine(&what, value, why);
    let costs = |why, advice| Finding::costs(&what, value, why, advice);
    match (name, value) {
        ("sync", "disabled") => Finding::breaks(
            Promise::Durable,
            &what,
            value,
            "every sync is ignored, also from NFS: what was acknowledged in the last seconds is gone after a crash",
            "zfs set sync=standard",
        ),
        ("sync", "always") => {
            costs("also what need not be durable yet waits for the disk", "zfs set sync=standard")
        }
        ("sync", "standard") => fine("a sync is one"),
        ("quota" | "refquota", "0" | "none" | "-") => {
            Finding::fine(&what, "none", "the pool's room is the limit")
        }
        ("quota", _) => costs(
            "in bytes, and snapshots count: what the relay reclaims may free nothing",
            "use refquota, or keep a reserve for snapshots",
        ),
        ("refquota", _) => fine("in bytes, without snapshots"),
        ("atime", "on") => costs("each read of a segment is a write", "zfs set atime=off"),
        ("logbias", "throughput") => costs("a sync does not use the log device", "zfs set logbias=latency"),
        ("recordsize", _) => fine("in bytes; counts for new files only"),
        _ => fine("as it should be"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use zoutbox_storage::mount::Level;

    #[expect(clippy::disallowed_methods, reason = "a test makes its own command")]
    fn ask(script: &str) -> Result<Properties, String> {
        let root = zoutbox_test_support::test_roots().remove(1);
        let command = root.join("zfs");
        std::fs::write(&command, format!("#!/bin/sh\n{script}\n")).expect("a command");
        std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).expect("ours");
        properties(&command, OsStr::new("tank/my outbox"))
    }

    #[test]
    fn a_disabled_sync_breaks_the_first_promise() {
        let script = r#"[ "$7" = "tank/my outbox" ] || exit 1; printf 'sync\tdisabled\nquota\t0\natime\ton\nrecordsize\t131072\n'"#;
        let levels: Vec<_> =
            judge(&ask(script).expect("told")).into_iter().map(|f| (f.what, f.level)).collect();
        let wanted = [
            ("zfs atime", Level::Costs),
            ("zfs quota", Level::Fine),
            ("zfs recordsize", Level::Fine),
            ("zfs sync", Level::Breaks(Promise::Durable)),
        ];
        assert_eq!(levels, wanted.map(|(what, level)| (what.to_owned(), level)));
    }

    #[test]
    fn each_property_is_judged_by_its_value() {
        for (name, value, level) in [
            ("sync", "standard", Level::Fine),
            ("sync", "always", Level::Costs),
            ("quota", "1073741824", Level::Costs),
            ("refquota", "1073741824", Level::Fine),
            ("atime", "off", Level::Fine),
            ("logbias", "throughput", Level::Costs),
            ("logbias", "latency", Level::Fine),
        ] {
            assert_eq!(one(name, value).level, level, "{name}={value}");
        }
    }

    #[test]
    fn a_command_that_fails_or_is_not_there_says_so_in_one_line() {
        let failed = ask("echo \"cannot open 'tank': permission denied\" >&2; echo more >&2; exit 1");
        assert_eq!(failed, Err("zfs get: cannot open 'tank': permission denied".into()));
        let missing = properties("/no/such/zfs", OsStr::new("tank")).expect_err("no command");
        assert!(missing.starts_with("can't run zfs: No such file"), "{missing}");
    }
}
