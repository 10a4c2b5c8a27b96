//! The records of one message.

use zoutbox_format::Pointer;

use super::large::Large;
use crate::inbox::Identity;

/// The records that a message led to: at least one. It owns their bytes.
#[derive(Debug)]
pub struct Records {}

impl Records {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Never: a message leads to at least one record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record at `index`, in the order of their sequences; `None` beyond the last.
    #[must_use]
    pub fn get(&self, _index: usize) -> Option<Resolved<'_>> {
        todo!()
    }

    /// All of them, in the order of their sequences.
    pub fn iter(&self) -> impl Iterator<Item = Resolved<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

/// A record, wherever it came from.
#[derive(Debug)]
pub struct Resolved<'a> {
    /// Which record it is, for the inbox.
    pub identity: Identity,
    /// Its topic.
    pub topic: &'a str,
    /// Its key.
    pub key: Option<&'a str>,
    /// The application's own id.
    pub id: Option<&'a str>,
    /// When it happened: milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: u64,
    /// The payload's media type.
    pub content_type: Option<&'a str>,
    /// The application's headers.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The application's bytes.
    pub payload: Payload<'a>,
    /// A pointer to this one record, if it came by pointer.
    pub pointer: Option<Pointer>,
}

/// The application's bytes.
#[derive(Debug)]
pub enum Payload<'a> {
    /// Here they are.
    Bytes(&'a [u8]),
    /// In a file on the share.
    Large(Large<'a>),
}
