//! Following one writer's log: from segment to segment, across epochs, past torn tails, and up to damage.
//!
//! ```text
//!   Start ──▶ In(segment) ──sealed, or ended where its successor says──▶ Behind(segment) ──successor──▶ In …
//!                 │  │                                                        │
//!                 │  └ live, nothing more: CaughtUp                           └ no successor yet: CaughtUp
//!                 └ acknowledged records unreadable: Damaged, until skip_damage()
//! ```
//!
//! Where a segment ends is never guessed from the segment alone. A live one may go on; one with a successor ends exactly where the
//! successor's header says, and what lies behind that (the tail of a failed commit) is not part of the log. A segment that its
//! writer rewrote after a failed sync repeats sequences of the same epoch: those are the same records, and are not given out twice.
//!
//! A segment of an epoch that was taken over, written after the take-over (by a process that did not know yet), is in nobody's
//! chain and was never acknowledged: it is passed by.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use zoutbox_format::checkpoint::Position;
use zoutbox_format::layout::SegmentName;
use zoutbox_format::{
    Epoch, Frame, Gap, InvalidFrame, PreviousSegment, Scanner, SegmentId, Sequence, Step, WriterId,
};
use zoutbox_storage::{DiskFile, Share, System};

use crate::batch::{Assembly, Batch, FoundRecord, Stop};
use crate::damage::{Damage, DamageReason};
use crate::discover::segments_in;
use crate::error::ReaderError;
use crate::segment::{Opened, Segment, open};

/// How long a live segment must stand still at bytes that are no frame before it is searched for sound frames behind them. A
/// commit is visible in parts for much shorter than that.
const STILL: Duration = Duration::from_secs(5);

/// Follows one writer's log across segments, epochs, torn tails, and up to damage.
#[derive(Debug)]
pub struct Tail {
    system: System,
    share: Share,
    writer: WriterId,
    directory: PathBuf,
    place: Place,
    damaged: Option<(Damage, Resume)>,
    /// Whether what a segment repeats of the one before is given out again.
    repeat: bool,
}

#[derive(Debug)]
enum Place {
    /// Nothing was opened yet.
    Start(Option<Position>),
    /// Within a segment.
    In(Box<Current>),
    /// A segment is done with; its successor is not found yet.
    Behind(Position),
}

#[derive(Debug)]
struct Current {
    segment: Segment,
    scanner: Scanner,
    /// Records below this were given out from the segment that this one rewrites.
    deliver_from: Sequence,
    /// The successor's word on where this segment ends, once there is a successor.
    closed: Option<PreviousSegment>,
    /// Whether it was read once more after a successor showed that it has ended somewhere.
    looked_again: bool,
    /// Since when nothing was readable at which offset, and whether that was looked into.
    still: Option<Still>,
    /// Where the server was asked for the bytes last, whatever is cached of them.
    asked: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Still {
    offset: u64,
    since: Duration,
    searched: bool,
}

/// Where reading goes on behind damage.
#[derive(Debug)]
enum Resume {
    Within { offset: u64, sequence: Sequence },
    Behind(Position),
    Enter(Box<Current>),
}

/// What to do where a segment gives no further record.
enum Next {
    Again,
    CaughtUp,
    Repeats(Sequence),
    Damaged(Damage, Resume),
}

impl Tail {
    /// A tail that starts at a checkpoint's position, or at the oldest segment there is. Touches nothing yet.
    #[must_use]
    pub fn new(system: System, share: Share, writer: WriterId, from: Option<Position>) -> Self {
        let directory = share.layout.writer(&writer);
        Self { system, share, writer, directory, place: Place::Start(from), damaged: None, repeat: false }
    }

    /// Gives out again what a writer wrote again because its sync had failed, after saying so with [`Stop::Repeats`]. For whoever tells
    /// others *where* records lie: where they lay first, they may never have become durable.
    #[must_use]
    pub fn repeat_rewritten(mut self) -> Self {
        self.repeat = true;
        self
    }

    /// In front of the next record; `None` before anything was found.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match &self.place {
            Place::Start(from) => *from,
            Place::In(current) => Some(current.position()),
            Place::Behind(position) => Some(*position),
        }
    }

    /// Goes on behind the damage that [`Tail::read`] stopped at. Without damage it does nothing.
    pub fn skip_damage(&mut self) {
        let Some((_, resume)) = self.damaged.take() else { return };
        match (resume, &mut self.place) {
            (Resume::Within { offset, sequence }, Place::In(current)) => {
                current.scanner.resume(offset, sequence);
                current.still = None;
            }
            (Resume::Behind(position), place) => *place = Place::Behind(position),
            (Resume::Enter(next), place) => *place = Place::In(next),
            (Resume::Within { .. }, _) => {}
        }
    }

    /// Reads on: at least one record if there is one, and about `budget` bytes of bodies at most.
    ///
    /// # Errors
    /// When the share can't be read; the tail has then not lost its place and can be asked again.
    pub fn read(&mut self, budget: usize) -> Result<Batch, ReaderError> {
        let mut batch = Assembly::default();
        let stop = self.read_each(|record| {
            if batch.push(&record) < budget.max(1) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(batch.finish(stop))
    }

    /// Reads on, and shows each record to `each` until that has enough. The tail is then behind the last record that was shown.
    ///
    /// # Errors
    /// When the share can't be read, and no record was shown: an error behind some waits for the next read. The tail has then not lost its
    /// place and can be asked again.
    pub fn read_each(
        &mut self,
        mut each: impl FnMut(FoundRecord<'_>) -> ControlFlow<()>,
    ) -> Result<Stop, ReaderError> {
        let mut shown = false;
        let stop = self.read_on(&mut |record| {
            shown = true;
            each(record)
        });
        // With an error nobody would count what was shown, and it never comes again.
        if shown { Ok(stop.unwrap_or(Stop::Budget)) } else { stop }
    }

    fn read_on(
        &mut self,
        each: &mut impl FnMut(FoundRecord<'_>) -> ControlFlow<()>,
    ) -> Result<Stop, ReaderError> {
        if let Some((damage, _)) = &self.damaged {
            return Ok(Stop::Damaged(damage.clone()));
        }
        if let Place::In(current) = &self.place {
            // What other hosts wrote since is only seen after asking the server.
            let refreshed = current.segment.file.metadata();
            if self.vanished(refreshed.err())? {
                return self.read_on(each);
            }
        }
        loop {
            let next = match &mut self.place {
                Place::Start(from) => {
                    let from = *from;
                    self.start(from)?
                }
                Place::Behind(position) => {
                    let position = *position;
                    self.enter_successor(position)?
                }
                Place::In(current) => match current.show(each) {
                    Ok(None) => return Ok(Stop::Budget),
                    Ok(Some(stuck)) => self.stuck(stuck)?,
                    Err(error) => {
                        self.vanished(Some(error))?;
                        Next::Again
                    }
                },
            };
            match next {
                Next::Again => {}
                Next::CaughtUp => return Ok(Stop::CaughtUp),
                Next::Repeats(from) => return Ok(Stop::Repeats { from }),
                Next::Damaged(damage, resume) => {
                    self.damaged = Some((damage.clone(), resume));
                    return Ok(Stop::Damaged(damage));
                }
            }
        }
    }

    /// Whether the segment went away under the reader: then its place is kept, and it is looked for again. Any other error is passed on.
    fn vanished(&mut self, error: Option<zoutbox_storage::StorageError>) -> Result<bool, ReaderError> {
        match (error, self.position()) {
            (None, _) => Ok(false),
            (Some(error), Some(position)) if error.is_missing() => {
                self.place = Place::Start(Some(position));
                Ok(true)
            }
            (Some(error), _) => Err(error.into()),
        }
    }

    fn list(&self) -> Result<Vec<SegmentName>, ReaderError> {
        segments_in(&self.system, &self.directory)
    }

    fn open(&self, name: SegmentName) -> Result<Opened, ReaderError> {
        open(&self.system, &self.share, &self.directory, name, &self.writer)
    }

    /// Opens the segment of a checkpoint, or the oldest one.
    fn start(&mut self, from: Option<Position>) -> Result<Next, ReaderError> {
        let names = self.list()?;
        let Some(position) = from else {
            let Some(oldest) = names.first() else { return Ok(Next::CaughtUp) };
            let first = oldest.id.first_sequence;
            return self.enter(*oldest, &names, Behind::Nothing { first });
        };
        let Some(name) = names.iter().find(|name| name.id == position.segment) else {
            self.place = Place::Behind(position);
            return Ok(Next::Again);
        };
        match self.open(*name)? {
            Opened::Sound(segment) => {
                let scanner = Scanner::new(&segment.header, position.offset, position.next_sequence);
                let mut current = Current::new(segment, scanner, position.next_sequence);
                self.close_early(&mut current, &names)?;
                self.place = Place::In(Box::new(current));
                Ok(Next::Again)
            }
            Opened::Unusable { path, reason } => {
                Ok(self.unusable(*name, &names, path, reason, position.next_sequence))
            }
            Opened::Vanished => {
                self.place = Place::Behind(position);
                Ok(Next::Again)
            }
        }
    }

    /// Opens the segment behind `position`, if there is one.
    fn enter_successor(&mut self, position: Position) -> Result<Next, ReaderError> {
        let names = self.list()?;
        match self.successor(&names, position.segment)? {
            None => Ok(Next::CaughtUp),
            Some(name) => self.enter(name, &names, Behind::Segment(position)),
        }
    }

    /// The segment that follows `id`: the next one, unless the first one of the next epoch tells that its writer did not know it.
    fn successor(&self, names: &[SegmentName], id: SegmentId) -> Result<Option<SegmentName>, ReaderError> {
        let mut later = names.iter().filter(|name| name.id > id);
        let Some(next) = later.next() else { return Ok(None) };
        let Some(taken_over) = later.find(|name| name.id.epoch > next.id.epoch) else {
            return Ok(Some(*next));
        };
        let abandons = match self.open(*taken_over)? {
            Opened::Sound(segment) => segment.header.previous.is_some_and(|p| p.id < next.id && p.id >= id),
            Opened::Unusable { .. } | Opened::Vanished => false,
        };
        Ok(Some(if abandons { *taken_over } else { *next }))
    }

    fn enter(
        &mut self,
        name: SegmentName,
        names: &[SegmentName],
        behind: Behind,
    ) -> Result<Next, ReaderError> {
        let expected = behind.next_sequence();
        let segment = match self.open(name)? {
            Opened::Sound(segment) => segment,
            Opened::Unusable { path, reason } => {
                // A new epoch may have taken sequences again that were read as an unacknowledged tail.
                let other_epoch = behind.epoch() != Some(name.id.epoch);
                let lost_from = if other_epoch { expected.min(name.id.first_sequence) } else { expected };
                return Ok(self.unusable(name, names, path, reason, lost_from));
            }
            // Gone between the listing and now: list again.
            Opened::Vanished => return Ok(Next::CaughtUp),
        };
        let first = segment.header.id.first_sequence;
        let repeats = behind.epoch() == Some(name.id.epoch) && first < expected;
        let deliver_from = if repeats && !self.repeat { expected } else { first };
        let path = segment.file.path().to_owned();
        let scanner = Scanner::from_start(&segment.header);
        let mut current = Box::new(Current::new(segment, scanner, deliver_from));
        self.close_early(&mut current, names)?;
        if first <= expected {
            self.place = Place::In(current);
            return Ok(if repeats && self.repeat { Next::Repeats(first) } else { Next::Again });
        }
        let lost = expected..first;
        let damage = self.damage(name.id, path, 0, DamageReason::Missing, lost.start, Some(lost.end));
        Ok(Next::Damaged(damage, Resume::Enter(current)))
    }

    /// A segment that has a successor when it is entered ends where that says from the start: the tail of a commit that failed is not given out.
    fn close_early(&self, current: &mut Current, names: &[SegmentName]) -> Result<(), ReaderError> {
        let id = current.segment.header.id;
        let Some(successor) = self.successor(names, id)? else { return Ok(()) };
        if let Opened::Sound(segment) = self.open(successor)? {
            current.close(segment.header.previous.filter(|previous| previous.id == id));
        }
        Ok(())
    }

    /// A segment whose header can't be used: everything up to the next segment's first record is lost.
    fn unusable(
        &self,
        name: SegmentName,
        names: &[SegmentName],
        path: PathBuf,
        reason: DamageReason,
        lost_from: Sequence,
    ) -> Next {
        let later = names.iter().find(|other| other.id > name.id);
        let until = later.map(|later| later.id.first_sequence.max(lost_from));
        let damage = self.damage(name.id, path, 0, reason, lost_from, until);
        let next_sequence = until.unwrap_or(lost_from).max(name.id.first_sequence);
        let position = Position { segment: name.id, offset: u64::MAX, next_sequence };
        Next::Damaged(damage, Resume::Behind(position))
    }

    fn damage(
        &self,
        segment: SegmentId,
        path: PathBuf,
        offset: u64,
        reason: DamageReason,
        lost_from: Sequence,
        lost_until: Option<Sequence>,
    ) -> Damage {
        let writer = self.writer.clone();
        Damage { writer, segment, path, offset, reason, lost_from, lost_until }
    }

    /// Decides what it means that the current segment gives no further record.
    fn stuck(&mut self, stuck: Stuck) -> Result<Next, ReaderError> {
        let Place::In(current) = &self.place else { return Ok(Next::Again) };
        let position = current.position();
        let reason = match stuck {
            Stuck::Ended => {
                self.place = Place::Behind(position);
                return Ok(Next::Again);
            }
            Stuck::At(reason) => reason,
        };
        if current.closed.is_some() {
            return if self.ask_the_server()? { Ok(Next::Again) } else { self.damaged_before_end(reason) };
        }
        let names = self.list()?;
        let id = position.segment;
        match self.successor(&names, id)? {
            Some(name) => self.close(name, reason),
            None => self.stuck_live(names.iter().any(|name| name.id == id && name.sealed), reason),
        }
    }

    /// The segment has a successor, so it ends: where, the successor's header says.
    fn close(&mut self, name: SegmentName, reason: DamageReason) -> Result<Next, ReaderError> {
        let opened = self.open(name)?;
        let Place::In(current) = &mut self.place else { return Ok(Next::Again) };
        let position = current.position();
        let previous = match opened {
            Opened::Sound(segment) => segment.header.previous,
            Opened::Vanished => return Ok(Next::CaughtUp),
            Opened::Unusable { .. } => None,
        };
        match previous {
            Some(previous) if previous.id == position.segment => {
                // What was visible may have grown before the successor was made: look again, up to the end.
                current.close(Some(previous));
                DiskFile::metadata(&*current.segment.file)?;
                Ok(Next::Again)
            }
            Some(previous) if previous.id < position.segment => {
                self.place = Place::Behind(position);
                Ok(Next::Again)
            }
            _ if !current.looked_again => {
                current.looked_again = true;
                Ok(Next::Again)
            }
            _ if self.ask_the_server()? => Ok(Next::Again),
            _ => self.ended_unknown(reason),
        }
    }

    /// Before anything is called damage, or looked into: what is cached may be older than the attributes tell. Once at an offset; whether it did.
    fn ask_the_server(&mut self) -> Result<bool, ReaderError> {
        let Place::In(current) = &mut self.place else { return Ok(false) };
        let offset = current.scanner.offset();
        if current.asked == Some(offset) {
            return Ok(false);
        }
        current.segment.file.forget_cached()?;
        DiskFile::metadata(&*current.segment.file)?;
        current.asked = Some(offset);
        Ok(true)
    }

    /// The segment ends, but the one that knew where is missing or damaged: what is lost shows when the next one is entered.
    fn ended_unknown(&mut self, reason: DamageReason) -> Result<Next, ReaderError> {
        let Place::In(current) = &mut self.place else { return Ok(Next::Again) };
        let position = current.position();
        match current.scanner.classify_gap(&*current.segment.file, false)? {
            Gap::Damaged { resume_offset, resume_sequence } => {
                Ok(self.damaged_within(reason, resume_offset, resume_sequence))
            }
            Gap::Torn | Gap::Unresolved => {
                self.place = Place::Behind(position);
                Ok(Next::Again)
            }
        }
    }

    /// In front of the end that the successor named, everything had been durable.
    fn damaged_before_end(&mut self, reason: DamageReason) -> Result<Next, ReaderError> {
        let Place::In(current) = &mut self.place else { return Ok(Next::Again) };
        let Some(end) = current.closed else { return Ok(Next::Again) };
        let position = current.position();
        match current.scanner.classify_gap(&*current.segment.file, true)? {
            Gap::Damaged { resume_offset, resume_sequence } => {
                Ok(self.damaged_within(reason, resume_offset, resume_sequence))
            }
            Gap::Torn | Gap::Unresolved => {
                let path = current.segment.file.path().to_owned();
                let until = end.next_sequence.max(position.next_sequence);
                let damage = self.damage(
                    position.segment,
                    path,
                    position.offset,
                    reason,
                    position.next_sequence,
                    Some(until),
                );
                let behind = Position { offset: end.end_offset, next_sequence: until, ..position };
                Ok(Next::Damaged(damage, Resume::Behind(behind)))
            }
        }
    }

    fn damaged_within(&self, reason: DamageReason, offset: u64, sequence: Sequence) -> Next {
        let Place::In(current) = &self.place else { return Next::Again };
        let at = current.position();
        let path = current.segment.file.path().to_owned();
        let damage = self.damage(at.segment, path, at.offset, reason, at.next_sequence, Some(sequence));
        Next::Damaged(damage, Resume::Within { offset, sequence })
    }

    /// Nothing follows the segment: it is live, or was when its writer died, or its name says that it is sealed.
    fn stuck_live(&mut self, sealed: bool, reason: DamageReason) -> Result<Next, ReaderError> {
        let now = self.system.clock.monotonic();
        let Place::In(current) = &mut self.place else { return Ok(Next::Again) };
        let newer_kind = matches!(reason, DamageReason::Frame(InvalidFrame::Kind(_)));
        let offset = current.scanner.offset();
        let still = match current.still {
            Some(still) if still.offset == offset => still,
            _ => Still { offset, since: now, searched: false },
        };
        let due = sealed || newer_kind || (now.saturating_sub(still.since) >= STILL && !still.searched);
        current.still = Some(still);
        if !due {
            return Ok(Next::CaughtUp);
        }
        // A seal may also have come between the look at the segment and the look at its name.
        if self.ask_the_server()? {
            return Ok(Next::Again);
        }
        let Place::In(current) = &mut self.place else { return Ok(Next::Again) };
        current.still = Some(Still { searched: true, ..still });
        let position = current.position();
        match current.scanner.classify_gap(&*current.segment.file, sealed)? {
            Gap::Damaged { resume_offset, resume_sequence } => {
                Ok(self.damaged_within(reason, resume_offset, resume_sequence))
            }
            Gap::Torn if !sealed && !newer_kind => Ok(Next::CaughtUp),
            Gap::Torn | Gap::Unresolved => {
                let path = current.segment.file.path().to_owned();
                let (at, next) = (position.offset, position.next_sequence);
                let damage = self.damage(position.segment, path, at, reason, next, None);
                Ok(Next::Damaged(damage, Resume::Behind(position)))
            }
        }
    }
}

/// What was read before the segment that is entered.
#[derive(Clone, Copy)]
enum Behind {
    Nothing { first: Sequence },
    Segment(Position),
}

impl Behind {
    const fn next_sequence(&self) -> Sequence {
        match self {
            Self::Nothing { first } => *first,
            Self::Segment(position) => position.next_sequence,
        }
    }

    const fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Nothing { .. } => None,
            Self::Segment(position) => Some(position.segment.epoch),
        }
    }
}

/// Why a segment gives no further record.
#[derive(Clone, Copy)]
enum Stuck {
    /// It has ended.
    Ended,
    /// Something else than a record is there; what it is called if it turns out to be damage.
    At(DamageReason),
}

impl Current {
    const fn new(segment: Segment, scanner: Scanner, deliver_from: Sequence) -> Self {
        Self { segment, scanner, deliver_from, closed: None, looked_again: false, still: None, asked: None }
    }

    const fn position(&self) -> Position {
        Position {
            segment: self.segment.header.id,
            offset: self.scanner.offset(),
            next_sequence: self.scanner.next_sequence(),
        }
    }

    /// Takes the successor's word for where this segment ends.
    const fn close(&mut self, previous: Option<PreviousSegment>) {
        if let Some(end) = previous {
            self.scanner.close_at(end.end_offset);
            self.closed = previous;
            // From here on what is missing is damage: what was asked for before does not count.
            self.asked = None;
        }
    }

    /// Shows records to `each`; `None` when that has enough.
    fn show(
        &mut self,
        each: &mut impl FnMut(FoundRecord<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Stuck>, zoutbox_storage::StorageError> {
        let segment = self.segment.header.id;
        loop {
            let offset = self.scanner.offset();
            let frame = match self.scanner.step(&*self.segment.file)? {
                Step::Record(frame) => frame,
                Step::Sealed(_) | Step::End => return Ok(Some(Stuck::Ended)),
                Step::Unwritten => return Ok(Some(Stuck::At(DamageReason::Zeros))),
                Step::Partial => return Ok(Some(Stuck::At(DamageReason::Cut))),
                Step::Invalid(reason) => return Ok(Some(Stuck::At(DamageReason::Frame(reason)))),
            };
            let Frame { commit_index, sequence, body, bytes: frame, .. } = frame;
            if sequence < self.deliver_from {
                continue;
            }
            let end = offset.saturating_add(frame.len() as u64);
            let after = Position { segment, offset: end, next_sequence: sequence.next() };
            let epoch = segment.epoch;
            let found = FoundRecord { epoch, sequence, commit_index, after, offset, frame, body };
            if each(found).is_break() {
                return Ok(None);
            }
        }
    }
}
