use std::thread;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(10);

/// Polls `condition` until it holds.
///
/// Panics with `what` when it does not hold within `timeout`. The condition is looked at once more after the time is out,
/// so that a machine that slept through the timeout does not fail a test whose condition holds.
pub fn wait_until(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    loop {
        let late = start.elapsed() >= timeout;
        if condition() {
            return;
        }
        assert!(!late, "waited {timeout:?} in vain until {what}");
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_as_soon_as_the_condition_holds() {
        let mut calls = 0;
        wait_until("the third call", Duration::from_mins(1), || {
            calls += 1;
            calls == 3
        });
        assert_eq!(calls, 3);
    }

    #[test]
    #[should_panic(expected = "pigs fly")]
    fn panics_with_what_it_waited_for() {
        wait_until("pigs fly", Duration::from_millis(20), || false);
    }
}
