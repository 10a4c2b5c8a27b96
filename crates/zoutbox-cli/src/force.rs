//! The end of a program that was told to end and can't: a write to a pipe that nobody reads, or a share that does not answer. An exit would wait
//! for those as well; only SIGKILL does not.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zoutbox_storage::System;

use crate::complain;

/// An orderly stop takes less than this, whatever broker, share and database do.
const LONGEST_STOP: Duration = Duration::from_secs(15);

/// Ends this process if it still runs then, and says what that means.
pub(crate) fn end_if_it_hangs(consequence: &'static str) {
    std::thread::spawn(move || {
        System::real().clock.sleep(LONGEST_STOP);
        complain(&format!("something does not answer: ending by SIGKILL; {consequence}"));
        if kill(Pid::this(), Signal::SIGKILL).is_err() {
            std::process::exit(137);
        }
    });
}
