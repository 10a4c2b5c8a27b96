//! docs/reliability.md is what a run came to, and of faults that are still injected.
#![expect(clippy::disallowed_methods, reason = "reads the repository's own files")]
#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests, outside the test functions")]

use std::fs;
use std::path::{Path, PathBuf};

use zoutbox_test_support::faults::{Results, write_page};

const RESULTS: &str = "docs/reliability.jsonl";
const PAGE: &str = "docs/reliability.md";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout is there")
}

fn read(name: &str) -> String {
    fs::read_to_string(repository().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn results() -> Results {
    Results::parse(&read(RESULTS)).unwrap_or_else(|error| panic!("{RESULTS}: {error}"))
}

/// All that could inject a fault, but not this.
fn sources() -> Vec<String> {
    let mut open = vec![repository().join("crates"), repository().join("scripts")];
    let mut texts = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of the repository") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !matches!(name.as_str(), "target" | "zoutbox-test-support") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "sh") {
                texts.push(fs::read_to_string(&path).expect("a source"));
            }
        }
    }
    assert!(texts.len() > 100, "only {} sources", texts.len());
    texts
}

/// What nobody injects any more: the name is in quotes where it is injected.
fn gone<'a>(faults: impl IntoIterator<Item = (&'a str, &'a str)>, sources: &[String]) -> Vec<String> {
    let injects = |name: &str| {
        ['"', '\''].iter().any(|quote| {
            let quoted = format!("{quote}{name}{quote}");
            sources.iter().any(|source| source.contains(&quoted))
        })
    };
    let known = |(suite, fault): &(&str, &str)| injects(suite) && injects(fault);
    faults.into_iter().filter(|fault| !known(fault)).map(|(s, f)| format!("{s}: {f}")).collect()
}

#[test]
fn the_page_is_what_the_script_writes_from_the_results() {
    let page = read(PAGE);
    let written = write_page(&page, &results()).unwrap_or_else(|error| panic!("{PAGE}: {error}"));
    assert!(page == written, "{PAGE} is not made of {RESULTS}: scripts/reliability.sh --from {RESULTS}");
}

#[test]
fn every_fault_on_the_page_is_still_injected_by_the_code() {
    let (results, sources) = (results(), sources());
    assert!(results.faults().count() > 30, "hardly anything was injected");
    assert_eq!(
        gone(results.faults(), &sources),
        [""; 0],
        "renamed or removed: run scripts/reliability.sh anew"
    );
    let invented = [("end_to_end", concat!("eaten by ", "mice")), (concat!("mice-", "suite"), "killed")];
    assert_eq!(gone(invented, &sources).len(), 2, "this notices nothing");
}
