//! Records that were set aside, and what waits behind them. No I/O.
//!
//! A parked record is a row in the inbox's database. As long as it is there, no later record of the same writer and key is applied:
//!
//! ```text
//!   orders/1/41 key a   fails   ──▶ parked         row (orders, a, 1, 41)
//!   orders/1/42 key b           ──▶ applied
//!   orders/1/43 key a           ──▶ parked behind  row (orders, a, 1, 43)
//!   41 comes again and is applied: its row goes in the same transaction, and 43 is next
//! ```

use zoutbox_format::{RecordId, SegmentId, ShareId, WriterId};

use super::window::Place;

/// What records without a key wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unkeyed {
    /// Nothing: each stands for itself.
    #[default]
    Independent,
    /// Each other: all of a writer are in one order.
    Ordered,
}

/// In which order a record stands: records of one writer with the same order key are applied in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OrderKey(Vec<u8>);

impl OrderKey {
    /// That of a record with this key.
    #[must_use]
    pub fn of(key: Option<&str>, record: &RecordId, unkeyed: Unkeyed) -> Self {
        // The first byte keeps the three kinds apart, whatever a key looks like.
        Self(match (key, unkeyed) {
            (Some(key), _) => [b"k", key.as_bytes()].concat(),
            (None, Unkeyed::Ordered) => b"u".to_vec(),
            (None, Unkeyed::Independent) => format!("i{}/{}", record.epoch, record.sequence).into_bytes(),
        })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The lowest record that is parked of a writer and an order key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its epoch.
    pub epoch: u64,
    /// Its sequence.
    pub sequence: u64,
    /// The first sequence of the segment that it lies in, if it came by pointer.
    pub segment: Option<u64>,
}

impl Head {
    pub(super) const fn place(&self) -> Place {
        Place { epoch: self.epoch, sequence: self.sequence }
    }

    /// Where it lies.
    #[must_use]
    pub fn segment(&self) -> Option<SegmentId> {
        let first = zoutbox_format::Sequence::new(self.segment?);
        Some(SegmentId { epoch: zoutbox_format::Epoch::new(self.epoch), first_sequence: first })
    }
}

/// A record to set aside.
#[derive(Debug, Clone, Copy)]
pub struct Park<'a> {
    /// Its order key, as bytes.
    pub key: &'a [u8],
    /// Which.
    pub head: Head,
    /// Why, for people.
    pub reason: &'a str,
    /// When: milliseconds since 1970-01-01 UTC.
    pub parked_ms: u64,
}

/// A record that is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The share.
    pub share: ShareId,
    /// Which.
    pub record: RecordId,
    /// The segment that it lies in, if it came by pointer.
    pub segment: Option<SegmentId>,
    /// Why, for people.
    pub reason: String,
    /// When: milliseconds since 1970-01-01 UTC.
    pub parked_ms: u64,
}

impl Parked {
    /// From the columns of a row; `None` if they are not what was written.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(super) fn from_row(
        (share, writer): (&[u8], &str),
        (epoch, sequence, segment): (i64, i64, Option<i64>),
        (reason, parked_ms): (String, i64),
    ) -> Option<Self> {
        let writer = WriterId::new(writer).ok()?;
        let head = head((epoch, sequence, segment))?;
        let (epoch, sequence) =
            (zoutbox_format::Epoch::new(head.epoch), zoutbox_format::Sequence::new(head.sequence));
        Some(Self {
            share: ShareId::from_bytes(share.try_into().ok()?),
            record: RecordId { writer, epoch, sequence },
            segment: head.segment(),
            reason,
            parked_ms: u64::try_from(parked_ms).ok()?,
        })
    }

    pub(super) fn of(share: ShareId, writer: &WriterId, park: &Park<'_>) -> Self {
        let Head { epoch, sequence, .. } = park.head;
        let (epoch, sequence) = (zoutbox_format::Epoch::new(epoch), zoutbox_format::Sequence::new(sequence));
        Self {
            share,
            record: RecordId { writer: writer.clone(), epoch, sequence },
            segment: park.head.segment(),
            reason: park.reason.to_owned(),
            parked_ms: park.parked_ms,
        }
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) fn head((epoch, sequence, segment): (i64, i64, Option<i64>)) -> Option<Head> {
    let segment = segment.map(u64::try_from).transpose().ok()?;
    Some(Head { epoch: u64::try_from(epoch).ok()?, sequence: u64::try_from(sequence).ok()?, segment })
}

/// As a database has numbers. [`Inbox::park`](super::Inbox::park) refuses what is higher.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
