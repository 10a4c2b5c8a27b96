//! What operators and consumers see of the relay: the real program, a real RabbitMQ, real disks.
//!
//! ```text
//!   zoutbox-writer (in this process) ──▶ share ──▶ zoutbox-relay (killed, stopped, …) ──▶ RabbitMQ (killed, blocked, …)
//!            │                                                                               │
//!            └── what was acknowledged ──────────────── compared ────────────────────────────┘ consumer (in this process)
//! ```
//!
//! Tests that don't disturb the broker share one, with names of their own; the others get one to themselves.

#![expect(clippy::disallowed_methods, reason = "tests lay, damage and look at files directly")]

#[cfg(test)]
mod broker;
#[cfg(test)]
mod checkpoint;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod doorbell;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod network;
#[cfg(test)]
mod output;
#[cfg(test)]
mod pointers;
#[cfg(test)]
mod refusal;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod support;
#[cfg(test)]
mod trouble;
#[cfg(test)]
mod undeliverable;
#[cfg(test)]
mod waits;
