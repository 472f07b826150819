//! Sizes that more than one layer speaks of, with memcached's arithmetic for what users see.

/// A slab page as users see it in `stats slabs` and `slabs reassign`: 1 MiB, as in memcached.
pub const PAGE_BYTES: usize = 1024 * 1024;

/// Slab class ids end below this (memcached's `MAX_NUMBER_OF_SLAB_CLASSES`). Classes count from 1; 0 is the page pool.
pub const CLASSES_MAX: u32 = 64;

/// memcached's item header, without the optional CAS id.
pub const ITEM_HEADER_BYTES: usize = 48;

/// Largest item there can be, whatever `-I` says (memcached's `ITEM_SIZE_MAX_UPPER_LIMIT`).
pub const ITEM_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Bytes of a worker's read buffer: the most that is read from a connection at once.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

/// memcached's read buffer (`READ_BUFFER_SIZE`): the unit of `read_buf_mem_limit`, and what a packet's header, extras and
/// key have to fit.
pub const MEMCACHED_BUFFER_BYTES: usize = 16 * 1024;

/// Descriptors that memcached reckons for each thread besides connections.
pub const DESCRIPTORS_PER_THREAD: usize = 5;

/// Largest `<bytes>` a text storage command may announce (`INT_MAX - 2`).
pub const VALUE_BYTES_MAX: usize = 2_147_483_645;

/// The bytes memcached would use for an item: header, CAS id, key and NUL, client flags when not 0, value and CR LF.
/// This is what `bytes`, `mem_requested`, the item size limit and the slab class are computed from.
#[inline]
pub fn item_bytes(key_bytes: usize, value_bytes: usize, has_flags: bool, has_cas: bool) -> usize {
    ITEM_HEADER_BYTES + if has_cas { 8 } else { 0 } + key_bytes + 1 + if has_flags { 4 } else { 0 } + value_bytes + 2
}
