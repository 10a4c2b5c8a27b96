//! What a reader gives out of every shape a share can have.

#![expect(clippy::disallowed_methods, reason = "tests lay and damage files directly")]

#[cfg(test)]
mod cached;
#[cfg(test)]
mod consumers;
#[cfg(test)]
mod discover;
#[cfg(test)]
mod failing;
#[cfg(test)]
mod random;
#[cfg(test)]
mod sift;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tail;
