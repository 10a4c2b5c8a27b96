//! What the relay asks of a publisher: take records in order, and tell what became of each.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use zoutbox_format::{RecordId, ShareId};
use zoutbox_relay_core::{Resolution, Run};

use crate::error::RelayError;

/// A message on its way out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The share that it comes from.
    pub share: ShareId,
    /// The identity of its record, of several the first.
    pub id: RecordId,
    /// What it is made of.
    pub content: Content,
}

/// What a message is made of. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A record's encoding: see [`zoutbox_format::RecordRef::decode`].
    Record(Bytes),
    /// Where records lie.
    Run(Arc<Run>),
}

impl Content {
    /// How many records it stands for.
    #[must_use]
    pub fn records(&self) -> u32 {
        match self {
            Self::Record(_) => 1,
            Self::Run(run) => run.count,
        }
    }
}

/// Why a message can't be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undeliverable {
    /// The broker has no queue for it.
    Unroutable(String),
    /// The broker never takes it: too large, say.
    Rejected(String),
    /// The broker refuses this relay the right to publish it; that is no fault of the record.
    Forbidden(String),
    /// Its body is no record.
    Undecodable(String),
}

impl Undeliverable {
    /// Whether a dead letter is an answer to it.
    #[must_use]
    pub const fn can_die(&self) -> bool {
        !matches!(self, Self::Forbidden(_))
    }
}

impl fmt::Display for Undeliverable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unroutable(text) => write!(f, "no queue takes it: {text}"),
            Self::Rejected(text) => write!(f, "the broker never takes it: {text}"),
            Self::Forbidden(text) => write!(f, "the broker forbids it: {text}"),
            Self::Undecodable(text) => f.write_str(text),
        }
    }
}

/// A return, as it arrived: matched by the message's id, never by what carried it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// The message id.
    pub id: String,
    /// Why.
    pub reason: Undeliverable,
}

/// What a publisher tells.
#[derive(Debug)]
pub enum Event {
    /// It can publish; tags start at 1.
    Up,
    /// It can't any more: everything not resolved is uncertain. It comes back up by itself.
    Down {
        /// What the broker says about a record, if that is why: with several in flight it is not known which.
        blame: Option<Undeliverable>,
    },
    /// The broker takes nothing for a while.
    Blocked(String),
    /// It takes records again.
    Unblocked,
    /// A publish ended.
    Resolved {
        /// Which.
        tag: u64,
        /// How.
        resolution: Resolution,
        /// The return that it carried, of this or of any other record.
        returned: Option<Returned>,
    },
    /// Nothing will make it work.
    Failed(RelayError),
}

/// Publishes messages, in the order in which they are given.
pub trait Publisher: Send {
    /// Takes a message, and gives it the next tag: 1 for the first since [`Event::Up`]. Called only between that and [`Event::Down`].
    /// Never waits.
    ///
    /// # Errors
    /// When the message can't be published at all; it has then no tag, and nothing was sent.
    fn publish(&mut self, message: Outgoing) -> Result<u64, Undeliverable>;

    /// Waits until there is something to tell, and tells it. May be dropped at any time without losing anything.
    fn events(&mut self, told: &mut Vec<Event>) -> impl Future<Output = ()> + Send;

    /// Why it can't publish now, for people, if it knows.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Gives up the connection, and makes another: to another node, where it knows several. Returns whether there was one; if so, this is
    /// [`Event::Down`], which is not told.
    fn renew(&mut self) -> bool {
        false
    }

    /// Ends the connection in good order. May be dropped.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}
