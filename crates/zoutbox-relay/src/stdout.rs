//! The publisher that needs no broker: one JSON line a record, in the shape of [`zoutbox_reader::json`].
//!
//! A record counts as confirmed once its line was written and flushed. What the reader at the other end of a pipe does with it
//! then, nobody knows.

use std::io::Write;

use tokio::task::JoinHandle;
use zoutbox_format::RecordRef;
use zoutbox_relay_core::Resolution;

use crate::error::RelayError;
use crate::publisher::{Content, Event, Outgoing, Publisher, Undeliverable};

type Output = Box<dyn Write + Send>;
type Writing = JoinHandle<(Output, std::io::Result<()>)>;

/// Writes lines of JSON.
pub struct LinePublisher {
    /// Not there while a thread writes to it.
    output: Option<Output>,
    lines: Vec<u8>,
    tags: Vec<u64>,
    writing: Option<(Writing, Vec<u64>)>,
    last_tag: u64,
    told_up: bool,
}

impl LinePublisher {
    /// Publishes to `output`.
    #[must_use]
    pub fn new(output: Output) -> Self {
        Self {
            output: Some(output),
            lines: Vec::new(),
            tags: Vec::new(),
            writing: None,
            last_tag: 0,
            told_up: false,
        }
    }

    fn start(&mut self) {
        if self.tags.is_empty() || self.writing.is_some() {
            return;
        }
        let Some(mut output) = self.output.take() else { return };
        let lines = std::mem::take(&mut self.lines);
        // Of its own, because a pipe that nobody reads blocks.
        let writing = tokio::task::spawn_blocking(move || {
            let written = output.write_all(&lines).and_then(|()| output.flush());
            (output, written)
        });
        self.writing = Some((writing, std::mem::take(&mut self.tags)));
    }
}

impl Publisher for LinePublisher {
    fn publish(&mut self, message: Outgoing) -> Result<u64, Undeliverable> {
        let Content::Record(body) = &message.content else {
            return Err(Undeliverable::Rejected("a line holds a record, not a pointer".into()));
        };
        let decoded =
            RecordRef::decode(body).map_err(|error| Undeliverable::Undecodable(error.to_string()))?;
        zoutbox_reader::json::write_line(&mut self.lines, &message.id, &decoded);
        self.last_tag += 1;
        self.tags.push(self.last_tag);
        Ok(self.last_tag)
    }

    async fn events(&mut self, told: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.told_up, true) {
            told.push(Event::Up);
            return;
        }
        self.start();
        let Some((writing, _)) = &mut self.writing else { return std::future::pending().await };
        let result = writing.await;
        let tags = self.writing.take().map(|(_, tags)| tags).unwrap_or_default();
        match result {
            Ok((output, Ok(()))) => {
                self.output = Some(output);
                let confirmed =
                    |tag| Event::Resolved { tag, resolution: Resolution::Confirmed, returned: None };
                told.extend(tags.into_iter().map(confirmed));
            }
            Ok((_, Err(error))) => told.push(Event::Failed(RelayError::Output(error))),
            Err(error) => told.push(Event::Failed(RelayError::Output(std::io::Error::other(error)))),
        }
    }

    async fn close(&mut self) {}
}
