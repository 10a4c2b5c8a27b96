//! The tables of the relay's measurements.

use super::{cells, line, percentile};
use crate::measure::relay_backlog::{self, Round};
use crate::measure::relay_start::Started;
use crate::relay::Drained;

/// What the relay may hold in memory, whatever the backlog.
const MEMORY_AIM: u64 = 64 << 20;

/// The table of `relay-backlog`.
pub(crate) fn backlog(rounds: &[Round], plan: &relay_backlog::Plan, broker: &str) -> String {
    let mut text = format!(
        "{} records of {} bytes to a quorum queue of RabbitMQ {broker}, window {}, {} rounds, medians of rounds\n\n",
        plan.records,
        plan.record_bytes,
        plan.window,
        rounds.len(),
    );
    let heads =
        ["records/s", "lowest", "highest", "start ms", "known ms", "CPU µs/rec", "broker µs", "peak MiB"];
    text += &line("side", &cells(&heads));
    let bare: Vec<Drained> = rounds.iter().map(|round| round.bare).collect();
    let relay: Vec<Drained> = rounds.iter().map(|round| round.relay).collect();
    text += &line("bare", &side_row(&bare, plan.records));
    text += &line("relay", &side_row(&relay, plan.records));
    let ratio = |value: fn(&Drained) -> f64, percent| {
        let all: Vec<f64> = rounds.iter().map(|round| value(&round.relay) / value(&round.bare)).collect();
        percentile(&all, percent).unwrap_or(f64::NAN)
    };
    let ratios = [
        format!("{:.3}", ratio(|drained| drained.rate, 50)),
        format!("{:.3}", ratio(|drained| drained.rate, 0)),
        format!("{:.3}", ratio(|drained| drained.rate, 100)),
        String::new(),
        String::new(),
        format!("{:.2}", ratio(|drained| drained.cpu.as_secs_f64(), 50)),
        format!("{:.2}", ratio(|drained| drained.broker_cpu.as_secs_f64(), 50)),
        String::new(),
    ];
    text + &line("relay/bare", &cells(&ratios))
}

fn side_row(all: &[Drained], records: u64) -> String {
    let of = |value: fn(&Drained) -> f64, percent| {
        percentile(&all.iter().map(value).collect::<Vec<_>>(), percent).unwrap_or(f64::NAN)
    };
    let per_record = |seconds: f64| format!("{:.2}", seconds * 1e6 / records as f64);
    cells(&[
        format!("{:.0}", of(|d| d.rate, 50)),
        format!("{:.0}", of(|d| d.rate, 0)),
        format!("{:.0}", of(|d| d.rate, 100)),
        format!("{:.0}", of(|d| d.first.as_secs_f64(), 50) * 1e3),
        format!("{:.0}", of(|d| d.known.as_secs_f64(), 50) * 1e3),
        per_record(of(|d| d.cpu.as_secs_f64(), 50)),
        per_record(of(|d| d.broker_cpu.as_secs_f64(), 50)),
        mebibytes(of(|d| d.peak as f64, 100)),
    ])
}

/// The table of `relay-start`.
pub(crate) fn start(started: &Started) -> String {
    let mut text = format!(
        "{} segments with {} records, {} rounds\n\n",
        started.segments,
        started.records,
        started.rounds.len()
    );
    let heads = ["first ms", "all ms", "peak MiB", "anon MiB", "under 64"];
    text += &line("round", &cells(&heads));
    for (number, round) in (1..).zip(&started.rounds) {
        let row = [
            format!("{:.0}", round.first.as_secs_f64() * 1e3),
            format!("{:.0}", (round.first + round.drain).as_secs_f64() * 1e3),
            mebibytes(round.peak as f64),
            mebibytes(round.peak_anonymous as f64),
            if round.peak < MEMORY_AIM { "yes" } else { "NO" }.to_owned(),
        ];
        text += &line(&number.to_string(), &cells(&row));
    }
    text
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1}", bytes / f64::from(1 << 20))
}
