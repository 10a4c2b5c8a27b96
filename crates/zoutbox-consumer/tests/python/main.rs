//! The consumer in Python that `docs/consuming.md` shows, run as it stands there, with a real broker, on messages made from `FORMAT.md` alone.

#![expect(clippy::disallowed_methods, reason = "tests lay and remove files directly")]

#[cfg(test)]
mod bus;
#[cfg(test)]
mod consumes;
#[cfg(test)]
#[path = "../resolver/ground.rs"]
#[expect(dead_code, reason = "the resolver's own tests need more of it")]
mod ground;
#[cfg(test)]
mod program;
#[cfg(test)]
mod refuses;
