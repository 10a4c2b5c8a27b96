//! The status for people: an aligned table, and what needs attention below it.

use super::{HolderJson, Status};

const HEADINGS: [&str; 8] =
    ["WRITER", "DURABLE", "CONFIRMED", "LAG RECORDS", "LAG BYTES", "LAG SECONDS", "SEGMENTS", "LAST HELD BY"];

/// The whole text, with a newline at the end of each line.
pub(super) fn of(status: &Status) -> String {
    let mut text = String::new();
    let relay = status.relay.as_ref().map_or("no relay yet".into(), |relay| {
        let doorbell = relay.doorbell.map(|address| format!(", doorbell {address}")).unwrap_or_default();
        format!("relay epoch {} last held by {}{doorbell}", relay.holder.epoch, who(&relay.holder))
    });
    let free = size(status.space.available_bytes);
    push(&mut text, &format!("share {} at {}: {free} free, {relay}", status.share, status.root));
    if status.writers.is_empty() {
        push(&mut text, "no writers yet");
    } else {
        for row in rows(status) {
            push(&mut text, &row);
        }
    }
    for name in &status.ignored {
        push(&mut text, &format!("note: writers/{name} is no writer's directory"));
    }
    for finding in status.writers.iter().flat_map(|lane| &lane.findings) {
        push(&mut text, &format!("damage: {finding}"));
    }
    text
}

fn push(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

fn rows(status: &Status) -> Vec<String> {
    let mut cells: Vec<[String; 8]> = vec![HEADINGS.map(str::to_owned)];
    cells.extend(status.writers.iter().map(|lane| {
        let or_none = |number: u64| if number == 0 { "-".to_owned() } else { number.to_string() };
        [
            lane.writer.clone(),
            or_none(lane.durable),
            or_none(lane.confirmed),
            lane.lag_records.to_string(),
            size(lane.lag_bytes),
            format!("{:.1}", lane.lag_seconds),
            format!("{} ({})", lane.segments, size(lane.segment_bytes)),
            lane.holder.as_ref().map_or("-".into(), who),
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

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn a_size_is_never_rounded_up() {
        let shown = [0, 1023, 1024, 1536, (1 << 20) - 1, 1 << 20, u64::MAX].map(size);
        assert_eq!(
            shown,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1023.9 KiB", "1.0 MiB", "17179869183.9 GiB"]
        );
    }
}
