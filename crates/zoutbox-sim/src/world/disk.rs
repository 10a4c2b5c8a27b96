//! A file server and what its clients keep of it.
//!
//! ```text
//!   write ─▶ dirty, in the host's cache ──written back, in any order──▶ on the server, unstable ──▶ stable
//!               │ seen by its host only        seen by all                    ▲    sync: all of it at once
//!               └ gone with the host                       gone at a power cut, in any parts
//! ```
//!
//! A sync that fails drops what it should have written, and the next one reports success. Readers on other hosts see an older version
//! until they ask for the file's attributes, and names as they looked them up, until they ask for the directory's. With a local disk
//! there is one host, so all of that is seen at once; but names are lost at a power cut unless their directory was synced.
//!
//! A sync covers what other hosts wrote to the file and the server has. (A Linux client without pages of its own to send asks the server for
//! nothing; a simulation of that is still to come.)

mod calls;
mod file;
pub mod names;
mod watch;

pub use calls::SimDisk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use zoutbox_storage::mount::{Mount, parse};

use super::State;
use super::harm::Harm;
use super::knobs::Knobs;
use super::random::Random;
use names::{Op, Tree};

/// Disks write this many bytes whole.
const SECTOR: usize = 512;

/// A file's number, for ever.
pub type Ino = usize;

/// What was written and is not stable.
#[derive(Debug, Clone)]
pub enum Change {
    /// Bytes at an offset.
    Write(usize, Arc<[u8]>),
    /// Another length.
    Length(usize),
}

impl Change {
    /// Carries it out.
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                if let Some(place) = bytes.get_mut(*offset..end) {
                    place.copy_from_slice(data);
                }
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }

    /// What may be there of it when it was not synced: nothing, all, the beginning, or the end behind a hole. At any byte, as if sectors were
    /// small; but the first sector is written whole or not at all, which lock files rely on (docs/filesystem.md).
    fn torn(&self, random: &mut Random) -> Option<Self> {
        match (random.below(4), self) {
            (0, _) => None,
            (1, _) | (_, Self::Length(_)) => Some(self.clone()),
            (_, Self::Write(0, data)) if data.len() <= SECTOR => random.chance(500).then(|| self.clone()),
            (2, Self::Write(offset, data)) => {
                let part = data.get(..random.index(data.len())).unwrap_or_default();
                (!part.is_empty()).then(|| Self::Write(*offset, part.into()))
            }
            (_, Self::Write(offset, data)) => {
                let skip = random.index(data.len());
                Some(Self::Write(offset + skip, data.get(skip..).unwrap_or_default().into()))
            }
        }
    }

    /// A write whose place shows what was there before in another file: of all that once was, what looks most like what should be there. Only
    /// from `from` on: what lies before it is this file's own.
    fn as_it_was(&self, once: &[Arc<Vec<u8>>], from: usize) -> Option<Self> {
        let Self::Write(offset, data) = self else { return None };
        let from = from.max(*offset);
        let wanted = data.get(from - offset..)?;
        let alike = |old: &&[u8]| old.iter().zip(wanted).filter(|(old, new)| old == new).count();
        let places = once.iter().filter_map(|old| old.get(from..offset + data.len()));
        let old = places.filter(|old| !old.is_empty() && *old != wanted).max_by_key(alike)?;
        Some(Self::Write(from, old.into()))
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Write(a, x), Self::Write(b, y)) => *a < b + y.len() && *b < a + x.len(),
            _ => true,
        }
    }
}

/// A file's lock.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    handle: u64,
    /// When the server gives it to somebody else, if it hears nothing from the holder's host until then.
    until: Option<Duration>,
}

/// A file.
#[derive(Debug, Default)]
pub struct Inode {
    /// What survives everything.
    pub stable: Arc<Vec<u8>>,
    /// What the server shows.
    pub server: Arc<Vec<u8>>,
    /// What is on the server and not stable, and whose it is.
    unstable: Vec<(usize, Change)>,
    /// What hosts have not sent yet.
    dirty: Vec<(usize, Change)>,
    /// What hosts keep to read from.
    cached: BTreeMap<usize, Arc<Vec<u8>>>,
    lock: Option<Held>,
    /// How many names it has.
    pub links: usize,
    modified: Duration,
}

/// An open file.
#[derive(Debug)]
pub struct Handle {
    process: usize,
    host: usize,
    ino: Ino,
    /// Its lock went to somebody else: what is written through it goes nowhere.
    lost: bool,
}

/// All of the disk.
#[derive(Debug)]
pub struct DiskState {
    /// The files.
    pub inodes: Vec<Inode>,
    /// The names as the server shows them.
    pub tree: Tree,
    /// The names that survive a power cut.
    pub stable: Tree,
    /// What leads from those to the others.
    pub journal: Vec<Op>,
    handles: BTreeMap<u64, Handle>,
    next_handle: u64,
    mount: Option<Mount>,
    /// What had been written when the power was cut, and was lost with its length: blocks that others get.
    lost: Vec<Arc<Vec<u8>>>,
    /// How many bytes fit, while that is bounded.
    pub capacity: Option<u64>,
}

const LOCAL: &str = "30 1 8:1 / /share rw,relatime - ext4 /dev/sda1 rw";
const NFS: &str = "30 1 0:50 / /share rw,relatime - nfs4 server:/tank rw,vers=4.2,rsize=1048576,wsize=1048576,namlen=255,hard,proto=tcp,timeo=600,retrans=2,sec=sys,local_lock=none";

impl DiskState {
    /// A disk with nothing on it.
    #[must_use]
    pub fn new(knobs: &Knobs) -> Self {
        let line = if knobs.local { LOCAL } else { NFS };
        Self {
            inodes: Vec::new(),
            tree: Tree::default(),
            stable: Tree::default(),
            journal: Vec::new(),
            handles: BTreeMap::new(),
            next_handle: 0,
            mount: parse(line.as_bytes()).pop(),
            lost: Vec::new(),
            capacity: None,
        }
    }

    /// Bytes in all files that have a name.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.inodes.iter().filter(|inode| inode.links > 0).map(|inode| inode.server.len() as u64).sum()
    }

    /// All that blocks can show that are given to another file: what is or was in files, and what was on its way when the power was cut.
    fn once(&mut self) -> Vec<Arc<Vec<u8>>> {
        let unsynced = self.inodes.iter().filter(|inode| !inode.unstable.is_empty());
        let lost: Vec<_> = unsynced.map(|inode| Arc::clone(&inode.server)).collect();
        let once = self.inodes.iter().map(|inode| &inode.stable).chain(&self.lost).cloned().collect();
        self.lost.extend(lost);
        once
    }

    fn count_links(&mut self) {
        self.inodes.iter_mut().for_each(|inode| inode.links = 0);
        for ino in self.tree.files() {
            if let Some(inode) = self.inodes.get_mut(ino) {
                inode.links += 1;
            }
        }
    }
}

impl Inode {
    fn send(&mut self, host: usize, change: Change) {
        change.apply(Arc::make_mut(&mut self.server));
        self.unstable.push((host, change));
    }

    /// Sends all that a host has not sent yet.
    fn send_all(&mut self, host: usize) {
        let (ours, others) = std::mem::take(&mut self.dirty).into_iter().partition(|(of, _)| *of == host);
        self.dirty = others;
        let ours: Vec<(usize, Change)> = ours;
        for (host, change) in ours {
            self.send(host, change);
        }
        self.cached.remove(&host);
    }

    /// Makes everything durable that the server has.
    fn settle(&mut self) {
        self.unstable.clear();
        self.stable = Arc::clone(&self.server);
    }

    /// The server's power is cut. `once`: what can lie in the blocks, where their new content was lost and the file's length was not.
    fn lose(&mut self, random: &mut Random, once: &[Arc<Vec<u8>>]) {
        if self.unstable.is_empty() {
            return;
        }
        let bytes = Arc::make_mut(&mut self.stable);
        let own = bytes.len();
        for (_, change) in self.unstable.drain(..) {
            let recycled = !once.is_empty() && random.chance(500);
            let old = if recycled { change.as_it_was(once, own) } else { None };
            if let Some(torn) = old.or_else(|| change.torn(random)) {
                torn.apply(bytes);
            }
        }
        self.server = Arc::clone(&self.stable);
        self.cached.clear();
    }
}

impl State {
    /// Some client sends something that it holds back, or a part of it, as its kernel sees fit.
    pub fn write_back(&mut self) {
        let holders: Vec<Ino> =
            (0..).zip(&self.disk.inodes).filter(|(_, i)| !i.dirty.is_empty()).map(|(n, _)| n).collect();
        let Some(ino) = holders.get(self.random.index(holders.len())).copied() else { return };
        let Some(inode) = self.disk.inodes.get_mut(ino) else { return };
        let at = self.random.index(inode.dirty.len());
        let Some((host, change)) = inode.dirty.get(at).cloned() else { return };
        if self.hosts.get(host).and_then(|host| host.frozen).is_some_and(|until| self.now < until) {
            return;
        }
        // A part of it stays to be sent: it is sent again as a whole.
        if let Some(torn) = change.torn(&mut self.random) {
            inode.send(host, torn);
        }
    }

    /// Everything loses its power: all hosts and the server.
    pub fn cut_power(&mut self) {
        self.counts.harms.note(Harm::PowerCut);
        self.say("power", format_args!("cut everywhere"));
        for host in 0..self.hosts.len() {
            self.end_host(host);
        }
        let once = if self.knobs.recycled_blocks { self.disk.once() } else { Vec::new() };
        for inode in &mut self.disk.inodes {
            self.counts.harms.note_many(Harm::WriteUnsynced, inode.unstable.len());
            inode.lose(&mut self.random, &once);
            inode.lock = None;
        }
        self.counts.harms.note_many(Harm::NameUnsynced, self.disk.journal.len());
        let order = if self.knobs.names_in_any_order { None } else { Some(()) };
        let journal = std::mem::take(&mut self.disk.journal);
        let keep = self.random.index(journal.len() + 1);
        for (at, op) in journal.into_iter().enumerate() {
            let survives = match order {
                Some(()) => at < keep,
                None => self.random.chance(500),
            };
            if survives {
                self.disk.stable.apply(&op);
            }
        }
        self.disk.stable.prune();
        self.disk.tree = self.disk.stable.clone();
        self.disk.count_links();
    }

    /// The server loses its power and comes back; its clients live, and send again what it had not made durable. What a client held a
    /// lock on, it keeps.
    pub fn crash_server(&mut self) {
        self.counts.harms.note(Harm::ServerCrash);
        self.say("server", format_args!("crashed and came back"));
        for inode in &mut self.disk.inodes {
            self.counts.harms.note_many(Harm::WriteUnsynced, inode.unstable.len());
            let again: Vec<_> = inode.unstable.clone();
            inode.lose(&mut self.random, &[]);
            let (hosts, gone) = (self.hosts.len(), usize::MAX);
            inode.dirty.splice(..0, again.into_iter().filter(|(host, _)| *host < hosts && *host != gone));
        }
    }

    /// A host's power is cut: what it had not sent is gone, what it had locked stays locked until the server gives up on it.
    pub fn end_host(&mut self, host: usize) {
        let running: Vec<usize> =
            (0..).zip(&self.processes).filter(|(_, p)| p.alive && p.host == host).map(|(n, _)| n).collect();
        for number in running {
            if let Some(process) = self.processes.get_mut(number) {
                process.alive = false;
                let name = process.name.clone();
                self.say(&name, format_args!("gone with its host"));
            }
            self.close_all(number, true);
        }
        for inode in &mut self.disk.inodes {
            // On a local disk some of it may have got there.
            if self.knobs.local {
                for (_, change) in std::mem::take(&mut inode.dirty) {
                    if let Some(torn) = change.torn(&mut self.random) {
                        inode.send(host, torn);
                    }
                }
            }
            inode.dirty.retain(|(of, _)| *of != host);
            inode.cached.remove(&host);
            // Nobody sends this again.
            for (of, _) in inode.unstable.iter_mut().filter(|(of, _)| *of == host) {
                *of = usize::MAX;
            }
        }
        if let Some(host) = self.hosts.get_mut(host) {
            host.frozen = None;
            host.names.clear();
        }
    }

    /// Closes all files of a process. `silently`: its host can't tell the server.
    pub(super) fn close_all(&mut self, process: usize, silently: bool) {
        let until = self.now + self.knobs.lease;
        for (number, handle) in &self.disk.handles {
            if handle.process != process {
                continue;
            }
            if let Some(inode) = self.disk.inodes.get_mut(handle.ino)
                && let Some(held) = &mut inode.lock
                && held.handle == *number
            {
                if silently {
                    held.until.get_or_insert(until);
                } else {
                    inode.lock = None;
                }
            }
        }
        self.disk.handles.retain(|_, handle| handle.process != process);
    }

    /// The network between a host and the server is cut for a while.
    pub fn freeze(&mut self, host: usize, long: Duration) {
        self.counts.harms.note(Harm::Partition);
        let now = self.now;
        let lapse = now + self.knobs.lease;
        self.say("network", format_args!("host {host} is cut off for {long:?}"));
        let Some(of) = self.hosts.get_mut(host) else { return };
        of.frozen = Some(now + long);
        for (number, handle) in self.disk.handles.iter().filter(|(_, handle)| handle.host == host) {
            if let Some(inode) = self.disk.inodes.get_mut(handle.ino)
                && let Some(held) = inode.lock.as_mut().filter(|held| held.handle == *number)
            {
                held.until.get_or_insert(lapse);
            }
        }
    }

    /// Hosts whose time has come hear from the server again, and which locks they still have.
    pub fn thaw(&mut self) {
        for host in 0..self.hosts.len() {
            let due =
                self.hosts.get(host).and_then(|host| host.frozen).is_some_and(|until| until <= self.now);
            if !due {
                continue;
            }
            if let Some(host) = self.hosts.get_mut(host) {
                host.frozen = None;
            }
            self.say("network", format_args!("host {host} is back"));
            let held: Vec<(u64, Ino)> =
                self.disk.handles.iter().filter(|(_, h)| h.host == host).map(|(n, h)| (*n, h.ino)).collect();
            for (number, ino) in held {
                let Some(inode) = self.disk.inodes.get_mut(ino) else { continue };
                let Some(held) = inode.lock.as_mut().filter(|held| held.handle == number) else { continue };
                let lapsed = held.until.is_some_and(|until| until <= self.now);
                // A courteous server takes from a client that it has not heard of only what another one asked for (nfsd since Linux
                // 5.19, https://www.phoronix.com/news/Linux-5.19-NFSD-Courteous); others take everything.
                if lapsed && self.random.chance(500) {
                    inode.lock = None;
                    self.lose_lock(number);
                } else {
                    held.until = None;
                }
            }
        }
    }

    /// The server has taken a lock away: what its holder had not sent never gets there, and neither does what it writes from now on.
    fn lose_lock(&mut self, number: u64) {
        if self.broken == super::knobs::Broken::LockLoss {
            return;
        }
        let Some(handle) = self.disk.handles.get_mut(&number) else { return };
        self.counts.harms.note(Harm::LockLapsed);
        handle.lost = true;
        let (host, ino) = (handle.host, handle.ino);
        if let Some(inode) = self.disk.inodes.get_mut(ino) {
            inode.dirty.retain(|(of, _)| *of != host);
            for (of, _) in inode.unstable.iter_mut().filter(|(of, _)| *of == host) {
                *of = usize::MAX;
            }
            inode.cached.remove(&host);
        }
    }
}
