//! Replies waiting to be sent: bytes, with large values in between that are sent from where they lie.
//!
//! ```text
//! bytes:  [VALUE a 0 3\r\nabc\r\nVALUE b 0 1048000\r\n | \r\nEND\r\n]
//! large:                                      at ------^ chunks of b
//! ```
//! The worker sends the segments in order with one vectored write and calls [`Output::advance`].
//!
//! UDP sends each response in datagrams of its own, so its queue keeps where they begin; see
//! [`Output::with_boundaries`]. A response answers a request, or one key of a multiget.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::base::sync::Arc;
use crate::protocol::text::reply::VALUE_HEADER_BYTES_MAX;
use crate::store::value::{Chunk, LargeValue, Value};
use crate::store::{BATCH_KEYS_MAX, Store};

/// Waiting bytes above which a connection's requests are not executed until some are sent.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Waiting bytes above which a dump or a watcher adds no lines.
pub const LINES_BYTES_MAX: usize = 64 * 1024;

/// A part of a large value that goes out after the first `at` bytes of the buffer.
#[derive(Debug)]
struct Insert {
    /// Position in `bytes` before which the part is sent.
    at: usize,
    chunk: Arc<Chunk>,
    /// start <= length <= the chunk's size
    start: usize,
    length: usize,
}

/// The reply queue of a connection.
#[derive(Debug)]
pub struct Output {
    bytes: Vec<u8>,
    /// Bytes of `bytes` already sent: sent <= bytes.len()
    sent: usize,
    inserts: VecDeque<Insert>,
    /// Bytes in `inserts` still to be sent.
    insert_bytes: usize,
    /// Where responses begin, in ascending order; `None` where nobody asks. Some may be empty.
    boundaries: Option<Vec<usize>>,
    /// Replies this turn may still begin.
    replies_left: u32,
    /// A value is missing, for want of memory: nothing of the queue may be sent.
    is_torn: bool,
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl Output {
    /// An empty queue, for any number of replies.
    pub fn new() -> Self {
        Self {
            bytes: Vec::new(),
            sent: 0,
            inserts: VecDeque::new(),
            insert_bytes: 0,
            boundaries: None,
            replies_left: REPLIES_UNLIMITED,
            is_torn: false,
        }
    }

    /// Says how many replies may begin from now on; `None` is any number.
    #[inline]
    pub fn allow_replies(&mut self, count: Option<u32>) {
        self.replies_left = count.unwrap_or(REPLIES_UNLIMITED);
    }

    /// Says that what is appended from here on is a reply of its own; false when no further one is allowed.
    #[inline]
    #[must_use]
    pub fn begin_reply(&mut self) -> bool {
        if self.replies_left == 0 {
            return false;
        }
        if self.replies_left != REPLIES_UNLIMITED {
            self.replies_left -= 1;
        }
        if self.boundaries.is_some() {
            self.add_boundary();
        }
        true
    }

    /// Whether replies may be appended without saying where each begins.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.boundaries.is_none() && self.replies_left == REPLIES_UNLIMITED
    }

    /// An empty queue that keeps where responses begin. It is sent as a whole and then cleared.
    pub fn with_boundaries() -> Self {
        Self { boundaries: Some(Vec::new()), ..Self::default() }
    }

    #[cold]
    fn add_boundary(&mut self) {
        let position = self.pending();
        if let Some(boundaries) = &mut self.boundaries {
            match boundaries.try_reserve(1) {
                Ok(()) => boundaries.push(position),
                Err(_) => self.is_torn = true,
            }
        }
    }

    /// Where responses begin, counted in bytes from the first; kept until [`Output::clear`].
    pub fn boundaries(&self) -> &[usize] {
        self.boundaries.as_deref().unwrap_or_default()
    }

    /// The buffer to append reply bytes to. Only append.
    #[inline]
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Whether there is memory for the replies of the next few requests, but for values of more than
    /// [`SMALL_VALUE_BYTES_MAX`], which look after themselves. None is needed after a tear.
    #[inline]
    pub fn has_room(&mut self, store: &Store) -> bool {
        !self.is_torn && (self.bytes.capacity() - self.bytes.len() >= ROOM_BYTES || self.make_room(store))
    }

    /// Memory that the store has set aside for this is used before a client is turned away.
    #[cold]
    fn make_room(&mut self, store: &Store) -> bool {
        reserve(ROOM_BYTES, &mut self.bytes) || (store.release_reserve() && reserve(ROOM_BYTES, &mut self.bytes))
    }

    /// Leaves something out for want of memory.
    #[cold]
    pub fn tear(&mut self) {
        self.is_torn = true;
    }

    /// Whether something had to be left out for want of memory. The connection cannot go on.
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Appends bytes.
    #[inline(always)]
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a value: copied when it is small, by handle when it is large.
    #[inline]
    pub fn push_value(&mut self, value: Value<'_>) {
        match value {
            Value::Inline(bytes) if has_room_for(bytes, &mut self.bytes) => self.bytes.extend_from_slice(bytes),
            Value::Inline(_) => self.is_torn = true,
            Value::Large(large) => self.push_large(large),
        }
    }

    fn push_large(&mut self, large: &LargeValue) {
        for (chunk, length) in large.parts() {
            if self.inserts.try_reserve(1).is_err() {
                self.is_torn = true;
                return;
            }
            self.inserts.push_back(Insert { at: self.bytes.len(), chunk: Arc::clone(chunk), start: 0, length });
            self.insert_bytes += length;
        }
    }

    /// Bytes still to be sent.
    #[inline]
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.sent + self.insert_bytes
    }

    /// Whether memory of large values waits to be sent.
    pub fn holds_large(&self) -> bool {
        self.insert_bytes > 0
    }

    /// Whether nothing is waiting.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pending() == 0
    }

    /// A mark to [`Output::truncate`] to.
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), inserts: self.inserts.len() }
    }

    /// Drops everything appended since `mark`. Nothing may have been sent since.
    pub fn truncate(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes.max(self.sent));
        while self.inserts.len() > mark.inserts {
            if let Some(insert) = self.inserts.pop_back() {
                self.insert_bytes -= insert.length - insert.start;
            }
        }
        let position = self.pending();
        if let Some(boundaries) = &mut self.boundaries {
            boundaries.retain(|&boundary| boundary <= position);
        }
    }

    /// Drops everything that was not sent.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
        self.is_torn = false;
        self.inserts.clear();
        self.insert_bytes = 0;
        if let Some(boundaries) = &mut self.boundaries {
            boundaries.clear();
        }
    }

    /// All that is to be sent, when it lies in one piece: no large value waits.
    #[inline]
    pub fn contiguous(&self) -> Option<&[u8]> {
        if self.inserts.is_empty() { self.bytes.get(self.sent..) } else { None }
    }

    /// Fills `slices` with what is to be sent next, in order and up to `bytes_max` in all; returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>], bytes_max: usize) -> usize {
        let mut count = 0;
        let mut bytes_left = bytes_max;
        for part in self.parts() {
            if count == slices.len() || bytes_left == 0 {
                break;
            }
            let part = &part[..part.len().min(bytes_left)];
            bytes_left -= part.len();
            slices[count] = IoSlice::new(part);
            count += 1;
        }
        count
    }

    /// What is to be sent, in order.
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut position = self.sent;
        let inserts = self.inserts.iter().flat_map(move |insert| {
            let before = &self.bytes[std::mem::replace(&mut position, insert.at)..insert.at];
            [before, &insert.chunk.bytes()[insert.start..insert.length]]
        });
        let end = self.inserts.back().map_or(self.sent, |insert| insert.at);
        inserts.chain([&self.bytes[end..]]).filter(|part| !part.is_empty())
    }

    /// Says that `count` bytes of what [`Output::slices`] showed are sent.
    #[inline]
    pub fn advance(&mut self, mut count: usize) {
        while let Some(insert) = self.inserts.front_mut() {
            let before = insert.at - self.sent;
            if count < before {
                self.sent += count;
                return;
            }
            self.sent = insert.at;
            count -= before;
            let left = insert.length - insert.start;
            if count < left {
                insert.start += count;
                self.insert_bytes -= count;
                return;
            }
            count -= left;
            self.insert_bytes -= left;
            self.inserts.pop_front();
        }
        self.sent += count;
        debug_assert!(self.sent <= self.bytes.len());
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
    }

    /// Says that all that [`Output::contiguous`] showed is sent.
    #[inline]
    pub fn advance_to_end(&mut self) {
        debug_assert!(self.inserts.is_empty());
        self.bytes.clear();
        self.sent = 0;
    }

    /// Gives the buffer's memory back when it has grown past `bytes_max` and nothing waits.
    #[inline]
    pub fn shrink(&mut self, bytes_max: usize) {
        if self.bytes.capacity() > bytes_max && self.is_empty() {
            self.bytes = Vec::new();
        }
    }
}

/// Room made sure of ahead of a request, or of a batch of them with small values. Every connection that does not read its
/// replies holds twice that at most, so it is not more than it must be.
pub(super) const ROOM_BYTES: usize = 24 * 1024;
/// Values up to this fit into that room, as many as a batch may have.
const SMALL_VALUE_BYTES_MAX: usize = 448;

const _: () =
    assert!(BATCH_KEYS_MAX * (VALUE_HEADER_BYTES_MAX + SMALL_VALUE_BYTES_MAX + b"\r\nEND\r\n".len()) <= ROOM_BYTES);

/// Whether there is memory for a value and what follows it. Small ones have the room that was made sure of ahead.
#[inline]
pub(super) fn has_room_for(value: &[u8], out: &mut Vec<u8>) -> bool {
    value.len() <= SMALL_VALUE_BYTES_MAX
        || out.capacity() - out.len() >= value.len() + ROOM_BYTES
        || reserve(value.len() + ROOM_BYTES, out)
}

#[cold]
fn reserve(bytes: usize, out: &mut Vec<u8>) -> bool {
    out.try_reserve(bytes).is_ok()
}

/// Any number.
const REPLIES_UNLIMITED: u32 = u32::MAX;

/// A position in an [`Output`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: usize,
    inserts: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_go_with_what_is_taken_back() {
        let mut output = Output::with_boundaries();
        assert!(output.begin_reply());
        output.push(b"END\r\n");
        assert!(output.begin_reply());
        let mark = output.mark();
        output.push(b"VALUE");
        assert!(output.begin_reply());
        output.push(b"VALUE");
        assert_eq!(output.boundaries(), [0, 5, 10]);
        output.truncate(mark);
        assert_eq!(output.boundaries(), [0, 5]);
        output.clear();
        assert!(output.boundaries().is_empty());
    }

    #[test]
    fn boundaries_are_kept_only_on_demand() {
        let mut output = Output::new();
        assert!(output.begin_reply());
        assert!(output.boundaries().is_empty());
    }
}
