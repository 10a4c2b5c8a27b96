//! Figures for the docs: ratios of one run and counts of calls, never a test. Software emulation makes every time long; what is
//! compared here ran in the same minute on the same mount.

mod appends;
mod polling;
mod visibility;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use crate::hosts::{Host, lab};

/// Prints one table, or all of them.
pub(crate) fn run(table: Option<&str>) -> ExitCode {
    match table {
        Some("appends") => appends::measure(),
        Some("polling") => polling::measure(),
        Some("visibility") => visibility::measure(),
        None => {
            visibility::measure();
            appends::measure();
            polling::measure();
        }
        Some(other) => {
            eprintln!("no such table: {other}");
            return ExitCode::from(64);
        }
    }
    ExitCode::SUCCESS
}

/// RPCs that a mount sent so far, by operation.
struct Rpcs(BTreeMap<String, u64>);

impl Rpcs {
    fn of(host: Host, mount: &Path) -> Self {
        let told = lab(&["rpcs", &host.to_string(), mount.to_str().unwrap()]);
        let row = |line: &str| {
            let (operation, count) = line.split_once(' ')?;
            Some((operation.to_owned(), count.trim().parse().ok()?))
        };
        Self(told.lines().filter_map(row).collect())
    }

    /// Those sent since `before`; operations that were not are left out.
    fn since(self, before: &Self) -> Self {
        let more = |(operation, count): (String, u64)| {
            let sent = count - before.0.get(&operation).copied().unwrap_or(0);
            (sent > 0).then_some((operation, sent))
        };
        Self(self.0.into_iter().filter_map(more).collect())
    }

    fn count(&self, operation: &str) -> u64 {
        self.0.get(operation).copied().unwrap_or(0)
    }

    /// All of them but `without`.
    fn others(&self, without: &[&str]) -> u64 {
        self.0.iter().filter(|(operation, _)| !without.contains(&operation.as_str())).map(|(_, n)| n).sum()
    }

    /// The operations, the most frequent first, each divided by `by`.
    fn per(&self, by: f64) -> String {
        let mut rows: Vec<_> = self.0.iter().collect();
        rows.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let share = |count: &u64| number(*count) / by;
        let shown = rows.iter().filter(|(_, count)| share(count) >= 0.005);
        shown
            .map(|(operation, count)| format!("{operation} {:.2}", share(count)))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// For a division; counts here are small.
fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).expect("a count of minutes"))
}
