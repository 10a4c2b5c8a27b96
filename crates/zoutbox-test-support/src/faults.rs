//! What was done to the programs, and what was then seen to hold: the lines that the bill of health, `docs/reliability.md`, is made of.
//!
//! ```text
//!   a test that injects a fault ── its checks have passed ──▶ Fault::held ──▶ $ZOUTBOX_FAULTS ──▶ scripts/reliability.sh
//! ```
//!
//! `ZOUTBOX_FAULTS` names a file by an absolute path, which gets a line of JSON for each call, in one write. If it is `-`, the line goes to the
//! standard output behind `injected: `, since what runs in a guest of the lab has no file that outlives it. Without it nothing is
//! written. A line is
//!
//! ```json
//! {"suite":"end_to_end","hits":"relay","fault":"killed","how":"SIGKILL under load","times":5,"outcome":"30,000 records delivered, in order"}
//! ```
//!
//! where `hits` is a name of [`Hits`], `times` is how often it was injected, and `outcome` is what was checked and held, with the figures of this
//! very run. Lines of one suite, fault and way are one row of the page: their times are added, and where their outcomes differ only in
//! figures, each figure becomes a range.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use serde_json::json;

mod page;

pub use page::{Results, write_page};

/// Names the file.
pub const FAULTS: &str = "ZOUTBOX_FAULTS";

/// Who or what a fault hits: the page has a table for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hits {
    /// A producer's process.
    Writer,
    /// A relay's process.
    Relay,
    /// A consumer's process.
    Consumer,
    /// `RabbitMQ`.
    Broker,
    /// The consumer's database.
    Database,
    /// The file server, or a mount of its share.
    Share,
    /// What was written, is being written, or is to be made durable.
    Disk,
    /// The network, to the broker or to the share.
    Network,
    /// What time it is.
    Clock,
    /// Somebody who may write to the share and means harm.
    Hostile,
    /// Bytes and messages from outside, at random.
    Bytes,
    /// Our own code: a guard is taken out, to see that the tests notice.
    Code,
}

impl Hits {
    /// All of them, as the page has them: the name in a line, and the heading.
    pub const ALL: [(Self, &'static str, &'static str); 12] = [
        (Self::Writer, "writer", "The writer"),
        (Self::Relay, "relay", "The relay"),
        (Self::Consumer, "consumer", "The consumer"),
        (Self::Broker, "broker", "The broker"),
        (Self::Database, "database", "The consumer's database"),
        (Self::Share, "share", "The share and its server"),
        (Self::Disk, "disk", "The disk"),
        (Self::Network, "network", "The network"),
        (Self::Clock, "clock", "The clock"),
        (Self::Hostile, "hostile", "A hostile writer"),
        (Self::Bytes, "bytes", "Bytes from outside"),
        (Self::Code, "code", "Our own guards"),
    ];

    /// As lines have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(hits, ..)| *hits == self).map_or("", |(_, name, _)| name)
    }
}

/// A kind of fault, as one suite injects it.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    suite: &'static str,
    hits: Hits,
    what: &'static str,
    how: &'static str,
}

impl Fault {
    /// `what` happens, in words that can be searched for, so not put together. `how`: by which means, and when.
    #[must_use]
    pub const fn new(suite: &'static str, hits: Hits, what: &'static str, how: &'static str) -> Self {
        Self { suite, hits, what, how }
    }

    /// It was injected so often, and this was checked and held. Not to be called before the checks have passed.
    pub fn held<N: TryInto<u64>>(&self, times: N, outcome: impl Display) {
        let Some(place) = std::env::var_os(FAULTS).filter(|place| !place.is_empty()) else { return };
        let Ok(times) = times.try_into() else { panic!("{}: not a number of times", self.what) };
        let line = self.line(times, &outcome.to_string());
        if place == "-" {
            println!("injected: {line}");
            return;
        }
        // A relative one would lead to a file in each crate.
        assert!(Path::new(&place).is_absolute(), "{FAULTS} is not an absolute path: {}", place.display());
        let file = OpenOptions::new().create(true).append(true).open(&place);
        // One write, so that lines of tests that run side by side stay whole.
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        assert!(written.is_ok(), "{FAULTS}: {}: {written:?}", place.display());
    }

    fn line(&self, times: u64, outcome: &str) -> String {
        let Self { suite, hits, what, how } = self;
        json!({ "suite": suite, "hits": hits.name(), "fault": what, "how": how, "times": times, "outcome": outcome })
            .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_as_what_was_injected() {
        let fault = Fault::new("s", Hits::Hostile, "a \"name\"", "by hand");
        let results = Results::parse(&fault.line(7, "held | it did")).unwrap();
        let page = results.tables();
        assert!(page.contains("### A hostile writer"), "{page}");
        assert!(page.contains("| a \"name\" | by hand | s | 7 | held \\| it did |"), "{page}");
    }
}
