//! What a seed is about: drawn once, in the beginning, so that runs differ in kind and not only in detail.

use std::time::Duration;

use super::random::Random;

/// What kind of world it is.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct Knobs {
    /// One host and a local disk, where names last only once their directory was synced. Otherwise an NFS server and its clients.
    pub local: bool,
    /// How many hosts.
    pub hosts: usize,
    /// How many writer ids.
    pub writers: usize,
    /// Whether each id has a second process that wants it.
    pub rivals: bool,
    /// How long the server keeps the locks of a client that it does not hear from.
    pub lease: Duration,
    /// Of a million calls to the disk, how many fail.
    pub disk_faults: u64,
    /// Of a thousand steps, before how many it is decided that the process dies within.
    pub deaths: u64,
    /// Of a thousand calls, in front of how many others get a turn.
    pub interrupts: u64,
    /// Of a thousand turns of the scheduler, how many are a power cut, a partition or the like.
    pub disasters: u64,
    /// Of a thousand messages, how many the broker nacks.
    pub nacks: u64,
    /// Whether relays end by themselves once all is published, while there are faults.
    pub once: bool,
    /// Whether misfortunes come together: behind a sync that failed, something bad is likely, a loss of power most of all.
    pub bursts: bool,
    /// How many messages fit into the queue, while there are faults: the broker nacks all others, however long that lasts.
    pub queue_limit: Option<usize>,
    /// Whether some records have a topic that is not always routed.
    pub unroutable: bool,
    /// Whether those become dead letters.
    pub dead_letters: bool,
    /// Whether some topics are published as pointers.
    pub pointers: bool,
    /// Whether names may survive a power cut in any combination, and not only as a journal would have it.
    pub names_in_any_order: bool,
    /// How many bytes fit while the share is small.
    pub capacity: u64,
    /// Whether a full share shows at sync, as it does over NFS, and not at write.
    pub full_at_sync: bool,
    /// When segments are sealed by age.
    pub segment_age: Duration,
    /// The longest payload, in bytes.
    pub longest_payload: u64,
    /// Whether payloads are all of one length, so that frames of one segment could stand where another one's were.
    pub equal_payloads: bool,
    /// Whether a power cut can leave what lay in a file's blocks before.
    pub recycled_blocks: bool,
    /// Whether the next segment is filled with zeros.
    pub zero_ahead: bool,
    /// Whether there is so much room that a relay keeps ballast.
    pub plenty: bool,
    /// Whether what was published is archived.
    pub archive: bool,
    /// How long a segment is kept.
    pub keep: Duration,
    /// Turns of the scheduler with faults.
    pub stormy_ticks: u64,
}

impl Knobs {
    /// Draws them.
    pub fn draw(random: &mut Random) -> Self {
        // Drawn apart, so that all other knobs of a seed stay what they were before there were these.
        let mut apart = random.clone();
        let queue_limit =
            apart.chance(200).then(|| apart.between(3, 60)).and_then(|l| usize::try_from(l).ok());
        let once = apart.chance(250);
        let bursts = apart.chance(400);
        let local = random.chance(350);
        Self {
            local,
            hosts: if local { 1 } else { usize::try_from(random.between(1, 4)).unwrap_or(1) },
            writers: usize::try_from(random.between(1, 3)).unwrap_or(1),
            rivals: random.chance(400),
            lease: Duration::from_secs(random.between(2, 10)),
            disk_faults: if random.chance(600) { random.between(50, 20_000) } else { 0 },
            deaths: random.between(2, 60),
            interrupts: if random.chance(700) { random.between(1, 60) } else { 0 },
            disasters: random.between(1, 30),
            nacks: if random.chance(400) { random.between(1, 100) } else { 0 },
            once,
            bursts,
            queue_limit,
            unroutable: random.chance(300),
            dead_letters: random.chance(500),
            pointers: random.chance(300),
            names_in_any_order: random.chance(300),
            capacity: random.between(20_000, 200_000),
            full_at_sync: random.chance(500),
            segment_age: Duration::from_millis(random.between(100, 5_000)),
            longest_payload: if random.chance(200) {
                random.between(1_000, 12_000)
            } else {
                random.between(1, 300)
            },
            equal_payloads: random.chance(300),
            recycled_blocks: random.chance(300),
            zero_ahead: random.chance(100),
            plenty: random.chance(50),
            archive: random.chance(200),
            keep: Duration::from_millis(random.between(0, 2_000)),
            stormy_ticks: random.between(200, 1_500),
        }
    }
}

/// Guards of the world that can be taken out, so that it can be seen that a checker notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Broken {
    /// None.
    #[default]
    Nothing,
    /// A file's sync does nothing, and says that all is well: what a disk sees of programs that do not sync.
    FileSync,
    /// A directory's sync does nothing.
    DirectorySync,
    /// Locks are given to everybody.
    Locks,
    /// A lock that was lost keeps writing and syncing.
    LockLoss,
    /// The broker confirms what it then forgets.
    Confirms,
    /// The consumer makes its effects without asking its inbox.
    Inbox,
}

impl Broken {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("file-sync", Self::FileSync),
        ("directory-sync", Self::DirectorySync),
        ("locks", Self::Locks),
        ("lock-loss", Self::LockLoss),
        ("confirms", Self::Confirms),
        ("inbox", Self::Inbox),
    ];
}
