//! Times in a few words: p50 and p99.

use std::time::Duration;

/// Times that were measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
        self.0.sort_unstable();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The least time that is not shorter than `percent` of all.
    pub(crate) fn at(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// `p50 1.2 ms, p99 3.4 ms (200 times)`
    pub(crate) fn words(&self) -> String {
        format!("p50 {}, p99 {} ({} times)", time(self.at(50)), time(self.at(99)), self.len())
    }
}

/// A time in milliseconds, or in seconds when there are many.
pub(crate) fn time(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_rank() {
        let mut times = Times::default();
        (1..=200).rev().for_each(|ms| times.push(Duration::from_millis(ms)));
        assert_eq!(times.words(), "p50 100.0 ms, p99 198.0 ms (200 times)");
        let mut one = Times::default();
        one.push(Duration::from_millis(1500));
        assert_eq!(one.words(), "p50 1.5 s, p99 1.5 s (1 times)");
        assert_eq!(Times::default().at(99), Duration::ZERO);
    }
}
