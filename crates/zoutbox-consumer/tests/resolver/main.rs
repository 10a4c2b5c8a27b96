//! The resolver over real files: segments of the real writer and segments made by hand, in every place where they may lie, and with everything in
//! their place that somebody may put there.

#![expect(clippy::disallowed_methods, reason = "tests lay, damage and remove files directly")]

#[cfg(test)]
mod bits;
#[cfg(test)]
mod cached;
#[cfg(test)]
mod forged;
#[cfg(test)]
mod ground;
#[cfg(test)]
mod inline;
#[cfg(test)]
mod large;
#[cfg(test)]
mod places;
#[cfg(test)]
mod pointed;
#[cfg(test)]
mod random;
#[cfg(test)]
mod staleness;
