//! The tables of `inbox`.

use super::{cells, line, percentile, ratio, reference, table_of};
use crate::measure::inbox_size::Sized;
use crate::measure::{Measured, throughput};

/// Each side beside the effect alone, in the same database and with as many records a transaction.
pub(crate) fn applies(all: &[Measured<f64>], plan: &throughput::Plan) -> String {
    let heads = ["applies/s", "lowest", "highest", "/effect"];
    let body = table_of(&heads, all, |name, seen| {
        let median = percentile(seen, 50)?;
        let mut words = name.split('-');
        let (database, many) = (words.next()?, words.nth(1));
        let effect =
            [Some(database), Some("effect"), many].into_iter().flatten().collect::<Vec<_>>().join("-");
        let effect = reference(all, &effect, |seen| percentile(seen, 50));
        Some(vec![
            format!("{median:.0}"),
            format!("{:.0}", percentile(seen, 0)?),
            format!("{:.0}", percentile(seen, 100)?),
            ratio(median, effect),
        ])
    });
    let seconds = plan.turn.as_secs_f64();
    format!("one connection, {} rounds of {seconds:.2} s a side, medians of rounds\n\n{body}", plan.rounds)
}

/// What the inbox takes, and a table of ids.
pub(crate) fn sizes(all: &[Sized]) -> String {
    let mut text = "\n".to_owned();
    text += &line("bytes stored", &cells(&["records", "states", "SQLite", "PostgreSQL"]));
    for Sized { name, sqlite, postgres } in all {
        let states = if sqlite.states == 0 { "-".to_owned() } else { sqlite.states.to_string() };
        let row =
            [sqlite.records.to_string(), states, sqlite.stored.to_string(), postgres.stored.to_string()];
        text += &line(name, &cells(&row));
    }
    text
}
