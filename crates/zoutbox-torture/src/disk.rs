//! A disk and the cache in front of it, as a value: what is seen, and what would be left if the power were cut now. No I/O, no clock.
//!
//! ```text
//!   write, set length ─▶ visible ── unsynced, in their order ──sync of the file──────▶ durable
//!   create, link, rename, … ─▶ tree ── journal, in its order ──sync of a directory──▶ stable
//!
//!   power cut: of the unsynced any subset, each torn at sectors of 512 bytes; of the journal any subset, or a beginning, each entry
//!              as a whole; what has no durable name is gone
//!   a sync that fails: the same for that one file, and nobody is told again
//! ```
//!
//! Names are those of the simulation (`zoutbox_sim::world::disk::names`). Modes and owners are durable at once: zoutbox promises nothing of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use zoutbox_sim::world::disk::names::{Node, Op, Tree, settle};
use zoutbox_sim::world::disk::{Change, Ino};
use zoutbox_sim::world::random::Random;

/// The number of the directory that everything lies in.
pub const ROOT: Ino = 1;
/// What a disk writes as a whole, in bytes.
const SECTOR: usize = 512;

/// What a call comes to.
pub type Answer<T> = Result<T, Errno>;

/// Who may do what: remembered, and never asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub struct Owned {
    pub mode: u32,
    pub user: u32,
    pub group: u32,
}

/// What is told of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub struct Attributes {
    pub number: Ino,
    pub directory: bool,
    pub length: u64,
    pub links: u32,
    pub owned: Owned,
    /// Counts changes of content.
    pub version: u64,
}

#[derive(Debug, Clone)]
struct File {
    visible: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    unsynced: Vec<Change>,
    links: u32,
    owned: Owned,
    version: u64,
}

#[derive(Debug, Clone)]
struct Directory {
    path: PathBuf,
    owned: Owned,
    version: u64,
}

/// All of it. A copy is cheap: content is shared until it changes.
#[derive(Debug, Clone)]
pub struct Disk {
    files: BTreeMap<Ino, File>,
    directories: BTreeMap<Ino, Directory>,
    /// As they are seen.
    tree: Tree,
    /// As they would be left.
    stable: Tree,
    /// What leads from those to these.
    journal: Vec<Op>,
    next: Ino,
    version: u64,
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk {
    /// With an empty directory on it.
    #[must_use]
    pub fn new() -> Self {
        let mut tree = Tree::default();
        tree.make_root();
        let owned = Owned { mode: 0o755, user: 0, group: 0 };
        let root = Directory { path: "/".into(), owned, version: 0 };
        Self {
            files: BTreeMap::new(),
            directories: BTreeMap::from([(ROOT, root)]),
            stable: tree.clone(),
            tree,
            journal: Vec::new(),
            next: ROOT + 1,
            version: 0,
        }
    }

    // ------------------------------------------------------------------------------------------------------- looking

    /// What has this name.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR.
    pub fn look_up(&self, directory: Ino, name: &OsStr) -> Answer<Attributes> {
        let path = self.path(directory, name)?;
        self.attributes(self.number(&path).ok_or(Errno::ENOENT)?)
    }

    /// What is known of it.
    ///
    /// # Errors
    /// ESTALE if there is no such number.
    pub fn attributes(&self, number: Ino) -> Answer<Attributes> {
        if let Some(Directory { owned, version, .. }) = self.directories.get(&number) {
            let (owned, version) = (*owned, *version);
            return Ok(Attributes { number, directory: true, length: 4096, links: 2, owned, version });
        }
        let file = self.files.get(&number).ok_or(Errno::ESTALE)?;
        let (length, links) = (file.visible.len() as u64, file.links);
        Ok(Attributes { number, directory: false, length, links, owned: file.owned, version: file.version })
    }

    /// What is in a directory.
    ///
    /// # Errors
    /// ENOTDIR.
    pub fn list(&self, directory: Ino) -> Answer<Vec<(OsString, Attributes)>> {
        let path = self.directory(directory)?;
        let entries = self.tree.entries(path).ok_or(Errno::ENOENT)?;
        let each = entries.keys().map(|name| Ok((name.clone(), self.look_up(directory, name)?)));
        each.collect()
    }

    /// What lies there: nothing behind the end.
    ///
    /// # Errors
    /// EISDIR, ESTALE.
    pub fn read(&self, number: Ino, offset: usize, size: usize) -> Answer<&[u8]> {
        let bytes = &self.file(number)?.visible;
        let start = offset.min(bytes.len());
        let end = start.saturating_add(size).min(bytes.len());
        Ok(bytes.get(start..end).unwrap_or_default())
    }

    /// How much would be lost now, in changes: of content, and of names.
    #[must_use]
    pub fn at_risk(&self) -> (usize, usize) {
        (self.files.values().map(|file| file.unsynced.len()).sum(), self.journal.len())
    }

    /// A path of it, for people; `None` if it has no name any more.
    #[must_use]
    pub fn path_of(&self, number: Ino) -> Option<PathBuf> {
        if let Some(directory) = self.directories.get(&number) {
            return Some(directory.path.clone());
        }
        let named = |path: &PathBuf| {
            let entries = self.tree.entries(path)?;
            let name = entries.iter().find(|(_, node)| **node == Node::File(number))?.0;
            Some(path.join(name))
        };
        self.directories.values().find_map(|it| named(&it.path))
    }

    fn directory(&self, number: Ino) -> Answer<&Path> {
        match self.directories.get(&number) {
            Some(directory) => Ok(&directory.path),
            None if self.files.contains_key(&number) => Err(Errno::ENOTDIR),
            None => Err(Errno::ESTALE),
        }
    }

    fn path(&self, directory: Ino, name: &OsStr) -> Answer<PathBuf> {
        Ok(self.directory(directory)?.join(name))
    }

    fn number(&self, path: &Path) -> Option<Ino> {
        match self.tree.get(path)? {
            Node::File(number) => Some(number),
            Node::Directory => {
                self.directories.iter().find(|(_, it)| it.path == path).map(|(number, _)| *number)
            }
        }
    }

    fn file(&self, number: Ino) -> Answer<&File> {
        let missing = if self.directories.contains_key(&number) { Errno::EISDIR } else { Errno::ESTALE };
        self.files.get(&number).ok_or(missing)
    }

    fn file_mut(&mut self, number: Ino) -> Answer<&mut File> {
        self.version += 1;
        let version = self.version;
        let missing = if self.directories.contains_key(&number) { Errno::EISDIR } else { Errno::ESTALE };
        let file = self.files.get_mut(&number).ok_or(missing)?;
        file.version = version;
        Ok(file)
    }

    // --------------------------------------------------------------------------------------------------------- names

    /// Makes an empty file.
    ///
    /// # Errors
    /// EEXIST, ENOENT, ENOTDIR.
    pub fn create(&mut self, directory: Ino, name: &OsStr, owned: Owned) -> Answer<Attributes> {
        let path = self.free(directory, name)?;
        let number = self.fresh();
        let (visible, durable) = (Arc::default(), Arc::default());
        let file = File { visible, durable, unsynced: Vec::new(), links: 0, owned, version: self.version };
        self.files.insert(number, file);
        self.change(Op::set(&path, Some(Node::File(number))));
        self.attributes(number)
    }

    /// Makes an empty directory.
    ///
    /// # Errors
    /// As [`Disk::create`].
    pub fn make_directory(&mut self, directory: Ino, name: &OsStr, owned: Owned) -> Answer<Attributes> {
        let path = self.free(directory, name)?;
        let number = self.fresh();
        self.change(Op::set(&path, Some(Node::Directory)));
        self.directories.insert(number, Directory { path, owned, version: self.version });
        self.attributes(number)
    }

    /// Gives a file one more name.
    ///
    /// # Errors
    /// As [`Disk::create`]; EPERM for a directory.
    pub fn link(&mut self, number: Ino, directory: Ino, name: &OsStr) -> Answer<Attributes> {
        self.file(number).map_err(|error| if error == Errno::EISDIR { Errno::EPERM } else { error })?;
        let path = self.free(directory, name)?;
        self.change(Op::set(&path, Some(Node::File(number))));
        self.attributes(number)
    }

    /// Takes a file's name away. Who has it open reads and writes on.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EISDIR.
    pub fn unlink(&mut self, directory: Ino, name: &OsStr) -> Answer<()> {
        let path = self.path(directory, name)?;
        match self.tree.get(&path).ok_or(Errno::ENOENT)? {
            Node::Directory => Err(Errno::EISDIR),
            Node::File(_) => {
                self.change(Op::set(&path, None));
                Ok(())
            }
        }
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, ENOTEMPTY.
    pub fn remove_directory(&mut self, directory: Ino, name: &OsStr) -> Answer<()> {
        let path = self.path(directory, name)?;
        match self.tree.get(&path).ok_or(Errno::ENOENT)? {
            Node::File(_) => Err(Errno::ENOTDIR),
            Node::Directory if self.tree.entries(&path).is_some_and(|entries| !entries.is_empty()) => {
                Err(Errno::ENOTEMPTY)
            }
            Node::Directory => {
                self.change(Op::set(&path, None));
                self.directories.retain(|_, it| it.path != path);
                Ok(())
            }
        }
    }

    /// Gives a file another name, and takes that from whatever file has it, at once. Directories keep theirs.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EISDIR; EXDEV for a directory.
    pub fn rename(&mut self, from: (Ino, &OsStr), to: (Ino, &OsStr)) -> Answer<()> {
        let (from, to) = (self.path(from.0, from.1)?, self.path(to.0, to.1)?);
        let node = self.tree.get(&from).ok_or(Errno::ENOENT)?;
        match (node, self.tree.get(&to)) {
            (Node::Directory, _) => return Err(Errno::EXDEV),
            (_, Some(Node::Directory)) => return Err(Errno::EISDIR),
            // Two names of one file: both stay.
            (Node::File(one), Some(Node::File(other))) if one == other => return Ok(()),
            (Node::File(_), _) => {}
        }
        self.change(Op::set(&from, None).and(&to, Some(node)));
        Ok(())
    }

    /// Makes the names in a directory durable, and with a name that was moved the one it had.
    ///
    /// # Errors
    /// ENOTDIR, ESTALE.
    pub fn sync_directory(&mut self, directory: Ino) -> Answer<()> {
        let path = self.directory(directory)?.as_os_str().to_owned();
        for op in settle(&mut self.journal, &path) {
            self.stable.apply(&op);
        }
        Ok(())
    }

    fn free(&self, directory: Ino, name: &OsStr) -> Answer<PathBuf> {
        let path = self.path(directory, name)?;
        if self.tree.get(&path).is_some() { Err(Errno::EEXIST) } else { Ok(path) }
    }

    fn fresh(&mut self) -> Ino {
        self.next += 1;
        self.version += 1;
        self.next - 1
    }

    fn change(&mut self, op: Op) {
        self.version += 1;
        for (directory, name, node) in &op.0 {
            if let Some(Node::File(before)) = self.tree.get(&Path::new(directory).join(name))
                && let Some(file) = self.files.get_mut(&before)
            {
                file.links = file.links.saturating_sub(1);
            }
            if let Some(Node::File(after)) = node
                && let Some(file) = self.files.get_mut(after)
            {
                file.links += 1;
            }
            for it in self.directories.values_mut().filter(|it| it.path.as_os_str() == directory) {
                it.version = self.version;
            }
        }
        self.tree.apply(&op);
        self.journal.push(op);
    }

    // ------------------------------------------------------------------------------------------------------- content

    /// Writes bytes.
    ///
    /// # Errors
    /// EISDIR, ESTALE.
    pub fn write(&mut self, number: Ino, offset: usize, bytes: &[u8]) -> Answer<()> {
        self.file_mut(number)?.change(Change::Write(offset, bytes.into()));
        Ok(())
    }

    /// Cuts or extends a file.
    ///
    /// # Errors
    /// EISDIR, ESTALE.
    pub fn set_length(&mut self, number: Ino, length: usize) -> Answer<()> {
        self.file_mut(number)?.change(Change::Length(length));
        Ok(())
    }

    /// Says who may do what.
    ///
    /// # Errors
    /// ESTALE.
    pub fn set_owned(&mut self, number: Ino, set: impl FnOnce(&mut Owned)) -> Answer<()> {
        match self.directories.get_mut(&number) {
            Some(directory) => set(&mut directory.owned),
            None => set(&mut self.files.get_mut(&number).ok_or(Errno::ESTALE)?.owned),
        }
        Ok(())
    }

    /// Makes a file's content and length durable; not its names.
    ///
    /// # Errors
    /// EISDIR, ESTALE.
    pub fn sync(&mut self, number: Ino) -> Answer<()> {
        let missing = if self.directories.contains_key(&number) { Errno::EISDIR } else { Errno::ESTALE };
        let file = self.files.get_mut(&number).ok_or(missing)?;
        file.durable = Arc::clone(&file.visible);
        file.unsynced.clear();
        Ok(())
    }

    /// Makes everything durable that there is.
    pub fn sync_all(&mut self) {
        for file in self.files.values_mut() {
            file.durable = Arc::clone(&file.visible);
            file.unsynced.clear();
        }
        self.journal.clear();
        self.stable = self.tree.clone();
    }

    /// A sync that could not write everything: some of it got there, the rest is dropped from the cache, and the next sync succeeds.
    pub fn lose_unsynced(&mut self, number: Ino, random: &mut Random) {
        if let Some(file) = self.files.get_mut(&number) {
            file.lose(random);
        }
    }

    /// The power is cut and comes back.
    pub fn cut_power(&mut self, random: &mut Random) {
        for file in self.files.values_mut() {
            file.lose(random);
        }
        let journal = std::mem::take(&mut self.journal);
        let (manner, begin) = (random.below(4), random.index(journal.len() + 1));
        for (at, op) in journal.iter().enumerate() {
            let survives = match manner {
                0 => false,
                // As a journal in order would have it.
                1 | 2 => at < begin,
                _ => random.chance(500),
            };
            if survives {
                self.stable.apply(op);
            }
        }
        self.stable.prune();
        self.tree = self.stable.clone();
        self.forget_nameless();
    }

    fn forget_nameless(&mut self) {
        let mut links: BTreeMap<Ino, u32> = BTreeMap::new();
        for number in self.tree.files() {
            *links.entry(number).or_default() += 1;
        }
        self.files.retain(|number, _| links.contains_key(number));
        for (number, file) in &mut self.files {
            file.links = links.get(number).copied().unwrap_or_default();
        }
        let tree = &self.tree;
        self.directories.retain(|_, it| tree.get(&it.path) == Some(Node::Directory));
        // A directory that was removed, and is back.
        let known: BTreeSet<_> = self.directories.values().map(|it| it.path.clone()).collect();
        let back: Vec<PathBuf> = tree.directories().filter(|path| !known.contains(path)).collect();
        for path in back {
            let number = self.fresh();
            let owned = Owned { mode: 0o755, user: 0, group: 0 };
            self.directories.insert(number, Directory { path, owned, version: self.version });
        }
    }
}

impl File {
    fn change(&mut self, change: Change) {
        change.apply(Arc::make_mut(&mut self.visible));
        self.unsynced.push(change);
    }

    /// What was not synced survives in parts.
    fn lose(&mut self, random: &mut Random) {
        let unsynced = std::mem::take(&mut self.unsynced);
        if !unsynced.is_empty() {
            let durable = Arc::make_mut(&mut self.durable);
            for change in &unsynced {
                for part in parts(change, durable.len(), random) {
                    part.apply(durable);
                }
            }
        }
        self.visible = Arc::clone(&self.durable);
    }
}

/// What is left of a change that was not synced, in a file of that length: all, nothing, some sectors, or only the room for it.
fn parts(change: &Change, length: usize, random: &mut Random) -> Vec<Change> {
    let manner = random.below(8);
    let Change::Write(offset, bytes) = change else {
        return if manner.is_multiple_of(2) { vec![change.clone()] } else { Vec::new() };
    };
    match manner {
        0 | 1 => Vec::new(),
        2 | 3 => vec![change.clone()],
        4 => vec![Change::Length(length.max(offset + bytes.len()))],
        _ => {
            let survives = random.between(100, 900);
            sectors(*offset, bytes).filter(|_| random.chance(survives)).collect()
        }
    }
}

/// A write in pieces that end where sectors do.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = Change> {
    let first = (SECTOR - offset % SECTOR).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    let pieces = std::iter::once(head).chain(rest.chunks(SECTOR));
    let starts = std::iter::once(offset).chain((offset + first..).step_by(SECTOR));
    starts
        .zip(pieces)
        .filter(|(_, piece)| !piece.is_empty())
        .map(|(at, piece)| Change::Write(at, piece.into()))
}

#[cfg(test)]
mod tests;
