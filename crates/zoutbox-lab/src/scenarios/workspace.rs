//! The workspace's own tests of storage, writer and reader, on a local ZFS dataset and over NFS.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;

use super::trial;
use crate::hosts::{ALPHA, DATASET, PROGRAMS, VERSIONS};

pub(super) fn trials() -> Vec<Trial> {
    let directory = Path::new(PROGRAMS).join("workspace-tests");
    let Ok(entries) = std::fs::read_dir(&directory) else {
        // Named all the same: a suite without them must not look whole.
        return vec![trial("workspace: the tests are in the guest", move || {
            panic!("no {}", directory.display())
        })];
    };
    let mut programs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    programs.sort();
    let on = |program: &PathBuf, version| {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let program = program.clone();
        trial(&format!("workspace: {name} holds on ZFS and over NFS {version}"), move || {
            let version = VERSIONS.into_iter().find(|known| known.0 == version).unwrap();
            passes(&program, &version.mount(ALPHA));
        })
    };
    programs.iter().flat_map(|program| ["4.2", "4.1"].map(|version| on(program, version))).collect()
}

fn passes(program: &Path, mount: &Path) {
    let local = Path::new(DATASET).join("workspace-local");
    let given = mount.join("workspace-nfs");
    for directory in [&local, &given] {
        std::fs::create_dir_all(directory).unwrap();
    }
    let output = Command::new(program)
        .env("TMPDIR", &local)
        .env("ZOUTBOX_TEST_DIR", &given)
        .arg("--test-threads=2")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let summary = said.lines().find(|line| line.starts_with("test result: ok.")).unwrap_or_default();
    assert!(summary.contains(" 0 ignored"), "{said}");
}
