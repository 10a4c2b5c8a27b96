use std::env;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use tempfile::TempDir;

use crate::program::profile_directory;

/// Names a directory, of a mounted NFS export for instance, below which the tests shall work as well.
const GIVEN: &str = "ZOUTBOX_TEST_DIR";

/// A fresh directory for a test that writes, on a filesystem known by its label. Dereferences to its [`Path`], and is
/// removed when dropped.
#[derive(Debug)]
pub struct TestRoot {
    label: &'static str,
    directory: TempDir,
}

impl TestRoot {
    fn below(label: &'static str, parent: &Path) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("zoutbox-test-")
            .tempdir_in(parent)
            .unwrap_or_else(|error| panic!("no directory for tests below {}: {error}", parent.display()));
        Self { label, directory }
    }

    /// `tmpfs`, `disk` or `given`: for the messages of failing tests.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.label
    }
}

impl Deref for TestRoot {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.directory.path()
    }
}

impl AsRef<Path> for TestRoot {
    fn as_ref(&self) -> &Path {
        self
    }
}

/// Fresh directories for one test: on tmpfs, on a disk, and below `ZOUTBOX_TEST_DIR` if that is set.
///
/// A test runs on each of them, since they differ in what they promise: on tmpfs a sync does nothing, on the disk it does.
/// Panics when one of the two kinds isn't to be had, rather than leave it out.
#[must_use]
pub fn test_roots() -> Vec<TestRoot> {
    let memory = Path::new("/dev/shm");
    assert!(is_tmpfs(memory), "/dev/shm is not a tmpfs, but tests need one there");
    let mut roots = vec![TestRoot::below("tmpfs", memory), TestRoot::below("disk", &disk())];
    if let Some(given) = env::var_os(GIVEN).filter(|given| !given.is_empty()) {
        let given = PathBuf::from(given);
        assert!(given.is_dir(), "{GIVEN} is not a directory: {}", given.display());
        roots.push(TestRoot::below("given", &given));
    }
    roots
}

/// A directory that isn't in memory: in cargo's target directory, else the system's for temporary files (which often is a
/// tmpfs), else the checkout's target directory (cargo's may be elsewhere).
fn disk() -> PathBuf {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp");
    let cargo = profile_directory().and_then(|profile| Some(profile.parent()?.join("tmp")));
    let candidates = [cargo, Some(env::temp_dir()), Some(checkout)];
    candidates
        .iter()
        .flatten()
        .find(|candidate| fs::create_dir_all(candidate).is_ok() && !is_tmpfs(candidate))
        .unwrap_or_else(|| panic!("none of these is a directory on a disk: {candidates:?}"))
        .clone()
}

fn is_tmpfs(path: &Path) -> bool {
    let known =
        statfs(path).unwrap_or_else(|error| panic!("cannot see what {} is on: {error}", path.display()));
    known.filesystem_type() == TMPFS_MAGIC
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_memory_and_disk_and_cleans_up() {
        let roots = test_roots();
        let kinds: Vec<_> = roots.iter().take(2).map(|root| (root.label(), is_tmpfs(root))).collect();
        assert_eq!(kinds, [("tmpfs", true), ("disk", false)]);
        let paths: Vec<_> = roots.iter().map(|root| root.to_path_buf()).collect();
        fs::write(roots[0].join("file"), b"content").unwrap();
        drop(roots);
        assert!(paths.iter().all(|path| !path.exists()), "left behind: {paths:?}");
    }
}
