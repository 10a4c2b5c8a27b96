//! The status for people: an aligned table, and what needs attention below it.

use super::relay::{RelayJson, WaitJson};
use super::{HolderJson, Status};

const HEADINGS: [&str; 8] =
    ["WRITER", "DURABLE", "CONFIRMED", "LAG RECORDS", "LAG BYTES", "LAG SECONDS", "SEGMENTS", "LAST HELD BY"];

/// What stands for what is not known.
const UNKNOWN: &str = "?";

/// The whole text, with a newline at the end of each line.
pub(super) fn of(status: &Status, now_ms: u64) -> String {
    let mut text = String::new();
    let relay = status.relay.as_ref().map_or("no relay yet".into(), relay);
    let free = size(status.space.available_bytes);
    push(&mut text, &format!("share {} at {}: {free} free, {relay}", status.share, status.root));
    if status.writers.is_empty() {
        push(&mut text, "no writers yet");
    } else {
        for row in rows(status) {
            push(&mut text, &row);
        }
    }
    for (who, wait) in waits(status) {
        push(&mut text, &waiting(who, wait, now_ms));
    }
    for consumer in status.consumers.iter().flatten() {
        push(&mut text, &consumer.line());
    }
    for note in &status.notes {
        push(&mut text, &format!("note: {note}"));
    }
    for name in &status.ignored {
        push(&mut text, &format!("note: writers/{name} is no writer's directory"));
    }
    for finding in status.writers.iter().flat_map(|lane| &lane.findings) {
        push(&mut text, &format!("damage: {finding}"));
    }
    text
}

fn relay(relay: &RelayJson) -> String {
    let (Some(epoch), Some(host), Some(pid)) = (relay.epoch, &relay.host, relay.pid) else {
        return format!("relay {UNKNOWN}");
    };
    let doorbell = relay.doorbell.map(|address| format!(", doorbell {address}")).unwrap_or_default();
    format!("relay epoch {epoch} last held by {host} pid {pid}{doorbell}")
}

fn waits(status: &Status) -> impl Iterator<Item = (&str, &WaitJson)> {
    let relay = status.relay.iter().flat_map(|relay| &relay.waits).map(|wait| ("relay", wait));
    let lanes = status.writers.iter();
    relay.chain(lanes.flat_map(|lane| lane.waits.iter().map(|wait| (lane.writer.as_str(), wait))))
}

fn waiting(who: &str, wait: &WaitJson, now_ms: u64) -> String {
    let says = wait.relay_epoch.map(|epoch| format!(" (relay epoch {epoch})")).unwrap_or_default();
    format!("waits: {who}: {}, for {}{says}", wait.what, span(now_ms.saturating_sub(wait.since_ms)))
}

fn push(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

fn rows(status: &Status) -> Vec<String> {
    let mut cells: Vec<[String; 8]> = vec![HEADINGS.map(str::to_owned)];
    cells.extend(status.writers.iter().map(|lane| {
        let or_none = |number: u64| if number == 0 { "-".to_owned() } else { number.to_string() };
        let segments = lane.segments.zip(lane.segment_bytes);
        let unknown = if lane.answers { "-" } else { UNKNOWN };
        [
            lane.writer.clone(),
            known(lane.durable, or_none),
            known(lane.confirmed, or_none),
            known(lane.lag_records, |records| records.to_string()),
            known(lane.lag_bytes, size),
            known(lane.lag_seconds, |seconds| format!("{seconds:.1}")),
            known(segments, |(count, bytes)| format!("{count} ({})", size(bytes))),
            lane.holder.as_ref().map_or(unknown.into(), who),
        ]
    }));
    let mut widths = [0; 8];
    for row in &cells {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.len().max(*width));
    }
    let align = |row: &[String; 8]| {
        let padded = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            // Names to the left, numbers to the right.
            if column == 0 || column == 7 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        padded.collect::<Vec<_>>().join("  ")
    };
    cells.iter().map(align).collect()
}

fn known<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or(UNKNOWN.into(), show)
}

fn who(holder: &HolderJson) -> String {
    format!("{} pid {}", holder.host, holder.pid)
}

/// A number of bytes in its unit, cut to one decimal.
fn size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units.iter().find(|(_, factor)| bytes >= *factor);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(name, factor): &(_, u64)| format!("{}.{} {name}", bytes / factor, bytes % factor * 10 / factor),
    )
}

/// How long something lasts, in the unit that people would use.
pub(super) fn span(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::{size, span};

    #[test]
    fn a_span_is_told_in_the_unit_that_people_would_use() {
        let shown = [0, 119_999, 120_000, 7_199_999, 7_200_000, 360_000_000].map(span);
        assert_eq!(shown, ["0 s", "119 s", "2 min", "119 min", "2 h", "100 h"]);
    }

    #[test]
    fn a_size_is_never_rounded_up() {
        let shown = [0, 1023, 1024, 1536, (1 << 20) - 1, 1 << 20, u64::MAX].map(size);
        assert_eq!(
            shown,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1023.9 KiB", "1.0 MiB", "17179869183.9 GiB"]
        );
    }
}
