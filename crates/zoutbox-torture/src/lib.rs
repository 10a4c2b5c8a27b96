//! Crash torture on the real thing: real programs on a real directory, killed at every system call that reaches it.
//!
//! ```text
//!   driver ──starts──▶ victim: a writer, or zoutbox-relay ──system calls──▶ kernel ──▶ FUSE ──▶ Mount ──▶ Disk
//!     ▲                     │ begun, acknowledged, …                                              │ SIGKILL before or after
//!     └── Ledger ◀──────────┘ (or the broker's queue)                                             │ the N-th request; EIO, ENOSPC
//!           ▲                                                                                     ▼
//!           └──── what lies there, read through the mount ◀──── all that was visible, or what a power cut leaves
//! ```
//!
//! A history is a few victims one after the other, each killed while it recovers from what the one before left, and a last one that is left
//! alone. First every boundary is played: before and after each request of an undisturbed run, as a process crash and as a power cut. Then
//! histories by chance, until so many kills have been made.
//!
//! What must hold, after each victim:
//!
//! - of a writer: every acknowledged record is there once, intact, under its identity and in its caller's order; nothing is there that was never
//!   begun, or was refused; what one reader has seen behind a closed segment never vanishes or changes; large payloads are whole;
//! - of the relay: every record reached the queue, first copies in order and intact; nothing below the checkpoint and nothing of a segment that
//!   is gone is missing there; a durable checkpoint never goes back; an orderly restart publishes nothing again;
//! - of both: whatever was left, the next one goes on by itself.
//!
//! `scripts/torture.sh` runs it, replays a history, and with `--guards` takes guards out of the product to see that it notices.
//!
//! Not tried here: hosts of their own with caches of their own (the lab and the simulation have them), and clocks.
#![expect(
    clippy::disallowed_methods,
    reason = "a test program drives the real disk, clock and processes directly"
)]

pub mod content;
pub mod disk;
mod driver;
mod history;
pub mod ledger;
mod mount;
pub mod plan;
mod process;
mod readback;
mod report;
pub mod request;
pub mod victim;

pub use driver::run;
