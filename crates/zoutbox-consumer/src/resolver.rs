//! From a message to its records, wherever their bytes are.

mod error;
mod large;
mod records;

use std::path::Path;

use zoutbox_format::ShareId;
use zoutbox_format::limits::MAX_POINTED;
use zoutbox_storage::System;

use crate::message::Message;

pub use error::ResolveError;
pub use large::{Large, LargeReader};
pub use records::{Payload, Records, Resolved};

/// How a resolver works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverOptions {
    /// The most bytes that a pointer may lead to, and so the most that are read into memory for one message; 16,908,316 by default, the
    /// most that the format allows.
    pub max_bytes: u32,
    /// How many segments are kept open; 16 by default.
    pub cached_segments: usize,
    /// The share of inline messages that don't name theirs, as relays of version 0.1 published them; the opened share by default.
    pub default_share: Option<ShareId>,
}

impl Default for ResolverOptions {
    fn default() -> Self {
        Self { max_bytes: MAX_POINTED, cached_segments: 16, default_share: None }
    }
}

/// Turns messages into records, whatever the relay did.
#[derive(Debug)]
pub struct Resolver {
    _options: ResolverOptions,
}

impl Resolver {
    /// A resolver of the share at `root`.
    ///
    /// # Errors
    /// When there is no share.
    pub fn open(root: impl AsRef<Path>, options: ResolverOptions) -> Result<Self, ResolveError> {
        Self::open_with(System::real(), root, options)
    }

    /// The same, in a given world.
    ///
    /// # Errors
    /// Those of [`Resolver::open`].
    pub fn open_with(
        _system: System,
        _root: impl AsRef<Path>,
        _options: ResolverOptions,
    ) -> Result<Self, ResolveError> {
        todo!()
    }

    /// A resolver of inline messages, where no share is mounted. `share` is theirs; `None` accepts those of every share that name it.
    #[must_use]
    pub fn inline_only(_share: Option<ShareId>) -> Self {
        todo!()
    }

    /// The records of a message.
    ///
    /// # Errors
    /// [`ResolveError`]; its kind tells what to do with the message.
    pub fn resolve(&mut self, _message: Message) -> Result<Records, ResolveError> {
        todo!()
    }
}
