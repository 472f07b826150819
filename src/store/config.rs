//! What the store is told at start, and the part of it that commands may change later.

use crate::base::sizes::PAGE_BYTES;

use super::lru::policy::Policy;

/// Most partitions of a store; more would be smaller than their bookkeeping.
pub const PARTITIONS_MAX: usize = 1024;

/// Settings of a store. The defaults are memcached's, but for the eviction policy.
#[derive(Clone, Debug)]
pub struct Config {
    /// `-m`: bytes for slab pages; at least one.
    pub memory_limit_bytes: usize,
    /// A slab page, a multiple of 4 KiB and of `slab_chunk_max`: [`PAGE_BYTES`] to users. Tests have smaller ones, to reach
    /// every edge of a full memory within a few operations.
    pub page_bytes: usize,
    /// Seed of the keys' hashes. None is another one for each process, which no client can know; tests have a number, so
    /// that a run can be repeated.
    pub hash_seed: Option<u64>,
    /// `-I`: largest item in bytes by memcached's arithmetic ([`crate::base::sizes::item_bytes`]).
    pub item_size_max: usize,
    /// `-n`: bytes for key, flags and value in the smallest class.
    pub chunk_size_min: usize,
    /// `-f`: factor from one class to the next; above 1.
    pub growth_factor: f64,
    /// `-o slab_chunk_max`: largest chunk in bytes; larger items are chunked.
    pub slab_chunk_max: usize,
    /// `-o slab_sizes`: explicit chunk sizes.
    pub slab_sizes: Option<Vec<u32>>,
    /// `-M` turns it off: answer out of memory instead of evicting.
    pub has_evictions: bool,
    /// `-C` turns it off: every item reports CAS id 0.
    pub has_cas: bool,
    /// Number of partitions; a power of two, 1 to [`PARTITIONS_MAX`].
    pub partitions: usize,
    /// Memory is taken in huge pages, where the system has them.
    pub has_huge_pages: bool,
    /// `-o track_sizes`.
    pub has_size_tracking: bool,
    /// `-o slab_reassign`.
    pub has_slab_reassign: bool,
    /// Bytes the store pretends to have allocated already (`T_MEMD_INITIAL_MALLOC`, for memcached's own tests).
    pub malloced_bytes_initial: usize,
    /// What commands may change while the server runs.
    pub tuning: Tuning,
}

impl Config {
    /// Whether memory follows the need from class to class as stores come; otherwise classes keep their pages until
    /// somebody moves them.
    #[inline]
    pub fn is_elastic(&self, tuning: &Tuning) -> bool {
        self.has_evictions && self.has_slab_reassign && tuning.automove != 0
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory_limit_bytes: 64 << 20,
            page_bytes: PAGE_BYTES,
            hash_seed: None,
            item_size_max: 1 << 20,
            chunk_size_min: 48,
            growth_factor: 1.25,
            slab_chunk_max: 512 << 10,
            slab_sizes: None,
            has_evictions: true,
            has_cas: true,
            partitions: 1,
            has_huge_pages: false,
            has_size_tracking: false,
            has_slab_reassign: true,
            malloced_bytes_initial: 0,
            tuning: Tuning::default(),
        }
    }
}

/// Settings that `lru`, `lru_crawler`, `slabs` and `cache_memlimit` change.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// `-o lru_maintainer`.
    pub has_maintainer: bool,
    /// `-o eviction_policy`, `lru mode`.
    pub policy: Policy,
    /// Share of a class' bytes for HOT, percent. This and the next three are for [`Policy::Segmented`].
    pub hot_lru_percent: u32,
    /// Share of a class' bytes for WARM, percent.
    pub warm_lru_percent: u32,
    /// HOT items idle longer than this share of COLD's age leave.
    pub hot_max_factor: f64,
    /// WARM items idle longer than this share of COLD's age leave.
    pub warm_max_factor: f64,
    /// Items with at most `temporary_ttl` seconds left go to TEMP.
    pub has_temp_lru: bool,
    /// See `has_temp_lru`; seconds.
    pub temporary_ttl_seconds: u32,
    /// `lru_crawler enable|disable`.
    pub has_crawler: bool,
    /// `lru_crawler sleep`, microseconds, at most a second.
    pub crawler_sleep_micros: u32,
    /// `lru_crawler tocrawl`, 0 is unlimited.
    pub crawler_items_max: u32,
    /// `slabs automove`: 0, 1 or 2.
    pub automove: u32,
    /// `slabs automove ratio`.
    pub automove_ratio: f64,
    /// `slabs automove window`, seconds, 3 to 1800.
    pub automove_window: u32,
    /// `slabs automove freeratio`.
    pub automove_free_ratio: f64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            has_maintainer: true,
            policy: Policy::QuickDemotion,
            hot_lru_percent: 20,
            warm_lru_percent: 40,
            hot_max_factor: 0.2,
            warm_max_factor: 2.0,
            has_temp_lru: false,
            temporary_ttl_seconds: 61,
            has_crawler: true,
            crawler_sleep_micros: 100,
            crawler_items_max: 0,
            automove: 1,
            automove_ratio: 0.8,
            automove_window: 10,
            automove_free_ratio: 0.01,
        }
    }
}
