use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Python on the search path may be another one than the distribution's, which has the distribution's packages.
const INTERPRETERS: &[&str] = &["python3", "/usr/bin/python3"];

/// A Python 3 that has these modules: the one on the search path, or else the distribution's.
///
/// Panics when neither has all of them, and says which are missing where; `scripts/test.sh` installs them.
#[must_use]
pub fn python(modules: &[&str]) -> PathBuf {
    let mut wanting = Vec::new();
    for interpreter in INTERPRETERS {
        let missing: Vec<&str> = modules.iter().copied().filter(|name| !has(interpreter, name)).collect();
        if missing.is_empty() {
            return PathBuf::from(interpreter);
        }
        wanting.push(format!("{interpreter} lacks {}", missing.join(" and ")));
    }
    panic!("{}: install the distribution's python3-{}", wanting.join(", "), modules.join(", python3-"));
}

fn has(interpreter: &str, module: &str) -> bool {
    let import = Command::new(interpreter)
        .args(["-c", &format!("import {module}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    import.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_one_that_has_what_all_have() {
        assert!(python(&["json", "zlib"]).ends_with("python3"));
    }

    #[test]
    #[should_panic(
        expected = "/usr/bin/python3 lacks no_such_module: install the distribution's python3-json"
    )]
    fn says_what_is_missing_where() {
        drop(python(&["json", "no_such_module"]));
    }
}
