//! The consumer over a private RabbitMQ and real databases: what it promises, and what it does when things break.

#![expect(clippy::disallowed_methods, reason = "tests damage and remove files directly")]

#[cfg(test)]
mod addresses;
#[cfg(test)]
mod applies;
#[cfg(test)]
mod bad;
#[cfg(test)]
mod blame;
#[cfg(test)]
mod broker;
#[cfg(test)]
mod child;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod observed;
#[cfg(test)]
mod parking;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod registered;
#[cfg(test)]
mod running;
#[cfg(test)]
#[expect(dead_code, reason = "the tests of the resolver use more of it")]
#[path = "../resolver/ground.rs"]
mod share;
#[cfg(test)]
#[path = "../inbox/ground.rs"]
mod stores;
#[cfg(test)]
mod trouble;
