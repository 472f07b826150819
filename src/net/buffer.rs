//! Memory of connections: the unparsed tail of what was read, and reply queues. An idle connection holds neither.
//!
//! ```text
//!   Tail:  bytes [ consumed | unparsed ............ ]
//!                           ^ start                 ^ bytes.len()
//! ```
//! Both come from a worker's [`Pool`] and go back to it when empty, so that a warm connection does not allocate and a
//! thousand idle ones hold nothing. The pool also counts the tails in use, which is what `read_buf_mem_limit` bounds.
//!
//! Only the line of a multiget makes a tail longer than [`TAIL_BYTES_KEPT`]. Such tails together are bounded, too: a client
//! that opens many connections and ends no line would otherwise hold a multiple of `-m`.

use crate::base::sizes::READ_BUFFER_BYTES;
use crate::command::Output;

/// Most a connection may keep unparsed; a session that asks for more is closed. Large values do not count: they are
/// read to where they belong.
pub const TAIL_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The unparsed rest of a connection's input. Takes memory from the pool only while it holds something.
#[derive(Default, Debug)]
pub struct Tail {
    bytes: Vec<u8>,
    /// start < bytes.len(), or both are 0
    start: usize,
    /// The capacity that the pool counts as that of a long tail; 0 while it is none.
    long_bytes: usize,
}

impl Tail {
    /// The unparsed bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Drops `count` bytes from the front.
    pub fn consume(&mut self, count: usize, pool: &mut Pool) {
        self.start += count;
        assert!(self.start <= self.bytes.len());
        if self.start == self.bytes.len() {
            self.clear(pool);
        }
    }

    /// Drops everything and gives the memory back.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.start = 0;
        if self.bytes.capacity() > 0 {
            pool.long_bytes -= std::mem::take(&mut self.long_bytes);
            pool.give_tail(std::mem::take(&mut self.bytes));
        }
    }

    /// Appends `bytes`; false when the worker has no read buffer left for this connection, or no memory for it.
    #[must_use]
    pub fn append(&mut self, bytes: &[u8], pool: &mut Pool) -> bool {
        if bytes.is_empty() {
            return true;
        }
        if self.bytes.capacity() == 0 {
            match pool.tail() {
                Some(fresh) => self.bytes = fresh,
                None => return false,
            }
        }
        if !self.make_room(bytes.len(), pool) {
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        true
    }

    /// Room for `count` more bytes at the end; false when that makes a long tail for which nothing is left, or there is no
    /// memory.
    #[inline]
    fn make_room(&mut self, count: usize, pool: &mut Pool) -> bool {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let wanted = self.bytes.len() + count;
        wanted <= self.bytes.capacity() || self.grow(wanted, pool)
    }

    /// Grows to `wanted` bytes of capacity or more.
    #[cold]
    fn grow(&mut self, wanted: usize, pool: &mut Pool) -> bool {
        let doubled = self.bytes.capacity().saturating_mul(2).min(self.bytes.capacity() + GROWTH_BYTES_MAX);
        // Only who needs it is counted.
        let capacity =
            if wanted > TAIL_BYTES_KEPT { wanted.max(doubled) } else { doubled.clamp(wanted, TAIL_BYTES_KEPT) };
        let more = if capacity > TAIL_BYTES_KEPT { capacity - self.long_bytes } else { 0 };
        let has_room = pool.long_bytes + more <= LONG_TAILS_BYTES_MAX
            && self.bytes.try_reserve_exact(capacity - self.bytes.len()).is_ok();
        if has_room {
            pool.long_bytes += more;
            self.long_bytes += more;
        }
        has_room
    }

    /// Replaces the content by `bytes`; false as with [`Tail::append`].
    #[inline]
    #[must_use]
    pub fn replace(&mut self, bytes: &[u8], pool: &mut Pool) -> bool {
        if bytes.is_empty() {
            if self.bytes.capacity() > 0 {
                self.clear(pool);
            }
            return true;
        }
        self.start = 0;
        self.bytes.clear();
        self.append(bytes, pool)
    }

    /// Room for `count` more bytes at the end, to be read into; follow with [`Tail::trim`]. Only for tails that are not
    /// empty. `None` as with [`Tail::append`].
    pub fn extend_space(&mut self, count: usize, pool: &mut Pool) -> Option<&mut [u8]> {
        debug_assert!(!self.is_empty());
        if !self.make_room(count, pool) {
            return None;
        }
        let length = self.bytes.len();
        self.bytes.resize(length + count, 0);
        Some(&mut self.bytes[length..])
    }

    /// Drops `count` bytes from the end: what [`Tail::extend_space`] offered and was not filled.
    pub fn trim(&mut self, count: usize) {
        let length = self.bytes.len() - count;
        self.bytes.truncate(length);
    }
}

/// A worker's spare memory for connections.
#[derive(Debug)]
pub struct Pool {
    tails: Vec<Vec<u8>>,
    // Boxed, because a connection holds one or none and is mostly idle.
    #[allow(clippy::vec_box)]
    outputs: Vec<Box<Output>>,
    /// tails_in_use <= tails_max, unless tails_max is 0
    tails_in_use: usize,
    /// 0 is unlimited.
    tails_max: usize,
    /// Capacity of the long tails in use: long_bytes <= [`LONG_TAILS_BYTES_MAX`]
    long_bytes: usize,
}

impl Pool {
    /// A pool that lends at most `tails_max` tails, 0 for any number.
    pub fn new(tails_max: usize) -> Self {
        Self { tails: Vec::new(), outputs: Vec::new(), tails_in_use: 0, tails_max, long_bytes: 0 }
    }

    fn tail(&mut self) -> Option<Vec<u8>> {
        if self.tails_max > 0 && self.tails_in_use >= self.tails_max {
            return None;
        }
        self.tails_in_use += 1;
        let tail = self.tails.pop();
        Some(tail.unwrap_or_else(|| Vec::with_capacity(TAIL_BYTES_FIRST)))
    }

    fn give_tail(&mut self, mut tail: Vec<u8>) {
        self.tails_in_use -= 1;
        if tail.capacity() <= TAIL_BYTES_KEPT && self.tails.len() < SPARES_MAX {
            tail.clear();
            self.tails.push(tail);
        }
    }

    /// An empty reply queue.
    #[inline]
    pub fn output(&mut self) -> Box<Output> {
        self.outputs.pop().unwrap_or_default()
    }

    /// Takes an empty reply queue back.
    #[inline]
    pub fn give_output(&mut self, mut output: Box<Output>) {
        debug_assert!(output.is_empty());
        if self.outputs.len() < SPARES_MAX {
            output.shrink(OUTPUT_BYTES_KEPT);
            self.outputs.push(output);
        }
    }
}

/// What a fresh tail can hold before it grows: memcached's line limit.
const TAIL_BYTES_FIRST: usize = 2048;
/// Larger tails are freed rather than kept, and counted.
const TAIL_BYTES_KEPT: usize = READ_BUFFER_BYTES;
/// Capacity of all longer tails of a worker: seven of the longest lines that there may be.
const LONG_TAILS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most that a tail grows by beyond what it has to.
const GROWTH_BYTES_MAX: usize = 1024 * 1024;
/// Larger reply buffers are freed rather than kept.
pub const OUTPUT_BYTES_KEPT: usize = 64 * 1024;
/// Spare tails and reply queues of a worker, each.
const SPARES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_what_is_not_consumed() {
        let mut pool = Pool::new(0);
        let mut tail = Tail::default();
        assert!(tail.append(b"abcdef", &mut pool));
        tail.consume(2, &mut pool);
        assert_eq!(tail.bytes(), b"cdef");
        assert!(tail.append(b"gh", &mut pool));
        assert_eq!(tail.bytes(), b"cdefgh");
        tail.consume(6, &mut pool);
        assert!(tail.is_empty());
        assert_eq!((tail.bytes.capacity(), pool.tails.len()), (0, 1));
    }

    #[test]
    fn tail_is_read_into_and_trimmed() {
        let mut pool = Pool::new(0);
        let mut tail = Tail::default();
        assert!(tail.append(b"abc", &mut pool));
        tail.consume(1, &mut pool);
        tail.extend_space(4, &mut pool).expect("room")[..2].copy_from_slice(b"xy");
        tail.trim(2);
        assert_eq!(tail.bytes(), b"bcxy");
        assert!(tail.replace(b"z", &mut pool));
        assert_eq!((tail.bytes(), tail.len()), (&b"z"[..], 1));
    }

    #[test]
    fn pool_lends_up_to_its_limit() {
        let mut pool = Pool::new(2);
        let mut tails: [Tail; 3] = Default::default();
        assert!(tails[0].append(b"a", &mut pool));
        assert!(tails[1].append(b"b", &mut pool));
        assert!(!tails[2].append(b"c", &mut pool));
        assert!(tails[0].append(b"more", &mut pool));
        tails[1].clear(&mut pool);
        assert!(tails[2].replace(b"c", &mut pool));
        assert_eq!(pool.tails_in_use, 2);
    }

    #[test]
    fn empty_appends_borrow_nothing() {
        let mut pool = Pool::new(1);
        let mut tail = Tail::default();
        assert!(tail.append(b"", &mut pool));
        assert!(tail.replace(b"", &mut pool));
        assert_eq!(pool.tails_in_use, 0);
    }

    /// A hundred unfinished multigets of 8 MiB held 770 MB in a cache of `-m 64`.
    #[test]
    fn long_tails_are_bounded_together() {
        let mut pool = Pool::new(0);
        let line = vec![b'k'; 8 * 1024 * 1024 - READ_BUFFER_BYTES];
        let mut tails: Vec<Tail> = Vec::new();
        while {
            tails.push(Tail::default());
            tails.last_mut().expect("a tail").append(&line, &mut pool)
        } {
            assert!(pool.long_bytes <= LONG_TAILS_BYTES_MAX);
        }
        assert_eq!(tails.len(), 9);
        // Those that have begun go on within what is left, and short ones are not concerned.
        assert!(tails[0].extend_space(READ_BUFFER_BYTES, &mut pool).is_none());
        assert!(tails[8].append(&line[..TAIL_BYTES_KEPT], &mut pool));
        tails[1].clear(&mut pool);
        assert!(tails[0].extend_space(READ_BUFFER_BYTES, &mut pool).is_some());
        for tail in &mut tails {
            tail.clear(&mut pool);
        }
        assert_eq!((pool.long_bytes, pool.tails_in_use), (0, 0));
    }

    /// A process that got no more memory ended.
    #[test]
    fn a_tail_without_memory_is_refused() {
        let mut pool = Pool::new(0);
        let mut tail = Tail::default();
        assert!(tail.append(b"k", &mut pool));
        assert!(!tail.grow(isize::MAX as usize, &mut pool) && pool.long_bytes == 0);
        assert!(tail.append(b"k", &mut pool));
    }

    #[test]
    fn a_tail_grows_in_bounded_steps() {
        let mut pool = Pool::new(0);
        let mut tail = Tail::default();
        while tail.len() < 8 * 1024 * 1024 {
            assert!(tail.append(&[b'k'; 1000], &mut pool));
            assert!(tail.bytes.capacity() <= tail.len() * 2 || tail.bytes.capacity() <= TAIL_BYTES_FIRST);
            assert!(tail.bytes.capacity() <= tail.len() + GROWTH_BYTES_MAX);
        }
        tail.clear(&mut pool);
        assert_eq!(pool.long_bytes, 0);
    }

    #[test]
    fn large_tails_are_not_kept() {
        let mut pool = Pool::new(0);
        let mut tail = Tail::default();
        assert!(tail.append(&vec![0; TAIL_BYTES_KEPT + 1], &mut pool));
        tail.clear(&mut pool);
        assert_eq!((pool.tails.len(), pool.tails_in_use), (0, 0));
    }

    #[test]
    fn few_spares_are_kept_and_no_large_one() {
        let mut pool = Pool::new(0);
        let mut tails: Vec<Tail> = (0..SPARES_MAX + 3).map(|_| Tail::default()).collect();
        tails.iter_mut().for_each(|tail| assert!(tail.append(b"a", &mut pool)));
        tails.iter_mut().for_each(|tail| tail.clear(&mut pool));
        let mut outputs: Vec<_> = (0..SPARES_MAX + 3).map(|_| pool.output()).collect();
        for output in &mut outputs {
            output.push(&[0; 2 * OUTPUT_BYTES_KEPT]);
            output.clear();
        }
        outputs.into_iter().for_each(|output| pool.give_output(output));
        assert_eq!((pool.tails.len(), pool.outputs.len()), (SPARES_MAX, SPARES_MAX));
        let mut kept = pool.output();
        assert!(kept.bytes().capacity() <= OUTPUT_BYTES_KEPT, "{}", kept.bytes().capacity());
    }
}
