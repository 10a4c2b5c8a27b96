//! `zoutbox-torture`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    zoutbox_torture::run()
}
