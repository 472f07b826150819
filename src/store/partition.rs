//! A partition: everything about its share of the keys. One lock covers it; nothing here knows of locks or threads.
//!
//! Here are the item's life from link to unlink and the views of it. Where memory comes from is `allocate`, which item
//! moves in the LRU is `lru`, what happens in idle turns is `maintain`.

use slab::Slab;

use crate::base::hash::{KeyHash, KeyHasher};
use crate::base::key;
use crate::base::sizes;
use crate::base::sync::{Arc, AtomicU32};
use crate::base::time::Now;
use crate::stats::events::EventHub;

use super::allocate::Peers;
use super::chunks::ChunkPool;
use super::config::{Config, Tuning};
use super::counters::{ClassCounters, StoreCounters};
use super::entry::{Found, Hint, ItemView, NewItem, ReadItem, StoreError};
use super::flush::FlushMarks;
use super::ids::ItemId;
use super::index::{Index, Likely};
use super::item::{self, Fields, Item, Shape};
use super::lru::ghosts::Ghosts;
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
    /// Times no memory was found.
    pub(super) starvations: AtomicU32,
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

    pub(super) fn items(&self) -> usize {
        self.lists.iter().map(|list| list.items).sum()
    }
}

/// See the module comment.
pub struct Partition {
    pub(super) shared: Arc<Shared>,
    pub(super) index: Index,
    /// Bytes of the index and the ghosts that the page budget knows of.
    index_charged: usize,
    pub(super) spans: Spans,
    pub(super) large: Slab<LargeValue>,
    /// By class id; entry 0 is unused.
    pub(super) classes: Vec<ClassState>,
    pub(super) counters: StoreCounters,
    pub(super) tuning: Tuning,
    /// Next CAS id: unique in the process, since partitions count in steps of their number.
    pub(super) cas_next: u64,
    pub(super) cas_step: u64,
    /// Keys evicted lately.
    pub(super) ghosts: Ghosts,
    pub(super) pins: Pins,
    pub(super) sweep: Sweep,
    /// Coarse second of the last step of a key dump; 0 before the first.
    pub(super) walked: u32,
    pub(super) rebalance: Rebalance,
    /// Most buckets that the index had before it shrank.
    pub(super) buckets_peak: usize,
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
            index_charged: 0,
            spans: Spans::new(&shared.bins),
            large: Slab::new(),
            classes: (0..classes).map(|_| ClassState::default()).collect(),
            counters: StoreCounters::default(),
            tuning: shared.config.tuning.clone(),
            cas_next: (if number < 2 { step } else { 0 }) + number as u64 + if step == 1 { 1 } else { 0 },
            cas_step: step,
            ghosts: Ghosts::default(),
            pins: Pins::default(),
            sweep: Sweep::default(),
            walked: 0,
            rebalance: Rebalance::new(classes, shared.config.memory_limit_bytes / shared.config.partitions.max(1)),
            buckets_peak: 0,
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

    /// Above all CAS ids it has given.
    pub(super) fn cas_bound(&self) -> u64 {
        self.cas_next
    }

    /// Makes the next CAS id at least `least`.
    pub(super) fn raise_cas(&mut self, least: u64) {
        let steps = least.saturating_sub(self.cas_next).div_ceil(self.cas_step);
        self.cas_next = self.cas_next.saturating_add(steps.saturating_mul(self.cas_step));
    }

    /// An item's fields.
    #[inline]
    pub(super) fn item(&self, id: ItemId) -> Item<'_> {
        Item::new(self.spans.slot(id))
    }

    /// The item under a key, dead or alive.
    #[inline(always)]
    pub fn find(&self, key: &[u8], hash: KeyHash) -> Option<ItemId> {
        self.find_item(key, hash).map(|(id, _)| id)
    }

    #[inline(always)]
    fn find_item(&self, key: &[u8], hash: KeyHash) -> Option<(ItemId, Item<'_>)> {
        match self.index.bucket_of(hash.0).likely(hash.0) {
            Likely::Item(id) => {
                let item = self.item(id);
                if key::is_same(item.key(), key) { Some((id, item)) } else { self.find_further(key, hash) }
            }
            Likely::Spilled => self.find_further(key, hash),
            Likely::Nothing => None,
        }
    }

    /// [`Partition::find_item`] of one that is not the likely one.
    #[inline(always)]
    fn find_further(&self, key: &[u8], hash: KeyHash) -> Option<(ItemId, Item<'_>)> {
        // The number comes back in a register, an item would in memory.
        let id = self.search(key, hash);
        (!id.is_none()).then(|| (id, self.item(id)))
    }

    #[inline(never)]
    fn search(&self, key: &[u8], hash: KeyHash) -> ItemId {
        self.index.find(hash.0, |id| (self.item(id).key() == key).then_some(id)).unwrap_or(ItemId::NONE)
    }

    /// Touches the memory of an item: its first cache lines, which are all of a small one.
    #[inline(always)]
    pub fn touch(&self, hint: Hint) -> u8 {
        let slot = self.spans.slot(hint.0);
        [0, 64, 128].map(|at| slot.get(at).copied().unwrap_or_default()).into_iter().fold(0, |sum, byte| sum ^ byte)
    }

    /// The item under a key: where it was, if it is still there (a slot that holds the key is the key's item), or where
    /// the index says.
    #[inline(always)]
    fn find_hinted(&self, key: &[u8], hash: KeyHash, hint: Hint) -> Option<(ItemId, Item<'_>)> {
        if !hint.0.is_none() {
            let item = self.item(hint.0);
            if key::is_same(item.key(), key) {
                return Some((hint.0, item));
            }
        }
        self.find_item(key, hash)
    }

    /// The live item under a key; a dead one is removed and counted.
    #[inline(always)]
    pub fn lookup(&mut self, key: &[u8], hash: KeyHash, hint: Hint, now: Now) -> (Found, Option<ItemId>) {
        match self.find_hinted(key, hash, hint) {
            None => (Found::Miss, None),
            Some((id, item)) if self.is_live(item, now) => (Found::Hit, Some(id)),
            Some((id, _)) => (self.remove_dead(id, hash, now), None),
        }
    }

    /// A plain get: the lookup, what `reader` makes of the live item, the count and the mark of the fetch. When it says
    /// false nothing is counted or marked. `None` is a miss, which the caller counts.
    #[inline(always)]
    pub fn get(&mut self, key: &[u8], (hash, hint): (KeyHash, Hint), now: Now, reader: impl ReadItem) -> Option<bool> {
        let (id, item) = self.find_hinted(key, hash, hint)?;
        if !self.is_live(item, now) {
            self.remove_dead(id, hash, now);
            return None;
        }
        let marks = item.marks();
        let is_counted = reader.read(&ItemView::new(self, id, item));
        if is_counted {
            self.count_get_hit(id, marks);
            self.bump(id, marks, now);
        }
        Some(is_counted)
    }

    /// Whether a lookup may answer with the item.
    #[inline(always)]
    fn is_live(&self, item: Item<'_>, now: Now) -> bool {
        let exptime = item.exptime();
        (exptime == 0 || exptime > now.seconds) && !self.shared.flush.is_covered(item.time(), now)
    }

    /// Counts a get hit in the item's class and segment.
    #[inline(always)]
    pub(super) fn count_get_hit(&mut self, id: ItemId, marks: u8) {
        let class = self.class(id);
        let counters = &mut self.classes[class].counters;
        *match item::segment_of(marks) {
            Segment::Hot => &mut counters.hits_to_hot,
            Segment::Warm => &mut counters.hits_to_warm,
            Segment::Cold => &mut counters.hits_to_cold,
            Segment::Temp => &mut counters.hits_to_temp,
        } += 1;
    }

    /// Removes an item that a lookup found dead.
    #[cold]
    fn remove_dead(&mut self, id: ItemId, hash: KeyHash, now: Now) -> Found {
        let found = if self.shared.flush.is_covered(self.item(id).time(), now) {
            self.counters.get_flushed += 1;
            Found::Flushed
        } else {
            self.counters.get_expired += 1;
            Found::Expired
        };
        self.unlink(id, hash);
        found
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
        self.value_of(self.item(id))
    }

    /// [`Partition::value`] of an item that is at hand.
    #[inline]
    pub(super) fn value_of<'a>(&'a self, item: Item<'a>) -> Value<'a> {
        if item.has(item::LARGE) { self.large_value(item) } else { Value::Inline(item.tail()) }
    }

    fn large_value(&self, item: Item<'_>) -> Value<'_> {
        match self.large.get(item.large_number()) {
            Some(large) => Value::Large(large),
            None => Value::Inline(&[]),
        }
    }

    /// Class of an item as users see it.
    #[inline(always)]
    pub(super) fn class(&self, id: ItemId) -> usize {
        match self.spans.place(id).0 {
            LARGE_HEADS => self.large_facts(self.item(id)).class,
            class => class,
        }
    }

    /// Class and bytes of an item.
    #[inline]
    pub(super) fn facts(&self, id: ItemId) -> Facts {
        let item = self.item(id);
        match self.spans.place(id).0 {
            LARGE_HEADS => self.large_facts(item),
            class => Facts { class, bytes: self.inline_bytes(item) },
        }
    }

    /// Bytes of an item whose value is inline.
    #[inline(always)]
    fn inline_bytes(&self, item: Item<'_>) -> usize {
        self.shared.item_bytes(item.key_bytes(), item.tail_bytes(), item.has_flags())
    }

    #[inline(never)]
    fn large_facts(&self, item: Item<'_>) -> Facts {
        let bytes = self.shared.item_bytes(item.key_bytes(), self.large_value(item).len(), item.has_flags());
        Facts { class: usize::from(self.shared.classes.class_of(bytes)), bytes }
    }

    /// Links an item under a key in place of the present one, `old`; returns its id and CAS id.
    #[inline(always)]
    pub fn insert(
        &mut self,
        key: &[u8],
        hash: KeyHash,
        old: ItemId,
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
        let slot_class = if marks & item::LARGE != 0 { LARGE_HEADS } else { facts.class };
        let shape =
            Shape { key_bytes: key.len(), tail_bytes, has_flags: new.flags != 0, has_wide_cas: item::is_wide_cas(cas) };
        let bin = self.shared.bins.row(slot_class).bin_of(shape.bytes());
        let is_same_place = !old.is_none() && self.is_place_for(old, slot_class, bin);
        let (id, previous) = if is_same_place {
            // The same slot does: no allocation, no eviction, and the index stays as it is.
            (old, Some(self.item(old).segment()))
        } else {
            self.make_place(key, hash, (slot_class, bin), now, peers)?
        };
        let segment = self.entry_segment(hash, previous, new.exptime, now);
        let stays = is_same_place
            && previous == Some(segment)
            && self.stays_when_stored(segment)
            && self.class(id) == facts.class;
        if stays {
            self.resize_in_list(id, segment, facts);
            marks |= segment.bits() | if segment == Segment::Temp { 0 } else { item::ACTIVE };
        } else if is_same_place {
            self.unlink_from_list(id);
        }
        if is_same_place {
            self.drop_large(id);
        }
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
        self.counters.total_items += 1;
        self.rebalance.note_store(facts.class, facts.bytes);
        self.track_size(facts.bytes, 1);
        if !stays {
            self.link_in(segment, id, facts);
            // The upkeep throws dead items away, and a delayed flush covers even the newest.
            if (exptime == 0 || exptime >= now.seconds) && !self.shared.flush.is_covered(time, now) {
                self.settle(facts.class, now);
            }
        }
        Ok((id, if self.shared.config.has_cas { cas } else { 0 }))
    }

    /// Makes way for an item that takes the place of another in its list.
    #[inline]
    fn resize_in_list(&mut self, id: ItemId, segment: Segment, new: Facts) {
        let old = self.facts(id);
        let list = &mut self.classes[old.class].lists[segment.index()];
        list.bytes = list.bytes - old.bytes + new.bytes;
        self.track_size(old.bytes, u64::MAX);
        self.pins.forget(id);
    }

    /// Whether an item's slot will do for another of this class and bin.
    #[inline]
    fn is_place_for(&self, id: ItemId, class: usize, bin: usize) -> bool {
        let (old_class, old_bin) = self.spans.place(id);
        old_class == class && self.shared.bins.row(class).is_near(bin, old_bin)
    }

    /// A new slot for the key, which the index points to, and the segment of the present item, which is gone when this
    /// succeeds.
    #[inline(never)]
    fn make_place(
        &mut self,
        key: &[u8],
        hash: KeyHash,
        place: (usize, usize),
        now: Now,
        peers: Peers<'_>,
    ) -> Result<(ItemId, Option<Segment>), StoreError> {
        let id = self.allocate(place.0, place.1, now, peers).ok_or(StoreError::NoMemory)?;
        // Looked up now, since the allocation may have evicted it.
        if let Some(old) = self.find(key, hash) {
            let segment = self.item(old).segment();
            self.unlink_from_list(old);
            self.drop_large(old);
            self.index.replace(hash.0, old, id);
            self.spans.give_back(old);
            return Ok((id, Some(segment)));
        }
        while let Err(full) = self.index.insert(hash.0, id) {
            self.evict(full.victim, now);
        }
        if self.index.is_crowded() {
            let (spans, hasher) = (&self.spans, &self.shared.hasher);
            self.index
                .grow(|other| if other == id { hash.0 } else { hasher.hash(Item::new(spans.slot(other)).key()).0 });
        }
        if self.index_bytes() != self.index_charged {
            self.charge_index();
        }
        Ok((id, None))
    }

    /// What the index takes, and the ghosts take or will take with the first eviction.
    #[inline]
    fn index_bytes(&self) -> usize {
        self.index.bytes() + self.ghosts.bytes().max(self.index.bytes() / GHOST_SHARE)
    }

    /// Tells the page budget what the index and the ghosts take now.
    #[cold]
    pub(super) fn charge_index(&mut self) {
        let bytes = self.index_bytes();
        self.shared.budget.resize_index(self.index_charged, bytes);
        self.index_charged = bytes;
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

    #[inline]
    fn unlink_from_list(&mut self, id: ItemId) {
        let facts = self.facts(id);
        let segment = self.item(id).segment();
        self.classes[facts.class].lists[segment.index()].remove(&mut self.spans, id, facts.bytes);
        self.track_size(facts.bytes, u64::MAX);
        self.pins.forget(id);
    }

    #[inline]
    fn drop_large(&mut self, id: ItemId) {
        if self.spans.place(id).0 == LARGE_HEADS {
            self.large.try_remove(self.item(id).large_number());
        }
    }

    /// Links an item at the head of a segment.
    #[inline]
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
    pub(super) fn track_size(&mut self, bytes: usize, count: u64) {
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
        let old = self.item(id);
        let (marks, segment) = (old.marks() & !3, old.segment());
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

/// The class of slots that hold the heads of large items, whose own class is that of their size.
pub(super) const LARGE_HEADS: usize = 0;

/// Ghosts take two bytes per item, the index seven to eight.
const GHOST_SHARE: usize = 4;

/// Unit of `stats sizes`.
pub(super) const SIZE_BUCKET_BYTES: usize = 32;
