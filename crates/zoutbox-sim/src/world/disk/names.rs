//! Names: directories, what is in them, and the journal that leads from the durable ones to those that are seen.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Ino;

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A file.
    File(Ino),
    /// A directory.
    Directory,
}

type Entries = BTreeMap<OsString, Node>;

/// Directories by their paths. Ordered as bytes are, so parents come first.
#[derive(Debug, Clone, Default)]
pub struct Tree(BTreeMap<OsString, Entries>);

/// One change of names that happens as a whole.
#[derive(Debug, Clone, Default)]
pub struct Op(pub Vec<(OsString, OsString, Option<Node>)>);

/// A path's directory and name.
#[must_use]
pub fn split(path: &Path) -> (OsString, OsString) {
    let directory = path.parent().map_or_else(OsString::new, |parent| parent.as_os_str().to_owned());
    (directory, path.file_name().unwrap_or_default().to_owned())
}

impl Op {
    /// One name comes to mean this.
    #[must_use]
    pub fn set(path: &Path, node: Option<Node>) -> Self {
        Self::default().and(path, node)
    }

    /// And this one, at once.
    #[must_use]
    pub fn and(mut self, path: &Path, node: Option<Node>) -> Self {
        let (directory, name) = split(path);
        self.0.push((directory, name, node));
        self
    }

    fn touches(&self, directories: &[OsString]) -> bool {
        self.0.iter().any(|(directory, ..)| directories.contains(directory))
    }
}

impl Tree {
    /// What is at a path.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<Node> {
        if path.as_os_str() == "/" {
            return Some(Node::Directory);
        }
        let parent = path.parent()?.as_os_str();
        self.0.get(parent)?.get(path.file_name()?).copied()
    }

    /// What is in a directory, if that is there.
    #[must_use]
    pub fn entries(&self, directory: &Path) -> Option<&Entries> {
        self.0.get(directory.as_os_str())
    }

    /// The directory `/`, where there is none yet.
    pub fn make_root(&mut self) {
        self.0.entry("/".into()).or_default();
    }

    /// The files of all names.
    pub fn files(&self) -> impl Iterator<Item = Ino> {
        self.0.values().flat_map(Entries::values).filter_map(|node| match node {
            Node::File(ino) => Some(*ino),
            Node::Directory => None,
        })
    }

    /// The paths of all directories.
    pub fn directories(&self) -> impl Iterator<Item = PathBuf> {
        self.0.keys().map(PathBuf::from)
    }

    /// Changes names. A directory's content may be durable before the directory's own name is.
    pub fn apply(&mut self, op: &Op) {
        for (directory, name, node) in &op.0 {
            let entries = self.0.entry(directory.clone()).or_default();
            let before = match node {
                Some(node) => entries.insert(name.clone(), *node),
                None => entries.remove(name),
            };
            let path = Path::new(directory).join(name).into_os_string();
            match (before, node) {
                (_, Some(Node::Directory)) => {
                    self.0.entry(path).or_default();
                }
                (Some(Node::Directory), _) => {
                    self.0.remove(&path);
                }
                _ => {}
            }
        }
    }

    /// Forgets directories whose own name is gone.
    pub fn prune(&mut self) {
        let mut kept = BTreeMap::new();
        for (path, entries) in std::mem::take(&mut self.0) {
            let there = path == "/" || {
                let (parent, name) = split(Path::new(&path));
                kept.get(&parent)
                    .is_some_and(|entries: &Entries| entries.get(&name) == Some(&Node::Directory))
            };
            if there {
                kept.insert(path, entries);
            }
        }
        self.0 = kept;
    }
}

/// Takes from the journal what is durable once `directory` is: all that touches it, and what those need.
pub fn settle(journal: &mut Vec<Op>, directory: &OsStr) -> Vec<Op> {
    let mut directories = vec![directory.to_owned()];
    let mut settled = Vec::new();
    let mut left = Vec::new();
    for op in std::mem::take(journal).into_iter().rev() {
        if op.touches(&directories) {
            for (directory, ..) in &op.0 {
                if !directories.contains(directory) {
                    directories.push(directory.clone());
                }
            }
            settled.push(op);
        } else {
            left.push(op);
        }
    }
    settled.reverse();
    left.reverse();
    *journal = left;
    settled
}

/// What a host knows of names, and since when.
#[derive(Debug, Default)]
pub struct Lookups(BTreeMap<OsString, (Option<Ino>, Duration)>);

impl Lookups {
    /// Nothing any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Nothing any more of what is in a directory.
    pub fn forget_in(&mut self, directory: &Path) {
        let mut prefix = directory.as_os_str().to_owned();
        prefix.push("/");
        self.0.retain(|path, _| !path.as_bytes().starts_with(prefix.as_bytes()));
    }

    /// Nothing any more of a name.
    pub fn forget(&mut self, path: &Path) {
        self.0.remove(path.as_os_str());
    }

    /// Looked up now.
    pub fn remember(&mut self, path: &Path, found: Option<Ino>, now: Duration) {
        self.0.insert(path.as_os_str().to_owned(), (found, now));
    }

    /// What was found, and when.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<(Option<Ino>, Duration)> {
        self.0.get(path.as_os_str()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> &Path {
        Path::new(text)
    }

    #[test]
    fn syncing_a_directory_settles_what_touches_it_and_what_that_needs() {
        let ops = [
            Op::set(path("/a/x"), Some(Node::File(1))),
            Op::set(path("/b/y"), Some(Node::File(2))),
            Op::set(path("/c/z"), Some(Node::File(3))),
            Op::set(path("/a/x"), None).and(path("/b/y"), Some(Node::File(1))),
        ];
        let mut journal = ops.to_vec();
        assert_eq!(settle(&mut journal, OsStr::new("/a")).len(), 3, "the rename needs what was in /b before");
        assert_eq!(journal.len(), 1);
    }

    #[test]
    fn what_is_in_a_directory_that_is_lost_is_lost_with_it() {
        let mut tree = Tree::default();
        tree.make_root();
        tree.apply(&Op::set(path("/a"), Some(Node::Directory)));
        tree.apply(&Op::set(path("/a/b"), Some(Node::Directory)));
        tree.apply(&Op::set(path("/a/b/c"), Some(Node::File(1))));
        assert_eq!(tree.get(path("/a/b/c")), Some(Node::File(1)));
        let mut lost = tree.clone();
        lost.apply(&Op::set(path("/a"), None));
        lost.prune();
        assert_eq!((lost.get(path("/a/b/c")), lost.files().count()), (None, 0));
    }
}
