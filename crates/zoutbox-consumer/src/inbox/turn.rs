//! Applying in the order of keys, several records at once, and setting aside.

use zoutbox_format::{Epoch, RecordId, SegmentId, Sequence, WriterId};

use super::window::{Place, Seen, seed};
use super::{
    Applied, ApplyError, Head, Identity, Inbox, InboxError, OrderKey, Park, Parked, Row, Store, Work,
    forgotten, load, place,
};

/// What became of a record that waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Turn<T> {
    /// It was its turn.
    Taken {
        /// Whether it was applied now.
        applied: Applied<T>,
        /// It was parked, and is not any more.
        unparked: Option<Head>,
    },
    /// This earlier record of its writer and order key is parked: nothing ran, nothing is marked.
    Behind(RecordId),
}

impl<S: Store> Inbox<S> {
    /// As [`Inbox::apply`], unless an earlier record of the writer with the same order key is parked. If this one is, it is not any more,
    /// in the same transaction.
    ///
    /// # Errors
    /// Those of [`Inbox::apply`].
    pub fn apply_in_turn<T, E>(
        &mut self,
        identity: &Identity,
        key: &OrderKey,
        effect: impl FnOnce(&mut S::Transaction<'_>) -> Result<T, E>,
    ) -> Result<Turn<T>, ApplyError<E>> {
        let place = place(identity)?;
        let row = Row { consumer: &self.consumer, share: &identity.share, writer: &identity.record.writer };
        let most = self.options.most_runs;
        let done = self.store.transact(&row, &[key.as_bytes()], |saved, transaction| {
            let mut window = load(&row, saved.state.as_deref())?;
            let head = saved.heads.first().copied().flatten();
            let own = head.filter(|head| head.place() == place);
            let value = match window.look(place) {
                Seen::Yes if own.is_none() => return Ok(Work::Nothing),
                Seen::Yes => Applied::Duplicate,
                // A record is only parked while it is known not to be applied; so its row tells what the window has forgotten.
                Seen::Forgotten(horizon) if own.is_none() => return Err(forgotten(identity, horizon).into()),
                Seen::No | Seen::Forgotten(_) => {
                    if let Some(head) = head.filter(|head| head.place() < place) {
                        // Nothing to do, and yet something to say: the state is saved as it was.
                        let value = Turn::Behind(record(row.writer, head.place()));
                        return Ok(Work::Save {
                            state: window.encode(seed(row.share, row.writer)),
                            unpark: None,
                            value,
                        });
                    }
                    Applied::Now(effect(transaction).map_err(ApplyError::Effect)?)
                }
            };
            window.mark(place, most);
            let value = Turn::Taken { applied: value, unparked: own };
            let unpark = own.map(|head| (key.as_bytes(), head));
            Ok(Work::Save { state: window.encode(seed(row.share, row.writer)), unpark, value })
        })?;
        Ok(done.unwrap_or(Turn::Taken { applied: Applied::Duplicate, unparked: None }))
    }

    /// Applies records of one writer in **one** transaction, in this order: `effect` runs for each that was not applied before, with its
    /// index. Returns for each what became of it.
    ///
    /// `None`, and nothing ran, if any of them has to be looked at alone: if a record with one of the order keys is parked, or if the
    /// store can't take effects back that have run ([`Store::ROLLS_BACK`]).
    ///
    /// # Errors
    /// Those of [`Inbox::apply`], of the first record that has one; then none is applied or marked. [`InboxError::Mixed`].
    /// [`InboxError::TransactionEnded`] concerns every record whose effect has run: what it did may be committed.
    pub fn apply_all<E>(
        &mut self,
        records: &[(Identity, OrderKey)],
        mut effect: impl FnMut(usize, &mut S::Transaction<'_>) -> Result<(), E>,
    ) -> Result<Option<Vec<Applied<()>>>, ApplyError<E>> {
        let Some((first, _)) = records.first() else { return Ok(Some(Vec::new())) };
        let other = |(identity, _): &&(Identity, OrderKey)| {
            (identity.share, &identity.record.writer) != (first.share, &first.record.writer)
        };
        if let Some((identity, _)) = records.iter().find(other) {
            return Err(InboxError::Mixed(Box::new(identity.clone())).into());
        }
        if !S::ROLLS_BACK {
            return Ok(None);
        }
        let row = Row { consumer: &self.consumer, share: &first.share, writer: &first.record.writer };
        let most = self.options.most_runs;
        let keys: Vec<&[u8]> = records.iter().map(|(_, key)| key.as_bytes()).collect();
        self.store.transact(&row, &keys, |saved, transaction| {
            if saved.heads.iter().any(Option::is_some) {
                return Ok(Work::Nothing);
            }
            let mut window = load(&row, saved.state.as_deref())?;
            let mut all = Vec::with_capacity(records.len());
            for (index, (identity, _)) in records.iter().enumerate() {
                let place = place(identity)?;
                all.push(match window.look(place) {
                    Seen::Yes => Applied::Duplicate,
                    Seen::Forgotten(horizon) => return Err(forgotten(identity, horizon).into()),
                    Seen::No => {
                        effect(index, transaction).map_err(ApplyError::Effect)?;
                        if let Some(ended) = S::ended(transaction) {
                            return Err(ended.into());
                        }
                        window.mark(place, most);
                        Applied::Now(())
                    }
                });
            }
            Ok(Work::Save { state: window.encode(seed(row.share, row.writer)), unpark: None, value: all })
        })
    }

    /// Whether `count` records from this one on, of consecutive sequences of its epoch, are all known to have been applied. `false` also where
    /// that is forgotten.
    ///
    /// # Errors
    /// [`InboxError`], with the kinds of [`Inbox::apply`].
    pub fn has_applied(&mut self, first: &Identity, count: u32) -> Result<bool, InboxError> {
        let place = place(first)?;
        let row = Row { consumer: &self.consumer, share: &first.share, writer: &first.record.writer };
        let mut all = false;
        let looked = self.store.transact(&row, &[], |saved, _| {
            let window = load(&row, saved.state.as_deref())?;
            all = (0..u64::from(count)).all(|next| {
                let sequence = place.sequence.saturating_add(next);
                window.look(Place { epoch: place.epoch, sequence }) == Seen::Yes
            });
            Ok::<_, ApplyError<std::convert::Infallible>>(Work::<()>::Nothing)
        });
        match looked {
            Ok(_) => Ok(all),
            Err(ApplyError::Inbox(error)) => Err(error),
            Err(ApplyError::Effect(never)) => match never {},
        }
    }

    /// Notes, durably, that a record is set aside: until it is applied, no later one of its writer and order key is. Call it when the message
    /// is safe elsewhere. Returns whether that is new: not if it is parked already, was applied in the meantime, or is
    /// [forgotten](InboxError::Forgotten), so that nobody can tell whether it still has to be.
    ///
    /// # Errors
    /// [`InboxError`], with the kinds of [`Inbox::apply`].
    pub fn park(
        &mut self,
        identity: &Identity,
        key: &OrderKey,
        (segment, reason, now_ms): (Option<SegmentId>, &str, u64),
    ) -> Result<bool, InboxError> {
        let place = place(identity)?;
        let segment = segment.map(|segment| segment.first_sequence.get());
        let highest = place.epoch.max(place.sequence).max(segment.unwrap_or_default());
        if i64::try_from(highest).is_err() {
            return Err(InboxError::TooHigh { identity: Box::new(identity.clone()) });
        }
        let row = Row { consumer: &self.consumer, share: &identity.share, writer: &identity.record.writer };
        let head = Head { epoch: place.epoch, sequence: place.sequence, segment };
        let done = self.store.transact(&row, &[], |saved, _| {
            let window = load(&row, saved.state.as_deref())?;
            if window.look(place) != Seen::No {
                return Ok(Work::Nothing);
            }
            let park = Park { key: key.as_bytes(), head, reason, parked_ms: now_ms };
            Ok::<_, ApplyError<std::convert::Infallible>>(Work::Park { park, value: () })
        });
        match done {
            Ok(done) => Ok(done.is_some()),
            Err(ApplyError::Inbox(error)) => Err(error),
            Err(ApplyError::Effect(never)) => match never {},
        }
    }

    /// All records that are parked, in order.
    ///
    /// # Errors
    /// When the database can't be asked, or holds what nobody wrote.
    pub fn parked(&mut self) -> Result<Vec<Parked>, InboxError> {
        self.store.parked(&self.consumer)
    }
}

fn record(writer: &WriterId, place: Place) -> RecordId {
    RecordId {
        writer: writer.clone(),
        epoch: Epoch::new(place.epoch),
        sequence: Sequence::new(place.sequence),
    }
}
