//! The layout of an item in its slot, and nothing about where slots come from.
//!
//! ```text
//!  0      4      8         12     16          22      24    25      26
//!  | next | prev | exptime | time | cas (48b) | sizes | key | marks | [flags 4] [wide cas 8] key value
//! ```
//! * `next`, `prev`: neighbours in the LRU list (towards the tail, towards the head); 0 is none.
//! * `exptime`, `time`: coarse seconds; 0 is never. `time` is the last access that counted.
//! * `cas`: low 48 bits; an id that needs more stands in full in the optional field.
//! * `sizes`: value bytes in the low 14 bits, then "has flags" and "has wide cas".
//! * `key`: key bytes, 1 to 250; 0 marks a free slot.
//! * `marks`: see the constants.
//!
//! A large item has a 4-byte number in the place of the value: its place in the partition's table of large values.
//! All fields are little endian and unaligned.

use crate::base::key::KEY_BYTES_MAX;

use super::ids::ItemId;
use super::lru::Segment;

/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = 26;

/// Largest value that can be kept inline by this layout.
pub const INLINE_VALUE_BYTES_MAX: usize = (1 << 14) - 1;

/// Largest head of a large item: header, flags, wide CAS id, key and number.
pub const HEAD_BYTES_MAX: usize = HEADER_BYTES + 4 + 8 + KEY_BYTES_MAX + LARGE_NUMBER_BYTES;

/// Bytes of a large item's number.
pub const LARGE_NUMBER_BYTES: usize = 4;

const NEXT: usize = 0;
const PREV: usize = 4;
const EXPTIME: usize = 8;
const TIME: usize = 12;
const CAS: usize = 16;
const SIZES: usize = 22;
const KEY: usize = 24;
const MARKS: usize = 25;

const SIZE_MASK: u16 = INLINE_VALUE_BYTES_MAX as u16;
const HAS_FLAGS: u16 = 1 << 14;
const HAS_WIDE_CAS: u16 = 1 << 15;
/// Largest CAS id in the header's six bytes; a larger one takes eight behind the flags.
const CAS_NARROW_MAX: u64 = (1 << 48) - 1;

/// Bits 0 and 1 of the marks: the segment.
const SEGMENT_MASK: u8 = 0b11;
/// Fetched since it was stored.
pub const FETCHED: u8 = 1 << 2;
/// Fetched twice or more; the LRU clears it when it moves the item.
pub const ACTIVE: u8 = 1 << 3;
/// Invalidated by a meta command.
pub const STALE: u8 = 1 << 4;
/// A client has been told to recache.
pub const WIN_SENT: u8 = 1 << 5;
/// The key came in base64.
pub const BINARY_KEY: u8 = 1 << 6;
/// The value is in chunks of its own.
pub const LARGE: u8 = 1 << 7;

/// What decides an item's size in its slot.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Key bytes.
    pub key_bytes: usize,
    /// Bytes behind the key: the value, or [`LARGE_NUMBER_BYTES`].
    pub tail_bytes: usize,
    /// Client flags are not 0.
    pub has_flags: bool,
    /// The CAS id needs more than 48 bits.
    pub has_wide_cas: bool,
}

impl Shape {
    /// Bytes of the item in its slot.
    pub fn bytes(self) -> usize {
        HEADER_BYTES
            + if self.has_flags { 4 } else { 0 }
            + if self.has_wide_cas { 8 } else { 0 }
            + self.key_bytes
            + self.tail_bytes
    }
}

/// Whether a CAS id needs the wide field.
pub fn is_wide_cas(cas: u64) -> bool {
    cas > CAS_NARROW_MAX
}

/// The fields of an item to be written.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Client flags.
    pub flags: u32,
    /// Coarse expiry.
    pub exptime: u32,
    /// Coarse time of the store.
    pub time: u32,
    /// CAS id.
    pub cas: u64,
    /// Marks without the segment.
    pub marks: u8,
    /// The value, or a large item's number.
    pub tail: &'a [u8],
}

/// Writes a whole item into `slot`, but for its links. The slot must be at least [`Shape::bytes`] long.
#[inline]
pub fn write(slot: &mut [u8], fields: &Fields<'_>) {
    let Some((header, body)) = slot.split_first_chunk_mut::<HEADER_BYTES>() else {
        return;
    };
    let mut sizes = fields.tail.len() as u16 & SIZE_MASK;
    let mut at = 0;
    if fields.flags != 0 {
        sizes |= HAS_FLAGS;
        put_u32(body, at, fields.flags);
        at += 4;
    }
    if is_wide_cas(fields.cas) {
        sizes |= HAS_WIDE_CAS;
        body[at..at + 8].copy_from_slice(&fields.cas.to_le_bytes());
        at += 8;
    }
    header[EXPTIME..EXPTIME + 4].copy_from_slice(&fields.exptime.to_le_bytes());
    header[TIME..TIME + 4].copy_from_slice(&fields.time.to_le_bytes());
    header[CAS..CAS + 6].copy_from_slice(&fields.cas.to_le_bytes()[..6]);
    header[SIZES..SIZES + 2].copy_from_slice(&sizes.to_le_bytes());
    header[KEY] = fields.key.len() as u8;
    header[MARKS] = fields.marks;
    let (key, tail) = body[at..].split_at_mut(fields.key.len());
    key.copy_from_slice(fields.key);
    tail[..fields.tail.len()].copy_from_slice(fields.tail);
}

/// Writes a value and what goes with it over a [plain](Item::is_plain) item with a value of the same length. The CAS id must
/// be a narrow one; `marks` are all of them.
#[inline(always)]
pub fn overwrite(slot: &mut [u8], exptime: u32, time: u32, cas: u64, marks: u8, value: &[u8]) {
    let Some((header, body)) = slot.split_first_chunk_mut::<HEADER_BYTES>() else {
        return;
    };
    header[EXPTIME..EXPTIME + 4].copy_from_slice(&exptime.to_le_bytes());
    header[TIME..TIME + 4].copy_from_slice(&time.to_le_bytes());
    header[CAS..CAS + 6].copy_from_slice(&cas.to_le_bytes()[..6]);
    header[MARKS] = marks;
    let start = usize::from(header[KEY]);
    body[start..start + value.len()].copy_from_slice(value);
}

/// Marks a slot as free.
pub fn clear(slot: &mut [u8]) {
    slot[KEY] = 0;
}

/// Whether the slot holds no item.
pub fn is_free(slot: &[u8]) -> bool {
    slot[KEY] == 0
}

/// Reads an item in its slot. The header is checked for once, when the view is made.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    header: &'a [u8; HEADER_BYTES],
    /// What is behind the header, perhaps with more than the slot's bytes.
    body: &'a [u8],
}

/// The header of no item.
static NO_HEADER: [u8; HEADER_BYTES] = [0; HEADER_BYTES];

impl<'a> Item<'a> {
    /// The item at the start of `slot`.
    #[inline]
    pub fn new(slot: &'a [u8]) -> Self {
        match slot.split_first_chunk() {
            Some((header, body)) => Self { header, body },
            None => Self { header: &NO_HEADER, body: &[] },
        }
    }

    #[inline]
    fn u32_at<const AT: usize>(self) -> u32 {
        u32::from_le_bytes([self.header[AT], self.header[AT + 1], self.header[AT + 2], self.header[AT + 3]])
    }

    #[inline]
    fn sizes(self) -> u16 {
        u16::from_le_bytes([self.header[SIZES], self.header[SIZES + 1]])
    }

    /// Neighbour towards the tail.
    #[inline]
    pub fn next(self) -> ItemId {
        ItemId(self.u32_at::<NEXT>())
    }

    /// Neighbour towards the head.
    #[inline]
    pub fn prev(self) -> ItemId {
        ItemId(self.u32_at::<PREV>())
    }

    /// Coarse expiry, 0 for never.
    #[inline]
    pub fn exptime(self) -> u32 {
        self.u32_at::<EXPTIME>()
    }

    /// Coarse time of the last access that counted.
    #[inline]
    pub fn time(self) -> u32 {
        self.u32_at::<TIME>()
    }

    /// CAS id.
    #[inline]
    pub fn cas(self) -> u64 {
        let sizes = self.sizes();
        if sizes & HAS_WIDE_CAS != 0 {
            return u64_at(self.body, flags_bytes(sizes));
        }
        u64::from(self.u32_at::<CAS>())
            | u64::from(u16::from_le_bytes([self.header[CAS + 4], self.header[CAS + 5]])) << 32
    }

    /// Client flags.
    #[inline]
    pub fn flags(self) -> u32 {
        if self.has_flags() { u32_at(self.body, 0) } else { 0 }
    }

    /// Whether the client flags are not 0.
    #[inline]
    pub fn has_flags(self) -> bool {
        self.sizes() & HAS_FLAGS != 0
    }

    /// Where the key begins in the body.
    #[inline]
    fn key_start(self) -> usize {
        let sizes = self.sizes();
        if sizes <= SIZE_MASK {
            return 0;
        }
        flags_bytes(sizes) + if sizes & HAS_WIDE_CAS != 0 { 8 } else { 0 }
    }

    /// Length of the key.
    #[inline]
    pub fn key_bytes(self) -> usize {
        usize::from(self.header[KEY])
    }

    /// The key.
    #[inline(always)]
    pub fn key(self) -> &'a [u8] {
        self.body.get(self.key_start()..).and_then(|body| body.get(..self.key_bytes())).unwrap_or_default()
    }

    /// Length of the value, or of a large item's number.
    #[inline]
    pub fn tail_bytes(self) -> usize {
        usize::from(self.sizes() & SIZE_MASK)
    }

    /// The value, or a large item's number.
    #[inline]
    pub fn tail(self) -> &'a [u8] {
        let start = self.key_start() + self.key_bytes();
        self.body.get(start..).and_then(|body| body.get(..self.tail_bytes())).unwrap_or_default()
    }

    /// The value of an item that keeps it inline and has neither client flags nor a wide CAS id, as nearly all.
    #[inline(always)]
    pub fn plain_tail(self) -> Option<&'a [u8]> {
        let sizes = self.sizes();
        if sizes > SIZE_MASK || self.has(LARGE) {
            return None;
        }
        self.body.get(self.key_bytes()..self.key_bytes() + usize::from(sizes))
    }

    /// Whether its value is inline and has so many bytes, and it has neither client flags nor a wide CAS id.
    #[inline(always)]
    pub fn is_plain(self, value_bytes: usize) -> bool {
        usize::from(self.sizes()) == value_bytes && value_bytes <= INLINE_VALUE_BYTES_MAX && !self.has(LARGE)
    }

    /// A large item's number.
    pub fn large_number(self) -> usize {
        let tail = self.tail();
        if tail.len() == LARGE_NUMBER_BYTES { u32_at(tail, 0) as usize } else { usize::MAX }
    }

    /// The marks, segment included.
    #[inline]
    pub fn marks(self) -> u8 {
        self.header[MARKS]
    }

    /// Whether a mark is set.
    #[inline]
    pub fn has(self, mark: u8) -> bool {
        self.header[MARKS] & mark != 0
    }

    /// The LRU segment it is linked in.
    #[inline]
    pub fn segment(self) -> Segment {
        segment_of(self.header[MARKS])
    }

    /// Bytes the item takes in its slot.
    pub fn bytes(self) -> usize {
        HEADER_BYTES + self.key_start() + self.key_bytes() + self.tail_bytes()
    }

    /// What decides its size.
    pub fn shape(self) -> Shape {
        Shape {
            key_bytes: self.key_bytes(),
            tail_bytes: self.tail_bytes(),
            has_flags: self.has_flags(),
            has_wide_cas: self.sizes() & HAS_WIDE_CAS != 0,
        }
    }
}

/// The LRU segment in an item's marks.
#[inline]
pub fn segment_of(marks: u8) -> Segment {
    Segment::from_bits(marks & SEGMENT_MASK)
}

/// Sets the neighbour towards the tail.
pub fn set_next(slot: &mut [u8], next: ItemId) {
    put_u32(slot, NEXT, next.0);
}

/// Sets the neighbour towards the head.
pub fn set_prev(slot: &mut [u8], prev: ItemId) {
    put_u32(slot, PREV, prev.0);
}

/// Sets the coarse expiry.
pub fn set_exptime(slot: &mut [u8], exptime: u32) {
    put_u32(slot, EXPTIME, exptime);
}

/// Sets the coarse access time.
pub fn set_time(slot: &mut [u8], time: u32) {
    put_u32(slot, TIME, time);
}

/// Sets the CAS id; false when the item has no room for a wide one.
pub fn set_cas(slot: &mut [u8], cas: u64) -> bool {
    let sizes = Item::new(slot).sizes();
    if sizes & HAS_WIDE_CAS != 0 {
        let at = HEADER_BYTES + flags_bytes(sizes);
        slot[at..at + 8].copy_from_slice(&cas.to_le_bytes());
        return true;
    }
    if is_wide_cas(cas) {
        return false;
    }
    slot[CAS..CAS + 6].copy_from_slice(&cas.to_le_bytes()[..6]);
    true
}

/// Sets all marks but the segment.
pub fn set_marks(slot: &mut [u8], marks: u8) {
    slot[MARKS] = (slot[MARKS] & SEGMENT_MASK) | (marks & !SEGMENT_MASK);
}

/// Sets the segment.
pub fn set_segment(slot: &mut [u8], segment: Segment) {
    slot[MARKS] = (slot[MARKS] & !SEGMENT_MASK) | segment.bits();
}

/// Overwrites the value with bytes of the same length.
pub fn overwrite_tail(slot: &mut [u8], bytes: &[u8]) {
    let item = Item::new(slot);
    let start = HEADER_BYTES + item.key_start() + item.key_bytes();
    let length = item.tail().len();
    if bytes.len() == length {
        slot[start..start + length].copy_from_slice(bytes);
    }
}

fn flags_bytes(sizes: u16) -> usize {
    if sizes & HAS_FLAGS != 0 { 4 } else { 0 }
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

#[inline]
fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(flags: u32, cas: u64, key: &[u8], tail: &[u8]) {
        let fields = Fields { key, flags, exptime: 77, time: 99, cas, marks: STALE | BINARY_KEY, tail };
        let shape = Shape {
            key_bytes: key.len(),
            tail_bytes: tail.len(),
            has_flags: flags != 0,
            has_wide_cas: is_wide_cas(cas),
        };
        let mut slot = vec![0xff; shape.bytes()];
        write(&mut slot, &fields);
        let item = Item::new(&slot);
        assert_eq!((item.flags(), item.cas(), item.key(), item.tail()), (flags, cas, key, tail));
        assert_eq!((item.exptime(), item.time(), item.bytes()), (77, 99, slot.len()));
        assert!(item.has(STALE) && item.has(BINARY_KEY) && !item.has(LARGE));
        assert_eq!((item.next(), item.prev()), (ItemId(u32::MAX), ItemId(u32::MAX)));
    }

    #[test]
    fn fields_come_back_as_written() {
        check(0, 2, b"k", b"");
        check(0, 2, b"key", b"value");
        check(u32::MAX, CAS_NARROW_MAX, &[b'k'; 250], &[b'v'; INLINE_VALUE_BYTES_MAX]);
        check(1, CAS_NARROW_MAX + 1, b"key", b"value");
        check(0, u64::MAX, b"key", b"value");
    }

    #[test]
    fn a_narrow_item_refuses_a_wide_cas() {
        let mut slot = [0; 64];
        write(&mut slot, &Fields { key: b"k", flags: 0, exptime: 0, time: 1, cas: 5, marks: 0, tail: b"v" });
        assert!(set_cas(&mut slot, 7));
        assert!(!set_cas(&mut slot, 1 << 48));
        assert_eq!(Item::new(&slot).cas(), 7);
    }
}
