//! Filling an empty store with the items of an earlier one, in any order, before anybody else uses it.
//!
//! While items come in they are in the index but in no LRU list: the rank of each stands in the place of its links.
//! [`Store::finish_import`] then sorts the items of a list by rank and links them. Nothing is evicted to make room: what does
//! not fit is left out and said to be, so that no item pushes out another whose place in the order is not known yet.

use crate::base::hash::KeyHash;
use crate::base::sync::Arc;
use crate::base::time::Now;

use super::Store;
use super::export::SavedItem;
use super::ids::ItemId;
use super::item::{self, Fields, Item, Shape};
use super::lru::Segment;
use super::partition::{LARGE_HEADS, Partition};
use super::value::{LargeBuffer, NewValue};

/// What became of an item that was to be taken over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Imported {
    /// It is in the store.
    Stored,
    /// It expired meanwhile, or a `flush_all` came due.
    Dead,
    /// Memory, or the place in the index, is full.
    NoRoom,
    /// The key is there already.
    Twice,
}

impl Store {
    /// Memory for a large value that is to be imported; `None` when there is none left.
    pub fn import_buffer(&self, key_bytes: usize, value_bytes: usize, flags: u32) -> Option<LargeBuffer> {
        self.shared.chunks.free_buffer(self.item_bytes(key_bytes, value_bytes, flags), value_bytes)
    }

    /// Takes an item over. Its value must be of the kind that [`Store::fit`] says. To be followed, after the last one, by
    /// [`Store::finish_import`] for each partition; until then nothing else may be asked of the store.
    pub fn import(&self, item: &SavedItem<'_>, value: NewValue<'_>, now: Now) -> Imported {
        let is_expired = item.exptime != 0 && item.exptime <= now.seconds;
        if is_expired || self.shared.flush.is_covered(item.time, now) {
            return Imported::Dead;
        }
        let hash = self.hash(item.key);
        self.partition(hash).lock().import(item, hash, value)
    }

    /// Puts the imported items of partition `number` in the order of their ranks.
    pub fn finish_import(&self, number: usize) {
        if let Some(partition) = self.partitions.get(number) {
            partition.lock().link_imported();
        }
    }
}

impl Partition {
    fn import(&mut self, saved: &SavedItem<'_>, hash: KeyHash, value: NewValue<'_>) -> Imported {
        if self.find(saved.key, hash).is_some() {
            return Imported::Twice;
        }
        let bytes = self.shared.item_bytes(saved.key.len(), value.len(), saved.flags != 0);
        let mut marks = saved.marks & SavedItem::MARKS;
        let (class, tail_bytes) = match &value {
            NewValue::Bytes(tail) => (usize::from(self.shared.classes.class_of(bytes)), tail.len()),
            NewValue::Large(_) => {
                marks |= item::LARGE;
                (LARGE_HEADS, item::LARGE_NUMBER_BYTES)
            }
        };
        let shape = Shape {
            key_bytes: saved.key.len(),
            tail_bytes,
            has_flags: saved.flags != 0,
            has_wide_cas: item::is_wide_cas(saved.cas),
        };
        let Some(id) = self.free_slot(class, self.shared.bins.row(class).bin_of(shape.bytes())) else {
            return Imported::NoRoom;
        };
        if self.index.insert(hash.0, id).is_err() {
            self.spans.give_back(id);
            return Imported::NoRoom;
        }
        let number;
        let tail = match value {
            NewValue::Bytes(tail) => tail,
            NewValue::Large(buffer) => {
                number = (self.large.insert(buffer.finish()) as u32).to_le_bytes();
                &number[..]
            }
        };
        let &SavedItem { key, flags, exptime, time, cas, rank, .. } = saved;
        let slot = self.spans.slot_mut(id);
        item::write(slot, &Fields { key, flags, exptime, time, cas, marks, tail });
        item::set_next(slot, ItemId(rank));
        self.grow_index();
        self.counters.total_items += 1;
        self.track_size(bytes, 1);
        Imported::Stored
    }

    /// A slot that costs no other item its own.
    fn free_slot(&mut self, class: usize, bin: usize) -> Option<ItemId> {
        let shared = Arc::clone(&self.shared);
        let row = shared.bins.row(class);
        self.spans
            .take_between(class, bin, row.share_of(bin, 0))
            .or_else(|| self.allocate_span(class, bin))
            .or_else(|| self.spans.take_between(class, bin, row.count() - 1))
    }

    fn grow_index(&mut self) {
        let before = self.index.bytes();
        if self.index.is_crowded() {
            let (spans, hasher) = (&self.spans, &self.shared.hasher);
            self.index.grow(|other| hasher.hash(Item::new(spans.slot(other)).key()).0);
        }
        if self.index.bytes() != before {
            self.charge_index();
        }
    }

    fn link_imported(&mut self) {
        let mut lists: Vec<Vec<(u32, ItemId)>> = vec![Vec::new(); self.classes.len() * Segment::ALL.len()];
        for span in self.spans.in_place_order() {
            let mut from = 0;
            while let Some(id) = self.spans.next_live(span, from) {
                from = id.slot() + 1;
                let item = self.item(id);
                let list = self.class(id) * Segment::ALL.len() + item.segment().index();
                lists[list].push((item.next().0, id));
            }
        }
        for mut list in lists {
            list.sort_unstable_by_key(|(rank, id)| (*rank, id.0));
            for (_, id) in list {
                let (segment, facts) = (self.item(id).segment(), self.facts(id));
                self.link_in(segment, id, facts);
            }
        }
    }
}
