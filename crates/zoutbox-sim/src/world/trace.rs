//! What happened, line by line. The text is kept only where somebody wants to read it; a digest of the same lines always can be, so that two
//! runs of one seed can be compared byte for byte.

use std::fmt::{Arguments, Write};
use std::time::Duration;

/// The lines of a run.
#[derive(Debug, Default)]
pub struct Trace {
    wanted: bool,
    text: String,
    /// Print each line at once, for runs that do not end.
    echo: bool,
}

impl Trace {
    /// A trace that keeps its lines.
    #[must_use]
    pub fn kept() -> Self {
        Self { wanted: true, ..Self::default() }
    }

    /// A trace that prints each line, as well as keeping it.
    #[must_use]
    pub fn echoed() -> Self {
        Self { wanted: true, echo: true, ..Self::default() }
    }

    /// Whether anybody reads it: making a line costs more than what it tells of.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Notes a line.
    ///
    /// # Panics
    /// Never: writing to memory does not fail.
    pub fn line(&mut self, now: Duration, who: &str, what: Arguments<'_>) {
        if !self.wanted {
            return;
        }
        let start = self.text.len();
        let micros = now.as_micros();
        let written =
            writeln!(self.text, "{:>6}.{:06} {who:<10} {what}", micros / 1_000_000, micros % 1_000_000);
        assert!(written.is_ok(), "writing to memory does not fail");
        if self.echo {
            print!("{}", self.text.get(start..).unwrap_or_default());
        }
    }

    /// All lines so far.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}
