//! From a message to its records, wherever their bytes are: in the message, in a segment on the share, in a file of their own.
//!
//! ```text
//!   Message ──▶ claims: which record, of which share? ──▶ inline ──────────────────────────────────▶ Records
//!                 │                                   └─▶ pointer ──▶ segment, CRC ──▶ frames ────▶    │
//!                 ▼                                                                                    └ Payload: Bytes, or
//!              Invalid                                      NotYet, Expired, Corrupt …                   Large, read as a stream
//! ```
//!
//! Everything in a message comes from a network, and anyone may have put it there. So nothing of it becomes a path but through the types
//! that make only safe ones ([`WriterId`](zoutbox_format::WriterId), numbers, [`PayloadName`](zoutbox_format::PayloadName)), every file is
//! opened beneath the share's root without following any link, sizes are compared before anything is allocated, and bytes are
//! records only if they have the pointer's CRC **and** are exactly the records that it says.

mod buffers;
mod claims;
mod error;
mod frames;
mod ground;
mod large;
mod records;
mod segments;

use std::path::Path;
use std::sync::Arc;

use zoutbox_format::limits::MAX_POINTED;
use zoutbox_format::{PayloadReference, Pointer, ShareId, message};
use zoutbox_storage::System;

use crate::inbox::Identity;
use crate::message::{HeaderValue, Message};

use buffers::Pool;
use claims::{Claims, wrong};
use frames::{Rejected, record_id, take_apart};
use ground::Ground;
use records::{Held, Inline, Pointed};
use segments::Segments;

pub use error::{ByteFault, FrameFault, PayloadFault, ResolveError, Unseen};
pub use large::{Large, LargeReader};
pub use records::{Payload, Records, Resolved};

/// How a resolver works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolverOptions {
    /// The most bytes that a pointer may lead to, and so the most that are read into memory for one message: 16,908,316 by default, the
    /// most that the format allows. Inline messages are in memory already, and large payloads are never read as a whole.
    pub max_bytes: u32,
    /// How many segments are kept open: 16 by default, at least 1.
    pub cached_segments: usize,
}

impl Default for ResolverOptions {
    fn default() -> Self {
        Self { max_bytes: MAX_POINTED, cached_segments: 16 }
    }
}

/// Turns messages into records, whatever the relay did with them.
///
/// A message without the header `zoutbox-share`, as relays published them before there were pointers, counts as one of the
/// resolver's share. All calls block while they read.
#[derive(Debug)]
pub struct Resolver {
    share: Option<ShareId>,
    reading: Option<Reading>,
}

/// What only a resolver with a share has.
#[derive(Debug)]
struct Reading {
    ground: Arc<Ground>,
    segments: Segments,
    pool: Pool,
    max_bytes: u32,
}

impl Resolver {
    /// A resolver of messages of the share that is mounted at `root`.
    ///
    /// # Errors
    /// [`ResolveError::Storage`] when there is no share, or it can't be read.
    pub fn open(root: impl AsRef<Path>, options: ResolverOptions) -> Result<Self, ResolveError> {
        Self::open_with(System::real(), root, options)
    }

    /// The same, in a given world.
    ///
    /// # Errors
    /// Those of [`Resolver::open`].
    pub fn open_with(
        system: System,
        root: impl AsRef<Path>,
        options: ResolverOptions,
    ) -> Result<Self, ResolveError> {
        let ground = Arc::new(Ground::open(system, root.as_ref())?);
        let share = Some(ground.id());
        let segments = Segments::new(Arc::clone(&ground), options.cached_segments);
        let (pool, max_bytes) = (Pool::default(), options.max_bytes);
        Ok(Self { share, reading: Some(Reading { ground, segments, pool, max_bytes }) })
    }

    /// A resolver where no share is mounted: of inline messages. Pointers and large payloads are [`ResolveError::NoShare`].
    ///
    /// Messages of another share than `share` are refused, and those that name none are of it. With `None` those of every share
    /// are resolved, and those that name none are refused.
    #[must_use]
    pub const fn inline_only(share: Option<ShareId>) -> Self {
        Self { share, reading: None }
    }

    /// The share whose messages it resolves; `None` for all of them.
    #[must_use]
    pub const fn share(&self) -> Option<ShareId> {
        self.share
    }

    /// The records of a message. Waits for nothing but the disk: whether and when to try again after an error is up to the caller.
    ///
    /// # Errors
    /// [`ResolveError::kind`] tells what to do with the message, which must not be acknowledged as if its records had been applied. The
    /// resolver can be used again after every error.
    pub fn resolve(&mut self, message: Message) -> Result<Records, ResolveError> {
        let claims = Claims::of(&message)?;
        let share = match (claims.share, self.share) {
            (Some(found), Some(ours)) if found != ours => {
                return Err(ResolveError::OtherShare { found, ours });
            }
            (Some(share), _) | (None, Some(share)) => share,
            (None, None) => return Err(wrong(format!("header {} is missing", message::SHARE))),
        };
        match claims.pointed {
            Some(count) => self.pointed(share, &claims, count, &message.body),
            None => self.inline(Identity::new(share, claims.record), message),
        }
    }

    fn inline(&self, identity: Identity, message: Message) -> Result<Records, ResolveError> {
        for name in [message::KEY, message::ID] {
            claims::text(&message, name)?;
        }
        let large = large_payload(&identity, &message)?;
        let ground = self.reading.as_ref().map(|reading| Arc::clone(&reading.ground));
        if large.is_some() && ground.is_none() {
            let (identity, what) = (Box::new(identity), "payload");
            return Err(ResolveError::NoShare { identity, what });
        }
        let timestamp_ms = claims::timestamp_ms(&message)?;
        let inline = Inline { identity, timestamp_ms, large, message };
        Ok(Records { held: Held::Inline(Box::new(inline)), ground })
    }

    fn pointed(
        &mut self,
        share: ShareId,
        claims: &Claims,
        count: u32,
        body: &[u8],
    ) -> Result<Records, ResolveError> {
        let pointer = claims.pointer(count, body)?;
        let Some(reading) = &mut self.reading else {
            let identity = Box::new(Identity::new(share, claims.record.clone()));
            return Err(ResolveError::NoShare { identity, what: "bytes" });
        };
        if pointer.share != share {
            return Err(ResolveError::OtherShare { found: pointer.share, ours: share });
        }
        let (length, limit) = (pointer.length, reading.max_bytes);
        if length > limit {
            return Err(ResolveError::TooLong { record: pointer.first(), length, limit });
        }
        let mut buffer = reading.pool.lend(usize::try_from(length).unwrap_or(usize::MAX));
        let segment = reading.segments.read(&pointer, buffer.bytes_mut())?;
        let (bytes, starts) = buffer.parts();
        take_apart(bytes, &pointer, segment.seed, starts)
            .map_err(|rejected| refused(rejected, &pointer, segment.path()))?;
        let ground = Some(Arc::clone(&reading.ground));
        Ok(Records { held: Held::Pointed(Box::new(Pointed { pointer, buffer })), ground })
    }
}

/// What an inline message's headers say of a large payload: its body is then empty, and the payload its own writer's.
fn large_payload(identity: &Identity, message: &Message) -> Result<Option<PayloadReference>, ResolveError> {
    let header = |name: &str| match message.headers.get(name) {
        Some(HeaderValue::Text(text)) => Some(text.as_str()),
        // Not a text, so nothing that it could say: as if it said nothing.
        Some(HeaderValue::Integer(_)) => Some(""),
        None => None,
    };
    let Some(large) = PayloadReference::from_headers(header).map_err(|e| wrong(e.to_string()))? else {
        return Ok(None);
    };
    if *large.name.writer() != identity.record.writer {
        return Err(wrong(format!("it is of {}, and names a payload of another writer", identity.record)));
    }
    if !message.body.is_empty() {
        return Err(wrong(format!("{} names a large payload, and has one of its own", identity.record)));
    }
    Ok(Some(large))
}

fn refused(rejected: Rejected, pointer: &Pointer, path: &Path) -> ResolveError {
    let path = path.to_owned();
    match rejected {
        Rejected::Frame(at, fault) => {
            ResolveError::Frames { path, offset: pointer.offset.saturating_add(u64::from(at)), fault }
        }
        Rejected::Record(index, source) => {
            ResolveError::Record { record: record_id(pointer, index), path, source }
        }
    }
}
