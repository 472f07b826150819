//! Keys and values in memory: an array of partitions, each a lock over everything about its keys.
//!
//! The store keeps bytes: what went in comes out. It does no I/O and never reads the clock. What a command means is not
//! decided here; a command makes one visit to its key ([`Store::entry`]) and does with the [`Entry`] what it means.
//! No reference into a partition leaves the visit.
//!
//! Lock order: mover, tuning, then one partition, then the chunk pool, then the page budget. Two partitions at a time are locked by
//! a flush alone, in ascending order.

pub mod config;
pub mod counters;
pub mod snapshot;
pub mod value;

mod allocate;
mod automove;
mod batch;
mod chunks;
#[cfg(all(test, feature = "shuttle", not(feature = "loom")))]
mod concurrency_tests;
mod dump;
mod entry;
mod export;
mod flush;
mod ids;
mod import;
mod index;
mod item;
mod lru;
mod maintain;
#[cfg(test)]
mod model_tests;
mod mover;
mod overwrite;
mod partition;
mod pins;
mod rebalance;
#[cfg(test)]
mod restart_tests;
mod slab;
#[cfg(test)]
mod step_tests;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use batch::BATCH_KEYS_MAX;
pub use config::{Config, Tuning};
pub use dump::DumpCursor;
pub use entry::{Entry, Found, Hint, ItemView, Marks, NewItem, ReadItem, StoreError};
pub use export::{SavedItem, SavedState};
pub use import::Imported;
pub use lru::policy::Policy;
pub use mover::Reassign;

use crate::base::hash::{KeyHash, KeyHasher};
use crate::base::sync::{Arc, AtomicU32, AtomicUsize, CachePadded, Mutex, Ordering};
use crate::base::time::Now;
use crate::stats::events::EventHub;

use chunks::ChunkPool;
use counters::{ClassCounters, StoreCounters};
use flush::FlushMarks;
use maintain::Activity;
use mover::Mover;
use partition::{Partition, Shared};
use rebalance::Freed;
use slab::bins::BinTable;
use slab::budget::Budget;
use slab::classes::ClassTable;
use snapshot::{ClassSnapshot, Snapshot};
use value::LargeBuffer;

/// Items up to this size (by memcached's arithmetic) are kept in slots; larger ones in chunks of their own.
/// Copying costs less than a further vector of a write up to about here.
const INLINE_ITEM_BYTES_MAX: usize = 16 * 1024;

const _: () =
    assert!(INLINE_ITEM_BYTES_MAX <= item::INLINE_VALUE_BYTES_MAX + 1 + crate::base::sizes::ITEM_HEADER_BYTES);

/// Items that `flush_all` throws away itself, and how many of them under one hold of a partition's lock. All are dead by
/// then; this is what makes counters fall and memory free at once.
const FLUSHED_ITEMS_MAX: usize = 16 * 1024;
const FLUSHED_ITEMS_PER_HOLD: usize = 256;

/// Evictions that one large value may cause before a page is taken from another class.
const LARGE_EVICTIONS_MAX: usize = 4096;

/// Pages taken from other classes for one chunk.
const STEALS_MAX: usize = 8;

/// Places in memcached's hash table for a bucket of the index: the index holds 10.5 items per bucket when it grows,
/// memcached's table doubles at 1.5 items per place, so that both reach the next power of two at the same number of items.
const BUCKET_PLACES: usize = 14;

/// Least `hash_power_level`: memcached's table at start.
const HASH_POWER_MIN: u32 = 16;

/// Pauses between maintenance steps, by what the last one found to do.
const PAUSE_FULL: Duration = Duration::from_millis(1);
const PAUSE_SOME: Duration = Duration::from_millis(100);
const PAUSE_IDLE: Duration = Duration::from_secs(1);

/// How an item of a given size is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fit {
    /// Value inside the partition: hand in [`value::NewValue::Bytes`].
    Inline,
    /// Value in chunks of its own: fill a [`Store::large_buffer`] and hand in [`value::NewValue::Large`].
    Large,
    /// Over the item size limit: refuse it.
    TooLarge,
}

/// What [`Store::crawl`] answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crawl {
    /// The crawl has been started.
    Started,
    /// A crawl is in progress.
    Busy,
    /// There is nothing to crawl.
    NotStarted,
}

/// What [`Store::debug_item`] does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DebugItem {
    /// Keep the page mover away from the item.
    Lock,
    /// Let it in again.
    Unlock,
    /// Hold a reference, as a stalled client would.
    Reference,
    /// Let the reference go.
    Unreference,
}

/// The store; shared by all workers.
pub struct Store {
    shared: Arc<Shared>,
    partitions: Box<[CachePadded<Mutex<Partition>>]>,
    /// partitions.len() - 1
    mask: u64,
    tuning: Mutex<Tuning>,
    mover: Mutex<Mover>,
    /// Counts partitions asked for memory for a large value.
    turn: AtomicUsize,
    /// `hash_power_level` before a restart; 0 without one.
    hash_power_before: AtomicU32,
}

impl Store {
    /// A store with `config`; evictions are told to `events`.
    pub fn new(config: Config, events: Arc<EventHub>) -> Self {
        let classes = ClassTable::new(&config);
        let count = config.partitions.next_power_of_two();
        let bins = BinTable::new(&classes, config.memory_limit_bytes, count);
        let (limit, page, initial) = (config.memory_limit_bytes, config.page_bytes, config.malloced_bytes_initial);
        let budget = Arc::new(Budget::new((limit, page), initial, bins.classes(), config.has_huge_pages));
        let tuning = config.tuning.clone();
        budget.set_elastic(config.is_elastic(&tuning));
        let shared = Arc::new(Shared {
            chunks: ChunkPool::new(classes.clone(), Arc::clone(&budget), limit),
            hasher: config.hash_seed.map_or_else(KeyHasher::random, KeyHasher::new),
            flush: FlushMarks::default(),
            starvations: AtomicU32::new(0),
            config: Config { partitions: count, ..config },
            classes,
            bins,
            budget,
            events,
        });
        let partitions =
            (0..count).map(|number| CachePadded::new(Mutex::new(Partition::new(Arc::clone(&shared), number))));
        Self {
            partitions: partitions.collect(),
            mask: count as u64 - 1,
            tuning: Mutex::new(tuning),
            mover: Mutex::new(Mover::new()),
            turn: AtomicUsize::new(0),
            hash_power_before: AtomicU32::new(0),
            shared,
        }
    }

    /// The settings it was made with.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The hash of a key, to be computed once per request and handed to [`Store::entry`].
    #[inline(always)]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        self.shared.hasher.hash(key)
    }

    #[inline]
    fn partition_number(&self, hash: KeyHash) -> usize {
        // Bits that neither the index nor its tags use.
        ((hash.0 >> 48) & self.mask) as usize
    }

    #[inline]
    fn partition(&self, hash: KeyHash) -> &Mutex<Partition> {
        &self.partitions[self.partition_number(hash)]
    }

    /// Bytes an item would have by memcached's arithmetic.
    #[inline]
    pub fn item_bytes(&self, key_bytes: usize, value_bytes: usize, flags: u32) -> usize {
        self.shared.item_bytes(key_bytes, value_bytes, flags != 0)
    }

    /// How an item of this size is kept.
    #[inline]
    pub fn fit(&self, key_bytes: usize, value_bytes: usize, flags: u32) -> Fit {
        let bytes = self.item_bytes(key_bytes, value_bytes, flags);
        let config = &self.shared.config;
        if bytes > config.item_size_max {
            Fit::TooLarge
        } else if bytes > INLINE_ITEM_BYTES_MAX.min(config.slab_chunk_max) {
            Fit::Large
        } else {
            Fit::Inline
        }
    }

    /// Slab class of an item of `item_bytes`.
    #[inline]
    pub fn class_of(&self, item_bytes: usize) -> u8 {
        self.shared.classes.class_of(item_bytes)
    }

    /// Largest slab class id.
    pub fn class_largest(&self) -> u8 {
        self.shared.classes.largest() as u8
    }

    /// Locks the key's partition, looks the key up and lets `visit` act on it. Keep the visit short: no I/O, no other
    /// visit inside. A dead item is removed by the lookup and counted (`get_expired`, `get_flushed`).
    #[inline]
    pub fn entry<R>(&self, key: &[u8], hash: KeyHash, now: Now, visit: impl FnOnce(&mut Entry<'_>) -> R) -> R {
        self.entry_at(key, hash, Hint::NONE, now, visit)
    }

    /// [`Store::entry`] for an item that was [located](Store::locate).
    #[inline]
    pub fn entry_at<R>(
        &self,
        key: &[u8],
        hash: KeyHash,
        hint: Hint,
        now: Now,
        visit: impl FnOnce(&mut Entry<'_>) -> R,
    ) -> R {
        let mut partition = self.partition(hash).lock();
        visit(&mut Entry::new(&mut partition, &self.partitions, key, (hash, hint), now))
    }

    /// A plain get: `reader` is given the live item under a key, if there is one; the hit or miss is counted and the fetch
    /// marked. The most frequent visit, and the same as [`Store::entry`] with the steps of a get.
    #[inline(always)]
    pub fn get(&self, key: &[u8], hash: KeyHash, now: Now, reader: impl ReadItem) -> bool {
        let mut partition = self.partition(hash).lock();
        let is_there = partition.get(key, (hash, Hint::NONE), now, reader).is_some();
        if !is_there {
            partition.counters.get_misses += 1;
        }
        is_there
    }

    /// Memory for a large value ([`Fit::Large`]); may evict. `key_bytes` and `flags` as for [`Store::fit`]. Not to be
    /// called inside a visit.
    pub fn large_buffer(
        &self,
        key_bytes: usize,
        value_bytes: usize,
        flags: u32,
        now: Now,
    ) -> Result<LargeBuffer, StoreError> {
        let item_bytes = self.item_bytes(key_bytes, value_bytes, flags);
        let plan = self.shared.chunks.plan(item_bytes, value_bytes);
        let Some(charge) = self.shared.chunks.begin_upload(value_bytes) else {
            self.count(plan.class as u8, |counters, _| counters.outofmemory += 1);
            self.shared.starvations.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::NoMemory);
        };
        let mut chunks = Vec::with_capacity(plan.count + 1);
        for _ in 0..plan.count {
            chunks.push(self.take_chunk(plan.class, now).ok_or(StoreError::NoMemory)?);
        }
        if let Some(last) = plan.last {
            let largest = usize::from(self.class_largest());
            let chunk = self.shared.chunks.take(last).or_else(|| self.take_chunk(largest, now));
            chunks.push(chunk.ok_or(StoreError::NoMemory)?);
        }
        Ok(LargeBuffer::new(chunks, value_bytes, charge))
    }

    fn take_chunk(&self, class: usize, now: Now) -> Option<Arc<value::Chunk>> {
        for _ in 0..LARGE_EVICTIONS_MAX {
            if let Some(chunk) = self.shared.chunks.take(class) {
                return Some(chunk);
            }
            if self.free_empty_span(class) || self.rebalance(class, now) {
                continue;
            }
            if !self.evict_oldest(class, now) {
                break;
            }
            self.count(class as u8, |counters, _| counters.direct_reclaims += 1);
        }
        if self.shared.config.has_evictions {
            let stolen = take_after_stealing(|| self.steal_page(class, now), || self.shared.chunks.take(class));
            if stolen.is_some() {
                return stolen;
            }
        }
        self.count(class as u8, |counters, _| counters.outofmemory += 1);
        self.shared.starvations.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// How often no memory was found, a count that wraps around: whoever holds some without need should let go then.
    pub fn starvations(&self) -> u32 {
        self.shared.starvations.load(Ordering::Relaxed)
    }

    /// Lets go of the memory that is set aside for the rest of the process, because the system refused some; false when
    /// that is gone already. From then on the store itself asks for hardly any.
    pub fn release_reserve(&self) -> bool {
        self.shared.budget.release_reserve()
    }

    /// How often the system refused memory.
    pub fn refusals(&self) -> u64 {
        self.shared.budget.refusals()
    }

    /// Works towards memory for a chunk: free chunks of other classes, else whatever a partition holds that is colder than
    /// its items of the class. Partitions take turns. False when there is nothing colder.
    fn rebalance(&self, class: usize, now: Now) -> bool {
        if !self.shared.config.is_elastic(&self.tuning()) {
            return false;
        }
        let bytes = self.shared.chunks.cost(class);
        if self.shared.chunks.release_any(bytes) {
            return true;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) & self.mask as usize;
        self.partitions[turn].lock().rebalance(class, bytes, now) != Freed::Nothing
    }

    /// Gives a class the memory of one of its spans that holds nothing. Only a class with items of both kinds has some.
    fn free_empty_span(&self, class: usize) -> bool {
        self.partitions.iter().any(|partition| partition.lock().free_empty_span(class))
    }

    /// Evicts the item of a class that was touched longest ago, in whatever partition it is; at equal times in the one that
    /// holds most.
    fn evict_oldest(&self, class: usize, now: Now) -> bool {
        let oldest = self
            .partitions
            .iter()
            .enumerate()
            .filter_map(|(number, partition)| {
                let partition = partition.lock();
                let bytes = partition.classes[class].bytes();
                Some((partition.victim_time(class)?, std::cmp::Reverse(bytes), number))
            })
            .min();
        match oldest {
            Some((_, _, number)) => self.partitions[number].lock().evict_from(class, now),
            None => false,
        }
    }

    /// `flush_all`: at once (`None`) or at a coarse time. As in memcached one before the start of the server, which is coarse
    /// second 1, flushes nothing, and any other in the past means at once.
    pub fn flush(&self, at: Option<u32>, now: Now) {
        self.shared.flush.show(at.unwrap_or(now.seconds));
        match at {
            Some(at) if at <= 1 => self.shared.flush.flush_at(0, now),
            Some(at) if at > now.seconds => self.shared.flush.flush_at(at, now),
            _ => {
                // No visit goes on meanwhile: one that had found an item would touch it as if it had come after the flush.
                let locked: Vec<_> = self.partitions.iter().map(|partition| partition.lock()).collect();
                self.shared.flush.flush_now(now);
                drop(locked);
                let mut left = FLUSHED_ITEMS_MAX;
                for partition in &self.partitions {
                    while left > 0 {
                        let flushed = partition.lock().flush_recent(FLUSHED_ITEMS_PER_HOLD, now);
                        left = left.saturating_sub(flushed);
                        if flushed < FLUSHED_ITEMS_PER_HOLD {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Adds to a class' and the store's counters outside a visit (any partition will do).
    pub fn count(&self, class: u8, count: impl FnOnce(&mut ClassCounters, &mut StoreCounters)) {
        let partition = &mut *self.partitions[0].lock();
        let class = usize::from(class).min(partition.classes.len() - 1);
        count(&mut partition.classes[class].counters, &mut partition.counters);
    }

    /// Current tuning.
    pub fn tuning(&self) -> Tuning {
        self.tuning.lock().clone()
    }

    /// Changes the tuning; takes effect at once.
    pub fn tune(&self, change: impl FnOnce(&mut Tuning)) {
        let mut tuning = self.tuning.lock();
        change(&mut tuning);
        self.shared.budget.set_elastic(self.shared.config.is_elastic(&tuning));
        for partition in &self.partitions {
            partition.lock().tuning.clone_from(&tuning);
        }
    }

    /// `cache_memlimit`: the new limit in bytes. Memory above it is given back by the mover, page by page.
    pub fn set_memory_limit(&self, bytes: usize) {
        self.shared.budget.set_limit(bytes);
        self.mover.lock().shrink();
    }

    /// `lru_crawler crawl`: asks for a crawl of these classes (bit n is class n).
    pub fn crawl(&self, classes: u64, now: Now) -> Crawl {
        if self.partitions.iter().any(|partition| partition.lock().is_crawling()) {
            return Crawl::Busy;
        }
        if self.partitions.iter().all(|partition| partition.lock().len() == 0) {
            return Crawl::NotStarted;
        }
        for partition in &self.partitions {
            partition.lock().start_crawl(classes, now);
        }
        self.count(0, |_, counters| counters.lru_crawler_starts += 1);
        Crawl::Started
    }

    /// One bounded step of maintenance on the share of worker `worker` of `workers`: LRU balance, expiry, crawler,
    /// page mover. Returns how long the worker may sleep before the next step.
    pub fn maintain(&self, worker: usize, workers: usize, now: Now) -> Duration {
        let mut activity = Activity::Idle;
        for partition in self.partitions.iter().skip(worker).step_by(workers.max(1)) {
            activity = activity.max(partition.lock().maintain(now));
        }
        if worker == 0 && self.move_step(now) {
            activity = Activity::Full;
        }
        match activity {
            Activity::Idle => PAUSE_IDLE,
            Activity::Some => PAUSE_SOME,
            Activity::Full => PAUSE_FULL,
        }
    }

    /// `debugitem`: pins for memcached's own tests of the page mover. False when the item is absent.
    pub fn debug_item(&self, action: DebugItem, key: &[u8], now: Now) -> bool {
        let hash = self.hash(key);
        let mut partition = self.partition(hash).lock();
        let (_, id) = partition.lookup(key, hash, Hint::NONE, now);
        let Some(id) = id else {
            return matches!(action, DebugItem::Lock | DebugItem::Unlock);
        };
        match action {
            DebugItem::Lock => partition.pins.lock(id),
            DebugItem::Unlock => partition.pins.unlock_all(),
            DebugItem::Reference => partition.pins.reference(id),
            DebugItem::Unreference => partition.pins.unreference(id),
        }
        true
    }

    /// `stats sizes`: (bytes rounded up to 32, items) in ascending order; empty unless sizes are tracked.
    pub fn size_histogram(&self) -> Vec<(usize, u64)> {
        let mut sums: Vec<u64> = Vec::new();
        for partition in &self.partitions {
            let partition = partition.lock();
            if sums.len() < partition.size_counts.len() {
                sums.resize(partition.size_counts.len(), 0);
            }
            for (sum, count) in sums.iter_mut().zip(&partition.size_counts) {
                *sum += count;
            }
        }
        let rows = sums.into_iter().enumerate().filter(|(_, count)| *count > 0);
        rows.map(|(bucket, count)| (bucket * partition::SIZE_BUCKET_BYTES, count)).collect()
    }

    /// `stats reset`.
    pub fn reset_counters(&self) {
        for partition in &self.partitions {
            let partition = &mut *partition.lock();
            partition.counters = StoreCounters::default();
            for class in &mut partition.classes {
                class.counters = ClassCounters::default();
                class.evicted_time = 0;
            }
            partition.rebalance.tally = Default::default();
        }
        self.shared.budget.reset_counters();
        let mover = &mut *self.mover.lock();
        (mover.tally, mover.slabs_moved, mover.chunk_rescues) = Default::default();
    }

    /// State and counters at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot { oldest_live: self.shared.flush.shown(), ..Snapshot::default() };
        let mut buckets = 0;
        snapshot.classes = (1..=self.shared.classes.largest()).map(|class| self.class_snapshot(class)).collect();
        for partition in &self.partitions {
            let partition = partition.lock();
            snapshot.counters.add(&partition.counters);
            snapshot.curr_items += partition.len();
            snapshot.hash_bytes += partition.index.bytes();
            snapshot.is_crawling |= partition.is_crawling();
            buckets += partition.index.buckets().max(partition.buckets_peak);
            for class in &mut snapshot.classes {
                partition.add_to(class);
            }
        }
        self.add_pages(&mut snapshot);
        snapshot.refusals = self.shared.budget.refusals();
        let mover = self.mover.lock();
        let mut tally = mover.tally;
        for partition in &self.partitions {
            tally.add(&partition.lock().rebalance.tally);
        }
        snapshot.is_reassigning = mover.is_running();
        snapshot.last_busy_status = mover.status;
        let counters = &mut snapshot.counters;
        counters.slabs_moved = mover.slabs_moved + self.shared.budget.counts().followed;
        counters.reassign_chunk_rescues = mover.chunk_rescues;
        counters.reassign_rescues = tally.rescues;
        counters.reassign_inline_reclaim = tally.inline_reclaim;
        counters.reassign_busy_items = tally.busy_items;
        counters.reassign_busy_nomem = tally.busy_nomem;
        let least = self.hash_power_before.load(Ordering::Relaxed).max(HASH_POWER_MIN);
        snapshot.hash_power = (buckets * BUCKET_PLACES).max(1).ilog2().max(least);
        snapshot
    }

    fn class_snapshot(&self, class: usize) -> ClassSnapshot {
        ClassSnapshot {
            class: class as u8,
            chunk_bytes: self.shared.classes.chunk_bytes(class),
            chunks_per_page: self.shared.classes.chunks_per_page(class),
            ..ClassSnapshot::default()
        }
    }

    fn add_pages(&self, snapshot: &mut Snapshot) {
        let counts = self.shared.budget.counts();
        snapshot.malloced_bytes = counts.malloced_bytes;
        snapshot.limit_bytes = counts.limit_bytes;
        snapshot.pool_pages = counts.pool;
        for class in &mut snapshot.classes {
            let number = usize::from(class.class);
            let (live, free) = self.shared.chunks.counts(number);
            let unspent = (counts.pages[number] * counts.page_memory_bytes()).saturating_sub(counts.used[number]);
            class.pages = counts.pages[number];
            class.used_chunks += live;
            class.free_chunks += free + unspent / class.chunk_bytes;
            snapshot.bytes += class.mem_requested;
        }
    }
}

/// What `take` takes after `steal` has made room. Another thread may be faster, so there is more than one try.
fn take_after_stealing<T>(mut steal: impl FnMut() -> bool, mut take: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..STEALS_MAX {
        if !steal() {
            return None;
        }
        if let Some(taken) = take() {
            return Some(taken);
        }
    }
    None
}
