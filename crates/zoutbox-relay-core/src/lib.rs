//! The pure relay state machine: no I/O, no clock, no async.
