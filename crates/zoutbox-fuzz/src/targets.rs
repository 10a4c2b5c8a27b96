//! What each target checks.

pub(crate) mod checkpoint;
pub(crate) mod config;
pub(crate) mod doorbell;
pub(crate) mod marker;
pub(crate) mod names;
pub(crate) mod pointer;
pub(crate) mod segment;
