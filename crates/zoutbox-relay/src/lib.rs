//! The relay as a library: publishes what writers appended to a share, in their order, and keeps track of what is confirmed.
//!
//! ```text
//!   standby ── lease ──▶ Engine ─┬─ a Lane per writer (zoutbox-relay-core)
//!                                ├─ a Publisher: AMQP, or lines of JSON
//!                                ├─ threads that touch the share
//!                                └─ hints: inotify, and a doorbell that writers on other hosts ring
//! ```
//!
//! The binary `zoutbox-relay` is [`Options`], [`settings`] and [`relay`], and nothing else.

pub mod amqp;
mod ballast;
mod doorbell;
pub mod engine;
mod error;
#[cfg(test)]
mod ground;
mod keep;
mod lease;
mod letters;
mod options;
mod payloads;
mod publisher;
mod references;
mod relay;
mod remove;
pub mod settings;
mod stdout;
mod sweep;
mod units;
mod upkeep;

pub use doorbell::{Doorbell, DoorbellOptions, Ear};
pub use error::{EXIT_CODES, Exit, RelayError};
pub use keep::{dead_letter, quarantine};
pub use lease::Lease;
pub use options::{Damaged, Options, PublishRule, Undelivered};
pub use publisher::{Content, Event, Outgoing, Publisher, Returned, Undeliverable};
pub use relay::{check_mounts, relay};
pub use remove::Retention;
pub use stdout::LinePublisher;
pub use units::{Size, Span};
pub use upkeep::{Removed, Upkeep};
