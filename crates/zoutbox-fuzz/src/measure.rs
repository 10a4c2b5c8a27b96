//! Memory and work, counted. Never time: that depends on who else uses the machine.

use std::cell::Cell;
use std::convert::Infallible;

use peak_alloc::PeakAlloc;
use zoutbox_format::ReadAt;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// How many bytes were allocated at most at one time during `job`, besides what was before. Only true while no other thread
/// allocates.
pub(crate) fn most_held(job: impl FnOnce()) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    job();
    ALLOCATOR.peak_usage().saturating_sub(before)
}

/// Bytes as a file that counts how much of it is read.
#[derive(Debug)]
pub struct Counted<'a> {
    bytes: &'a [u8],
    read: Cell<u64>,
}

impl<'a> Counted<'a> {
    /// Nothing read yet.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, read: Cell::new(0) }
    }

    /// How many bytes were read so far.
    #[must_use]
    pub const fn read(&self) -> u64 {
        self.read.get()
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl ReadAt for Counted<'_> {
    type Error = Infallible;

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Infallible> {
        let count = self.bytes.read_at(buffer, offset)?;
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}
