use std::env;
use std::path::{Path, PathBuf};

/// The path of a program of this workspace, such as `zoutbox` or `zoutbox-relay`, as built beside the running test.
///
/// Cargo builds the programs of the package under test only; those of other packages come with
/// `cargo build --workspace`. Panics, and says what to build, when the program isn't there.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let profile = profile_directory().unwrap_or_else(|| {
        panic!("the running test is not in a target directory of cargo: {:?}", env::current_exe())
    });
    let path = profile.join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build --workspace --bins --examples`{} first",
        path.display(),
        if profile.ends_with("release") { " --release" } else { "" }
    );
    path
}

/// `target/debug` when the running test is `target/debug/deps/name-hash`.
pub(crate) fn profile_directory() -> Option<PathBuf> {
    let executable = env::current_exe().ok()?;
    executable.ancestors().find(|above| above.ends_with("deps"))?.parent().map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_beside_the_running_test() {
        let profile = profile_directory().unwrap();
        assert!(profile.join("deps").is_dir());
    }

    #[test]
    #[should_panic(expected = "cargo build --workspace")]
    fn says_what_to_build() {
        drop(binary("no-such-program"));
    }
}
