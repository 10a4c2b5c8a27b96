//! What can go wrong with an inbox, and what its caller can do about it.

use zoutbox_format::{ShareId, WriterId};
use zoutbox_storage::ErrorKind;

use super::{Identity, WindowError};

/// The version of the tables that this zoutbox makes and reads.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) const SCHEMA_VERSION: i64 = 1;

/// Why a record was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError<E> {
    /// The effect's own error: everything it did in the transaction is taken back, and the record is not marked.
    #[error("the effect failed: {0}")]
    Effect(E),
    /// The inbox's.
    #[error(transparent)]
    Inbox(#[from] InboxError),
}

/// An error of the inbox. Nothing is applied or marked, except where a variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InboxError {
    /// Not a consumer's name.
    #[error(
        "'{0}' is not a consumer's name: 1 to 64 characters, a-z 0-9 . _ -, the first one a letter or digit"
    )]
    ConsumerName(String),
    /// An option can't be what it is.
    #[error("option most_runs is {0}, and must be 1 to 65536")]
    MostRuns(usize),
    /// No record has such an identity.
    #[error("{identity}: epochs and sequences start at 1")]
    Zero {
        /// The identity.
        identity: Box<Identity>,
    },
    /// Numbers that no database keeps as they are, and no writer comes to.
    #[error("{identity}: epochs and sequences above 2^63 can't be parked")]
    TooHigh {
        /// The identity.
        identity: Box<Identity>,
    },
    /// Records of several writers can't share a transaction.
    #[error("{0} is of another writer or share than the records that it should be applied with")]
    Mixed(Box<Identity>),
    /// The record lies at or below what the inbox still remembers exactly: it may or may not have been applied. Applying it could
    /// apply it twice, and passing it by could lose it, so a person decides. It happens after more gaps than [`Options::most_runs`].
    ///
    /// [`Options::most_runs`]: super::Options::most_runs
    #[error(
        "{identity}: whether it was applied is not remembered any more (exact only above {horizon}); set it aside for a person"
    )]
    Forgotten {
        /// The record.
        identity: Box<Identity>,
        /// The epoch and sequence above which the memory is exact.
        horizon: Box<str>,
    },
    /// The state of a writer can't be used. Others are not concerned.
    #[error("the inbox of consumer '{consumer}' for writer '{writer}' of share {share}: {source}")]
    State {
        /// The consumer.
        consumer: Box<str>,
        /// The share.
        share: ShareId,
        /// The writer.
        writer: WriterId,
        /// What is wrong.
        source: WindowError,
    },
    /// The effect ended the transaction itself, or went on after the database had rolled it back. What it did may have been committed, and
    /// the record is not marked.
    #[error(
        "{database}: the effect ended the transaction it ran in; what it did may be committed, and the record is not marked"
    )]
    TransactionEnded {
        /// Which database.
        database: Box<str>,
    },
    /// The tables were made by a newer zoutbox.
    #[error(
        "{database}: inbox tables of version {found}, made by a newer zoutbox (this one knows {known}): update this one"
    )]
    Newer {
        /// Which database.
        database: Box<str>,
        /// The version of its tables.
        found: i64,
        /// The version that is known here.
        known: i64,
    },
    /// The database says something about the inbox's own tables that it never should.
    #[error("{database}: {what}")]
    Damaged {
        /// Which database.
        database: Box<str>,
        /// What is wrong.
        what: &'static str,
    },
    /// The database can't keep a write-ahead log, so readers and writers would block each other.
    #[error(
        "{database}: SQLite can't use a write-ahead log there (journal mode '{mode}'): it must be a file on a local disk"
    )]
    NoWriteAheadLog {
        /// Which database.
        database: Box<str>,
        /// The journal mode that it has.
        mode: String,
    },
    /// The database can only be read: by its file's permissions or its mount, or as it was opened.
    #[error("{database}: can only be read, and every record that is applied is written to it")]
    ReadOnly {
        /// Which database.
        database: Box<str>,
    },
    /// SQLite failed.
    #[cfg(feature = "sqlite")]
    #[error("{database}: can't {doing}: {source}")]
    Sqlite {
        /// Which database.
        database: Box<str>,
        /// What was to be done.
        doing: &'static str,
        /// Why it can't be.
        source: rusqlite::Error,
    },
    /// PostgreSQL failed, or the way to it.
    #[cfg(feature = "postgres")]
    #[error("{database}: can't {doing}: {}", super::postgres::said(source))]
    Postgres {
        /// Which database.
        database: Box<str>,
        /// What was to be done.
        doing: &'static str,
        /// Why it can't be.
        source: postgres::Error,
    },
    /// The connection broke while PostgreSQL committed: the record may or may not be applied **and** marked, both or neither. Applying it
    /// again finds out.
    #[cfg(feature = "postgres")]
    #[error(
        "{database}: whether the transaction was committed is not known: {}; apply the record again",
        super::postgres::said(source)
    )]
    CommitUnknown {
        /// Which database.
        database: Box<str>,
        /// What went wrong.
        source: postgres::Error,
    },
}

impl InboxError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ConsumerName(_)
            | Self::MostRuns(_)
            | Self::Zero { .. }
            | Self::TooHigh { .. }
            | Self::Mixed(_) => ErrorKind::Invalid,
            Self::Forgotten { .. } | Self::TransactionEnded { .. } => ErrorKind::Unknown,
            Self::State { source: WindowError::Newer(_), .. }
            | Self::Newer { .. }
            | Self::NoWriteAheadLog { .. }
            | Self::ReadOnly { .. } => ErrorKind::Fatal,
            Self::State { .. } | Self::Damaged { .. } => ErrorKind::Corrupt,
            #[cfg(feature = "sqlite")]
            Self::Sqlite { source, .. } => super::sqlite::kind(source),
            #[cfg(feature = "postgres")]
            Self::Postgres { source, .. } => super::postgres::kind(source),
            #[cfg(feature = "postgres")]
            Self::CommitUnknown { .. } => ErrorKind::Retry,
        }
    }
}
