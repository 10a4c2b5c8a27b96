//! What is in the repository, over `git ls-files`: tracked files only, whatever lies around beside them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use crate::{assert_none, repository};

const TOP: &[&str] =
    &["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "bench", "crates", "docs", "fixtures", "scripts"];

/// The one module that was reviewed for it.
const MAY_BE_UNSAFE: &str = "crates/zoutbox-storage/src/mapping.rs";

const MOST_LINES: usize = 600;

/// What Cargo.lock has to name: the index that all crates come from. In pieces, as below.
const SOURCE: (&str, &str) = ("source = \"registry+https://github.com/rust-lang/crates", ".io-index\"");

/// Hosts of package registries, in two pieces each: this file is looked at as well.
const REGISTRIES: &[(&str, &str)] = &[
    ("crates", ".io"),
    ("pypi", ".org"),
    ("npmjs", ".org"),
    ("npmjs", ".com"),
    ("rubygems", ".org"),
    ("proxy.golang", ".org"),
    ("deb.debian", ".org"),
    ("archive.ubuntu", ".com"),
    ("maven", ".org"),
    ("docker", ".io"),
    ("ghcr", ".io"),
    ("artifact", "ory"),
    ("codeart", "ifact"),
    ("pkg.", "dev"),
];

/// Where somebody's files are, on their machine only.
const HOMES: &[(&str, &str)] = &[
    ("/home", "/"),
    ("/root", "/"),
    ("/Users", "/"),
    ("/work", "/"),
    ("/tmp/target", "-"),
    ("C:\\Us", "ers"),
];

struct Tracked {
    path: String,
    /// Not all that is tracked is text: golden segments are bytes.
    text: String,
}

/// `safe.directory`: in CI the checkout often belongs to another user, and git would refuse to list it.
fn paths() -> Vec<String> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(repository())
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let paths: Vec<String> = String::from_utf8(output.stdout)
        .expect("names in the repository are UTF-8")
        .split_terminator('\0')
        .map(str::to_owned)
        .collect();
    assert!(paths.len() > 50, "only {} tracked files", paths.len());
    paths
}

fn tracked() -> Vec<Tracked> {
    let mut files = Vec::new();
    for path in paths() {
        match fs::read(repository().join(&path)) {
            Ok(bytes) => files.push(Tracked { path, text: String::from_utf8_lossy(&bytes).into_owned() }),
            // Removed, but not committed yet.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => panic!("{path}: {error}"),
        }
    }
    files
}

/// `path:line: finding` for each line of text in which `find` finds something.
fn search<'a>(
    files: impl IntoIterator<Item = &'a Tracked>,
    find: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(finding) = find(line) {
                found.push(format!("{}:{}: {finding}", file.path, number + 1));
            }
        }
    }
    found
}

fn rust(files: &[Tracked]) -> Vec<&Tracked> {
    let rust: Vec<_> =
        files.iter().filter(|file| Path::new(&file.path).extension() == Some(OsStr::new("rs"))).collect();
    assert!(rust.len() > 30, "only {} Rust files", rust.len());
    rust
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The name of a registry's host, or a line of Cargo.lock that names another source than it has to.
fn registry(line: &str) -> Option<String> {
    if line == format!("{}{}", SOURCE.0, SOURCE.1) {
        return None;
    }
    if line.starts_with("source = ") {
        return Some(format!("a source that not everybody has: {line}"));
    }
    let line = line.to_lowercase();
    REGISTRIES.iter().map(|(a, b)| format!("{a}{b}")).find(|name| line.contains(name))
}

/// An absolute path below a home: the piece in front of it must not be part of a longer path.
fn home(line: &str) -> Option<String> {
    HOMES.iter().map(|(a, b)| format!("{a}{b}")).find(|home| {
        line.match_indices(home.as_str()).any(|(at, _)| {
            let before = line.get(..at).and_then(|before| before.chars().next_back());
            !before.is_some_and(|before| is_word(before) || matches!(before, '.' | '-' | '}' | ')' | '*'))
        })
    })
}

/// The keyword, in code; as a part of a setting's name it is none.
fn not_safe(line: &str) -> Option<String> {
    let keyword = concat!("un", "safe");
    let code = line.split("//").next().unwrap_or_default().replace("accept-unsafe-mount", "");
    code.split(|character| !is_word(character)).any(|word| word == keyword).then(|| code.trim().to_owned())
}

/// A test or an example that is not run, and looks as if it were.
fn ignored(line: &str) -> Option<String> {
    let attribute = concat!("#[", "ignore");
    let line = line.trim();
    let fence = line.trim_start_matches(['/', '!', ' ']).strip_prefix("```");
    let skipped = fence.is_some_and(|options| options.split(',').any(|option| option.trim() == "ignore"));
    (skipped || line.contains(attribute) || line.contains(concat!(", ", "ignore)"))).then(|| line.to_owned())
}

#[test]
fn the_top_of_the_repository_holds_what_the_design_says() {
    let top: BTreeSet<String> = paths()
        .iter()
        .filter_map(|path| path.split('/').next())
        .filter(|name| !name.starts_with('.'))
        .map(str::to_owned)
        .collect();
    let design: BTreeSet<String> = TOP.iter().map(|&name| name.to_owned()).collect();
    let more: Vec<_> = top.difference(&design).collect();
    let missing: Vec<_> = design.difference(&top).collect();
    assert!(more.is_empty() && missing.is_empty(), "not in the design: {more:?}; missing: {missing:?}");
}

#[test]
fn no_file_names_a_registry_or_somebodys_home() {
    let files = tracked();
    assert_none("registries", &search(&files, registry));
    assert_none("paths of one machine", &search(&files, home));
}

#[test]
fn one_module_alone_may_be_unsafe() {
    let files = tracked();
    let found = search(rust(&files), not_safe);
    let (reviewed, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|place| place.starts_with(&format!("{MAY_BE_UNSAFE}:")));
    assert_none("not in the reviewed module", &others);
    assert!(!reviewed.is_empty(), "{MAY_BE_UNSAFE} needs no exception any more");
}

#[test]
fn no_test_is_skipped() {
    assert_none("skipped", &search(rust(&tracked()), ignored));
}

#[test]
fn no_module_is_too_long_to_read() {
    let files = tracked();
    let long: Vec<String> = rust(&files)
        .into_iter()
        .filter(|file| file.path.starts_with("crates/") && file.path.contains("/src/"))
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(file, lines)| format!("{}: {lines} lines, more than {MOST_LINES}", file.path))
        .collect();
    assert_none("too long", &long);
}

#[test]
fn the_searches_find_what_they_are_for() {
    let host = format!("https://index.{}{}/", REGISTRIES[0].0, REGISTRIES[0].1);
    assert!(registry(&host).is_some());
    assert!(registry("source = \"registry+https://mirror.example/index\"").is_some());
    assert!(registry("https://github.com/rust-lang").is_none());

    let home_of = |user: &str| format!("{}{user}", HOMES[0].0);
    assert!(home(&format!("see {}", home_of("/somebody/x"))).is_some());
    assert!(home(&format!("\"{}\"", home_of("/somebody/x"))).is_some());
    assert!(home(&format!("$dir{}", home_of("/.cookie"))).is_none());

    let keyword = concat!("un", "safe");
    assert!(not_safe(&format!("    {keyword} {{ map(file) }}")).is_some());
    assert!(not_safe(&format!("    {keyword}_code,")).is_none());
    assert!(not_safe(&format!("// no {keyword} here")).is_none());

    assert!(ignored(concat!("    #[", "ignore = \"slow\"]")).is_some());
    assert!(ignored("/// ```rust,ignore").is_some());
    assert!(ignored("/// ```no_run").is_none());
}
