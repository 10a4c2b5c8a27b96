//! `zoutbox dump`: one file of a share as text, whatever state it is in.

use std::fmt;
use std::io;
use std::path::Path;

use zoutbox_format::dump::{DumpEnd, DumpError, Dumped, dump};
use zoutbox_format::layout::SegmentName;
use zoutbox_storage::{DiskFile, OpenMode, System};

use crate::cli::DumpArguments;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Carries text to standard output, and the reason when it can't.
struct Sink {
    output: Output,
    failure: Option<Failure>,
}

impl fmt::Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let written = self.output.bytes(text.as_bytes());
        // Nothing to gain from dumping on when nobody reads.
        if written.is_ok() && !self.output.is_closed() {
            return Ok(());
        }
        self.failure = written.err();
        Err(fmt::Error)
    }
}

pub(crate) fn run(system: &System, arguments: &DumpArguments) -> Result<Exit, Failure> {
    let path = &arguments.file;
    let file = system.disk.open(path, OpenMode::Read)?;
    let length = DiskFile::metadata(&*file)?.length;
    let mut sink = Sink { output: Output::new(), failure: None };
    let dumped = match dump(&*file, length, &mut sink) {
        Ok(dumped) => dumped,
        Err(DumpError::Source(error)) => {
            sink.output.flush()?;
            return Err(error.into());
        }
        Err(DumpError::Output(_)) if sink.output.is_closed() => return Ok(Exit::Ok),
        Err(DumpError::Output(_)) => {
            let unknown = || Failure::output(&io::Error::from(io::ErrorKind::Other));
            return Err(sink.failure.unwrap_or_else(unknown));
        }
    };
    sink.output.flush()?;
    judge(path, dumped)
}

/// What the dump means for the exit code.
fn judge(path: &Path, dumped: Dumped) -> Result<Exit, Failure> {
    let named_sealed =
        path.file_name().and_then(|name| SegmentName::parse(name.to_str()?)).is_some_and(|n| n.sealed);
    let path = path.display();
    match dumped.end {
        DumpEnd::Unknown => Err(Failure::new(
            Exit::NewerFormat,
            format!("{path}: made by a newer zoutbox, this one can't read all of it"),
        )),
        DumpEnd::Damaged if dumped.records == 0 => Err(Failure::new(
            Exit::Damaged,
            format!("{path}: damaged, or not a file of a zoutbox share (see the dump)"),
        )),
        DumpEnd::Damaged => Err(damaged(&path, dumped.gaps + 1)),
        DumpEnd::Complete | DumpEnd::Open | DumpEnd::Torn if dumped.gaps > 0 => {
            Err(damaged(&path, dumped.gaps))
        }
        DumpEnd::Open | DumpEnd::Torn if named_sealed => Err(Failure::new(
            Exit::Damaged,
            format!("{path}: has no seal, though its name says that it is sealed (see the dump)"),
        )),
        DumpEnd::Complete | DumpEnd::Open | DumpEnd::Torn => Ok(Exit::Ok),
    }
}

fn damaged(path: &impl fmt::Display, gaps: u64) -> Failure {
    let places = if gaps == 1 { "place" } else { "places" };
    Failure::new(Exit::Damaged, format!("{path}: damaged in {gaps} {places} (see the dump)"))
}
