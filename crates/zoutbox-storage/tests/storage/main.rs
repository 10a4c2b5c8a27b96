//! What the real disk promises, on every kind of file system the tests are given.

#![expect(clippy::disallowed_methods, reason = "tests lay files and run threads directly")]

#[cfg(test)]
mod child;
#[cfg(test)]
mod full;
#[cfg(test)]
mod lock;
#[cfg(test)]
mod mount;
#[cfg(test)]
mod names;
#[cfg(test)]
mod open;
#[cfg(test)]
mod replace;
#[cfg(test)]
mod share;
#[cfg(test)]
mod world;
