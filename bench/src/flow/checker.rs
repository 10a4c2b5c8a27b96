//! What is checked of each record: that it is the next one of its writer, and that its payload is the one that was appended.

use std::collections::HashMap;
use std::io::Read;

use anyhow::{Context as _, Result, ensure};
use zoutbox_consumer::{Payload, Records, Resolved};
use zoutbox_format::{Sequence, WriterId};

use super::CHECKSUM;

/// The first record of a writer.
const FIRST: Sequence = Sequence::new(1);

/// What was checked so far.
#[derive(Debug, Default)]
pub(super) struct Checker {
    /// By writer, the record that follows.
    next: HashMap<WriterId, Sequence>,
    /// For payloads that are streamed.
    buffer: Vec<u8>,
    pub(super) records: u64,
}

impl Checker {
    /// Checks the records of one message, which are all of one writer.
    pub(super) fn check(&mut self, records: &Records) -> Result<()> {
        let first = records.get(0).context("a message without records")?.identity.record;
        let next = self.next.entry(first.writer).or_insert(FIRST);
        for record in records.iter() {
            check(&record, next, &mut self.buffer)?;
            self.records += 1;
        }
        Ok(())
    }

    /// Checks one record.
    pub(super) fn check_one(&mut self, record: &Resolved<'_>) -> Result<()> {
        let writer = &record.identity.record.writer;
        if !self.next.contains_key(writer) {
            self.next.insert(writer.clone(), FIRST);
        }
        let next = self.next.get_mut(writer).context("a writer that was just seen")?;
        check(record, next, &mut self.buffer)?;
        self.records += 1;
        Ok(())
    }
}

fn check(record: &Resolved<'_>, next: &mut Sequence, buffer: &mut Vec<u8>) -> Result<()> {
    let id = &record.identity.record;
    ensure!(id.sequence == *next, "{id} came where {next} follows");
    *next = next.next();
    let sound = match &record.payload {
        Payload::Bytes(payload) => is_sound(payload),
        Payload::Large(large) => is_sound_stream(large.open().context("opening a payload")?, buffer)?,
    };
    ensure!(sound, "the payload of {id} is not the one that was appended");
    Ok(())
}

/// Whether a payload is as it was when it was stamped.
pub(super) fn is_sound(payload: &[u8]) -> bool {
    let parts = payload.split_first_chunk::<CHECKSUM>();
    parts.is_some_and(|(checksum, rest)| u32::from_le_bytes(*checksum) == crc32fast::hash(rest))
}

/// The same, piece by piece.
fn is_sound_stream(mut stream: impl Read, buffer: &mut Vec<u8>) -> Result<bool> {
    buffer.resize(256 * 1024, 0);
    let mut checksum = [0; CHECKSUM];
    stream.read_exact(&mut checksum).context("reading a payload")?;
    let mut hasher = crc32fast::Hasher::new();
    loop {
        let length = stream.read(buffer).context("reading a payload")?;
        let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else { break };
        hasher.update(piece);
    }
    Ok(hasher.finalize() == u32::from_le_bytes(checksum))
}
