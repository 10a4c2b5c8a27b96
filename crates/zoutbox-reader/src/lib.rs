//! Finds writers and segments on a share, and follows a writer's log across segments and epochs.
//!
//! ```text
//!   writers/orders/  …01-…01.seg   …01-…51.seg   …02-…90.open
//!                    └─ chain ──────┴─ chain ─────┘   each header names the one before it and where that one ended
//!
//!   Tail::read ──▶ records in order ──▶ Budget     more is there
//!                                   ├─▶ CaughtUp   nothing more there yet
//!                                   ├─▶ Repeats    what was given out comes again, elsewhere; only if asked for
//!                                   └─▶ Damaged    acknowledged records can't be read; never passed silently
//!
//!   sift       ──▶ every sound record of one segment, for who removes things
//!   consumers  ──▶ what those say who registered
//! ```
//!
//! Nothing here writes to the share, and nothing here trusts a name, a size or a time: only headers, frames and seals count.
//! All calls block.

mod batch;
mod checkpoint;
mod consumers;
mod damage;
mod discover;
mod error;
pub mod json;
mod segment;
mod sift;
mod tail;
mod watch;

pub use batch::{Batch, FoundRecord, LogRecord, Stop};
pub use checkpoint::{BadCheckpoint, StoredCheckpoint, checkpoint};
pub use consumers::{BadProgress, Consumer, MAX_CONSUMERS, Registered, consumer, consumers};
pub use damage::{Damage, DamageReason};
pub use discover::{MAX_IGNORED, Writers, segments, writers};
pub use error::ReaderError;
pub use sift::{Mark, Place, Sifted, places, sift};
pub use tail::Tail;
pub use watch::{Hint, Watcher};
