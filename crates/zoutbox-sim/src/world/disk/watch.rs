//! What the checkers want to know of the share: read from the disk itself, with no program's eyes.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use zoutbox_format::checkpoint::Position;
use zoutbox_format::header::HEADER_LENGTH;
use zoutbox_format::layout::{Layout, SegmentName, parse_dead_letter_name};
use zoutbox_format::{Checkpoint, Scanner, SegmentHeader, Step, WriterId};
use zoutbox_relay_core::Key;

use super::names::Node;
use crate::checkers::Seen;
use crate::world::{ROOT, State};

/// The last two parts of a path below a directory.
fn below<'a>(path: &'a Path, directory: &Path) -> Option<(&'a str, &'a str)> {
    let mut parts = path.strip_prefix(directory).ok()?.iter();
    Some((parts.next()?.to_str()?, parts.next()?.to_str()?))
}

/// The records of a segment, as far as they are sound.
fn records(bytes: &[u8]) -> BTreeSet<Key> {
    let mut found = BTreeSet::new();
    let header = bytes.get(..HEADER_LENGTH).map(SegmentHeader::decode);
    let Some(Ok(header)) = header else { return found };
    let mut scanner = Scanner::from_start(&header);
    while let Ok(Step::Record(frame)) = scanner.step(bytes) {
        found.insert(Key { epoch: header.id.epoch, sequence: frame.sequence });
    }
    found
}

impl State {
    fn bytes(&self, path: &Path) -> Option<Arc<Vec<u8>>> {
        match self.disk.tree.get(path)? {
            Node::File(ino) => self.disk.inodes.get(ino).map(|inode| Arc::clone(&inode.server)),
            Node::Directory => None,
        }
    }

    /// In front of a file's removal, or of its move to another place: if it is a segment in the log, its records must be confirmed.
    pub(super) fn leaves_log(&mut self, process: usize, path: &Path) {
        let layout = Layout::new(ROOT);
        let Some((writer, name)) = below(path, &layout.writers()) else { return };
        let Some(segment) = SegmentName::parse(name).map(|name| name.id) else { return };
        let Some(bytes) = self.bytes(path) else { return };
        if !self.processes.get(process).is_some_and(|process| process.relay) {
            return;
        }
        self.counts.removed += 1;
        let here = records(&bytes);
        let mut only_here: BTreeSet<Key> = self
            .ledger
            .writer(writer)
            .map(|of| of.outstanding.intersection(&here).copied().collect())
            .unwrap_or_default();
        if !only_here.is_empty() {
            // A commit that was written again lies in two segments.
            let directory = layout.writers().join(writer);
            let names: Vec<_> = self
                .disk
                .tree
                .entries(&directory)
                .into_iter()
                .flatten()
                .map(|(name, _)| directory.join(name))
                .collect();
            for other in names.iter().filter(|other| *other != path) {
                let there = self.bytes(other).map(|bytes| records(&bytes)).unwrap_or_default();
                only_here.retain(|key| !there.contains(key));
            }
        }
        let only_here: Vec<Key> = only_here.into_iter().collect();
        let durable = self.durable_checkpoint(writer);
        self.see(&Seen::Removed { writer, segment, only_here: &only_here, durable });
    }

    /// What would be left of a writer's checkpoint after a power cut.
    fn durable_checkpoint(&self, writer: &str) -> Option<Position> {
        let path = Layout::new(ROOT).checkpoint(&WriterId::new(writer).ok()?);
        let Node::File(ino) = self.disk.stable.get(&path)? else { return None };
        Some(Checkpoint::decode(&self.disk.inodes.get(ino)?.stable).ok()?.position)
    }

    /// A file got a name: if it is a checkpoint's, it counts from now on.
    pub(super) fn appears(&mut self, path: &Path) {
        let directory = Layout::new(ROOT).checkpoints();
        if path.parent() != Some(&directory) {
            return;
        }
        let Some(writer) = path.file_name().and_then(|name| name.to_str()) else { return };
        let Some(Ok(checkpoint)) = self.bytes(path).map(|bytes| Checkpoint::decode(&bytes)) else { return };
        let position = checkpoint.position;
        self.say(
            "share",
            format_args!("checkpoint of {writer}, by relay {}: {position:?}", checkpoint.relay_epoch),
        );
        self.see(&Seen::Checkpoint { writer, position });
    }

    /// A directory was synced: if it is one of dead letters, those last.
    pub(super) fn letters_last(&mut self, directory: &Path) {
        let layout = Layout::new(ROOT);
        if directory.parent() != Some(&layout.dead_letters()) {
            return;
        }
        let Some(writer) = directory.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
            return;
        };
        let mut letters = Vec::new();
        for (name, node) in self.disk.stable.entries(directory).into_iter().flatten() {
            let (Some((epoch, sequence)), Node::File(ino)) =
                (name.to_str().and_then(parse_dead_letter_name), node)
            else {
                continue;
            };
            let key = Key { epoch, sequence };
            let known = self.ledger.writer(&writer).is_some_and(|of| of.dead.contains(&key));
            let bytes = self.disk.inodes.get(*ino).map(|inode| Arc::clone(&inode.stable)).unwrap_or_default();
            if !known && !bytes.is_empty() {
                letters.push((key, count(&bytes)));
            }
        }
        for (first, count) in letters {
            self.say(
                "share",
                format_args!("dead letter of {writer}/{}/{}, {count} records", first.epoch, first.sequence),
            );
            self.see(&Seen::Dead { writer: &writer, first, count });
        }
    }
}

/// How many records a letter is about: one, unless it has a pointer.
fn count(letter: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(letter);
    let of_pointer = text.split_once("\"pointer\"").and_then(|(_, pointer)| pointer.split_once("\"count\":"));
    let digits =
        of_pointer.map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(1)
}
