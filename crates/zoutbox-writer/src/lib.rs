//! Durable append to a share: group commit, rotation, recovery.
//!
//! ```
//! use zoutbox_format::Record;
//! use zoutbox_writer::{Options, Writer};
//! # let directory = tempfile::tempdir()?;
//! # let root = directory.path();
//! # zoutbox_storage::Share::init(&zoutbox_storage::System::real(), root)?;
//!
//! let writer = Writer::open(root, "orders", Options::default())?;
//! let ticket = writer.append(&Record::new("orders.created", br#"{"order": 17}"#))?;
//! let id = ticket.wait()?; // or: ticket.await?
//! assert_eq!(id.to_string(), "orders/1/1"); // durable from here on
//! writer.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What an append promises
//!
//! ```text
//!   append ──▶ queued ──▶ written ──▶ synced ──▶ ticket: Ok(identity)       durable, in order, whatever crashes
//!     │                      └────────┴────────▶ rewritten to a new segment, or
//!     │                                          ticket: Err, kind Unknown   may or may not be there
//!     └ Err, any other kind ───────────────────▶ definitely not written
//! ```
//!
//! - A ticket says `Ok` only after the record, the name of its segment and everything in front of it are on stable storage.
//! - After a failed write or sync a file is never trusted again: what it did not acknowledge is written once more, from
//!   memory and under the same identity, to a new segment. If that fails too, the outcome is
//!   [unknown](WriterError::Unknown), and what comes after gets a new epoch, so that no identity ever means two records.
//! - When there is room on the share again after it was full, appends work again; no reopening is needed. Until then they wait or
//!   fail, as [`Options::when_full`] says; waiting, they end with their records durable under the identity that they always had.
//! - One process a writer id, across hosts: `writer.lock` and the segment being written are locked. A process that was cut off
//!   and taken over can't acknowledge anything any more ([`WriterError::Fenced`]).
//!
//! # Large payloads
//!
//! What is too much for a record is read from anything that can be read, and lies in a file of its own, which the record names:
//!
//! ```
//! use zoutbox_writer::{Options, Record, Writer};
//! # let directory = tempfile::tempdir()?;
//! # let root = directory.path();
//! # zoutbox_storage::Share::init(&zoutbox_storage::System::real(), root)?;
//! # let scan = std::io::Read::take(std::io::repeat(7), 5_000_000);
//!
//! let writer = Writer::open(root, "scans", Options::default())?;
//! // let scan = std::fs::File::open("scan-17.tiff")?;
//! let record = Record::new("scans.new", "").id("scan-17").content_type("image/tiff");
//! let id = writer.append_payload(&record, scan)?.wait()?;
//! assert_eq!(id.to_string(), "scans/1/1"); // durable from here on: the record, and all bytes of the scan
//! # writer.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! However large it is, it takes one buffer of memory. Give records an id, and a try that failed or was killed can be repeated:
//! what was written to the end is found, and not written again. See [`Writer::append_payload`].
//!
//! # How it is fast
//!
//! All appends that wait at a moment share one positional write and one sync; while that runs, the next commit gathers. One
//! thread commits. A second one prepares the next segment's file ahead and seals finished ones, so that rotation does not show.
//!
//! # How the relay hears of it
//!
//! The relay polls. If it announces a doorbell as well, the writer rings it after commits, with one small UDP datagram at most
//! every 5 ms: see [`Options::doorbell`].

mod aside;
mod bell;
mod claim;
mod committer;
mod context;
mod error;
mod gather;
mod intake;
mod limits;
mod log;
mod options;
mod payload;
mod prepare;
mod queue;
mod recover;
mod ringing;
mod segment;
mod shared;
mod ticket;
mod waiting;
mod writer;

pub use error::{FenceReason, Limit, WriterError};
pub use options::{Options, WhenFull, ZeroAhead};
pub use ticket::Ticket;
pub use writer::{Stepped, Writer};
// What a caller needs besides: records go in, identities come out.
pub use zoutbox_format::{Record, RecordId};
pub use zoutbox_storage::ErrorKind;

/// The README's example is compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
