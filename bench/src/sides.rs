//! The sides. Each says in its module how it was seen to sync: a comparison with something that does not is worthless.

mod bare;
pub(crate) mod inbox;
mod okaywal;
mod postgres;
mod raft_engine;
mod sqlite;
mod zoutbox;

pub(crate) use self::bare::{BARE_GROWING, BARE_ZEROED, Bare};
pub(crate) use self::okaywal::OkayWal;
pub(crate) use self::postgres::Postgres;
pub(crate) use self::raft_engine::RaftEngine;
pub(crate) use self::sqlite::Sqlite;
pub(crate) use self::zoutbox::{Tasks, Threads};
