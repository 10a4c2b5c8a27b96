//! Buffers for what pointers lead to, used again: a fresh one of a megabyte costs more than reading it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What is kept for later: so many buffers of at most so many bytes.
const KEPT: usize = 4;
const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// Bytes, and where the frames in them start.
#[derive(Debug, Default)]
struct Buffer {
    /// As long as it ever was, so that it is not filled with zeros each time.
    bytes: Vec<u8>,
    used: usize,
    starts: Vec<u32>,
}

/// Buffers that nobody uses. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Buffer>>>);

/// A buffer, which goes back to its pool when it is dropped.
pub(super) struct Lent {
    buffer: Buffer,
    pool: Pool,
}

/// Not the bytes: there may be millions.
impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes in {} frames", self.buffer.used, self.buffer.starts.len())
    }
}

impl Pool {
    /// A buffer of `length` bytes, whatever they are.
    pub(super) fn lend(&self, length: usize) -> Lent {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = kept.unwrap_or_default();
        if buffer.bytes.len() < length {
            buffer.bytes.resize(length, 0);
        }
        buffer.used = length;
        buffer.starts.clear();
        Lent { buffer, pool: self.clone() }
    }

    fn take_back(&self, buffer: Buffer) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT && buffer.bytes.len() <= KEPT_BYTES {
            kept.push(buffer);
        }
    }
}

impl Lent {
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.bytes.get(..self.buffer.used).unwrap_or_default()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.bytes.get_mut(..self.buffer.used).unwrap_or_default()
    }

    pub(super) fn starts(&self) -> &[u32] {
        &self.buffer.starts
    }

    /// The bytes, and the list of starts to fill.
    pub(super) fn parts(&mut self) -> (&[u8], &mut Vec<u32>) {
        let Buffer { bytes, used, starts } = &mut self.buffer;
        (bytes.get(..*used).unwrap_or_default(), starts)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.take_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_and_shows_only_as_much_as_was_asked_for() {
        let pool = Pool::default();
        let mut lent = pool.lend(1000);
        lent.bytes_mut().fill(7);
        let address = lent.bytes().as_ptr();
        drop(lent);
        let again = pool.lend(10);
        assert_eq!((again.bytes().as_ptr(), again.bytes().len(), again.starts().len()), (address, 10, 0));
        assert_eq!(pool.lend(5).bytes(), [0; 5], "another one");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let pool = Pool::default();
        drop(pool.lend(KEPT_BYTES + 1));
        assert_eq!(pool.0.lock().expect("sound").len(), 0);
        let many: Vec<_> = (0..3 * KEPT).map(|_| pool.lend(1)).collect();
        drop(many);
        assert_eq!(pool.0.lock().expect("sound").len(), KEPT);
    }
}
