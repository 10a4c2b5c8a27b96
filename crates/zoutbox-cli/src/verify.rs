//! `zoutbox verify`: reads everything a share still has, live and archived, and tells what is damaged.
//!
//! What is part of a log, and what is lost, is the reader's word ([`Pass`]), so that it can't differ from what the relay does. On
//! top of that each segment is looked at for what costs no record: its seal, and its link to the segment before it.

mod payload;
mod report;
mod segment;

use std::collections::BTreeSet;

use zoutbox_format::holder::HOLDER_LENGTH;
use zoutbox_format::layout::SegmentName;
use zoutbox_format::{Holder, PayloadReference, RecordRef, SegmentId, WriterId};
use zoutbox_reader::{Damage, LogRecord, StoredCheckpoint, checkpoint, segments, writers};
use zoutbox_storage::{Share, StorageError, System};

use crate::cli::VerifyArguments;
use crate::exit::{Exit, Failure};
use crate::finding::{Finding, locate};
use crate::pass::{Met, Pass};
use crate::view::{Sealed, absent_is_none, with_archive};
use report::Report;
use segment::Checked;

pub(crate) fn run(system: &System, arguments: &VerifyArguments) -> Result<Exit, Failure> {
    let share = Share::open(system, &arguments.root.path)?;
    let whole = with_archive(system, &share, Sealed::Mapped);
    let mut verify =
        Verify { system: whole, plain: system.clone(), share, report: Report::new(arguments.json) };
    let found = writers(&verify.system, &verify.share)?;
    for name in &found.ignored {
        let directory = verify.share.layout.writers().join(name);
        verify.report.note(format!("{} is no writer's directory", directory.display()))?;
    }
    if found.omitted > 0 {
        let directory = verify.share.layout.writers();
        verify.report.note(format!(
            "{} more entries of {} are no writer's directory",
            found.omitted,
            directory.display()
        ))?;
    }
    verify.lease()?;
    for writer in &found.writers {
        verify.writer(writer)?;
    }
    let root = arguments.root.path.display().to_string();
    verify.report.finish(&root, &verify.share)
}

struct Verify {
    /// With the archive, and sealed segments mapped.
    system: System,
    plain: System,
    share: Share,
    report: Report,
}

/// What a pass over one writer's log showed.
#[derive(Default)]
struct Seen {
    /// Segments that are part of the log.
    segments: BTreeSet<SegmentId>,
    damages: Vec<Damage>,
}

impl Verify {
    fn writer(&mut self, writer: &WriterId) -> Result<(), Failure> {
        self.report.writers += 1;
        // Listed first: a segment that is made while this reads is none that was passed by.
        let names = segments(&self.system, &self.share, writer)?;
        let seen = self.log(writer)?;
        self.report.segments += names.len();
        let reclaimed = match checkpoint(&self.system, &self.share, writer)? {
            StoredCheckpoint::Found(found) => Some(found.position.segment),
            StoredCheckpoint::None | StoredCheckpoint::Damaged { .. } => None,
        };
        let mut before = None;
        for (index, name) in names.iter().enumerate() {
            let next = names.get(index + 1);
            self.segment(writer, *name, next, (before, reclaimed), &seen)?;
            before = Some(name.id);
        }
        self.beside(writer)
    }

    fn log(&mut self, writer: &WriterId) -> Result<Seen, Failure> {
        let mut seen = Seen::default();
        let mut pass = Pass::new(&self.system, &self.share, writer, None);
        while let Some(met) = pass.next()? {
            match met {
                Met::Records(records) => {
                    for record in &records {
                        seen.segments.insert(record.after.segment);
                        self.record(writer, record)?;
                    }
                }
                Met::Damage(damage) => {
                    self.report.damage(Finding::damage(&self.system, &self.share, &damage))?;
                    seen.segments.insert(damage.segment);
                    seen.damages.push(damage);
                }
            }
        }
        Ok(seen)
    }

    fn record(&mut self, writer: &WriterId, record: &LogRecord) -> Result<(), Failure> {
        match RecordRef::decode(&record.body) {
            Ok(decoded) => {
                self.report.records += 1;
                self.report.bytes += record.body.len() as u64;
                decoded.large_payload().map_or(Ok(()), |large| self.payload(writer, record, &large))
            }
            Err(error) => {
                let finding = Finding::body(&self.system, &self.share, writer, record, &error);
                self.report.damage(finding)
            }
        }
    }

    /// A payload that is gone with its record is none that is missed.
    fn payload(
        &mut self,
        writer: &WriterId,
        record: &LogRecord,
        large: &PayloadReference,
    ) -> Result<(), Failure> {
        let Some(wrong) = payload::check(&self.plain, &self.share, writer, large)? else {
            self.report.payloads += 1;
            self.report.payload_bytes += large.size;
            return Ok(());
        };
        let segment = locate(&self.plain, &self.share, writer, record.after.segment);
        if absent_is_none(self.plain.disk.metadata(&segment))?.is_none() {
            return Ok(());
        }
        let file = self.share.layout.payload(&large.name);
        self.report.damage(Finding::payload(writer, file, record.sequence, wrong))
    }

    /// Looks at what costs no record.
    fn segment(
        &mut self,
        writer: &WriterId,
        name: SegmentName,
        next: Option<&SegmentName>,
        (before, reclaimed): (Option<SegmentId>, Option<SegmentId>),
        seen: &Seen,
    ) -> Result<(), Failure> {
        let checked = match segment::check(&self.system, &self.share, writer, name, before, reclaimed) {
            Ok(checked) => checked,
            // Reclaimed since it was listed.
            Err(error) if error.is_missing() => return Ok(()),
            // Told by the pass.
            Err(StorageError::NotAFile { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Checked { path, link, seal } = checked;
        if !seen.segments.contains(&name.id) {
            let what =
                "is in nobody's log: its writer had been taken over, and nothing in it was acknowledged";
            return self.report.note(format!("{} {what}", path.display()));
        }
        let told = |damage: &Damage| damage.segment == name.id;
        let mut damages = seen.damages.iter().filter(|damage| told(damage));
        // A hole in front of the segment was told with its range, and so was an end that can't be read.
        if let Some(reason) = link
            && !damages.clone().any(|damage| damage.offset == 0)
        {
            self.report.damage(Finding::aside(Some(writer), path.clone(), 0, reason))?;
        }
        let end = next.map(|next| next.id.first_sequence);
        if let Some((offset, reason)) = seal
            && !damages.any(|damage| damage.lost_until.is_none() || damage.lost_until == end)
        {
            self.report.damage(Finding::aside(Some(writer), path, offset, reason))?;
        }
        Ok(())
    }

    /// The writer's checkpoint and lock file.
    fn beside(&mut self, writer: &WriterId) -> Result<(), Failure> {
        if let StoredCheckpoint::Damaged { path, reason } = checkpoint(&self.system, &self.share, writer)? {
            let reason = format!("{reason}: the relay will publish again what it can't prove confirmed");
            self.report.damage(Finding::aside(Some(writer), path, 0, reason))?;
        }
        self.holder(Some(writer), &self.share.layout.writer_lock(writer))
    }

    fn lease(&mut self) -> Result<(), Failure> {
        self.holder(None, &self.share.layout.lease())
    }

    /// A lock file is written under its lock after it was made: empty is sound.
    fn holder(&mut self, writer: Option<&WriterId>, path: &std::path::Path) -> Result<(), Failure> {
        let reason = match absent_is_none(self.system.read_small(path, HOLDER_LENGTH + 1)) {
            Ok(None) => return Ok(()),
            Ok(Some(bytes)) if bytes.is_empty() || Holder::decode(&bytes).is_some() => return Ok(()),
            Ok(Some(_)) => "the lock file does not say who took it last".to_owned(),
            Err(error @ StorageError::NotAFile { .. }) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        self.report.damage(Finding::aside(writer, path.to_owned(), 0, reason))
    }
}
