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
            format!("{:.1}", 1.0 / of(turns, |turn| turn.messages, 50)),
            format!("{:.2}", of(turns, |turn| turn.bytes_in, 50)),
            format!("{:.2}", of(turns, |turn| turn.bytes_out, 50)),
        ];
        text += &line(side.way.name(), &cells(&row));
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
        text +=
            &line(side.way.name(), &cells(&parts.map(|value| format!("{:.3}", of(turns, value, 50) * 1e6))));
    }
    text + &ratios(measured)
}

/// Pointers to batches beside the records themselves, in the same run.
fn ratios(measured: &[(Side, Vec<Turn>)]) -> String {
    let turns = |way| measured.iter().find(|(side, _)| side.way == way).map(|(_, turns)| turns);
    let (Some(inline), Some(batch)) = (turns(Way::Inline), turns(Way::Batch)) else { return String::new() };
    let ratio = |value: Value, percent| {
        let all: Vec<f64> =
            inline.iter().zip(batch).map(|(inline, batch)| value(batch) / value(inline)).collect();
        percentile(&all, percent).unwrap_or(f64::NAN)
    };
    let mut text = "\n".to_owned();
    text += &line(
        "batch/inline",
        &cells(&["records/s", "lowest", "highest", "bytes in", "bytes out", "broker CPU"]),
    );
    let rate: Value = |turn| turn.rate;
    text + &line(
        "",
        &cells(&[
            format!("{:.1}", ratio(rate, 50)),
            format!("{:.1}", ratio(rate, 0)),
            format!("{:.1}", ratio(rate, 100)),
            format!("{:.4}", ratio(|turn| turn.bytes_in, 50)),
            format!("{:.4}", ratio(|turn| turn.bytes_out, 50)),
            format!("{:.4}", ratio(|turn| turn.broker, 50)),
        ]),
    )
}

fn of(turns: &[Turn], value: Value, percent: usize) -> f64 {
    percentile(&turns.iter().map(value).collect::<Vec<_>>(), percent).unwrap_or(f64::NAN)
}
