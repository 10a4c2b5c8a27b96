//! The boundaries of the design as tests: who may depend on whom, and what may never be in the repository.
//!
//! Each rule is a function from what it looks at to the list of what is wrong, so that a test can show it something
//! wrong as well.
#![expect(clippy::disallowed_methods, reason = "reads the repository's own files")]
#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests, outside the test functions")]

#[path = "boundaries/dependencies.rs"]
mod dependencies;
#[path = "boundaries/files.rs"]
mod files;

use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout is there")
}

/// Fails with one line for each thing that is wrong.
fn assert_none(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}
