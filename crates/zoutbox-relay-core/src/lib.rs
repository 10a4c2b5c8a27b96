//! The pure relay: what to read, publish, keep and give up, decided without I/O, without a clock, without async.
//!
//! ```text
//!            records                     published                    settled
//!   Tail ──────────────▶ Lane (one a   ─────────────▶ Settlement ────────────▶ Lane: the watermark moves
//!     ▲                  writer)                      (one a channel)   │
//!     └── read, rewind ──┘ │ └─▶ save checkpoint                        ├ nacked: drain, then resend
//!                          └──▶ dead letter, quarantine                 └ returned: dead letter, or halt
//! ```
//!
//! A [`Lane`] is one writer's path: it owns the window of records above the watermark and moves the watermark over the
//! contiguous settled prefix, and over nothing else. A [`Settlement`] belongs to one channel, which all lanes share: it decides
//! when a confirm may be believed. [`Runs`] decides which records share a message, by the topics' [`Rules`]. [`Consumers`] decides who
//! of those that registered still counts, [`Needs`] what they need, and [`Reclaim`] which segments may go. [`Rings`] decides which lanes look sooner because
//! something arrived at the doorbell, and bounds what strangers can cause there.
//!
//! All of them are driven from outside: the shell (or a simulator) hands in what happened and the time, and does what comes out.

mod consumers;
mod lane;
mod need;
mod reclaim;
mod rings;
mod runs;
mod settlement;
mod signals;
mod topics;
mod window;

pub use consumers::{Consumers, Remark, Sighting, silent_for, still_for};
pub use lane::Lane;
pub use need::{Need, Needs};
pub use reclaim::{Due, Reclaim};
pub use rings::{RING_PAUSE, Rings, STRANGER_PAUSE};
pub use runs::{Grouped, Head, Lying, Run, RunOptions, Runs};
pub use settlement::{Outcome, Resolution, Settlement, Verdict};
pub use signals::{Input, LaneOptions, OnDamage, OnUndeliverable, Output, ReadEnd, ReadFrom};
pub use topics::{Mode, Pattern, Rules};
pub use window::{Item, Key};
