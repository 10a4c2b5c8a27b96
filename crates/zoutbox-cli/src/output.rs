//! Standard output, buffered, for a reader that may go away at any time (`zoutbox cat | head`).

use std::io::{self, BufWriter, StdoutLock, Write};

use crate::exit::Failure;

/// Standard output. A reader that went away is no error: [`Output::is_closed`] tells, and what is written then goes nowhere.
#[derive(Debug)]
pub(crate) struct Output {
    inner: BufWriter<StdoutLock<'static>>,
    closed: bool,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { inner: BufWriter::with_capacity(64 * 1024, io::stdout().lock()), closed: false }
    }

    /// Whether nobody reads any more.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let written = self.inner.write_all(bytes);
        self.settle(written)
    }

    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Must be called in the end: what fails when a value is dropped goes unnoticed.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let flushed = self.inner.flush();
        self.settle(flushed)
    }

    fn settle(&mut self, written: io::Result<()>) -> Result<(), Failure> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other.map_err(|error| Failure::output(&error)),
        }
    }
}
