//! A deterministic simulation of zoutbox: one seed decides everything.
//!
//! ```text
//!   seed ─▶ Knobs: what kind of world ─▶ Simulation: a storm of faults, then calm, then an orderly restart
//!                                            │ steps, one at a time, single-threaded
//!              writers ─ relays ─ consumer ──┘        the real cores
//!                  └───────┴─────────┴──▶ World       disk, clock, broker, processes
//!                                            └──▶ checkers: the first broken promise ends the run
//! ```
//!
//! Stepped are the real cores: `zoutbox_writer::Stepped` (queue, log, recovery, claim), `zoutbox_relay::Lease` and
//! `zoutbox_relay::engine::SteppedEngine` (lanes, settlement, runs, tail, checkpoints, dead letters, reclaim), and the consumer's resolver
//! and inbox. Not stepped: threads and the loops that wait, the AMQP mapping, inotify, the doorbell, large payloads, and registrations of
//! consumers.
//!
//! Not modelled yet: a server that loses locks when it restarts, NFS 3 and 4.0 with their repeated calls, corruption of stable bytes, a full
//! share with appends that wait, sweeping, a broker that closes a channel because of one record, more than one queue, and a client whose sync
//! makes only its own writes durable, as Linux's does (here it covers what other hosts wrote and the server has), and attributes that do not
//! tell of a change, as when a server's clock has not ticked in between.
//!
//! In front of any call to the disk another program may get its turn, time may pass, and the process, its host or everything may die: so a
//! pause longer than any lease can fall between a check and what it was made for.

pub mod actors;
pub mod checkers;
pub mod simulation;
pub mod world;

pub use simulation::{Outcome, run};
pub use world::knobs::Broken;
