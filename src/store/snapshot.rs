//! The store's state at a moment, for statistics.

use super::counters::{ClassCounters, StoreCounters};

/// LRU segments: HOT, WARM, COLD, TEMP.
pub const SEGMENTS: usize = 4;

/// One slab class, summed over partitions.
#[derive(Clone, Copy, Default, Debug)]
pub struct ClassSnapshot {
    /// Class id as users see it, from 1.
    pub class: u8,
    /// Nominal chunk size in bytes, memcached's.
    pub chunk_bytes: usize,
    /// Nominal chunks in a page.
    pub chunks_per_page: usize,
    /// Pages of 1 MiB this class owns.
    pub pages: usize,
    /// Chunks in use.
    pub used_chunks: usize,
    /// Chunks free for use.
    pub free_chunks: usize,
    /// Items in HOT, WARM, COLD, TEMP.
    pub items: [usize; SEGMENTS],
    /// Last access of the tail of each segment, coarse seconds; 0 when empty.
    pub tail_times: [u32; SEGMENTS],
    /// Bytes of the items by memcached's arithmetic.
    pub mem_requested: usize,
    /// Seconds since the last victim's last access, at its eviction.
    pub evicted_time: u32,
    /// The class' counters.
    pub counters: ClassCounters,
}

impl ClassSnapshot {
    /// Items in all segments.
    pub fn item_count(&self) -> usize {
        self.items.iter().sum()
    }
}

/// The whole store.
#[derive(Clone, Default, Debug)]
pub struct Snapshot {
    /// All classes in ascending order, used or not.
    pub classes: Vec<ClassSnapshot>,
    /// Counters of no class.
    pub counters: StoreCounters,
    /// Items linked now.
    pub curr_items: usize,
    /// Their bytes by memcached's arithmetic.
    pub bytes: usize,
    /// The memory limit in bytes.
    pub limit_bytes: usize,
    /// Bytes of all pages, the pool included.
    pub malloced_bytes: usize,
    /// Free pages in the global pool.
    pub pool_pages: usize,
    /// log2 of the places that memcached's hash table would have. Like that one it never shrinks, even if the index does.
    pub hash_power: u32,
    /// Bytes of the index.
    pub hash_bytes: usize,
    /// How often the system refused memory.
    pub refusals: u64,
    /// Whether a page move is in progress.
    pub is_reassigning: bool,
    /// Why the mover last stood still: `none`, `pass`, `from_slab`, `from_lru`, `busy`, `busy_floating`, `locked`.
    pub last_busy_status: &'static str,
    /// Whether the crawler is at work.
    pub is_crawling: bool,
    /// The flush mark (`oldest` in `stats settings`).
    pub oldest_live: u32,
}
