//! Where an item's slot comes from: free slots, a new span, a roomier slot, memory of a colder class (see
//! [`rebalance`](super::rebalance)), an eviction, at last any span that can be emptied.
//!
//! A partition never fails to make room while it holds anything evictable, whatever its size class.

use crate::base::sync::{CachePadded, Mutex, Ordering};
use crate::base::time::Now;
use crate::stats::events::class as event_class;

use super::ids::ItemId;
use super::item;
use super::lru::Segment;
use super::lru::policy::{Policy, Preparation};
use super::partition::{Partition, Shared};
use super::slab::regions::Part;

/// A span's bytes over this, or over a larger slot's, is how many items may be evicted whose memory does not help yet
/// (slots too small, or chunks of large values, a few of which make a span) before a whole span is emptied instead.
const BYTES_PER_EVICTION: usize = 4096;

/// All partitions, for one that has nothing left to give up itself. They are only ever tried, never waited for, since
/// the asking partition is locked.
pub(super) type Peers<'a> = &'a [CachePadded<Mutex<Partition>>];

impl Partition {
    /// A slot of a bin of a class; class 0 is for heads of large items, which need no page.
    pub(super) fn allocate(&mut self, class: usize, bin: usize, now: Now, peers: Peers<'_>) -> Option<ItemId> {
        self.pay(self.shared.bins.row(class).slot_bytes(bin), now);
        let near = self.shared.bins.row(class).share_of(bin, 0);
        if let Some(id) = self.spans.take_between(class, bin, near) {
            return Some(id);
        }
        if !self.tuning.policy.is_segmented() && class != 0 {
            self.reclaim_dead_tail(class, Segment::Cold, now);
        }
        if let Some(id) = self.allocate_span(class, bin).or_else(|| self.take_fitting(class, bin)) {
            return Some(id);
        }
        let has_evictions = self.shared.config.has_evictions && class != 0;
        if has_evictions && let Some(id) = self.allocate_colder(class, bin, now) {
            return Some(id);
        }
        self.classes[class].counters.direct_reclaims += 1;
        let row = self.shared.bins.row(class);
        let span_bytes = row.span_bytes(bin);
        for _ in 0..span_bytes / row.slot_bytes(bin).max(BYTES_PER_EVICTION) {
            if !self.evict_from(class, now) {
                break;
            }
            if let Some(id) = self.take_fitting(class, bin) {
                return Some(id);
            }
            // A large value of this class may have gone, and its memory is the class' now.
            if let Some(id) = self.allocate_span(class, bin) {
                return Some(id);
            }
        }
        if has_evictions {
            if let Some(id) = self.allocate_other(class, bin, now) {
                return Some(id);
            }
            // Evictions of large values of this class help as well: enough of them make a span.
            while self.free_span(class, span_bytes, now) || self.evict_from(class, now) {
                if let Some(id) = self.allocate_span(class, bin) {
                    return Some(id);
                }
            }
            for peer in peers {
                while peer
                    .try_lock()
                    .is_some_and(|mut peer| peer.free_span(class, span_bytes, now) || peer.evict_from(class, now))
                {
                    if let Some(id) = self.allocate_span(class, bin) {
                        return Some(id);
                    }
                }
            }
            if let Some(id) = self.evict_for_span(class, bin, now, peers) {
                return Some(id);
            }
        }
        self.classes[class].counters.outofmemory += 1;
        self.shared.starvations.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// A slot of the smallest bin that has a free one and whose slots are large enough.
    fn take_fitting(&mut self, class: usize, bin: usize) -> Option<ItemId> {
        self.spans.take_between(class, bin, self.shared.bins.row(class).count() - 1)
    }

    /// A slot of a new span, if the class may have more memory.
    pub(super) fn allocate_span(&mut self, class: usize, bin: usize) -> Option<ItemId> {
        self.new_span(class, bin, |partition, bytes| class == 0 || partition.take_budget(class, bytes))
    }

    /// A slot of a new span that the class borrows.
    pub(super) fn borrow_span(&mut self, class: usize, bin: usize) -> Option<ItemId> {
        self.new_span(class, bin, |partition, bytes| partition.shared.budget.borrow(class, bytes))
    }

    /// A slot of a new span for a class that would otherwise fail, within its first page.
    fn first_span(&mut self, class: usize, bin: usize) -> Option<ItemId> {
        self.new_span(class, bin, |partition, bytes| partition.shared.budget.take_first(class, bytes))
    }

    /// A slot of a new span, at last within the first page of its class, from the memory of large values of any partition at
    /// any cost: the ends of these, which may be free by now, can fill the first page of a class that holds no item itself.
    #[cold]
    fn evict_for_span(&mut self, class: usize, bin: usize, now: Now, peers: Peers<'_>) -> Option<ItemId> {
        let evict_elsewhere =
            |peer: &CachePadded<Mutex<Partition>>| peer.try_lock().is_some_and(|mut peer| peer.evict_for(class, now));
        loop {
            while self.shared.chunks.release_free(class, 1) {}
            if let Some(id) = self.allocate_span(class, bin).or_else(|| self.first_span(class, bin)) {
                return Some(id);
            }
            if !self.evict_for(class, now) && !peers.iter().any(evict_elsewhere) {
                return None;
            }
        }
    }

    /// Evicts an item of the largest class there is, if the memory of large values can become that of `class`: by the fixed
    /// rules only chunks of the class itself are of use to it.
    fn evict_for(&mut self, class: usize, now: Now) -> bool {
        let is_of_use = self.is_elastic() || self.shared.chunks.counts(class) != (0, 0);
        is_of_use && (1..self.classes.len()).rev().any(|donor| self.evict_from(donor, now))
    }

    /// A slot of a new span for items of a bin, if `take` gets so many bytes for it, and a further span can be named.
    fn new_span(&mut self, class: usize, bin: usize, take: impl FnOnce(&Self, usize) -> bool) -> Option<ItemId> {
        if !self.spans.has_number() {
            return None;
        }
        let row = self.shared.bins.row(class);
        let span_bin = self.spans.choose_bin(row, class, bin);
        let (bytes, slot_bytes) = (row.span_bytes(span_bin), row.slot_bytes(span_bin));
        if !take(self, bytes) {
            return None;
        }
        match self.take_part(class, bytes, slot_bytes) {
            Some(part) => {
                self.spans.add(part, class, span_bin, slot_bytes);
                self.spans.note_wanted(class, bin);
                self.take_fitting(class, bin)
            }
            None => {
                if class != 0 {
                    self.shared.budget.give_back(class, bytes);
                }
                None
            }
        }
    }

    /// Memory for a span of `bytes`, which its class has taken: from the partition's regions or a new one. What is left
    /// of a region can be less, for one slot at least; the class gets the difference back.
    fn take_part(&mut self, class: usize, bytes: usize, slot_bytes: usize) -> Option<Part> {
        let part = match self.spans.take_part(bytes, slot_bytes) {
            Some(part) => part,
            None => {
                let Shared { budget, chunks, .. } = &*self.shared;
                let retry = || chunks.release_any(bytes).then(|| budget.map_region(bytes)).flatten();
                self.spans.add_region(budget.map_region(bytes).or_else(retry)?);
                self.spans.take_part(bytes, slot_bytes)?
            }
        };
        if class != 0 && part.bytes() < bytes {
            self.shared.budget.give_back(class, bytes - part.bytes());
        }
        Some(part)
    }

    /// Takes page budget for a class, out of free chunks of large values if there is no other. After the limit was lowered
    /// more than `bytes` of those may have to go.
    fn take_budget(&self, class: usize, bytes: usize) -> bool {
        let Shared { budget, chunks, .. } = &*self.shared;
        if budget.take(class, bytes) {
            return true;
        }
        if !self.is_elastic() {
            return chunks.release_free(class, bytes) && budget.take(class, bytes);
        }
        while chunks.release_any(bytes) {
            if budget.take(class, bytes) {
                return true;
            }
        }
        false
    }

    /// Frees one item of a class: a dead one at COLD's tail, else the oldest. False when there is none (or evictions are
    /// off and none is dead).
    pub(super) fn evict_from(&mut self, class: usize, now: Now) -> bool {
        if self.reclaim_dead_tail(class, Segment::Cold, now) {
            return true;
        }
        if !self.shared.config.has_evictions {
            return false;
        }
        match self.prepare_eviction(class, now) {
            Preparation::Reclaimed => true,
            Preparation::Take(first) => match self.victim(class, first) {
                Some(victim) => {
                    self.evict(victim, now);
                    true
                }
                None => false,
            },
        }
    }

    /// Throws away the tail of a segment if it is dead.
    pub(super) fn reclaim_dead_tail(&mut self, class: usize, segment: Segment, now: Now) -> bool {
        let tail = self.classes[class].lists[segment.index()].tail;
        if tail.is_none() || self.pins.reason(tail).is_some() || !self.is_dead(tail, now) {
            return false;
        }
        self.reclaim_tail(class, tail);
        true
    }

    /// When the item that would be evicted next from a class was last touched. With quick demotion that is one of two, and
    /// a class whose memory flows on either side is in use: the later one counts.
    pub(super) fn victim_time(&self, class: usize) -> Option<u32> {
        let time = |segment: Segment| {
            let tail = self.classes[class].lists[segment.index()].tail;
            (!tail.is_none()).then(|| self.item(tail).time())
        };
        let next = match self.tuning.policy {
            Policy::QuickDemotion => time(Segment::Hot).max(time(Segment::Cold)),
            Policy::Segmented | Policy::Flat => time(Segment::Cold),
        };
        next.or_else(|| [Segment::Hot, Segment::Warm, Segment::Temp].into_iter().find_map(time))
    }

    /// Throws a live item away, counts it and tells watchers.
    pub(super) fn evict(&mut self, id: ItemId, now: Now) {
        let class = self.facts(id).class;
        let item = self.item(id);
        let (marks, exptime, time) = (item.marks(), item.exptime(), item.time());
        let state = &mut self.classes[class];
        state.counters.evicted += 1;
        state.evicted_time = now.seconds.saturating_sub(time);
        if exptime != 0 {
            state.counters.evicted_nonzero += 1;
        }
        if marks & item::FETCHED == 0 {
            state.counters.evicted_unfetched += 1;
        }
        if marks & item::ACTIVE != 0 {
            state.counters.evicted_active += 1;
        }
        if self.shared.events.is_watched(event_class::EVICTIONS) {
            self.emit_eviction(id, class, now);
        }
        let item = self.item(id);
        let (hash, segment) = (self.shared.hasher.hash(item.key()), item.segment());
        self.remember_victim(hash, segment);
        self.unlink(id, hash);
    }

    #[cold]
    fn emit_eviction(&self, id: ItemId, class: usize, now: Now) {
        let item = self.item(id);
        let bytes = self.value(id).len();
        let ttl = if item.exptime() == 0 { -1 } else { i64::from(item.exptime()) - i64::from(now.seconds) };
        let idle = now.seconds.saturating_sub(item.time());
        let fetch = if item.has(item::FETCHED) { "yes" } else { "no" };
        self.shared.events.emit(event_class::EVICTIONS, |line| {
            line.extend_from_slice(b"type=eviction key=");
            crate::base::key::uri_encode(item.key(), line);
            line.extend_from_slice(format!(" fetch={fetch} ttl={ttl} la={idle} clsid={class} size={bytes}").as_bytes());
        });
    }

    /// Frees up to `bytes` of page budget for a class at any cost: the span being emptied, a span of the class, or spans
    /// of another class with the pages that go with them. False when there is none here. The class may need more than one,
    /// if it gave pages away itself before.
    fn free_span(&mut self, class: usize, bytes: usize, now: Now) -> bool {
        // What is half emptied holds least, and may be all that the class has.
        if self.finish_emptying(now) {
            return true;
        }
        if let Some(freed) = self.drop_emptiest(class, now) {
            self.shared.budget.give_back(class, freed);
            return true;
        }
        let donor = (1..self.classes.len())
            .filter(|&other| other != class && self.spans.count(other) > 0)
            .max_by_key(|&other| self.spans.bytes(other));
        let Some(donor) = donor else { return false };
        let mut freed = 0;
        while freed < bytes {
            let Some(span_bytes) = self.drop_emptiest(donor, now) else {
                break;
            };
            freed += span_bytes;
            if self.is_elastic() {
                self.shared.budget.give_back(donor, span_bytes);
            } else {
                self.shared.budget.transfer(donor, class, span_bytes);
                self.shared.budget.give_back(class, span_bytes);
            }
        }
        freed > 0
    }

    /// Gives the class the memory of a span that holds nothing.
    pub(super) fn free_empty_span(&mut self, class: usize) -> bool {
        if self.spans.count(class) == 0 {
            return false;
        }
        let empty = self.spans.emptiest(class).filter(|facts| facts.used == 0);
        let Some(bytes) = empty.and_then(|facts| self.release_span(facts.span)) else { return false };
        self.shared.budget.give_back(class, bytes);
        true
    }

    /// Takes an empty span away and gives its memory up; returns its size, which its class still has to be credited.
    pub(super) fn release_span(&mut self, span: usize) -> Option<usize> {
        let (bytes, region) = self.spans.remove(span)?;
        if let Some(memory) = region {
            self.shared.budget.unmap(memory);
        }
        Some(bytes)
    }

    /// Evicts what is in the emptiest span of a class and removes it; returns its size.
    fn drop_emptiest(&mut self, class: usize, now: Now) -> Option<usize> {
        let facts = self.spans.emptiest(class)?;
        if !self.empty_span(facts.span, now) {
            return None;
        }
        self.release_span(facts.span)
    }
}
