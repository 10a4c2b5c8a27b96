//! What an inbox needs of a database.

use zoutbox_format::{ShareId, WriterId};

use super::{ApplyError, InboxError, Opened};

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

/// What a transaction shall do in the end.
#[derive(Debug)]
pub enum Work<T> {
    /// Save the row's new state, and commit.
    Save {
        /// The state.
        state: Vec<u8>,
        /// What to return then.
        value: T,
    },
    /// Leave everything as it was.
    Nothing,
}

/// A database that keeps one small state for each row, and has transactions.
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

    /// Runs `work` in one transaction, with the row's state, and does what it returns.
    ///
    /// From before the state is read until the transaction has ended, no other transaction reads or changes the row's state, not even if
    /// there is no row yet. After an error nothing has changed.
    ///
    /// # Errors
    /// What `work` returns, and when the database fails.
    fn transact<T, E>(
        &mut self,
        row: &Row<'_>,
        work: impl FnOnce(Option<Vec<u8>>, &mut Self::Transaction<'_>) -> Result<Work<T>, ApplyError<E>>,
    ) -> Result<Option<T>, ApplyError<E>>;
}
