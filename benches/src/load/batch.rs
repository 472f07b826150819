//! A batch: requests that are sent together, and the exact bytes that must come back. The reply checker compares what
//! arrives, in whatever pieces, with those bytes.
//!
//!     reply     VALUE key:00000001-p 0 100\r\n ... END\r\n
//!               <-- checked ------->|<-- still to come -->
//!               0               position            length
//!
//! Bytes that no client can foresee (the CAS of a binary reply) are counted and otherwise ignored.

use std::fmt;
use std::ops::Range;

/// Requests and the replies that they must get.
#[derive(Default)]
pub struct Batch {
    /// What is sent.
    pub request: Vec<u8>,
    /// What must come back.
    pub reply: Vec<u8>,
    /// Places in `reply` that may hold anything: in ascending order and apart from each other.
    pub ignored: Vec<Range<usize>>,
    /// How many operations it counts for.
    pub operations: u64,
}

impl Batch {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.request.clear();
        self.reply.clear();
        self.ignored.clear();
        self.operations = 0;
    }

    /// Compares a received piece with the reply from `position` on and returns the position after it.
    pub fn check(&self, position: usize, received: &[u8]) -> Result<usize, Mismatch> {
        let left = &self.reply[position..];
        if left.starts_with(received) {
            return Ok(position + received.len());
        }
        match self.first_wrong(position, received) {
            None => Ok(position + received.len()),
            Some(index) => Err(self.mismatch(position, received, index)),
        }
    }

    /// Byte by byte only where a chunk differs, as each reply with a CAS does somewhere.
    fn first_wrong(&self, position: usize, received: &[u8]) -> Option<usize> {
        let left = &self.reply[position..];
        let chunks = received.chunks(CHUNK_BYTES).enumerate();
        chunks.map(|(number, chunk)| (number * CHUNK_BYTES, chunk)).find_map(|(start, chunk)| {
            let expected = left.get(start..).unwrap_or_default();
            if expected.starts_with(chunk) {
                return None;
            }
            let is_wrong = |&index: &usize| match left.get(index) {
                Some(&byte) => received[index] != byte && !self.is_ignored(position + index),
                None => true,
            };
            (start..start + chunk.len()).find(is_wrong)
        })
    }

    fn is_ignored(&self, position: usize) -> bool {
        let after = self.ignored.partition_point(|range| range.end <= position);
        self.ignored.get(after).is_some_and(|range| range.contains(&position))
    }

    /// `index` is the first wrong byte of the piece.
    fn mismatch(&self, position: usize, received: &[u8], index: usize) -> Mismatch {
        let context = index.saturating_sub(MISMATCH_CONTEXT_BYTES);
        Mismatch {
            position: position + index,
            reply_bytes: self.reply.len(),
            expected: clip(&self.reply[position + context..]),
            received: clip(&received[context..]),
            request: clip(&self.request),
        }
    }
}

fn clip(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(MISMATCH_SHOWN_BYTES)].to_vec()
}

/// A reply that is not the expected one.
#[derive(Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where in the reply of the batch the first wrong byte is.
    pub position: usize,
    /// How long that reply must be.
    pub reply_bytes: usize,
    /// What must stand there, from a little before.
    pub expected: Vec<u8>,
    /// What came.
    pub received: Vec<u8>,
    /// How the batch of requests begins.
    pub request: Vec<u8>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "byte {} of {}", self.position, self.reply_bytes)?;
        writeln!(out, "  expected \"{}\"", self.expected.escape_ascii())?;
        writeln!(out, "  received \"{}\"", self.received.escape_ascii())?;
        write!(out, "  to       \"{}\"", self.request.escape_ascii())
    }
}

const CHUNK_BYTES: usize = 64;
const MISMATCH_CONTEXT_BYTES: usize = 32;
const MISMATCH_SHOWN_BYTES: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        Batch {
            request: b"get a\r\n".to_vec(),
            reply: b"VALUE a 0 1\r\nx\r\nEND\r\n".to_vec(),
            ignored: vec![8..9, 10..11],
            operations: 1,
        }
    }

    #[track_caller]
    fn check(reply: &[u8], expected: Result<(), usize>) {
        // The verdict must not depend on where the stream is cut.
        for cut in 0..=reply.len() {
            let batch = batch();
            let result = batch.check(0, &reply[..cut]).and_then(|position| batch.check(position, &reply[cut..]));
            match expected {
                Ok(()) => assert_eq!(result, Ok(reply.len()), "cut at {cut}"),
                Err(position) => assert_eq!(result.unwrap_err().position, position, "cut at {cut}"),
            }
        }
    }

    #[test]
    fn verdicts() {
        check(b"VALUE a 0 1\r\nx\r\nEND\r\n", Ok(()));
        check(b"VALUE a 0 1\r\n", Ok(()));
        check(b"VALUE a 7 9\r\nx\r\nEND\r\n", Ok(()));
        check(b"VALUE a 771\r\nx\r\nEND\r\n", Err(9));
        check(b"VALUE a 0 1\r\ny\r\nEND\r\n", Err(13));
        check(b"END\r\n", Err(0));
        check(b"SERVER_ERROR out of memory storing object\r\n", Err(0));
        check(b"VALUE a 0 1\r\nx\r\nEND\r\n!", Err(21));
    }

    #[test]
    fn a_mismatch_shows_both_sides_and_the_request() {
        let text = batch().check(0, b"ERROR\r\n").unwrap_err().to_string();
        assert!(text.contains("byte 0 of 21"), "{text}");
        assert!(text.contains(r#"expected "VALUE a"#), "{text}");
        assert!(text.contains(r#"received "ERROR\r\n""#), "{text}");
        assert!(text.contains(r#"to       "get a\r\n""#), "{text}");
    }

    #[test]
    fn a_mismatch_deep_in_a_reply_shows_the_neighbourhood() {
        let batch = Batch { reply: vec![b'x'; 10_000], ..Batch::default() };
        let mut received = vec![b'x'; 5000];
        received[4000] = b'y';
        let mismatch = batch.check(2000, &received).unwrap_err();
        assert_eq!(mismatch.position, 6000);
        assert_eq!(mismatch.received[32], b'y');
    }
}
