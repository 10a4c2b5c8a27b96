//! Large payloads, streamed from the share.

use std::io::{self, Read};
use std::marker::PhantomData;

use zoutbox_format::PayloadReference;

use super::error::ResolveError;

/// A payload in a file of its own.
#[derive(Debug)]
pub struct Large<'a> {
    _records: PhantomData<&'a ()>,
}

impl Large<'_> {
    /// Where it lies, how many bytes it has, and their CRC.
    #[must_use]
    pub fn reference(&self) -> &PayloadReference {
        todo!()
    }

    /// Opens it for reading from the front.
    ///
    /// # Errors
    /// [`ResolveError::Expired`] when it was removed; [`ResolveError::NotYet`] when this host does not see it yet.
    pub fn open(&self) -> Result<LargeReader, ResolveError> {
        todo!()
    }
}

/// Streams a large payload. The read that gives the last bytes fails if size or CRC are not as the record says.
#[derive(Debug)]
pub struct LargeReader {}

impl Read for LargeReader {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        todo!()
    }
}
