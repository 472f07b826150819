//! Stand-in with the final interface over a hash map, until the partitioned store lands.

use std::collections::HashMap;

use crate::base::hash::{KeyHash, KeyHasher};
use crate::base::sizes;
use crate::base::sync::{Arc, Mutex, MutexGuard};
use crate::base::time::Now;
use crate::stats::events::EventHub;

use super::chunks::ChunkPool;
use super::config::{Config, Tuning};
use super::counters::{ClassCounters, StoreCounters};
use super::snapshot::Snapshot;
use super::value::{LargeBuffer, LargeValue, NewValue, Value};

/// Why something could not be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// The item is over the item size limit.
    TooLarge,
    /// No memory, and nothing evictable.
    NoMemory,
}

/// How an item of a given size is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fit {
    /// Value inside the partition: hand in [`NewValue::Bytes`].
    Inline,
    /// Value in chunks of its own: fill a [`Store::large_buffer`] and hand in [`NewValue::Large`].
    Large,
    /// Over the item size limit: refuse it.
    TooLarge,
}

/// What a lookup met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// A live item.
    Hit,
    /// Nothing.
    Miss,
    /// An expired item; it is gone now.
    Expired,
    /// An item that a `flush_all` covers; it is gone now.
    Flushed,
}

/// An item to be linked by [`Entry::insert`].
#[derive(Debug)]
pub struct NewItem<'a> {
    /// Client flags.
    pub flags: u32,
    /// Coarse time at which it expires, 0 for never ([`Now::deadline`]).
    pub exptime: u32,
    /// The CAS id it gets; `None` for the next one of the partition.
    pub cas: Option<u64>,
    /// Its bytes.
    pub value: NewValue<'a>,
    /// Meta marks it starts with.
    pub marks: Marks,
}

/// Marks of the meta protocol on an item.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Marks {
    /// Invalidated, may still be served as stale.
    pub is_stale: bool,
    /// One client has been told to recache.
    pub is_win_sent: bool,
    /// The key was given in base64.
    pub is_binary_key: bool,
}

/// One read-only view of a linked item. Its methods decode on demand.
#[derive(Clone, Copy, Debug)]
pub struct ItemView<'a> {
    item: &'a Stored,
    key: &'a [u8],
    has_cas: bool,
}

impl<'a> ItemView<'a> {
    /// The key.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }
    /// The value; copy it out or clone its handle.
    pub fn value(&self) -> Value<'a> {
        match &self.item.value {
            Bytes::Inline(bytes) => Value::Inline(bytes),
            Bytes::Large(large) => Value::Large(large),
        }
    }
    /// Client flags.
    pub fn flags(&self) -> u32 {
        self.item.flags
    }
    /// Coarse time at which it expires, 0 for never.
    pub fn exptime(&self) -> u32 {
        self.item.exptime
    }
    /// Coarse time of the last access that counted (or the store).
    pub fn last_access(&self) -> u32 {
        self.item.time
    }
    /// CAS id; 0 when CAS is off.
    pub fn cas(&self) -> u64 {
        if self.has_cas { self.item.cas } else { 0 }
    }
    /// Slab class.
    pub fn class(&self) -> u8 {
        1
    }
    /// Bytes of the item by memcached's arithmetic.
    pub fn item_bytes(&self) -> usize {
        sizes::item_bytes(
            self.key.len(),
            self.value().len(),
            self.item.flags != 0,
            self.has_cas,
        )
    }
    /// Whether it was fetched since it was stored.
    pub fn is_fetched(&self) -> bool {
        self.item.is_fetched
    }
    /// Meta marks.
    pub fn marks(&self) -> Marks {
        self.item.marks
    }
    /// Whether incr and decr refuse it for its size (memcached's chunked items).
    pub fn is_chunked(&self) -> bool {
        matches!(self.item.value, Bytes::Large(_))
    }
}

#[derive(Debug)]
enum Bytes {
    Inline(Vec<u8>),
    Large(LargeValue),
}

#[derive(Debug)]
struct Stored {
    value: Bytes,
    flags: u32,
    exptime: u32,
    time: u32,
    cas: u64,
    is_fetched: bool,
    marks: Marks,
}

#[derive(Debug, Default)]
struct Naive {
    items: HashMap<Vec<u8>, Stored>,
    cas: u64,
    class: ClassCounters,
    counters: StoreCounters,
    oldest: u32,
}

/// The store; shared by all workers.
pub struct Store {
    config: Config,
    hasher: KeyHasher,
    events: Arc<EventHub>,
    pool: Arc<ChunkPool>,
    tuning: Mutex<Tuning>,
    inner: Mutex<Naive>,
}

/// Threshold of the stand-in.
const INLINE_MAX: usize = 12 * 1024;

impl Store {
    /// A store with `config`; evictions are told to `events`.
    pub fn new(config: Config, events: Arc<EventHub>) -> Self {
        Self {
            hasher: KeyHasher::random(),
            tuning: Mutex::new(config.tuning.clone()),
            inner: Mutex::new(Naive {
                cas: 1,
                ..Naive::default()
            }),
            pool: ChunkPool::new(),
            events,
            config,
        }
    }
    /// The settings it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// The hash of a key, to be computed once per request and handed to [`Store::entry`].
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        self.hasher.hash(key)
    }
    /// Bytes an item would have by memcached's arithmetic.
    pub fn item_bytes(&self, key_bytes: usize, value_bytes: usize, flags: u32) -> usize {
        sizes::item_bytes(key_bytes, value_bytes, flags != 0, self.config.has_cas)
    }
    /// How an item of this size is kept.
    pub fn fit(&self, key_bytes: usize, value_bytes: usize, flags: u32) -> Fit {
        let bytes = self.item_bytes(key_bytes, value_bytes, flags);
        if bytes > self.config.item_size_max {
            Fit::TooLarge
        } else if value_bytes > INLINE_MAX {
            Fit::Large
        } else {
            Fit::Inline
        }
    }
    /// Slab class of an item of `item_bytes`.
    pub fn class_of(&self, _item_bytes: usize) -> u8 {
        1
    }
    /// Memory for a large value ([`Fit::Large`]); may evict. `key_bytes` and `flags` as for [`Store::fit`].
    pub fn large_buffer(
        &self,
        key_bytes: usize,
        value_bytes: usize,
        flags: u32,
        now: Now,
    ) -> Result<LargeBuffer, StoreError> {
        let _ = (key_bytes, flags, now);
        Ok(self.pool.allocate(value_bytes))
    }
    /// Locks the key's partition, looks the key up and lets `visit` act on it. Keep the visit short: no I/O, no other
    /// visit inside. A dead item is removed by the lookup and counted (`get_expired`, `get_flushed`).
    pub fn entry<R>(
        &self,
        key: &[u8],
        hash: KeyHash,
        now: Now,
        visit: impl FnOnce(&mut Entry<'_>) -> R,
    ) -> R {
        let _ = hash;
        let mut inner = self.inner.lock();
        let oldest = inner.oldest;
        let found = match inner.items.get(key) {
            None => Found::Miss,
            Some(item) if item.time <= oldest && oldest <= now.seconds => Found::Flushed,
            Some(item) if item.exptime != 0 && item.exptime <= now.seconds => Found::Expired,
            Some(_) => Found::Hit,
        };
        match found {
            Found::Expired => {
                inner.counters.get_expired += 1;
                inner.items.remove(key);
            }
            Found::Flushed => {
                inner.counters.get_flushed += 1;
                inner.items.remove(key);
            }
            Found::Hit | Found::Miss => {}
        }
        visit(&mut Entry {
            store: self,
            inner,
            key,
            now,
            found,
        })
    }
    /// Touches the memory that lookups of these keys will need, so that their cache misses overlap.
    pub fn prefetch(&self, hashes: &[KeyHash]) {
        let _ = hashes;
    }
    /// `flush_all`: at once (`None`) or at a coarse time in the future.
    pub fn flush(&self, at: Option<u32>, now: Now) {
        let mut inner = self.inner.lock();
        inner.oldest = at.unwrap_or(now.seconds).saturating_sub(1);
        if at.is_none() {
            let mark = inner.oldest;
            inner.items.retain(|_, item| item.time < mark);
        }
    }
    /// Adds to a class' and the store's counters outside a visit (any partition will do).
    pub fn count(&self, class: u8, count: impl FnOnce(&mut ClassCounters, &mut StoreCounters)) {
        let _ = class;
        let inner = &mut *self.inner.lock();
        count(&mut inner.class, &mut inner.counters);
    }
    /// State and counters at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner.lock();
        Snapshot {
            curr_items: inner.items.len(),
            counters: inner.counters,
            limit_bytes: self.config.memory_limit_bytes,
            hash_power: 16,
            hash_bytes: 8 << 16,
            last_busy_status: "none",
            ..Snapshot::default()
        }
    }
    /// `stats reset`.
    pub fn reset_counters(&self) {
        let inner = &mut *self.inner.lock();
        inner.counters = StoreCounters::default();
        inner.class = ClassCounters::default();
    }
    /// Current tuning.
    pub fn tuning(&self) -> Tuning {
        self.tuning.lock().clone()
    }
    /// Changes the tuning; takes effect at once.
    pub fn tune(&self, change: impl FnOnce(&mut Tuning)) {
        change(&mut self.tuning.lock())
    }
    /// `cache_memlimit`: the new limit in bytes.
    pub fn set_memory_limit(&self, bytes: usize) {
        let _ = bytes;
    }
    /// Largest slab class id.
    pub fn class_largest(&self) -> u8 {
        39
    }
    /// `slabs reassign`: starts moving a page from class `source` (-1 for any) to class `target` (0 for the pool).
    pub fn reassign(&self, source: i32, target: i32) -> Reassign {
        let _ = (source, target);
        Reassign::NoSpare
    }
    /// `lru_crawler crawl`: asks for a crawl of these classes (bit n is class n).
    pub fn crawl(&self, classes: u64) -> Crawl {
        let _ = classes;
        Crawl::NotStarted
    }
    /// Visits live items for a key dump, at most about `items_max` per call; `None` when the dump is complete.
    pub fn dump(
        &self,
        cursor: DumpCursor,
        classes: u64,
        items_max: usize,
        now: Now,
        each: &mut dyn FnMut(&ItemView<'_>),
    ) -> Option<DumpCursor> {
        let _ = (cursor, classes, items_max);
        let inner = self.inner.lock();
        for (key, item) in &inner.items {
            if item.exptime == 0 || item.exptime > now.seconds {
                each(&ItemView {
                    item,
                    key,
                    has_cas: self.config.has_cas,
                });
            }
        }
        None
    }
    /// Visits the items of a class' COLD segment from the newest on (`stats cachedump`), until `each` returns false.
    pub fn cachedump(&self, class: u8, now: Now, each: &mut dyn FnMut(&ItemView<'_>) -> bool) {
        let _ = (class, now, each);
    }
    /// `stats sizes`: (bucket of 32 bytes rounded up, items) in ascending order; empty unless sizes are tracked.
    pub fn size_histogram(&self) -> Vec<(usize, u64)> {
        Vec::new()
    }
    /// One bounded step of maintenance on the share of worker `worker` of `workers`: LRU balance, expiry, crawler,
    /// page mover. Returns how long the worker may sleep before the next step.
    pub fn maintain(&self, worker: usize, workers: usize, now: Now) -> std::time::Duration {
        let _ = (worker, workers, now, &self.events);
        std::time::Duration::from_secs(1)
    }
    /// `debugitem`: pins for memcached's own tests of the page mover. False when the item is absent.
    pub fn debug_item(&self, action: DebugItem, key: &[u8], now: Now) -> bool {
        let _ = (action, key, now);
        true
    }
}

/// What [`Store::reassign`] answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reassign {
    /// The move has been started.
    Running,
    /// Another move is in progress.
    Busy,
    /// No such class.
    BadClass,
    /// The source has no page to spare.
    NoSpare,
    /// Source and target are the same.
    Same,
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

/// Where a dump goes on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DumpCursor {
    pub(super) partition: u32,
    pub(super) bucket: u32,
}

/// A visit to one key, under its partition's lock.
pub struct Entry<'a> {
    store: &'a Store,
    inner: MutexGuard<'a, Naive>,
    key: &'a [u8],
    now: Now,
    found: Found,
}

impl Entry<'_> {
    /// What the lookup met. Stays as it was when the entry changes.
    pub fn found(&self) -> Found {
        self.found
    }
    /// The linked item, if there is one now.
    pub fn item(&self) -> Option<ItemView<'_>> {
        let (key, item) = self.inner.items.get_key_value(self.key)?;
        Some(ItemView {
            item,
            key,
            has_cas: self.store.config.has_cas,
        })
    }
    /// Marks a fetch: the LRU bump of get, gat and mg.
    pub fn bump(&mut self) {
        let now = self.now.seconds;
        if let Some(item) = self.inner.items.get_mut(self.key) {
            item.is_fetched = true;
            item.time = now;
        }
    }
    /// Counts a get hit in the item's class and segment.
    pub fn count_get_hit(&mut self) {
        self.inner.class.hits_to_hot += 1;
    }
    /// Refreshes the item's place in the LRU without marking a fetch (memcached's `do_item_update`, for add).
    pub fn refresh(&mut self) {}
    /// Links an item under the key, in place of the present one; returns its CAS id. May evict others. On an error the
    /// present item stays.
    pub fn insert(&mut self, item: NewItem<'_>) -> Result<u64, StoreError> {
        let cas = match item.cas {
            Some(cas) => cas,
            None => self.next_cas(),
        };
        let value = match item.value {
            NewValue::Bytes(bytes) => Bytes::Inline(bytes.to_vec()),
            NewValue::Large(buffer) => Bytes::Large(buffer.finish()),
        };
        let stored = Stored {
            value,
            flags: item.flags,
            exptime: item.exptime,
            time: self.now.seconds,
            cas,
            is_fetched: false,
            marks: item.marks,
        };
        self.inner.counters.total_items += 1;
        self.inner.items.insert(self.key.to_vec(), stored);
        Ok(if self.store.config.has_cas { cas } else { 0 })
    }
    /// Unlinks the item.
    pub fn remove(&mut self) {
        self.inner.items.remove(self.key);
    }
    /// Overwrites the item's value with bytes of the same length (incr and decr in place). The value must be inline.
    pub fn overwrite(&mut self, value: &[u8]) {
        if let Some(Stored {
            value: Bytes::Inline(bytes),
            ..
        }) = self.inner.items.get_mut(self.key)
        {
            bytes.copy_from_slice(value);
        }
    }
    /// Sets the coarse time at which the item expires, 0 for never.
    pub fn set_exptime(&mut self, exptime: u32) {
        if let Some(item) = self.inner.items.get_mut(self.key) {
            item.exptime = exptime;
        }
    }
    /// Sets the item's CAS id.
    pub fn set_cas(&mut self, cas: u64) {
        if let Some(item) = self.inner.items.get_mut(self.key) {
            item.cas = cas;
        }
    }
    /// Takes the next CAS id of the partition; unique in the process.
    pub fn next_cas(&mut self) -> u64 {
        self.inner.cas += 1;
        self.inner.cas
    }
    /// Sets the item's meta marks.
    pub fn set_marks(&mut self, marks: Marks) {
        if let Some(item) = self.inner.items.get_mut(self.key) {
            item.marks = marks;
        }
    }
    /// Counters of the item's class, or of class `class` when there is no item.
    pub fn class_counters(&mut self, class: u8) -> &mut ClassCounters {
        let _ = class;
        &mut self.inner.class
    }
    /// Counters of no class.
    pub fn counters(&mut self) -> &mut StoreCounters {
        &mut self.inner.counters
    }
}
