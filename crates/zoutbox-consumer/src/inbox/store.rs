//! What an inbox needs of a database.

use zoutbox_format::{ShareId, WriterId};

use super::{ApplyError, Head, InboxError, Opened, Park, Parked};

/// Whose state: the key of a store's row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The consumer's name.
    pub consumer: &'a str,
    /// The share.
    pub share: &'a ShareId,
    /// The writer.
    pub writer: &'a WriterId,
}

/// What was saved.
#[derive(Debug, Default)]
pub struct Saved {
    /// The row's state, if it has one.
    pub state: Option<Vec<u8>>,
    /// For each order key that was asked about, the lowest parked record of it.
    pub heads: Vec<Option<Head>>,
}

/// What a transaction shall do in the end.
#[derive(Debug)]
pub enum Work<'a, T> {
    /// Save the row's new state, and commit.
    Save {
        /// The state.
        state: Vec<u8>,
        /// This record, of this order key, is not parked any more.
        unpark: Option<(&'a [u8], Head)>,
        /// What to return then.
        value: T,
    },
    /// Note that a record is parked, and commit; if that is noted already, leave everything as it was.
    Park {
        /// The record.
        park: Park<'a>,
        /// What to return then.
        value: T,
    },
    /// Leave everything as it was.
    Nothing,
}

/// A database that keeps one small state for each row and what is parked of it, and has transactions.
///
/// A store decides nothing: what a state means only the inbox knows.
pub trait Store {
    /// What an effect runs its statements in.
    type Transaction<'a>;

    /// Whether anything is saved for `consumer`.
    ///
    /// # Errors
    /// When the database can't be asked.
    fn opened(&mut self, consumer: &str) -> Result<Opened, InboxError>;

    /// Whether an effect that fails takes nothing with it: whether several can share a transaction.
    const ROLLS_BACK: bool;

    /// Why the transaction has ended before its time, as far as that can be known without asking the database. Asked between the effects of
    /// several records that share one: what would run behind the end would stand for itself.
    fn ended(transaction: &Self::Transaction<'_>) -> Option<InboxError> {
        let _: &Self::Transaction<'_> = transaction;
        None
    }

    /// All records that `consumer` has parked, in order.
    ///
    /// # Errors
    /// When the database can't be asked, or holds what nobody wrote.
    fn parked(&mut self, consumer: &str) -> Result<Vec<Parked>, InboxError>;

    /// Runs `work` in one transaction, with the row's state and what is parked of the order keys, and does what it returns.
    ///
    /// From before anything is read until the transaction has ended, no other transaction reads or changes the row's state or what is parked
    /// of it, not even if there is no row yet. After an error nothing has changed.
    ///
    /// # Errors
    /// What `work` returns, and when the database fails.
    fn transact<'k, T, E>(
        &mut self,
        row: &Row<'_>,
        keys: &[&'k [u8]],
        work: impl FnOnce(Saved, &mut Self::Transaction<'_>) -> Result<Work<'k, T>, ApplyError<E>>,
    ) -> Result<Option<T>, ApplyError<E>>;
}
