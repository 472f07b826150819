//! A partition: everything about its share of the keys. One lock covers it; nothing here knows of locks or threads.
//!
//! Here are the item's life from link to unlink and the views of it. Where memory comes from is `allocate`, which item
//! moves in the LRU is `lru`, what happens in idle turns is `maintain`.

use slab::Slab;

use crate::base::hash::{KeyHash, KeyHasher};
use crate::base::sizes;
use crate::base::sync::Arc;
use crate::base::time::Now;
use crate::stats::events::EventHub;

use super::allocate::Peers;
use super::chunks::ChunkPool;
use super::config::{Config, Tuning};
use super::counters::{ClassCounters, StoreCounters};
use super::entry::{Found, NewItem, StoreError};
use super::flush::FlushMarks;
use super::ids::ItemId;
use super::index::Index;
use super::item::{self, Fields, Item, Shape};
use super::lru::{List, Segment};
use super::maintain::Sweep;
use super::pins::Pins;
use super::rebalance::Rebalance;
use super::slab::bins::BinTable;
use super::slab::budget::Budget;
use super::slab::classes::ClassTable;
use super::slab::spans::Spans;
use super::value::{LargeValue, NewValue, Value};

/// What all partitions share. The counters of pages and chunks inside have their own locks, taken after a partition's.
pub struct Shared {
    pub(super) config: Config,
    pub(super) hasher: KeyHasher,
    pub(super) classes: ClassTable,
    pub(super) bins: BinTable,
    pub(super) budget: Arc<Budget>,
    pub(super) chunks: Arc<ChunkPool>,
    pub(super) events: Arc<EventHub>,
    pub(super) flush: FlushMarks,
}

impl Shared {
    /// Bytes of an item by memcached's arithmetic.
    #[inline]
    pub fn item_bytes(&self, key_bytes: usize, value_bytes: usize, has_flags: bool) -> usize {
        sizes::item_bytes(key_bytes, value_bytes, has_flags, self.config.has_cas)
    }
}

/// The LRU and the counters of one class.
#[derive(Default)]
pub(super) struct ClassState {
    /// By [`Segment::index`].
    pub(super) lists: [List; 4],
    pub(super) counters: ClassCounters,
    /// Seconds between the last victim's access and its eviction.
    pub(super) evicted_time: u32,
}

impl ClassState {
    pub(super) fn bytes(&self) -> usize {
        self.lists.iter().map(|list| list.bytes).sum()
    }
}

/// See the module comment.
pub struct Partition {
    pub(super) shared: Arc<Shared>,
    pub(super) index: Index,
    pub(super) spans: Spans,
    pub(super) large: Slab<LargeValue>,
    /// By class id; entry 0 is unused.
    pub(super) classes: Vec<ClassState>,
    pub(super) counters: StoreCounters,
    pub(super) tuning: Tuning,
    /// Next CAS id: unique in the process, since partitions count in steps of their number.
    cas_next: u64,
    cas_step: u64,
    pub(super) pins: Pins,
    pub(super) sweep: Sweep,
    pub(super) rebalance: Rebalance,
    /// Items by size in units of 32 bytes, when sizes are tracked.
    pub(super) size_counts: Vec<u64>,
}

/// Class and bytes of an item as users see them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    pub(super) class: usize,
    pub(super) bytes: usize,
}

impl Partition {
    /// Partition `number` of `config.partitions`.
    pub fn new(shared: Arc<Shared>, number: usize) -> Self {
        let classes = shared.bins.classes();
        let step = shared.config.partitions as u64;
        Self {
            index: Index::new(),
            spans: Spans::new(&shared.bins),
            large: Slab::new(),
            classes: (0..classes).map(|_| ClassState::default()).collect(),
            counters: StoreCounters::default(),
            tuning: shared.config.tuning.clone(),
            cas_next: (if number < 2 { step } else { 0 }) + number as u64 + if step == 1 { 1 } else { 0 },
            cas_step: step,
            pins: Pins::default(),
            sweep: Sweep::default(),
            rebalance: Rebalance::new(classes, shared.config.memory_limit_bytes / shared.config.partitions.max(1)),
            size_counts: Vec::new(),
            shared,
        }
    }

    /// The next CAS id.
    #[inline]
    pub fn next_cas(&mut self) -> u64 {
        let cas = self.cas_next;
        self.cas_next += self.cas_step;
        cas
    }

    /// An item's fields.
    #[inline]
    pub(super) fn item(&self, id: ItemId) -> Item<'_> {
        Item(self.spans.slot(id))
    }

    /// The item under a key, dead or alive.
    #[inline]
    pub fn find(&self, key: &[u8], hash: KeyHash) -> Option<ItemId> {
        self.index.find(hash.0, |id| self.item(id).key() == key)
    }

    /// The live item under a key; a dead one is removed and counted.
    #[inline]
    pub fn lookup(&mut self, key: &[u8], hash: KeyHash, now: Now) -> (Found, Option<ItemId>) {
        let Some(id) = self.find(key, hash) else {
            return (Found::Miss, None);
        };
        let item = self.item(id);
        let found = if self.shared.flush.is_covered(item.time(), now) {
            self.counters.get_flushed += 1;
            Found::Flushed
        } else if item.exptime() != 0 && item.exptime() <= now.seconds {
            self.counters.get_expired += 1;
            Found::Expired
        } else {
            return (Found::Hit, Some(id));
        };
        self.unlink(id, hash);
        (found, None)
    }

    /// Whether an item may be thrown away as dead by the LRU, the crawler or the mover: one second later than a lookup
    /// would, as in memcached.
    pub(super) fn is_dead(&self, id: ItemId, now: Now) -> bool {
        let item = self.item(id);
        (item.exptime() != 0 && item.exptime() < now.seconds) || self.shared.flush.is_covered(item.time(), now)
    }

    /// The value of an item.
    #[inline]
    pub(super) fn value(&self, id: ItemId) -> Value<'_> {
        let item = self.item(id);
        if item.has(item::LARGE) {
            match self.large.get(item.large_number()) {
                Some(large) => Value::Large(large),
                None => Value::Inline(&[]),
            }
        } else {
            Value::Inline(item.tail())
        }
    }

    /// Class and bytes of an item.
    #[inline]
    pub(super) fn facts(&self, id: ItemId) -> Facts {
        let item = self.item(id);
        let bytes = self.shared.item_bytes(item.key().len(), self.value(id).len(), item.flags() != 0);
        Facts { class: usize::from(self.shared.classes.class_of(bytes)), bytes }
    }

    /// Links an item under a key in place of the present one; returns its id and CAS id.
    pub fn insert(
        &mut self,
        key: &[u8],
        hash: KeyHash,
        new: NewItem<'_>,
        now: Now,
        peers: Peers<'_>,
    ) -> Result<(ItemId, u64), StoreError> {
        let cas = match new.cas {
            Some(cas) => cas,
            None => self.next_cas(),
        };
        let bytes = self.shared.item_bytes(key.len(), new.value.len(), new.flags != 0);
        let facts = Facts { class: usize::from(self.shared.classes.class_of(bytes)), bytes };
        let mut marks = new.marks.bits();
        let tail_bytes = match &new.value {
            NewValue::Bytes(bytes) => bytes.len(),
            NewValue::Large(_) => {
                marks |= item::LARGE;
                item::LARGE_NUMBER_BYTES
            }
        };
        let slot_class = if marks & item::LARGE != 0 { 0 } else { facts.class };
        let shape =
            Shape { key_bytes: key.len(), tail_bytes, has_flags: new.flags != 0, has_wide_cas: item::is_wide_cas(cas) };
        let bin = self.shared.bins.row(slot_class).bin_of(shape.bytes());
        let id = self.make_place(key, hash, (slot_class, bin), now, peers)?;
        let number;
        let tail = match new.value {
            NewValue::Bytes(bytes) => bytes,
            NewValue::Large(buffer) => {
                number = (self.large.insert(buffer.finish()) as u32).to_le_bytes();
                &number[..]
            }
        };
        let (flags, exptime, time) = (new.flags, new.exptime, self.shared.flush.touch_time(now));
        item::write(self.spans.slot_mut(id), &Fields { key, flags, exptime, time, cas, marks, tail });
        let segment = self.entry_segment(exptime, now);
        self.link_in(segment, id, facts);
        self.counters.total_items += 1;
        self.rebalance.note_store(facts.class, facts.bytes);
        self.track_size(facts.bytes, 1);
        Ok((id, if self.shared.config.has_cas { cas } else { 0 }))
    }

    /// A slot for the key, which the index points to; the present item is gone when this succeeds.
    fn make_place(
        &mut self,
        key: &[u8],
        hash: KeyHash,
        place: (usize, usize),
        now: Now,
        peers: Peers<'_>,
    ) -> Result<ItemId, StoreError> {
        if let Some(old) = self.find(key, hash)
            && self.spans.place(old) == place
        {
            // The same slot does: no allocation, no eviction, and the index stays as it is.
            self.unlink_from_list(old);
            self.drop_large(old);
            return Ok(old);
        }
        let id = self.allocate(place.0, place.1, now, peers).ok_or(StoreError::NoMemory)?;
        // Looked up again, since the allocation may have evicted it.
        if let Some(old) = self.find(key, hash) {
            self.unlink_from_list(old);
            self.drop_large(old);
            self.index.replace(hash.0, old, id);
            self.spans.give_back(old);
            return Ok(id);
        }
        while let Err(full) = self.index.insert(hash.0, id) {
            self.evict(full.victim, now);
        }
        if self.index.is_crowded() {
            let (spans, hasher) = (&self.spans, &self.shared.hasher);
            self.index.grow(|other| if other == id { hash.0 } else { hasher.hash(Item(spans.slot(other)).key()).0 });
        }
        Ok(id)
    }

    /// Takes an item out of everything and frees its memory.
    pub fn unlink(&mut self, id: ItemId, hash: KeyHash) {
        self.unlink_from_list(id);
        self.drop_large(id);
        let is_removed = self.index.remove(hash.0, id);
        debug_assert!(is_removed);
        self.spans.give_back(id);
    }

    /// [`Partition::unlink`] for callers that do not know the hash.
    pub(super) fn unlink_unhashed(&mut self, id: ItemId) {
        let hash = self.shared.hasher.hash(self.item(id).key());
        self.unlink(id, hash);
    }

    fn unlink_from_list(&mut self, id: ItemId) {
        let facts = self.facts(id);
        let segment = self.item(id).segment();
        self.classes[facts.class].lists[segment.index()].remove(&mut self.spans, id, facts.bytes);
        self.track_size(facts.bytes, u64::MAX);
        self.pins.forget(id);
    }

    fn drop_large(&mut self, id: ItemId) {
        let item = self.item(id);
        if item.has(item::LARGE) {
            self.large.try_remove(item.large_number());
        }
    }

    /// Links an item at the head of a segment.
    pub(super) fn link_in(&mut self, segment: Segment, id: ItemId, facts: Facts) {
        item::set_segment(self.spans.slot_mut(id), segment);
        self.classes[facts.class].lists[segment.index()].push(&mut self.spans, id, facts.bytes);
    }

    /// Moves an item to the head of a segment.
    pub(super) fn relink(&mut self, segment: Segment, id: ItemId) {
        let facts = self.facts(id);
        let old = self.item(id).segment();
        self.classes[facts.class].lists[old.index()].remove(&mut self.spans, id, facts.bytes);
        self.link_in(segment, id, facts);
    }

    /// Adds `count` (or takes one, by wrapping) to the item sizes, when they are tracked.
    fn track_size(&mut self, bytes: usize, count: u64) {
        if self.shared.config.has_size_tracking {
            let bucket = bytes.div_ceil(SIZE_BUCKET_BYTES);
            if bucket >= self.size_counts.len() {
                self.size_counts.resize(bucket + 1, 0);
            }
            self.size_counts[bucket] = self.size_counts[bucket].wrapping_add(count);
        }
    }

    /// Items linked now.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Gives an item a CAS id, in another slot if it needs a wider one; returns where the item is now.
    pub fn set_cas(&mut self, id: ItemId, key: &[u8], hash: KeyHash, cas: u64, now: Now, peers: Peers<'_>) -> ItemId {
        if item::set_cas(self.spans.slot_mut(id), cas) {
            return id;
        }
        let old = self.item(id);
        let marks = old.marks() & !3;
        let (flags, exptime, time) = (old.flags(), old.exptime(), old.time());
        let shape = Shape { has_wide_cas: true, ..old.shape() };
        let tail = old.tail().to_vec();
        let class = self.spans.place(id).0;
        let bin = self.shared.bins.row(class).bin_of(shape.bytes());
        let Some(new) = self.allocate(class, bin, now, peers) else {
            return id;
        };
        let Some(id) = self.find(key, hash) else {
            // The allocation evicted the item itself.
            self.spans.give_back(new);
            return ItemId::NONE;
        };
        // Or it moved the item, perhaps to another segment.
        let segment = self.item(id).segment();
        let facts = self.facts(id);
        self.classes[facts.class].lists[segment.index()].remove(&mut self.spans, id, facts.bytes);
        item::write(self.spans.slot_mut(new), &Fields { key, flags, exptime, time, cas, marks, tail: &tail });
        self.index.replace(hash.0, id, new);
        self.spans.give_back(id);
        self.pins.moved(id, new);
        self.link_in(segment, new, facts);
        new
    }
}

/// Unit of `stats sizes`.
pub(super) const SIZE_BUCKET_BYTES: usize = 32;
