//! The real program, run the way operators and scripts run it.
#![expect(clippy::disallowed_methods, reason = "tests damage, remove and look at the real files")]

#[cfg(test)]
mod append;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod cat;
#[cfg(test)]
mod consume;
#[cfg(test)]
mod consumers;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod doorbell;
#[cfg(test)]
mod dump;
#[cfg(test)]
mod help;
#[cfg(test)]
mod payload;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod status;
#[cfg(test)]
mod support;
#[cfg(test)]
mod users;
#[cfg(test)]
mod verify;
