//! The records of one message, whatever it was: they own the bytes, and lend what is in them.

use std::sync::Arc;

use zoutbox_format::{PayloadReference, Pointer, RecordRef, message};

use super::buffers::Lent;
use super::claims;
use super::frames::{Piece, record_id};
use super::ground::Ground;
use super::large::Large;
use crate::inbox::Identity;
use crate::message::{HeaderValue, Message};

/// The records that a message led to: at least one. It owns their bytes.
#[derive(Debug)]
pub struct Records {
    pub(super) held: Held,
    /// Where large payloads are.
    pub(super) ground: Option<Arc<Ground>>,
}

#[derive(Debug)]
pub(super) enum Held {
    Inline(Box<Inline>),
    Pointed(Box<Pointed>),
}

/// The message is the record.
#[derive(Debug)]
pub(super) struct Inline {
    pub(super) identity: Identity,
    pub(super) timestamp_ms: u64,
    pub(super) large: Option<PayloadReference>,
    pub(super) message: Message,
}

/// What a pointer led to, taken apart.
#[derive(Debug)]
pub(super) struct Pointed {
    pub(super) pointer: Pointer,
    pub(super) buffer: Lent,
}

/// A record, wherever it came from.
#[derive(Debug)]
pub struct Resolved<'a> {
    /// Which record it is, for the inbox.
    pub identity: Identity,
    /// Its topic; of an inline message its routing key, which a dead-lettering on the way may have changed.
    pub topic: &'a str,
    /// Its key.
    pub key: Option<&'a str>,
    /// The application's own id.
    pub id: Option<&'a str>,
    /// When it happened: milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: u64,
    /// The payload's media type.
    pub content_type: Option<&'a str>,
    /// The application's headers: in its order if it came by pointer, else in the order of their names, and with those texts that were added
    /// on the way (`x-first-death-queue`, say).
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

impl Records {
    /// How many: at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "they never are")]
    pub fn len(&self) -> usize {
        match &self.held {
            Held::Inline(_) => 1,
            Held::Pointed(pointed) => pointed.buffer.starts().len(),
        }
    }

    /// The record at `index`, in the order of their sequences; `None` beyond the last.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Resolved<'_>> {
        let ground = self.ground.as_ref();
        match &self.held {
            Held::Inline(inline) => (index == 0).then(|| inline.record(ground)).flatten(),
            Held::Pointed(pointed) => pointed.record(index, ground?),
        }
    }

    /// All of them, in the order of their sequences.
    pub fn iter(&self) -> impl Iterator<Item = Resolved<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl Inline {
    fn record<'a>(&'a self, ground: Option<&'a Arc<Ground>>) -> Option<Resolved<'a>> {
        let message = &self.message;
        let text = |name| claims::text(message, name).ok().flatten();
        let payload = match &self.large {
            None => Payload::Bytes(&message.body),
            Some(large) => {
                Payload::Large(Large::new(ground?, large.clone(), self.identity.record.clone(), None))
            }
        };
        let own = |(name, value): (&'a String, &'a HeaderValue)| match value {
            HeaderValue::Text(value) if !claims::is_ours(name) => Some((name.as_str(), value.as_str())),
            _ => None,
        };
        Some(Resolved {
            identity: self.identity.clone(),
            topic: &message.topic,
            key: text(message::KEY),
            id: text(message::ID),
            timestamp_ms: self.timestamp_ms,
            content_type: message.content_type.as_deref(),
            headers: message.headers.iter().filter_map(own).collect(),
            payload,
            pointer: None,
        })
    }
}

impl Pointed {
    fn record<'a>(&'a self, index: usize, ground: &'a Arc<Ground>) -> Option<Resolved<'a>> {
        let piece = Piece::of(self.buffer.bytes(), self.buffer.starts(), index)?;
        let record: RecordRef<'a> = piece.record()?;
        let id = record_id(&self.pointer, index);
        let pointer = piece.pointer(&self.pointer, id.sequence);
        let payload = match record.large_payload() {
            None => Payload::Bytes(record.payload()),
            Some(large) => Payload::Large(Large::new(ground, large, id.clone(), Some(self.pointer.segment))),
        };
        let mut headers = record.headers.0;
        headers.retain(|(name, _)| !claims::is_ours(name));
        Some(Resolved {
            identity: Identity::new(self.pointer.share, id),
            topic: record.topic,
            key: record.key,
            id: record.id,
            timestamp_ms: record.timestamp_ms,
            content_type: record.content_type,
            headers,
            payload,
            pointer: Some(pointer),
        })
    }
}
