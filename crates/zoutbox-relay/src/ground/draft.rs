//! A segment made by hand, with records that name large payloads. Included by the tests of the program as well.

use zoutbox_format::checkpoint::Position;
use zoutbox_format::frame::{SEAL_LENGTH, Seal, encode_data, encode_seal};
use zoutbox_format::layout::SegmentName;
use zoutbox_format::{
    Epoch, PayloadName, PayloadReference, PreviousSegment, Record, SegmentHeader, SegmentId, Sequence,
    ShareId, WriterId,
};

/// A segment, as it grows.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    header: SegmentHeader,
    bytes: Vec<u8>,
    next: Sequence,
    sealed: bool,
}

impl Draft {
    /// The first segment of a writer, or the one of the next epoch behind `before`.
    pub(crate) fn behind(before: Option<&Self>, share: ShareId, writer: &WriterId) -> Self {
        let previous = before.map(|before| PreviousSegment {
            id: before.id(),
            end_offset: before.end().offset,
            next_sequence: before.next,
        });
        let first_sequence = previous.map_or(Sequence::FIRST, |previous| previous.next_sequence);
        let epoch = previous.map_or(Epoch::FIRST, |previous| previous.id.epoch.next());
        let id = SegmentId { epoch, first_sequence };
        let header = SegmentHeader { share, writer: writer.clone(), id, created_ms: 1, previous };
        Self { bytes: header.encode().to_vec(), header, next: first_sequence, sealed: false }
    }

    pub(crate) fn id(&self) -> SegmentId {
        self.header.id
    }

    pub(crate) fn name(&self) -> String {
        SegmentName { id: self.id(), sealed: self.sealed }.file_name()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a commit of one record, that names this payload.
    pub(crate) fn append(&mut self, name: Option<PayloadName>) {
        let mut body = Vec::new();
        let record = Record::new("t", "").header("h", "x");
        match name.map(|name| PayloadReference { name, size: 1, crc: 7 }) {
            Some(reference) => record.borrowed(1).encode_with(&reference, &mut body).unwrap(),
            None => record.borrowed(1).encode(&mut body).unwrap(),
        }
        encode_data(&mut self.bytes, self.header.crc_seed(), self.next, 0, &body);
        self.next = self.next.next();
    }

    pub(crate) fn seal(&mut self) {
        let records = self.next.get() - self.id().first_sequence.get();
        let seal = Seal { records, offset: self.bytes.len() as u64 };
        encode_seal(&mut self.bytes, self.header.crc_seed(), self.next, seal);
        self.sealed = true;
    }

    /// Behind its last record.
    pub(crate) fn end(&self) -> Position {
        let seal = if self.sealed { SEAL_LENGTH } else { 0 };
        let offset = self.bytes.len() as u64 - seal;
        Position { segment: self.id(), offset, next_sequence: self.next }
    }
}
