//! Input cut into lines, with bounded memory and without ever holding back a line that is complete.

use std::io::{self, Read};

/// How much is read at a time, in bytes.
const CHUNK: usize = 64 * 1024;

/// A line over the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// What lies in the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Buffered<'a> {
    /// A whole line, without its newline.
    Line(&'a [u8]),
    /// No whole line: read more.
    Incomplete,
    /// All was read and given out.
    End,
}

/// Cuts an input into lines of at most `limit` bytes.
#[derive(Debug)]
pub(super) struct Lines {
    limit: usize,
    buffer: Vec<u8>,
    /// Where the line that is looked for starts.
    start: usize,
    /// Up to where no newline was found.
    searched: usize,
    number: u64,
    ended: bool,
}

impl Lines {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, buffer: Vec::new(), start: 0, searched: 0, number: 0, ended: false }
    }

    /// The number of the line that was given out last, or was too long; the first one is 1.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Reads once. After this, [`Lines::next`] is to be called until it says [`Buffered::Incomplete`].
    pub(super) fn read(&mut self, input: &mut impl Read) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        let had = self.buffer.len();
        self.buffer.resize(had + CHUNK, 0);
        let read = input.read(self.buffer.get_mut(had..).unwrap_or_default());
        self.buffer.truncate(had + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(count) => {
                self.ended = count == 0;
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The next line. The last one counts without a newline, too; nothing behind the last newline is no line.
    pub(super) fn next(&mut self) -> Result<Buffered<'_>, TooLong> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let newline = unsearched.iter().position(|byte| *byte == b'\n').map(|at| self.searched + at);
        let start = self.start;
        let (end, next) = match newline {
            Some(at) => (at, at + 1),
            None if self.ended && start < self.buffer.len() => (self.buffer.len(), self.buffer.len()),
            None if self.ended => return Ok(Buffered::End),
            None => {
                self.searched = self.buffer.len();
                if self.searched - start > self.limit {
                    self.number += 1;
                    return Err(TooLong);
                }
                return Ok(Buffered::Incomplete);
            }
        };
        self.number += 1;
        if end - start > self.limit {
            return Err(TooLong);
        }
        self.start = next;
        self.searched = next;
        Ok(Buffered::Line(self.buffer.get(start..end).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines, read in pieces of the given size, and what ended them.
    fn lines(input: &[u8], limit: usize, piece: usize) -> (Vec<Vec<u8>>, Result<(), TooLong>) {
        let (mut lines, mut found) = (Lines::new(limit), Vec::new());
        let mut pieces = input.chunks(piece);
        loop {
            match lines.next() {
                Ok(Buffered::Line(line)) => found.push(line.to_vec()),
                Ok(Buffered::Incomplete) => {
                    lines.read(&mut pieces.next().unwrap_or_default()).expect("a slice");
                }
                Ok(Buffered::End) => return (found, Ok(())),
                Err(error) => {
                    assert_eq!(lines.number(), found.len() as u64 + 1);
                    return (found, Err(error));
                }
            }
        }
    }

    #[test]
    fn lines_are_bytes_between_newlines_however_they_arrive() {
        let input = b"a\n\n\xFF\0\r\n  b ";
        for piece in 1..=input.len() {
            let expected: [&[u8]; 4] = [b"a", b"", b"\xFF\0\r", b"  b "];
            assert_eq!(lines(input, 10, piece), (expected.map(<[u8]>::to_vec).to_vec(), Ok(())));
            assert_eq!(lines(b"x\n", 10, piece), (vec![b"x".to_vec()], Ok(())));
            assert_eq!(lines(b"\n", 10, piece), (vec![vec![]], Ok(())));
            assert_eq!(lines(b"", 10, piece), (vec![], Ok(())));
        }
    }

    #[test]
    fn a_line_over_the_limit_stops_before_it_and_is_never_held_whole() {
        for piece in 1..8 {
            assert_eq!(lines(b"ab\n123\n1234\nx\n", 3, piece).0, [b"ab".to_vec(), b"123".to_vec()]);
            assert_eq!(lines(b"1234", 3, piece), (vec![], Err(TooLong)));
            assert_eq!(lines(b"123", 3, piece), (vec![b"123".to_vec()], Ok(())));
        }
        let mut endless = Lines::new(100);
        let mut reads = 0;
        while endless.next() == Ok(Buffered::Incomplete) {
            endless.read(&mut io::repeat(b'x')).expect("never fails");
            reads += 1;
        }
        assert_eq!(reads, 1);
    }
}
