//! The inbox over real databases: SQLite files, a private PostgreSQL; processes that are killed, and that compete.

#![expect(clippy::disallowed_methods, reason = "tests damage and remove files directly")]

#[cfg(test)]
mod child;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod ground;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod sqlite;
#[cfg(test)]
mod turn;
