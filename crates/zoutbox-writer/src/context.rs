//! What every part of one open writer needs to know. Never changes while the writer lives.

use std::path::PathBuf;

use zoutbox_format::WriterId;
use zoutbox_storage::{Share, System};

use crate::claim::Claim;
use crate::options::Options;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) system: System,
    pub(crate) share: Share,
    pub(crate) writer: WriterId,
    pub(crate) directory: PathBuf,
    pub(crate) options: Options,
    pub(crate) claim: Claim,
    /// Whether segments are filled with zeros ahead.
    pub(crate) zero_ahead: bool,
}
