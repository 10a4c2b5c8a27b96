//! From a record to a place in the queue. The same with and without threads.

use std::io::Read;
use std::sync::Arc;

use zoutbox_format::Record;
use zoutbox_storage::{DiskFile, System};

use crate::error::WriterError;
use crate::options::WhenFull;
use crate::payload::{Again, New, Payloads, Placed};
use crate::shared::Shared;
use crate::ticket::Ticket;

/// Where records come in.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) system: System,
    pub(crate) shared: Arc<Shared>,
    pub(crate) payloads: Payloads,
}

impl Intake {
    pub(crate) fn append(&self, record: &Record, when_full: WhenFull) -> Result<Ticket, WriterError> {
        let mut body = Vec::new();
        record.borrowed(self.system.clock.now_ms()).encode(&mut body)?;
        self.queue(body, None, when_full)
    }

    /// `wait` returns when the ticket has an outcome.
    pub(crate) fn append_payload(
        &self,
        record: &Record,
        input: &mut dyn Read,
        wait: impl FnOnce(&Ticket),
    ) -> Result<Ticket, WriterError> {
        // Nobody should have to stream a payload to learn that.
        self.shared.check_open()?;
        let when_full = self.shared.when_full();
        match self.payloads.place(record, input)? {
            Placed::Inline(record) => self.append(&record, when_full),
            Placed::New(New { body, file, nobody_elses }) => {
                let queued = self.queue(body, Some(file), when_full);
                if queued.is_err() {
                    self.payloads.discard(nobody_elses);
                }
                queued
            }
            Placed::Again(again) => {
                let ticket = self.queue(again.body.clone(), None, when_full)?;
                wait(&ticket);
                self.still_there(&again, ticket)
            }
        }
    }

    /// Whatever became of the record: also where that is unknown, somebody may read it.
    fn still_there(&self, again: &Again, ticket: Ticket) -> Result<Ticket, WriterError> {
        match (self.payloads.confirm(again), ticket.outcome()) {
            (Err(source), Some(Ok(record))) => {
                Err(WriterError::PayloadGone { record, path: again.path.clone(), source: Box::new(source) })
            }
            _ => Ok(ticket),
        }
    }

    fn queue(
        &self,
        body: Vec<u8>,
        held: Option<Box<dyn DiskFile>>,
        when_full: WhenFull,
    ) -> Result<Ticket, WriterError> {
        self.shared.append(body, held, when_full, || self.system.clock.monotonic())
    }
}
