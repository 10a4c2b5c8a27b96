//! The programs: the real cores, each with the little around it that a process is.

pub mod consumer;
pub mod relay;
pub mod writer;

use crate::world::World;

/// A program that runs, or waits to be started again.
pub enum Actor {
    /// Appends.
    Writer(Box<writer::WriterActor>),
    /// Relays.
    Relay(Box<relay::RelayActor>),
    /// Applies.
    Consumer(Box<consumer::ConsumerActor>),
}

impl Actor {
    /// Lets it do something.
    pub fn step(&mut self) {
        match self {
            Self::Writer(writer) => writer.step(),
            Self::Relay(relay) => relay.step(),
            Self::Consumer(consumer) => consumer.step(),
        }
    }

    /// The process that it is now, if any.
    #[must_use]
    pub fn process(&self) -> Option<usize> {
        match self {
            Self::Writer(writer) => writer.process(),
            Self::Relay(relay) => relay.process(),
            Self::Consumer(consumer) => consumer.process(),
        }
    }

    /// Its process is gone: what it had in memory is, too.
    pub fn bury(&mut self) {
        match self {
            Self::Writer(writer) => writer.bury(),
            Self::Relay(relay) => relay.bury(),
            Self::Consumer(consumer) => consumer.bury(),
        }
    }
}

/// Whether a process of this world still runs.
fn is_alive(world: &World, process: Option<usize>) -> bool {
    process.is_some_and(|process| world.lock().is_alive(process))
}
