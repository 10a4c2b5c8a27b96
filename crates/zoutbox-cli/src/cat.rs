//! `zoutbox cat`: records as JSON lines, past all damage.

use zoutbox_format::{RecordId, RecordRef, Sequence, WriterId};
use zoutbox_reader::{LogRecord, json, writers};
use zoutbox_storage::{Share, System};

use crate::cli::CatArguments;
use crate::complain;
use crate::exit::{Exit, Failure};
use crate::finding::Finding;
use crate::output::Output;
use crate::pass::{Met, Pass};
use crate::view::{Sealed, with_archive};

pub(crate) fn run(system: &System, arguments: &CatArguments) -> Result<Exit, Failure> {
    let root = &arguments.root.path;
    let share = Share::open(system, root)?;
    let system = if arguments.archive { with_archive(system, &share, Sealed::Read) } else { system.clone() };
    let mut chosen = writers(&system, &share)?.writers;
    if let Some(writer) = &arguments.writer {
        chosen.retain(|other| other == writer);
        if chosen.is_empty() {
            let message = format!("--writer {writer}: there is no such writer on {}", root.display());
            return Err(Failure::new(Exit::NotAShare, message));
        }
    }
    let from = arguments.from.unwrap_or(Sequence::FIRST);
    let mut printing =
        Printing { system, share, from, output: Output::new(), line: Vec::new(), exit: Exit::Ok };
    for writer in &chosen {
        match printing.writer(writer) {
            // Nobody reads any more: that is the reader's choice, not an error.
            Ok(()) if printing.output.is_closed() => return Ok(Exit::Ok),
            Ok(()) => {}
            // One writer's trouble does not hide the others.
            Err(Stopped::Reading(failure)) => {
                complain(&failure.message);
                printing.exit = failure.exit;
            }
            Err(Stopped::Printing(failure)) => return Err(failure),
        }
    }
    printing.output.flush()?;
    Ok(printing.exit)
}

enum Stopped {
    Reading(Failure),
    Printing(Failure),
}

struct Printing {
    system: System,
    share: Share,
    from: Sequence,
    output: Output,
    line: Vec<u8>,
    exit: Exit,
}

impl Printing {
    fn writer(&mut self, writer: &WriterId) -> Result<(), Stopped> {
        let reading = |error: zoutbox_reader::ReaderError| Stopped::Reading(error.into());
        let mut pass = Pass::from_sequence(&self.system, &self.share, writer, self.from).map_err(reading)?;
        while let Some(met) = pass.next().map_err(reading)? {
            match met {
                Met::Damage(damage) => {
                    // What was lost in front of what was asked for is of no interest.
                    if damage.lost_until.is_none_or(|until| until > self.from) {
                        let finding = Finding::damage(&self.system, &self.share, &damage);
                        self.damaged(&finding).map_err(Stopped::Printing)?;
                    }
                }
                Met::Records(records) => {
                    let from = self.from;
                    for record in records.iter().filter(|record| record.sequence >= from) {
                        self.record(writer, record).map_err(Stopped::Printing)?;
                    }
                }
            }
            if self.output.is_closed() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn record(&mut self, writer: &WriterId, record: &LogRecord) -> Result<(), Failure> {
        let id = RecordId { writer: writer.clone(), epoch: record.epoch, sequence: record.sequence };
        match RecordRef::decode(&record.body) {
            Ok(decoded) => {
                self.line.clear();
                json::write_line(&mut self.line, &id, &decoded);
                self.output.bytes(&self.line)
            }
            Err(error) => {
                let finding = Finding::body(&self.system, &self.share, writer, record, &error);
                self.damaged(&finding)
            }
        }
    }

    /// Tells of damage, in its place between the records.
    fn damaged(&mut self, finding: &Finding) -> Result<(), Failure> {
        self.output.flush()?;
        complain(&finding.to_string());
        self.exit = Exit::Damaged;
        Ok(())
    }
}
