//! Prints docs/reliability.md with its tables made anew of a file of results; `scripts/reliability.sh` calls it.
#![expect(clippy::disallowed_methods, reason = "a tool of the repository reads its files")]

use std::process::ExitCode;

use zoutbox_test_support::faults::{Results, write_page};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [page, results] = arguments.as_slice() else {
        eprintln!("reliability PAGE RESULTS");
        return ExitCode::from(64);
    };
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let written = read(page).and_then(|page| {
        let parsed = Results::parse(&read(results)?).map_err(|error| format!("{results}: {error}"))?;
        write_page(&page, &parsed)
    });
    match written {
        Ok(page) => print!("{page}"),
        Err(error) => {
            eprintln!("reliability: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
