//! LRU lists: segments, and lists of items linked through their headers.
//!
//! Which item moves when is the business of a policy, each in a file of its own: [`quick_demotion`], [`segmented`] and
//! [`flat`]. [`policy`] asks the one in force.

mod flat;
pub mod ghosts;
pub mod policy;
mod quick_demotion;
mod segmented;
#[cfg(test)]
mod tests;

use super::ids::ItemId;
use super::item;
use super::slab::spans::Spans;

/// A segment of a class' LRU, with memcached's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segment {
    /// New items.
    Hot,
    /// Items fetched more than once.
    Warm,
    /// The others; evictions start here. The only segment of the flat LRU.
    Cold,
    /// Items with a short time to live; evicted when nothing else is left.
    Temp,
}

impl Segment {
    /// All segments, in the order of their bits.
    pub const ALL: [Segment; 4] = [Segment::Hot, Segment::Warm, Segment::Cold, Segment::Temp];

    /// From the two bits in an item's marks.
    pub fn from_bits(bits: u8) -> Self {
        Self::ALL[usize::from(bits & 3)]
    }

    /// For an item's marks.
    pub fn bits(self) -> u8 {
        self as u8
    }

    /// For arrays with a place per segment.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A list of items, newest at the head.
#[derive(Clone, Copy, Default, Debug)]
pub struct List {
    /// Newest.
    pub head: ItemId,
    /// Oldest.
    pub tail: ItemId,
    /// Number of items.
    pub items: usize,
    /// Their bytes by memcached's arithmetic.
    pub bytes: usize,
}

impl List {
    /// Links an item at the head.
    pub fn push(&mut self, spans: &mut Spans, id: ItemId, bytes: usize) {
        let slot = spans.slot_mut(id);
        item::set_prev(slot, ItemId::NONE);
        item::set_next(slot, self.head);
        if self.head.is_none() {
            self.tail = id;
        } else {
            item::set_prev(spans.slot_mut(self.head), id);
        }
        self.head = id;
        self.items += 1;
        self.bytes += bytes;
    }

    /// Unlinks an item of this list.
    pub fn remove(&mut self, spans: &mut Spans, id: ItemId, bytes: usize) {
        let view = item::Item::new(spans.slot(id));
        let (prev, next) = (view.prev(), view.next());
        if prev.is_none() {
            self.head = next;
        } else {
            item::set_next(spans.slot_mut(prev), next);
        }
        if next.is_none() {
            self.tail = prev;
        } else {
            item::set_prev(spans.slot_mut(next), prev);
        }
        self.items -= 1;
        self.bytes -= bytes;
    }

    /// An item's slot has moved from `old` to `new`; its links are copied already.
    pub fn moved(&mut self, spans: &mut Spans, old: ItemId, new: ItemId) {
        let view = item::Item::new(spans.slot(new));
        let (prev, next) = (view.prev(), view.next());
        if prev.is_none() {
            debug_assert_eq!(self.head, old);
            self.head = new;
        } else {
            item::set_next(spans.slot_mut(prev), new);
        }
        if next.is_none() {
            self.tail = new;
        } else {
            item::set_prev(spans.slot_mut(next), new);
        }
    }
}
