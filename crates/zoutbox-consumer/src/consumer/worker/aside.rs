//! What is not applied and must not block what is behind it: set aside in a queue of its own, confirmed there, before it is acknowledged.
//!
//! ```text
//!   a record    ── its message ──▶ QUEUE.parked ── confirmed ──▶ a row in the inbox, which holds back later ones with its key
//!   a message   ── as it came  ──▶ QUEUE.parked ── confirmed ──▶ nothing: nobody knows which record it would have been
//! ```

use std::fmt::Display;
use std::sync::mpsc;

use zoutbox_format::SegmentId;
use zoutbox_storage::ErrorKind;

use super::{Done, Leave, MOST_REASON, Said, Worker};
use crate::consumer::decide::Attempts;
use crate::consumer::message::{Delivered, Outgoing, one_line};
use crate::consumer::observer::Told;
use crate::consumer::{ConsumerError, HandlerError};
use crate::inbox::{Identity, OrderKey, Store};
use crate::resolver::{Payload, Records, Resolved};

impl<S, F, E> Worker<S, F>
where
    S: Store,
    F: FnMut(&Resolved<'_>, &mut S::Transaction<'_>) -> Result<(), HandlerError<E>>,
    E: Display,
{
    /// What it leads to is removed once it was applied: a broker that crashed may have lost the acknowledgement, and a relay may have
    /// published it again. Then it is a duplicate, as it would be if it were still there to be read.
    pub(super) fn gone(&mut self, delivered: &Delivered, reason: &str) -> Done {
        let share = self.parts.resolver.share();
        let pointer = delivered.pointer().filter(|pointer| Some(pointer.share) == share);
        let mut attempts = Attempts::default();
        while let Some(pointer) = &pointer {
            let first = Identity::new(pointer.share, pointer.first());
            match self.parts.inbox.has_applied(&first, pointer.count) {
                Ok(true) => {
                    self.summary.duplicates += u64::from(pointer.count);
                    return Ok(());
                }
                Ok(false) => break,
                Err(error) => self.database(&mut attempts, error, "looking for what was applied")?,
            }
        }
        self.set_aside_whole(delivered, reason)
    }

    /// The effects of these may be committed, and nothing is marked: running them again could double them. A person decides.
    pub(super) fn unknown(
        &mut self,
        delivered: &Delivered,
        records: &Records,
        ran: usize,
        reason: &str,
    ) -> Done {
        for record in records.iter().take(ran) {
            let key = OrderKey::of(record.key, &record.identity.record, self.parts.options.unkeyed);
            self.park(delivered, &record, (records.len(), &key), reason)?;
        }
        for record in records.iter().skip(ran) {
            self.still(delivered.link)?;
            self.record(delivered, &record, records.len())?;
        }
        Ok(())
    }

    /// Sets one record aside: its message first, then the row that holds back what is behind it.
    pub(super) fn park(
        &mut self,
        delivered: &Delivered,
        record: &Resolved<'_>,
        (of, key): (usize, &OrderKey),
        reason: &str,
    ) -> Done {
        let identity = &record.identity;
        let reason = one_line(reason, MOST_REASON);
        let most = self.parts.options.most_parked;
        if self.parked >= most {
            let (parked, record) = (self.parked, identity.to_string());
            return Err(Leave::Failed(ConsumerError::TooManyParked { parked, most, record, reason }));
        }
        let outgoing = delivered.single(record, of, &reason);
        self.set_aside(delivered, outgoing, &identity.record.to_string())?;
        tracing::warn!("{} is parked: {reason}", identity.record);
        let segment = self.lies_in(delivered, record)?;
        let mut attempts = Attempts::default();
        let new = loop {
            match self.parts.inbox.park(identity, key, (segment, &reason, self.clock.now_ms())) {
                Ok(new) => break new,
                Err(error) if matches!(error.kind(), ErrorKind::Unknown | ErrorKind::Invalid) => {
                    tracing::warn!("{error}: what is behind it does not wait for it");
                    break false;
                }
                Err(error) => self.database(&mut attempts, error, "noting what is parked")?,
            }
        };
        if new {
            self.parked += 1;
            self.parts.telling.tell(Told::Parked { writer: identity.record.writer.clone(), segment });
        }
        self.summary.parked += 1;
        Ok(())
    }

    /// The segment that has to stay as long as the record waits: that of a pointer, and that of a record whose payload lies on the share.
    fn lies_in(&mut self, delivered: &Delivered, record: &Resolved<'_>) -> Result<Option<SegmentId>, Leave> {
        let large = match (&record.pointer, &record.payload) {
            (Some(pointer), _) => return Ok(Some(pointer.segment)),
            (None, Payload::Bytes(_)) => return Ok(None),
            (None, Payload::Large(large)) => large,
        };
        let mut failures = 0_u32;
        loop {
            let error = match large.segment() {
                Ok(segment) => return Ok(segment),
                Err(error) => error,
            };
            failures = failures.saturating_add(1);
            if failures == 1 {
                tracing::error!("{}: {error}; it is tried again until it works", record.identity.record);
            }
            self.pause(self.policy.delay(failures), Some(delivered.link))?;
        }
    }

    pub(super) fn set_aside_whole(&mut self, delivered: &Delivered, reason: &str) -> Done {
        let reason = one_line(reason, MOST_REASON);
        self.set_aside(delivered, delivered.whole(&reason), &delivered.name())?;
        tracing::warn!("{} is parked: {reason}", delivered.name());
        self.summary.parked += 1;
        Ok(())
    }

    /// Has something published to where things are set aside, until the broker has confirmed it.
    fn set_aside(&mut self, delivered: &Delivered, outgoing: Outgoing, name: &str) -> Done {
        let outgoing = Box::new(outgoing);
        let mut failures = 0_u32;
        loop {
            let (reply, answer) = mpsc::sync_channel(1);
            self.say(Said::Park { link: delivered.link, outgoing: outgoing.clone(), reply })?;
            // Nobody answers for a connection that is gone.
            let Ok(answer) = answer.recv() else { return Err(Leave::Lost) };
            let Err(error) = answer else { return Ok(()) };
            failures = failures.saturating_add(1);
            if failures == 1 {
                tracing::error!("{name} can't be parked: {error}; it is tried again until it works");
            }
            self.pause(self.policy.delay(failures), Some(delivered.link))?;
        }
    }
}
