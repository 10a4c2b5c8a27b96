//! What a message says of the record it brings, before anything of it is believed.
//!
//! ```text
//!   zoutbox-share    ─┐
//!   zoutbox-writer   ─┤                               ┌ absent: the body is the record's payload
//!   zoutbox-epoch    ─┼─▶ which record    zoutbox-pointer
//!   zoutbox-seq      ─┤                               └ n: the body is a pointer to n records, of which this is the first
//!   message_id       ─┘ says the same once more
//! ```

use zoutbox_format::limits::RESERVED_HEADER_PREFIX;
use zoutbox_format::message::{EPOCH, POINTER, SEQUENCE, SHARE, TIMESTAMP_MS, WRITER};
use zoutbox_format::pointer::POINTER_CONTENT_TYPE;
use zoutbox_format::{Epoch, Pointer, RecordId, Sequence, ShareId, WriterId};

use super::error::ResolveError;
use crate::message::{HeaderValue, Message};

/// What a message says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    /// Absent in messages of relays that did not know pointers.
    pub(super) share: Option<ShareId>,
    /// The record, or the first one.
    pub(super) record: RecordId,
    /// To how many records the body points; `None` if it is the payload itself.
    pub(super) pointed: Option<u32>,
}

impl Claims {
    pub(super) fn of(message: &Message) -> Result<Self, ResolveError> {
        let share = text(message, SHARE)?.map(|text| parsed(SHARE, text, text.parse().ok())).transpose()?;
        let writer = needed(WRITER, text(message, WRITER)?)?;
        let record = RecordId {
            writer: parsed(WRITER, writer, WriterId::new(writer).ok())?,
            epoch: Epoch::new(positive(message, EPOCH)?),
            sequence: Sequence::new(positive(message, SEQUENCE)?),
        };
        match &message.message_id {
            Some(id) if *id == record.to_string() => {}
            Some(id) => return Err(wrong(format!("message_id is {}, its headers say {record}", shown(id)))),
            None => return Err(wrong("it has no message_id".to_owned())),
        }
        Ok(Self { share, record, pointed: pointed(message)? })
    }

    /// Reads the pointer in the body, which must be to the records that the headers say.
    pub(super) fn pointer(&self, count: u32, body: &[u8]) -> Result<Pointer, ResolveError> {
        let pointer = Pointer::decode(body)
            .map_err(|source| ResolveError::Pointer { record: self.record.clone(), source })?;
        let same = pointer.first() == self.record && self.share.is_none_or(|share| share == pointer.share);
        if !same {
            let (first, share) = (pointer.first(), pointer.share);
            return Err(wrong(format!(
                "its pointer leads to {first} of share {share}, its headers say {}",
                self.record
            )));
        }
        if pointer.count != count {
            let found = pointer.count;
            return Err(wrong(format!(
                "its pointer leads to {found} records, header {POINTER} says {count}"
            )));
        }
        Ok(pointer)
    }
}

fn pointed(message: &Message) -> Result<Option<u32>, ResolveError> {
    let says_so = message.content_type.as_deref() == Some(POINTER_CONTENT_TYPE);
    match (integer(message, POINTER)?, says_so) {
        (None, false) => Ok(None),
        (Some(count), true) => match u32::try_from(count) {
            Ok(count) if count > 0 => Ok(Some(count)),
            _ => Err(wrong(format!("header {POINTER} is {count}"))),
        },
        // A pointer is never taken for a payload, nor a payload for a pointer.
        (None, true) => {
            Err(wrong(format!("its content type is {POINTER_CONTENT_TYPE}, and header {POINTER} is missing")))
        }
        (Some(_), false) => Err(wrong(format!(
            "header {POINTER} is there, and its content type is not {POINTER_CONTENT_TYPE}"
        ))),
    }
}

/// A header's text, if it is there.
pub(super) fn text<'m>(message: &'m Message, name: &'static str) -> Result<Option<&'m str>, ResolveError> {
    match message.headers.get(name) {
        None => Ok(None),
        Some(HeaderValue::Text(text)) => Ok(Some(text)),
        Some(HeaderValue::Integer(_)) => {
            Err(wrong(format!("header {name} is a number, and should be a text")))
        }
    }
}

/// A header's number, if it is there.
pub(super) fn integer(message: &Message, name: &'static str) -> Result<Option<i64>, ResolveError> {
    match message.headers.get(name) {
        None => Ok(None),
        Some(HeaderValue::Integer(number)) => Ok(Some(*number)),
        Some(HeaderValue::Text(_)) => Err(wrong(format!("header {name} is a text, and should be a number"))),
    }
}

/// When the record happened, in ms: from the property, which has only seconds, where the header is missing.
pub(super) fn timestamp_ms(message: &Message) -> Result<u64, ResolveError> {
    let Some(ms) = integer(message, TIMESTAMP_MS)? else {
        let seconds = needed(TIMESTAMP_MS, message.timestamp_s)?;
        return Ok(seconds.saturating_mul(1000));
    };
    u64::try_from(ms).map_err(|_| wrong(format!("header {TIMESTAMP_MS} is {ms}")))
}

/// Whether a header is zoutbox's, and not the application's.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(RESERVED_HEADER_PREFIX)
}

pub(super) fn wrong(what: String) -> ResolveError {
    ResolveError::Message(what)
}

fn needed<T>(name: &'static str, value: Option<T>) -> Result<T, ResolveError> {
    value.ok_or_else(|| wrong(format!("header {name} is missing")))
}

fn positive(message: &Message, name: &'static str) -> Result<u64, ResolveError> {
    let number = needed(name, integer(message, name)?)?;
    u64::try_from(number).ok().filter(|n| *n > 0).ok_or_else(|| wrong(format!("header {name} is {number}")))
}

fn parsed<T>(name: &'static str, text: &str, value: Option<T>) -> Result<T, ResolveError> {
    value.ok_or_else(|| wrong(format!("header {name} is {}", shown(text))))
}

/// What was given, cut so that a hostile text can't flood a log.
fn shown(text: &str) -> String {
    format!("'{}'", text.escape_debug().take(80).collect::<String>())
}
