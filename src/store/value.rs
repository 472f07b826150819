//! Values as the layers above see them: bytes inside a partition, or a large value in chunks of its own.
//!
//! A large value's chunks are filled by the network before any lock is taken, linked under the lock, and sent from
//! clones of the same `Arc`s, so that its bytes are copied by the kernel alone. A chunk goes back to its pool when the
//! last holder (the item, or a connection still sending it) lets go.

use std::fmt;

use memmap2::MmapMut;

use crate::base::sync::Arc;

use super::chunks::{ChunkPool, UploadCharge};

/// A fixed-size piece of memory for a part of a large value.
pub struct Chunk {
    data: ChunkMemory,
    home: ChunkHome,
}

/// Where the bytes of a chunk are.
pub(super) enum ChunkMemory {
    Mapped(MmapMut),
    Allocated(Box<[u8]>),
}

impl ChunkMemory {
    fn bytes(&self) -> &[u8] {
        match self {
            ChunkMemory::Mapped(memory) => memory,
            ChunkMemory::Allocated(memory) => memory,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            ChunkMemory::Mapped(memory) => memory,
            ChunkMemory::Allocated(memory) => memory,
        }
    }
}

/// Where a chunk goes back to.
pub(super) struct ChunkHome {
    pub(super) pool: Arc<ChunkPool>,
    pub(super) class: u8,
    pub(super) id: u32,
}

impl Chunk {
    pub(super) fn new(data: ChunkMemory, home: ChunkHome) -> Self {
        Self { data, home }
    }

    /// All bytes of the chunk, the unused tail included.
    pub fn bytes(&self) -> &[u8] {
        self.data.bytes()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let data = std::mem::replace(&mut self.data, ChunkMemory::Allocated(Box::default()));
        self.home.pool.give_back(self.home.class, self.home.id, data);
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Chunk").field("bytes", &self.bytes().len()).finish()
    }
}

/// A complete large value. Cheap to clone: the chunks are shared.
#[derive(Clone, Debug)]
pub struct LargeValue {
    chunks: Arc<[Arc<Chunk>]>,
    /// 0 < length <= sum of the chunks' sizes
    length: usize,
}

impl LargeValue {
    /// Bytes of the value.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are no bytes; never true for a stored large value.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The chunks in order, each with the number of its bytes that belong to the value.
    pub fn parts(&self) -> impl Iterator<Item = (&Arc<Chunk>, usize)> {
        let mut left = self.length;
        self.chunks.iter().map(move |chunk| {
            let take = left.min(chunk.bytes().len());
            left -= take;
            (chunk, take)
        })
    }

    /// Writes `text`, and spaces behind it, over the whole value; false, with nothing done, while a reply holds some of it.
    pub(super) fn overwrite_number(&mut self, text: &[u8]) -> bool {
        let Some(chunks) = Arc::get_mut(&mut self.chunks) else { return false };
        if chunks.iter_mut().any(|chunk| Arc::get_mut(chunk).is_none()) {
            return false;
        }
        let mut text = text;
        for chunk in chunks.iter_mut().filter_map(Arc::get_mut) {
            let bytes = chunk.data.bytes_mut();
            let (front, behind) = text.split_at(text.len().min(bytes.len()));
            bytes[..front.len()].copy_from_slice(front);
            bytes[front.len()..].fill(b' ');
            text = behind;
        }
        true
    }
}

/// A large value being filled; nobody else sees it yet. Dropping it gives its memory back.
#[derive(Debug)]
pub struct LargeBuffer {
    chunks: Vec<Arc<Chunk>>,
    length: usize,
    filled: usize,
    _charge: UploadCharge,
}

impl LargeBuffer {
    pub(super) fn new(chunks: Vec<Arc<Chunk>>, length: usize, charge: UploadCharge) -> Self {
        Self { chunks, length, filled: 0, _charge: charge }
    }

    /// Bytes the finished value will have.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the finished value will have no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes still to come.
    pub fn missing(&self) -> usize {
        self.length - self.filled
    }

    /// The place where the next bytes belong: the rest of the current chunk, empty when nothing is missing.
    /// Fill a prefix of it and call [`LargeBuffer::advance`].
    pub fn space(&mut self) -> &mut [u8] {
        let mut start = self.filled;
        let missing = self.length - self.filled;
        if missing == 0 {
            return &mut [];
        }
        for chunk in &mut self.chunks {
            let size = chunk.bytes().len();
            if start < size {
                let end = size.min(start + missing);
                return match Arc::get_mut(chunk) {
                    Some(chunk) => &mut chunk.data.bytes_mut()[start..end],
                    None => &mut [],
                };
            }
            start -= size;
        }
        &mut []
    }

    /// Says that the first `count` bytes of [`LargeBuffer::space`] are filled.
    pub fn advance(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.length);
    }

    /// Copies as much of `bytes` as is missing; returns how many were taken.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            let space = self.space();
            if space.is_empty() {
                break;
            }
            let count = space.len().min(bytes.len() - taken);
            space[..count].copy_from_slice(&bytes[taken..taken + count]);
            self.advance(count);
            taken += count;
        }
        taken
    }

    /// The bytes filled so far, chunk by chunk.
    fn pieces(&self, mut take: impl FnMut(&[u8])) {
        let mut left = self.filled;
        for chunk in &self.chunks {
            let count = left.min(chunk.bytes().len());
            take(&chunk.bytes()[..count]);
            left -= count;
        }
    }

    /// The finished value. Bytes that were never filled are whatever the memory held before, so fill all of it.
    pub(super) fn finish(self) -> LargeValue {
        debug_assert_eq!(self.missing(), 0);
        LargeValue { chunks: self.chunks.into(), length: self.length }
    }
}

/// A stored value, borrowed for the length of a visit.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// The bytes themselves, inside the partition: copy them out.
    Inline(&'a [u8]),
    /// Chunks: clone the handle and send from it.
    Large(&'a LargeValue),
}

impl Value<'_> {
    /// Bytes of the value.
    pub fn len(&self) -> usize {
        match self {
            Value::Inline(bytes) => bytes.len(),
            Value::Large(large) => large.len(),
        }
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value's bytes in order, in one piece or more.
    pub fn pieces(&self, mut take: impl FnMut(&[u8])) {
        match self {
            Value::Inline(bytes) => take(bytes),
            Value::Large(large) => large.parts().for_each(|(chunk, count)| take(&chunk.bytes()[..count])),
        }
    }

    /// Appends the value's bytes to `out` by copying.
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        self.pieces(|piece| out.extend_from_slice(piece));
    }
}

/// A value to be stored.
#[derive(Debug)]
pub enum NewValue<'a> {
    /// Bytes to copy in.
    Bytes(&'a [u8]),
    /// A filled buffer to link; needed when [`super::Store::fit`] says [`super::Fit::Large`].
    Large(LargeBuffer),
}

impl NewValue<'_> {
    /// The value's bytes in order, in one piece or more.
    pub fn pieces(&self, mut take: impl FnMut(&[u8])) {
        match self {
            NewValue::Bytes(bytes) => take(bytes),
            NewValue::Large(buffer) => buffer.pieces(take),
        }
    }

    /// Bytes of the value.
    pub fn len(&self) -> usize {
        match self {
            NewValue::Bytes(bytes) => bytes.len(),
            NewValue::Large(buffer) => buffer.len(),
        }
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sizes::PAGE_BYTES;
    use crate::store::config::Config;
    use crate::store::slab::budget::Budget;
    use crate::store::slab::classes::ClassTable;

    /// A value of three chunks of 16 bytes, filled with `byte`.
    fn in_chunks_of_16(length: usize, byte: u8) -> LargeValue {
        let classes = ClassTable::new(&Config { slab_chunk_max: 16, ..Config::default() });
        let budget = Arc::new(Budget::new((PAGE_BYTES, PAGE_BYTES), 0, classes.largest() + 1, false));
        let pool = ChunkPool::new(classes, budget, PAGE_BYTES);
        let mut buffer = pool.free_buffer(length + 49, length).expect("memory");
        assert_eq!(buffer.chunks.len(), length.div_ceil(16));
        assert_eq!(buffer.fill(&vec![byte; length]), length);
        buffer.finish()
    }

    #[track_caller]
    fn check(value: &LargeValue, expected: &str) {
        let mut bytes = Vec::new();
        Value::Large(value).copy_to(&mut bytes);
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
    }

    /// A number that grew was written over the end of what its first chunk holds of it: here the last of its digits.
    #[test]
    fn a_number_goes_on_in_the_next_chunk() {
        let mut value = in_chunks_of_16(40, b'x');
        for text in ["9", "9999999999999999", "10000000000000000", "18446744073709551615", "0"] {
            assert!(value.overwrite_number(text.as_bytes()), "nobody else holds it");
            check(&value, &format!("{text:<40}"));
        }
    }

    /// Who sends a value keeps what it was.
    #[test]
    fn a_value_that_is_being_sent_is_not_written_over() {
        let mut value = in_chunks_of_16(40, b'1');
        let sent = value.clone();
        assert!(!value.overwrite_number(b"2"));
        check(&sent, &"1".repeat(40));
        let chunk = value.parts().nth(2).map(|(chunk, _)| Arc::clone(chunk));
        drop(sent);
        assert!(!value.overwrite_number(b"2"), "its last chunk alone");
        check(&value, &"1".repeat(40));
        drop(chunk);
        assert!(value.overwrite_number(b"2"));
        check(&value, &format!("{:<40}", "2"));
    }
}
