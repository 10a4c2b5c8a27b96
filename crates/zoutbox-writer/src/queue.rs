//! The commit queue: which records share a commit, and how many bytes wait. Pure: no locks, no I/O, no clock.
//!
//! ```text
//!   push ──▶ │ group │ group │ group (still filling) │      each at most one commit's bytes
//!               │
//!             take ──▶ in flight ──▶ finish             one at a time, in order
//! ```
//!
//! A record's place among the others is fixed when it is pushed. Its sequence is fixed when its group is committed: if a
//! group fails, the next one takes the sequences that it would have had, so that there are no holes.

use std::collections::VecDeque;
use std::sync::Arc;

use zoutbox_format::WriterId;
use zoutbox_format::frame::FRAME_HEADER_LENGTH;
use zoutbox_storage::DiskFile;

use crate::ticket::{Completion, Ticket};

/// Records that share a commit.
#[derive(Debug)]
pub(crate) struct Group {
    /// Their encodings, in order.
    pub(crate) bodies: Vec<Vec<u8>>,
    /// What their frames take, in bytes.
    pub(crate) bytes: u64,
    /// Files that stay locked until the group has its outcome.
    pub(crate) held: Vec<Box<dyn DiskFile>>,
    pub(crate) completion: Arc<Completion>,
}

/// What waits, and what is being written.
#[derive(Debug)]
pub(crate) struct Queue {
    writer: Arc<WriterId>,
    /// The most a group may hold, in bytes of frames, unless it is a single record.
    group_bytes: u64,
    groups: VecDeque<Group>,
    in_flight: Option<(Arc<Completion>, u64)>,
    bytes: u64,
    records: usize,
}

/// What a record takes in the log, in bytes.
pub(crate) fn framed(body: &[u8]) -> u64 {
    (FRAME_HEADER_LENGTH + body.len()) as u64
}

impl Queue {
    pub(crate) fn new(writer: Arc<WriterId>, group_bytes: u64) -> Self {
        Self { writer, group_bytes, groups: VecDeque::new(), in_flight: None, bytes: 0, records: 0 }
    }

    /// Bytes that are not durable yet: those that wait and those being written.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many records wait to be taken.
    pub(crate) fn waiting(&self) -> usize {
        self.records
    }

    /// Whether the next group to be taken can't grow any more.
    pub(crate) fn is_next_full(&self) -> bool {
        self.groups.len() > 1
    }

    pub(crate) fn push(&mut self, body: Vec<u8>) -> Ticket {
        let bytes = framed(&body);
        let mut group = match self.groups.pop_back() {
            Some(group) if group.bytes.saturating_add(bytes) <= self.group_bytes => group,
            full => {
                self.groups.extend(full);
                let completion = Arc::new(Completion::new(self.writer.clone()));
                Group { bodies: Vec::new(), bytes: 0, held: Vec::new(), completion }
            }
        };
        let index = u32::try_from(group.bodies.len()).unwrap_or(u32::MAX);
        let ticket = Ticket::new(group.completion.clone(), index);
        group.bodies.push(body);
        group.bytes = group.bytes.saturating_add(bytes);
        self.groups.push_back(group);
        self.bytes = self.bytes.saturating_add(bytes);
        self.records += 1;
        ticket
    }

    /// Keeps a file open, and with it its lock, until the record that was pushed last has its outcome.
    pub(crate) fn hold(&mut self, file: Box<dyn DiskFile>) {
        if let Some(group) = self.groups.back_mut() {
            group.held.push(file);
        }
    }

    /// Takes the oldest group to be committed. None while one is in flight: commits are made one after the other.
    pub(crate) fn take(&mut self) -> Option<Group> {
        if self.in_flight.is_some() {
            return None;
        }
        let group = self.groups.pop_front()?;
        self.records = self.records.saturating_sub(group.bodies.len());
        self.in_flight = Some((group.completion.clone(), group.bytes));
        Some(group)
    }

    /// The group in flight has its outcome: its bytes are no longer waiting.
    pub(crate) fn finish(&mut self) -> Option<Arc<Completion>> {
        let (completion, bytes) = self.in_flight.take()?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(completion)
    }

    /// Everything without an outcome, in order: whoever waits for these has waited for all that was pushed so far.
    pub(crate) fn unfinished(&self) -> Vec<Arc<Completion>> {
        let in_flight = self.in_flight.iter().map(|(completion, _)| completion.clone());
        in_flight.chain(self.groups.iter().map(|group| group.completion.clone())).collect()
    }

    /// Empties it; the groups get no outcome here.
    pub(crate) fn drain(&mut self) -> VecDeque<Group> {
        let groups = std::mem::take(&mut self.groups);
        self.bytes = self.in_flight.as_ref().map_or(0, |(_, bytes)| *bytes);
        self.records = 0;
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new(Arc::new(WriterId::new("orders").unwrap()), 1000)
    }

    fn sizes(group: &Group) -> Vec<usize> {
        group.bodies.iter().map(Vec::len).collect()
    }

    #[test]
    fn records_share_a_commit_up_to_its_bytes_and_a_larger_one_gets_its_own() {
        let mut queue = queue();
        let header = FRAME_HEADER_LENGTH;
        for length in [500 - header, 500 - header, 1, 5000, 2] {
            drop(queue.push(vec![0; length]));
        }
        let mut groups = Vec::new();
        while let Some(group) = queue.take() {
            groups.push(sizes(&group));
            queue.finish();
        }
        assert_eq!(groups, [vec![500 - header, 500 - header], vec![1], vec![5000], vec![2]]);
        assert_eq!((queue.bytes(), queue.waiting()), (0, 0));
    }

    #[test]
    fn one_commit_is_in_flight_at_a_time_and_its_bytes_count_until_it_is_finished() {
        let mut queue = queue();
        drop(queue.push(vec![0; 900]));
        drop(queue.push(vec![0; 800]));
        assert!(queue.is_next_full());
        assert!(queue.take().is_some() && queue.take().is_none());
        assert_eq!((queue.bytes(), queue.waiting()), (1700 + 2 * FRAME_HEADER_LENGTH as u64, 1));
        assert_eq!(queue.unfinished().len(), 2);
        assert!(queue.finish().is_some() && queue.finish().is_none());
        assert_eq!(queue.bytes(), 800 + FRAME_HEADER_LENGTH as u64);
        assert_eq!(queue.drain().len(), 1);
        assert_eq!((queue.bytes(), queue.waiting()), (0, 0));
    }
}
