//! The crates table of the design, over what cargo says. Dev-dependencies are free: they reach no user.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use crate::{assert_none, repository};

/// Every crate that may be in the workspace, and those of ours that it may depend on.
const TABLE: &[(&str, &[&str])] = &[
    ("zoutbox-format", &[]),
    ("zoutbox-storage", &["format"]),
    ("zoutbox-writer", &["format", "storage"]),
    ("zoutbox-reader", &["format", "storage"]),
    ("zoutbox-relay-core", &["format"]),
    ("zoutbox-relay", &["format", "storage", "reader", "relay-core"]),
    ("zoutbox-consumer", &["format", "storage"]),
    ("zoutbox-cli", &["format", "storage", "writer", "reader", "relay-core", "relay", "consumer"]),
    (
        "zoutbox-sim",
        &["format", "storage", "writer", "reader", "relay-core", "relay", "consumer", "test-support"],
    ),
    ("zoutbox-fuzz", &["format", "storage", "relay-core", "relay"]),
    ("zoutbox-test-support", &[]),
    ("zoutbox-lab", &["format", "storage", "writer", "reader", "test-support"]),
    // Both are for tests only, and one idea of what a directory's names are is enough.
    ("zoutbox-torture", &["format", "storage", "writer", "reader", "sim", "test-support"]),
];

/// What only some crates may name as a dependency. Only relay and consumer know AMQP and tokio, and only
/// the consumer knows databases.
const RESERVED: &[(&str, &[&str])] = &[
    ("lapin", &["zoutbox-relay", "zoutbox-consumer"]),
    ("tokio", &["zoutbox-relay", "zoutbox-consumer"]),
    ("rusqlite", &["zoutbox-consumer"]),
    ("postgres", &["zoutbox-consumer"]),
    ("notify", &["zoutbox-reader"]),
    ("memmap2", &["zoutbox-storage"]),
    ("rustix", &["zoutbox-storage"]),
];

/// All that the format may need: bytes, and how to say what is wrong with them.
const FORMAT_NEEDS: &[&str] = &["crc32fast", "rmp-serde", "serde", "serde_bytes", "serde_json", "thiserror"];

/// Executors and clients: not even through others may a library that runs in somebody's producer bring one.
const RUNTIMES: &[&str] =
    &["tokio", "async-std", "smol", "async-executor", "async-io", "mio", "lapin", "futures-executor"];

/// These run in producers or are pure.
const WITHOUT_RUNTIME: &[&str] =
    &["zoutbox-format", "zoutbox-storage", "zoutbox-writer", "zoutbox-relay-core"];

/// Doors to the operating system: the pure crates have none, not even through others.
const DOORS: &[&str] = &["libc", "nix", "rustix", "mio", "socket2", "memmap2", "getrandom", "tempfile"];

/// Bytes and types, and the machine that has neither disk nor clock.
const PURE: &[&str] = &["zoutbox-format", "zoutbox-relay-core"];

/// `--locked`: a test that changes Cargo.lock would make the next build another one. One platform: what another would need
/// may not be downloaded.
fn metadata() -> Metadata {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    MetadataCommand::new()
        .manifest_path(repository().join("Cargo.toml"))
        .other_options(["--locked".to_owned(), "--filter-platform".to_owned(), platform])
        .exec()
        .expect("cargo metadata --locked")
}

fn members(metadata: &Metadata) -> Vec<&Package> {
    let members = metadata.workspace_packages();
    assert!(members.len() >= 8, "only {} crates found in the workspace", members.len());
    members
}

/// What users of the crate get with it: normal and build dependencies.
fn needs(package: &Package) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(|need| need.kind != DependencyKind::Development)
        .map(|need| need.name.as_str())
}

/// Pairs of a crate and what it must not depend on, as `name → name`.
fn against_table<'a>(crates: impl Iterator<Item = (&'a str, Vec<&'a str>)>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, needs) in crates {
        let Some((_, allowed)) = TABLE.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!("{name} is not in the table of crates"));
            continue;
        };
        for need in needs {
            let ours = need.strip_prefix("zoutbox-");
            let reserved = RESERVED.iter().find(|(reserved, _)| *reserved == need);
            if ours.is_some_and(|ours| !allowed.contains(&ours))
                || reserved.is_some_and(|(_, owners)| !owners.contains(&name))
                || name == "zoutbox-format" && !FORMAT_NEEDS.contains(&need)
            {
                wrong.push(format!("{name} → {need}"));
            }
        }
    }
    wrong
}

/// Everything that comes with a crate, however far away; not what only its tests need.
fn reach(metadata: &Metadata, from: &Package) -> BTreeSet<String> {
    let graph = metadata.resolve.as_ref().expect("cargo metadata resolves");
    let nodes: HashMap<&PackageId, _> = graph.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![&from.id];
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        found.insert(metadata[id].name.to_string());
        let node = nodes.get(id).expect("every package has a node");
        for need in &node.deps {
            if need.dep_kinds.iter().any(|how| how.kind == DependencyKind::Normal) {
                open.push(&need.pkg);
            }
        }
    }
    found
}

fn reaching(metadata: &Metadata, crates: &[&str], forbidden: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in members(metadata).into_iter().filter(|package| crates.contains(&package.name.as_str())) {
        let found = reach(metadata, package);
        assert!(
            found.contains("thiserror"),
            "{} reaches nothing: the graph is not what it seems",
            package.name
        );
        wrong.extend(
            forbidden
                .iter()
                .filter(|name| found.contains(**name))
                .map(|name| format!("{} ⇒ {name}", package.name)),
        );
    }
    wrong
}

#[test]
fn crates_depend_only_in_the_directions_of_the_design() {
    let metadata = metadata();
    let crates =
        members(&metadata).into_iter().map(|package| (package.name.as_str(), needs(package).collect()));
    assert_none("these must not depend on each other", &against_table(crates));
}

#[test]
fn the_table_of_crates_catches_each_wrong_direction() {
    for (name, need) in [
        ("zoutbox-format", "zoutbox-storage"),
        ("zoutbox-format", "rustix"),
        ("zoutbox-reader", "zoutbox-writer"),
        ("zoutbox-relay-core", "zoutbox-storage"),
        ("zoutbox-relay-core", "tokio"),
        ("zoutbox-relay", "zoutbox-writer"),
        ("zoutbox-consumer", "zoutbox-reader"),
        ("zoutbox-consumer", "zoutbox-relay-core"),
        ("zoutbox-relay", "rusqlite"),
        ("zoutbox-writer", "postgres"),
        ("zoutbox-cli", "zoutbox-sim"),
        ("zoutbox-cli", "lapin"),
        ("zoutbox-writer", "zoutbox-test-support"),
        ("zoutbox-newcomer", "serde"),
    ] {
        let wrong = against_table([(name, vec!["thiserror", need])].into_iter());
        assert_eq!(wrong.len(), 1, "{name} → {need}: {wrong:?}");
    }
}

#[test]
fn what_runs_in_a_producer_brings_no_async_runtime() {
    assert_none("these come with a runtime", &reaching(&metadata(), WITHOUT_RUNTIME, RUNTIMES));
}

#[test]
fn pure_crates_reach_no_operating_system() {
    assert_none("these reach the operating system", &reaching(&metadata(), PURE, DOORS));
}

#[test]
fn reaching_looks_further_than_one_step() {
    let wrong = reaching(&metadata(), &["zoutbox-writer"], &["rmp"]);
    assert_eq!(wrong, ["zoutbox-writer ⇒ rmp"], "writer → format → rmp-serde → rmp is not seen");
}

#[test]
fn no_crate_can_be_published_and_all_inherit_the_lints() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in members(&metadata) {
        if package.publish != Some(Vec::new()) {
            wrong.push(format!("{} lacks `publish = false`", package.name));
        }
        let manifest = fs::read_to_string(&package.manifest_path).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        if manifest.get("lints").and_then(|lints| lints.get("workspace")) != Some(&toml::Value::Boolean(true))
        {
            wrong.push(format!("{} lacks `[lints] workspace = true`", package.name));
        }
    }
    assert_none("manifests", &wrong);
}
