//! The tables of the measurements of the whole way.

use super::{cells, line, percentile};
use crate::measure::end_to_end::{Plan, Side, Turn, Way};

type Value = fn(&Turn) -> f64;

/// The table of `end-to-end`.
pub(crate) fn end_to_end(measured: &[(Side, Vec<Turn>)], plan: &Plan, broker: &str) -> String {
    let mut text = format!(
        "records of {} bytes by a quorum queue of RabbitMQ {broker}, {} writer(s) with {} tasks each, {} appends a task at a time,\n\
         window {}, prefetch {}, {} rounds, medians of rounds\n\n",
        plan.record_bytes, plan.writers, plan.tasks, plan.burst, plan.window, plan.prefetch, plan.rounds,
    );
    text += &line(
        "side",
        &cells(&["records", "records/s", "lowest", "highest", "rec/message", "bytes in", "bytes out"]),
    );
    for (side, turns) in measured {
        let rate = |percent| of(turns, |turn| turn.rate, percent);
        let row = [
            side.records.to_string(),
            format!("{:.0}", rate(50)),
            format!("{:.0}", rate(0)),
            format!("{:.0}", rate(100)),
            records_by_message(turns),
            format!("{:.2}", of(turns, |turn| turn.bytes_in, 50)),
            finite(of(turns, |turn| turn.bytes_out, 50), 2),
        ];
        text += &line(&side.name(), &cells(&row));
    }
    text += "\n";
    text += &line("CPU µs/record", &cells(&["producer", "relay", "broker", "consumer", "all"]));
    for (side, turns) in measured {
        let parts: [Value; 5] = [
            |turn| turn.producer,
            |turn| turn.relay,
            |turn| turn.broker,
            |turn| turn.consumer,
            |turn| turn.producer + turn.relay + turn.broker + turn.consumer,
        ];
        text += &line(&side.name(), &cells(&parts.map(|value| format!("{:.3}", of(turns, value, 50) * 1e6))));
    }
    text + &ratios(measured)
}

/// Pointers to batches beside the records themselves, in the same run.
fn ratios(measured: &[(Side, Vec<Turn>)]) -> String {
    let mut text = "\n".to_owned();
    text += &line(
        "batch/inline",
        &cells(&["records/s", "lowest", "highest", "bytes in", "bytes out", "broker CPU"]),
    );
    for (name, inbox) in [("checked", false), ("applied", true)] {
        let turns = |way| measured.iter().find(|(side, _)| (side.way, side.inbox) == (way, inbox));
        if let (Some((_, inline)), Some((_, batch))) = (turns(Way::Inline), turns(Way::Batch)) {
            let rate: Value = |turn| turn.rate;
            let row = [
                format!("{:.1}", ratio(batch, inline, rate, 50)),
                format!("{:.1}", ratio(batch, inline, rate, 0)),
                format!("{:.1}", ratio(batch, inline, rate, 100)),
                format!("{:.5}", ratio(batch, inline, |turn| turn.bytes_in, 50)),
                finite(ratio(batch, inline, |turn| turn.bytes_out, 50), 5),
                format!("{:.5}", ratio(batch, inline, |turn| turn.broker, 50)),
            ];
            text += &line(name, &cells(&row));
        }
    }
    text
}

/// What stands above the tables of `large`.
pub(crate) fn large_head(mebibytes: u64, rounds: u32, broker: &str) -> String {
    format!(
        "{mebibytes} MiB of payload a side to a quorum queue of RabbitMQ {broker} and to a consumer that checks it, {rounds} rounds,\n\
         medians of rounds\n"
    )
}

/// One table of `large`: one size.
pub(crate) fn large(measured: &[(Side, Vec<Turn>)], plan: &Plan) -> String {
    let bytes = f64::from(plan.record_bytes);
    let bare = measured.iter().find(|(side, _)| side.way == Way::Bare).map(|(_, turns)| turns);
    let size = match plan.record_bytes {
        large if large >= 1 << 20 => format!("{} MiB", large >> 20),
        small => format!("{} KiB", small >> 10),
    };
    let heads = ["MB/s", "lowest", "highest", "/bare", "bytes in", "producer", "relay", "broker", "consumer"];
    let head = if plan.files { format!("{size}, files") } else { size };
    let mut text = format!("\n{}", line(&head, &cells(&heads)));
    for (side, turns) in measured {
        let rate = |percent| format!("{:.0}", of(turns, |turn| turn.rate, percent) * bytes / 1e6);
        // By byte, a nanosecond is what a gigabyte takes in seconds.
        let cpu = |value: Value| format!("{:.2}", of(turns, value, 50) / bytes * 1e9);
        let row = [
            rate(50),
            rate(0),
            rate(100),
            bare.map_or_else(
                || "-".to_owned(),
                |bare| format!("{:.2}", ratio(turns, bare, |turn| turn.rate, 50)),
            ),
            format!("{:.5}", of(turns, |turn| turn.bytes_in, 50) / bytes),
            cpu(|turn| turn.producer),
            cpu(|turn| turn.relay),
            cpu(|turn| turn.broker),
            cpu(|turn| turn.consumer),
        ];
        text += &line(&side.name(), &cells(&row));
    }
    text
}

/// The ratio within each round; of those, the one at `percent`.
fn ratio(turns: &[Turn], to: &[Turn], value: Value, percent: usize) -> f64 {
    let all: Vec<f64> = turns.iter().zip(to).map(|(turn, to)| value(turn) / value(to)).collect();
    percentile(&all, percent).unwrap_or(f64::NAN)
}

fn records_by_message(turns: &[Turn]) -> String {
    let messages = of(turns, |turn| turn.messages, 50);
    if messages > 0.0 { format!("{:.1}", 1.0 / messages) } else { "-".to_owned() }
}

/// A value that may not be known.
fn finite(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "-".to_owned() }
}

fn of(turns: &[Turn], value: Value, percent: usize) -> f64 {
    percentile(&turns.iter().map(value).collect::<Vec<_>>(), percent).unwrap_or(f64::NAN)
}
