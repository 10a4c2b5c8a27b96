//! Turns what was seen into tables. A side that could not be measured keeps its row and says why.

pub(crate) mod flow;
pub(crate) mod inbox;
pub(crate) mod relay;

use std::time::Duration;

use crate::measure::{Measured, throughput};
use crate::sides::{BARE_GROWING, BARE_ZEROED};

/// The table of `append-latency`.
pub(crate) fn latency(all: &[Measured<Duration>]) -> String {
    let p50 = |name| reference(all, name, |seen| percentile(seen, 50).map(|time| time.as_secs_f64()));
    let (growing, zeroed) = (p50(BARE_GROWING), p50(BARE_ZEROED));
    let heads = ["p50 µs", "p99 µs", "p50/growing", "p50/zeroed"];
    table(&heads, all, |seen| {
        let (p50, p99) = (percentile(seen, 50)?.as_secs_f64(), percentile(seen, 99)?.as_secs_f64());
        Some(vec![
            format!("{:.1}", p50 * 1e6),
            format!("{:.1}", p99 * 1e6),
            ratio(p50, growing),
            ratio(p50, zeroed),
        ])
    })
}

/// The table of `append-throughput`.
pub(crate) fn throughput(all: &[Measured<f64>], plan: &throughput::Plan) -> String {
    let rate = |name| reference(all, name, |seen| percentile(seen, 50));
    let (growing, zeroed) = (rate(BARE_GROWING), rate(BARE_ZEROED));
    let heads = ["records/s", "lowest", "highest", "/growing", "/zeroed"];
    let body = table(&heads, all, |seen| {
        let median = percentile(seen, 50)?;
        Some(vec![
            format!("{median:.0}"),
            format!("{:.0}", percentile(seen, 0)?),
            format!("{:.0}", percentile(seen, 100)?),
            ratio(median, growing),
            ratio(median, zeroed),
        ])
    });
    format!(
        "{} callers, {} rounds of {:.2} s a side, medians of rounds\n\n{body}",
        plan.callers,
        plan.rounds,
        plan.turn.as_secs_f64()
    )
}

fn reference<T>(all: &[Measured<T>], name: &str, value: impl Fn(&[T]) -> Option<f64>) -> Option<f64> {
    all.iter().find(|side| side.name() == name).and_then(|side| value(side.seen().as_ref().ok()?))
}

fn ratio(value: f64, reference: Option<f64>) -> String {
    reference.map_or_else(|| "-".to_owned(), |reference| format!("{:.2}", value / reference))
}

/// The nearest-rank percentile; `None` if nothing was seen.
fn percentile<T: Copy + PartialOrd>(seen: &[T], percent: usize) -> Option<T> {
    let mut sorted = seen.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn table<T>(heads: &[&str], all: &[Measured<T>], row: impl Fn(&[T]) -> Option<Vec<String>>) -> String {
    table_of(heads, all, |_, seen| row(seen))
}

fn table_of<T>(
    heads: &[&str],
    all: &[Measured<T>],
    row: impl Fn(&str, &[T]) -> Option<Vec<String>>,
) -> String {
    let mut text = line("side", &heads.iter().copied().map(format_cell).collect::<String>());
    text.extend(all.iter().map(|side| {
        let cells = match side.seen() {
            Ok(seen) => match row(side.name(), seen) {
                Some(cells) => cells.iter().map(String::as_str).map(format_cell).collect(),
                None => "  not measured: no round was run".to_owned(),
            },
            Err(error) => format!("  not measured: {error:#}"),
        };
        line(side.name(), &cells)
    }));
    text
}

fn line(name: &str, cells: &str) -> String {
    format!("{}\n", format!("{name:<20}{cells}").trim_end())
}

fn cells<const N: usize>(values: &[impl AsRef<str>; N]) -> String {
    values.iter().map(|value| format_cell(value.as_ref())).collect()
}

fn format_cell(cell: &str) -> String {
    format!("{cell:>13}")
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        assert_eq!(percentile::<u32>(&[], 50), None);
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile(&[3, 1, 2], 50), Some(2));
        assert_eq!(percentile(&(1..=100).rev().collect::<Vec<_>>(), 99), Some(99));
        assert_eq!(percentile(&[3, 1, 2], 0), Some(1));
    }
}
