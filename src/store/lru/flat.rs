//! memcached's flat LRU: all items of a class in one list, COLD; a fetch moves an item to its head, at most once a
//! minute; evictions take its tail.

use crate::base::time::Now;

use super::super::ids::ItemId;
use super::super::item;
use super::super::partition::Partition;

/// An item moves at most once in this many seconds (memcached's `ITEM_UPDATE_INTERVAL`).
const UPDATE_INTERVAL_SECONDS: u32 = 60;

impl Partition {
    /// A fetch of an item.
    #[inline]
    pub(super) fn bump_flat(&mut self, id: ItemId, now: Now) {
        let marks = self.item(id).marks();
        item::set_marks(self.spans.slot_mut(id), marks | item::FETCHED);
        self.refresh_flat(id, now);
    }

    /// Moves an item to the head of its list, unless that was done lately.
    pub(super) fn refresh_flat(&mut self, id: ItemId, now: Now) {
        let item = self.item(id);
        if item.time() < now.seconds.saturating_sub(UPDATE_INTERVAL_SECONDS) {
            let segment = item.segment();
            let time = self.shared.flush.touch_time(now);
            item::set_time(self.spans.slot_mut(id), time);
            self.relink(segment, id);
        }
    }
}
