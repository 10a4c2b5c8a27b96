//! What a lot of durations come to.

use std::time::Duration;

/// Of some durations.
pub(crate) struct Percentiles {
    pub(crate) median: Duration,
    pub(crate) high: Duration,
    most: Duration,
}

impl Percentiles {
    pub(crate) fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort();
        let at = |percent: usize| durations[(durations.len() - 1) * percent / 100];
        Self { median: at(50), high: at(99), most: at(100) }
    }
}

impl std::fmt::Display for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        write!(
            f,
            "p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms",
            ms(self.median),
            ms(self.high),
            ms(self.most)
        )
    }
}
