//! Which records share a message.
//!
//! ```text
//!   log      │ a1 a2 │ a3 b4 a5 │ a6 a7 │ a8          │ … │ is a commit: one write, one sync
//!              └──────┘ ▲  └──────────┘   └ open
//!               a run   │    a run            may grow until it is full or has waited long enough
//!                       └ another topic
//! ```
//!
//! A **run** is consecutive records of one segment and one topic, with no gap between them, that one message points to. It is at
//! most so many records and bytes.
//!
//! **A run ends where everything in it is known to be durable, or lies within one commit.** What is read may not be synced yet. If
//! power fails then, its commit is gone: nobody was promised its records, but a CRC over them and over others that were promised would
//! leave those without a message that leads to them. Records of one commit share their fate. That a commit is durable is known
//! once the next one begins, so an open run is in two pieces, the second of which is the last commit seen:
//!
//! ```text
//!   │ proven: durable, or all of one commit │ latest: all of one commit │
//!                                            └ joins the first when the next commit begins
//! ```
//!
//! Pure: told what lies in the log and what time it is. Of the bodies nothing is kept but what a message needs.

use std::sync::Arc;
use std::time::Duration;

use zoutbox_format::checkpoint::Position;
use zoutbox_format::frame::FRAME_HEADER_LENGTH;
use zoutbox_format::pointer::{crc_continued, crc_joined};
use zoutbox_format::{Outline, Pointer, RecordRef, SegmentId, Sequence, ShareId, WriterId};

use crate::topics::{Mode, Rules};
use crate::window::Key;

/// What is published how, and how large a run may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// Which topics are published how.
    pub rules: Arc<Rules>,
    /// The most records in a run, at least 1.
    pub records: u32,
    /// The most bytes of frames in a run of more than one record.
    pub bytes: u32,
    /// How long the first record of a run that could still grow waits for others. With 0, what one read gave is published.
    pub linger: Duration,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { rules: Arc::default(), records: 1000, bytes: 1024 * 1024, linger: Duration::from_millis(5) }
    }
}

/// A record as it lies in the log, for as long as it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Lying<'a> {
    /// Which record.
    pub key: Key,
    /// How many records of its commit lie before it.
    pub commit_index: u32,
    /// Where its frame starts in its segment, in bytes.
    pub offset: u64,
    /// In front of the record behind it, in the segment in which this one lies.
    pub after: Position,
    /// All of its frame.
    pub frame: &'a [u8],
    /// Its encoding, within the frame.
    pub body: &'a [u8],
}

/// What becomes one message.
#[derive(Debug, Clone)]
pub enum Grouped<'a> {
    /// The record itself.
    Record(Lying<'a>),
    /// A pointer.
    Run(Run),
}

/// Consecutive records that one message points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The first one.
    pub first: Key,
    /// Their segment.
    pub segment: SegmentId,
    /// Where the first frame starts in it, in bytes.
    pub offset: u64,
    /// How long all frames are, in bytes.
    pub length: u32,
    /// How many records.
    pub count: u32,
    /// CRC of the frames.
    pub crc: u32,
    /// In front of the record behind the last one.
    pub after: Position,
    /// The topic of all of them.
    pub topic: Box<str>,
    /// When the first one happened: milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: u64,
    /// What else the message says of a record that has a message to itself.
    pub head: Option<Head>,
}

/// What a message says of its one record besides where it lies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// The record's key.
    pub key: Option<Box<str>>,
    /// The application's id.
    pub id: Option<Box<str>>,
    /// The record's headers, in its order.
    pub headers: Vec<(Box<str>, Box<str>)>,
}

impl Run {
    /// The body of its message.
    #[must_use]
    pub fn pointer(&self, share: ShareId, writer: WriterId) -> Pointer {
        let Self { segment, offset, length, count, crc, .. } = *self;
        Pointer { share, writer, segment, offset, length, sequence: self.first.sequence, count, crc }
    }

    /// How many bytes it holds in memory, about; its message has no more.
    #[must_use]
    pub fn held(&self) -> usize {
        let header = |(name, value): &(Box<str>, Box<str>)| name.len() + value.len() + 64;
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let head = self.head.as_ref();
        let head =
            head.map_or(0, |h| text(&h.key) + text(&h.id) + h.headers.iter().map(header).sum::<usize>());
        size_of::<Self>() + self.topic.len() + head
    }
}

impl Head {
    fn of(record: &RecordRef<'_>) -> Self {
        let headers = record.headers.0.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Self { key: record.key.map(Into::into), id: record.id.map(Into::into), headers: headers.collect() }
    }
}

/// Groups one writer's records into runs.
#[derive(Debug)]
pub struct Runs {
    options: RunOptions,
    all_inline: bool,
    /// The topic that was looked up last, and what was found: mostly the next record has the same.
    topic: String,
    mode: Mode,
    open: Open,
}

/// A run that may still grow: at least one piece. Its topic is the one that was looked up last.
#[derive(Debug, Default)]
struct Open {
    proven: Option<Piece>,
    latest: Option<Piece>,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    first: Key,
    offset: u64,
    length: u32,
    count: u32,
    crc: u32,
    after: Position,
    timestamp_ms: u64,
    /// When the first record was read.
    since: Duration,
}

impl Runs {
    /// Nothing read yet.
    #[must_use]
    pub fn new(options: RunOptions) -> Self {
        let mode = options.rules.mode("");
        let all_inline = options.rules.are_all_inline();
        Self { options, all_inline, topic: String::new(), mode, open: Open::default() }
    }

    /// Takes the next record of the log, read at `now`; hands what is complete to `out`, in the order of the log.
    pub fn push(&mut self, record: Lying<'_>, now: Duration, out: &mut impl FnMut(Grouped<'_>)) {
        if self.all_inline {
            return out(Grouped::Record(record));
        }
        if record.commit_index == 0 {
            self.open.next_commit_begins(record.after.segment);
        }
        // What can't be delivered is told of as ever, by whoever tries to publish it.
        let Ok(outline) = Outline::of(record.body) else {
            self.finish(out);
            return out(Grouped::Record(record));
        };
        if self.topic != outline.topic {
            self.finish(out);
            self.look_up(outline.topic);
        }
        match self.mode {
            Mode::Inline => out(Grouped::Record(record)),
            Mode::Pointer => out(self.alone(record, outline.timestamp_ms, now)),
            Mode::PointerBatch => self.add(&record, outline.timestamp_ms, now, out),
        }
    }

    /// There is nothing more to read for now: hands over what is full or has waited long enough. Returns until when the rest waits.
    pub fn caught_up(&mut self, now: Duration, out: &mut impl FnMut(Grouped<'_>)) -> Option<Duration> {
        loop {
            let since = self.open.first()?.since;
            let due = since.saturating_add(self.options.linger);
            if now < due && self.has_room(FRAME_HEADER_LENGTH) {
                return Some(due);
            }
            self.end_first(out);
        }
    }

    /// Nothing can join what is open: hands it over.
    pub fn finish(&mut self, out: &mut impl FnMut(Grouped<'_>)) {
        while self.open.first().is_some() {
            self.end_first(out);
        }
    }

    /// What follows repeats the records from this sequence on, elsewhere, since their commit failed: hands over what is in front of it,
    /// and forgets the rest.
    pub fn finish_before(&mut self, repeated: Sequence, out: &mut impl FnMut(Grouped<'_>)) {
        while self.open.first().is_some_and(|piece| piece.first.sequence < repeated) {
            self.end_first(out);
        }
        self.open = Open::default();
    }

    fn look_up(&mut self, topic: &str) {
        self.mode = self.options.rules.mode(topic);
        self.topic.clear();
        self.topic.push_str(topic);
    }

    fn alone<'a>(&self, record: Lying<'a>, timestamp_ms: u64, now: Duration) -> Grouped<'a> {
        let Ok(decoded) = RecordRef::decode(record.body) else { return Grouped::Record(record) };
        let head = Some(Head::of(&decoded));
        Grouped::Run(Run { head, ..Piece::new(&record, timestamp_ms, now).run(&self.topic) })
    }

    fn add(
        &mut self,
        record: &Lying<'_>,
        timestamp_ms: u64,
        now: Duration,
        out: &mut impl FnMut(Grouped<'_>),
    ) {
        if self.open.last().is_some_and(|last| !last.is_followed_by(record)) {
            self.finish(out);
        }
        while !self.has_room(record.frame.len()) && self.open.first().is_some() {
            self.end_first(out);
        }
        match &mut self.open.latest {
            Some(latest) => latest.add(record),
            latest @ None => *latest = Some(Piece::new(record, timestamp_ms, now)),
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        let (count, length) = self.open.size();
        let length = u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(length);
        count < self.options.records && length <= self.options.bytes
    }

    /// Hands over the first piece of what is open; the second one may still grow.
    fn end_first(&mut self, out: &mut impl FnMut(Grouped<'_>)) {
        if let Some(piece) = self.open.proven.take().or_else(|| self.open.latest.take()) {
            out(Grouped::Run(piece.run(&self.topic)));
        }
    }
}

impl Open {
    fn first(&self) -> Option<&Piece> {
        self.proven.as_ref().or(self.latest.as_ref())
    }

    fn last(&self) -> Option<&Piece> {
        self.latest.as_ref().or(self.proven.as_ref())
    }

    /// Records and bytes.
    fn size(&self) -> (u32, u32) {
        let pieces = self.proven.iter().chain(&self.latest);
        pieces.fold((0, 0), |(count, length), piece| (count + piece.count, length + piece.length))
    }

    /// Everything before that commit, in its segment, is durable.
    fn next_commit_begins(&mut self, segment: SegmentId) {
        let Some(latest) = self.latest.take_if(|latest| latest.after.segment == segment) else { return };
        self.proven = Some(match self.proven {
            Some(proven) => proven.joined(&latest),
            None => latest,
        });
    }
}

impl Piece {
    fn new(record: &Lying<'_>, timestamp_ms: u64, since: Duration) -> Self {
        let Lying { key: first, offset, after, .. } = *record;
        let mut piece = Self { first, offset, length: 0, count: 0, crc: 0, after, timestamp_ms, since };
        piece.add(record);
        piece
    }

    fn add(&mut self, record: &Lying<'_>) {
        // The format bounds a frame, and the run's bound its sum.
        self.length = self.length.saturating_add(u32::try_from(record.frame.len()).unwrap_or(u32::MAX));
        self.count += 1;
        self.crc = crc_continued(self.crc, record.frame);
        self.after = record.after;
    }

    fn joined(&self, next: &Self) -> Self {
        Self {
            length: self.length + next.length,
            count: self.count + next.count,
            crc: crc_joined(self.crc, next.crc, next.length),
            after: next.after,
            ..*self
        }
    }

    /// Whether no byte and no sequence lies between.
    fn is_followed_by(&self, record: &Lying<'_>) -> bool {
        let Position { segment, offset, next_sequence } = self.after;
        (segment, offset, next_sequence) == (record.after.segment, record.offset, record.key.sequence)
    }

    fn run(&self, topic: &str) -> Run {
        let Self { first, offset, length, count, crc, after, timestamp_ms, .. } = *self;
        let segment = after.segment;
        Run {
            first,
            segment,
            offset,
            length,
            count,
            crc,
            after,
            topic: topic.into(),
            timestamp_ms,
            head: None,
        }
    }
}

#[cfg(test)]
mod tests;
