//! Taking a store apart for a restart: every live item is visited once, and memory goes back to the system on the way.
//!
//! Items come in the order in which they lie in memory, not in LRU order, so that a region is free as soon as it was walked
//! and whoever writes the items down does not need the memory twice. What tells the order is an item's *rank*: its place in
//! its list from the coldest on, as a fraction of 2^32, which means the same in lists of other lengths (there may be more
//! partitions or fewer next time). The ranks are written over the links of the items, which nobody needs any more.

use std::mem;
use std::ops::ControlFlow;

use crate::base::sync::{Arc, Ordering};
use crate::base::time::Now;

use super::Store;
use super::ids::ItemId;
use super::index::Index;
use super::item::{self, Item};
use super::partition::Partition;
use super::value::Value;

/// An item as it is kept over a restart, without its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavedItem<'a> {
    /// The key, 1 to 250 bytes.
    pub key: &'a [u8],
    /// Client flags.
    pub flags: u32,
    /// Coarse time at which it expires, 0 for never.
    pub exptime: u32,
    /// Coarse time of the last access that counted.
    pub time: u32,
    /// CAS id.
    pub cas: u64,
    /// LRU segment, fetched, active and the meta marks, as [`SavedItem::MARKS`] lets through.
    pub marks: u8,
    /// Its place in its LRU list: 0 is the coldest, 2^32 the end.
    pub rank: u32,
}

impl SavedItem<'_> {
    /// Bits that `marks` can have.
    pub const MARKS: u8 = !item::LARGE;
}

/// What a store knows beside its items and has to know after a restart.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SavedState {
    /// Above all CAS ids that were ever given.
    pub cas_bound: u64,
    /// The marks of `flush_all`, on the coarse clock: what is dead, when the next one comes, what is shown.
    pub flush: [u32; 3],
    /// `hash_power_level`.
    pub hash_power: u32,
}

impl Store {
    /// What is to be kept beside the items. To be asked before [`Store::export`].
    pub fn saved_state(&self) -> SavedState {
        let bounds = self.partitions.iter().map(|partition| partition.lock().cas_bound());
        SavedState {
            cas_bound: bounds.max().unwrap_or_default(),
            flush: self.shared.flush.saved(),
            hash_power: self.snapshot().hash_power,
        }
    }

    /// How many partitions there are to [export](Store::export).
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// Empties partition `number`: hands all its live items to `each`, coldest or hottest as they come, and gives its memory
    /// back. Ends early when `each` says so; the rest of the items is lost then too. Partitions may be exported by several
    /// threads at once.
    pub fn export(
        &self,
        number: usize,
        now: Now,
        each: &mut dyn FnMut(&SavedItem<'_>, Value<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(partition) = self.partitions.get(number) else { return ControlFlow::Continue(()) };
        self.shared.budget.close();
        let empty = Partition::new(Arc::clone(&self.shared), number);
        let mut partition = mem::replace(&mut *partition.lock(), empty);
        // Its memory is the first to be had.
        partition.index = Index::new();
        partition.rank_items();
        for span in partition.spans.in_place_order() {
            partition.export_span(span, now, each)?;
            if let Some(memory) = partition.spans.abandon(span) {
                self.shared.budget.unmap(memory);
            }
        }
        ControlFlow::Continue(())
    }

    /// Takes over what was kept beside the items.
    pub fn restore_state(&self, state: &SavedState) {
        for partition in &self.partitions {
            partition.lock().raise_cas(state.cas_bound);
        }
        self.shared.flush.restore(state.flush);
        self.hash_power_before.store(state.hash_power, Ordering::Relaxed);
    }
}

impl Partition {
    /// Writes each item's rank over its link to the next one, and so ends the lists.
    fn rank_items(&mut self) {
        for class in 0..self.classes.len() {
            for segment in 0..self.classes[class].lists.len() {
                let list = mem::take(&mut self.classes[class].lists[segment]);
                let mut id = list.tail;
                for place in 0..list.items as u64 {
                    if id.is_none() {
                        break;
                    }
                    let rank = ((2 * place + 1) << 31) / list.items as u64;
                    let towards_head = self.item(id).prev();
                    item::set_next(self.spans.slot_mut(id), ItemId(rank as u32));
                    id = towards_head;
                }
            }
        }
    }

    fn export_span(
        &mut self,
        span: usize,
        now: Now,
        each: &mut dyn FnMut(&SavedItem<'_>, Value<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut from = 0;
        while let Some(id) = self.spans.next_live(span, from) {
            from = id.slot() + 1;
            let item = self.item(id);
            let is_expired = item.exptime() != 0 && item.exptime() <= now.seconds;
            if !is_expired && !self.shared.flush.is_covered(item.time(), now) {
                each(&saved(item), self.value_of(item))?;
            }
            if item.has(item::LARGE) {
                let number = item.large_number();
                drop(self.large.try_remove(number));
                self.shared.chunks.release_any(usize::MAX);
            }
        }
        ControlFlow::Continue(())
    }
}

fn saved(item: Item<'_>) -> SavedItem<'_> {
    SavedItem {
        key: item.key(),
        flags: item.flags(),
        exptime: item.exptime(),
        time: item.time(),
        cas: item.cas(),
        marks: item.marks() & SavedItem::MARKS,
        rank: item.next().0,
    }
}
