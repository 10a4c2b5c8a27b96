//! The only door to disk, clock, locks, entropy and, for hints, the network.
//!
//! Everything a zoutbox library does to the world goes through the four traits here, so that a simulator can lose, tear,
//! reorder and delay every one of those touches:
//!
//! ```text
//!   writer   reader   relay   consumer   operator's tool
//!        \      |       |        |       /
//!                   System
//!        Disk   Clock   Entropy   Network
//!          |       |        |        |
//!      real file system, time, kernel, UDP        (or a simulated world)
//! ```
//!
//! All calls block: on NFS and ZFS nothing else is faster (OpenZFS issue 18660), and a thread of its own is what keeps one
//! hanging call from stalling the rest. Durability is always explicit: nothing is durable before [`DiskFile::sync`], no name
//! before [`Disk::sync_dir`].

mod access;
mod beneath;
mod clock;
mod confined;
mod disk;
mod error;
mod lock;
#[expect(
    unsafe_code,
    reason = "memory maps can't be made safely; this is the one reviewed module that makes them"
)]
mod mapping;
pub mod mount;
mod network;
mod real;
mod redact;
pub mod replace;
mod share;
mod system;

pub use access::{Access, Ownership};
pub use clock::{Clock, Entropy, RealClock, RealEntropy};
pub use confined::ConfinedDisk;
pub use disk::{Disk, DiskFile, Entry, FileKind, FileSystem, Metadata, OpenMode, Space};
pub use error::{ErrorKind, Operation, StorageError};
pub use lock::Lock;
pub use mapping::Mapping;
pub use network::{Line, Network, RealNetwork};
pub use real::RealDisk;
pub use redact::{misplaces_password, redacted};
pub use share::Share;
pub use system::System;
