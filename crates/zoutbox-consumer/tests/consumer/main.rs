//! The consumer over a private RabbitMQ and real databases: what it promises, and what it does when things break.

#![expect(clippy::disallowed_methods, reason = "tests damage and remove files directly")]

#[cfg(test)]
mod applies;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod parking;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod running;
#[cfg(test)]
#[expect(dead_code, reason = "the tests of the resolver use more of it")]
#[path = "../resolver/ground.rs"]
mod share;
#[cfg(test)]
#[path = "../inbox/ground.rs"]
mod stores;
