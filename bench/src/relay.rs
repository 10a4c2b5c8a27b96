//! The relay side by side with a bare lapin loop: what both need, and how both are watched from outside.

mod backlog;
mod broker;
mod publisher;
mod watch;

pub(crate) mod bare;

pub(crate) use self::backlog::Backlog;
pub(crate) use self::broker::{Broker, QUEUE};
pub(crate) use self::publisher::{Publisher, build_relay, relay_command};
pub(crate) use self::watch::{Drained, drain};
