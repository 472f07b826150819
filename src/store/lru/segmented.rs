//! memcached's segmented LRU (and the flat one): where an item enters, what a fetch does, what leaves a segment's tail.
//!
//! * A first fetch marks an item fetched, a second one active; an active item in COLD goes to WARM.
//! * HOT's tail goes to WARM when active, else to COLD when HOT is over its share or the tail is too old.
//! * WARM's tail goes back to WARM's head when active, else to COLD likewise.
//! * Evictions take COLD's tail; HOT's, WARM's and at last TEMP's when COLD holds nothing that may go.

use crate::base::time::Now;

use super::super::ids::ItemId;
use super::super::item;
use super::super::partition::Partition;
use super::Segment;

/// The flat LRU moves an item at most once in this many seconds (memcached's `ITEM_UPDATE_INTERVAL`).
const UPDATE_INTERVAL_SECONDS: u32 = 60;

impl Partition {
    /// The segment a new item enters.
    #[inline]
    pub(in crate::store) fn entry_segment(&self, exptime: u32, now: Now) -> Segment {
        if !self.tuning.is_segmented {
            return Segment::Cold;
        }
        let is_temporary = self.tuning.has_temp_lru
            && exptime != 0
            && exptime.saturating_sub(now.seconds) <= self.tuning.temporary_ttl_seconds;
        if is_temporary { Segment::Temp } else { Segment::Hot }
    }

    /// A fetch of an item with these marks. One that is active already stays as it is.
    #[inline(always)]
    pub(in crate::store) fn bump(&mut self, id: ItemId, marks: u8, now: Now) {
        if marks & item::ACTIVE == 0 || !self.tuning.is_segmented {
            self.mark_fetched(id, now);
        }
    }

    fn mark_fetched(&mut self, id: ItemId, now: Now) {
        let item = self.item(id);
        let marks = item.marks();
        if !self.tuning.is_segmented {
            item::set_marks(self.spans.slot_mut(id), marks | item::FETCHED);
            self.refresh(id, now);
        } else if marks & item::ACTIVE == 0 {
            if marks & item::FETCHED == 0 {
                item::set_marks(self.spans.slot_mut(id), marks | item::FETCHED);
            } else {
                let is_cold = item.segment() == Segment::Cold;
                let time = self.shared.flush.touch_time(now);
                let slot = self.spans.slot_mut(id);
                item::set_marks(slot, marks | item::ACTIVE);
                item::set_time(slot, time);
                if is_cold {
                    self.warm_up(id);
                }
            }
        }
    }

    /// Moves an active item to WARM.
    fn warm_up(&mut self, id: ItemId) {
        let slot = self.spans.slot_mut(id);
        let marks = item::Item::new(slot).marks();
        item::set_marks(slot, marks & !item::ACTIVE);
        let class = self.facts(id).class;
        self.classes[class].counters.moves_to_warm += 1;
        self.relink(Segment::Warm, id);
    }

    /// Refreshes an item's place without a fetch (memcached's `do_item_update`).
    pub(in crate::store) fn refresh(&mut self, id: ItemId, now: Now) {
        let time = self.shared.flush.touch_time(now);
        let item = self.item(id);
        if self.tuning.is_segmented {
            let is_risen = item.segment() == Segment::Cold && item.has(item::ACTIVE);
            item::set_time(self.spans.slot_mut(id), time);
            if is_risen {
                self.warm_up(id);
            }
        } else if item.time() < now.seconds.saturating_sub(UPDATE_INTERVAL_SECONDS) {
            let segment = item.segment();
            item::set_time(self.spans.slot_mut(id), time);
            self.relink(segment, id);
        }
    }

    /// Moves tails of HOT and WARM where they belong, at most `moves_max` of them; returns how many were moved or
    /// thrown away. `is_forced` treats both as over their share, to fill COLD.
    pub(in crate::store) fn balance(&mut self, class: usize, now: Now, moves_max: usize, is_forced: bool) -> usize {
        let mut moves = 0;
        for segment in [Segment::Hot, Segment::Warm] {
            while moves < moves_max && self.pull_tail(class, segment, now, is_forced) {
                moves += 1;
            }
        }
        moves
    }

    /// Whether HOT or WARM holds more than its share of the class.
    #[inline]
    pub(in crate::store) fn is_unbalanced(&self, class: usize) -> bool {
        let state = &self.classes[class];
        self.tuning.is_segmented
            && (state.lists[Segment::Hot.index()].bytes > self.share(class, Segment::Hot)
                || state.lists[Segment::Warm.index()].bytes > self.share(class, Segment::Warm))
    }

    fn share(&self, class: usize, segment: Segment) -> usize {
        let percent = match segment {
            Segment::Hot => self.tuning.hot_lru_percent,
            Segment::Warm => self.tuning.warm_lru_percent,
            Segment::Cold | Segment::Temp => 100,
        };
        self.classes[class].bytes() / 100 * percent as usize
    }

    /// One step at the tail of HOT or WARM; false when the tail stays.
    fn pull_tail(&mut self, class: usize, segment: Segment, now: Now, is_forced: bool) -> bool {
        let list = self.classes[class].lists[segment.index()];
        if list.tail.is_none() || self.pins.reason(list.tail).is_some() {
            return false;
        }
        if self.is_dead(list.tail, now) {
            self.reclaim_tail(class, list.tail);
            return true;
        }
        let (marks, time) = {
            let item = self.item(list.tail);
            (item.marks(), item.time())
        };
        if marks & item::ACTIVE != 0 {
            item::set_marks(self.spans.slot_mut(list.tail), marks & !item::ACTIVE);
            let counters = &mut self.classes[class].counters;
            match segment {
                Segment::Warm => counters.moves_within_lru += 1,
                _ => counters.moves_to_warm += 1,
            }
            self.relink(Segment::Warm, list.tail);
            return true;
        }
        let is_over = is_forced || list.bytes > self.share(class, segment);
        if is_over || now.seconds.saturating_sub(time) > self.age_max(class, segment, now) {
            self.classes[class].counters.moves_to_cold += 1;
            self.relink(Segment::Cold, list.tail);
            return true;
        }
        false
    }

    /// Seconds an idle item may stay in HOT or WARM: a share of the age of COLD's tail.
    fn age_max(&self, class: usize, segment: Segment, now: Now) -> u32 {
        let tail = self.classes[class].lists[Segment::Cold.index()].tail;
        let age = if tail.is_none() { 0 } else { now.seconds.saturating_sub(self.item(tail).time()) };
        let factor = match segment {
            Segment::Hot => self.tuning.hot_max_factor,
            _ => self.tuning.warm_max_factor,
        };
        (f64::from(age) * factor) as u32
    }

    /// Throws a dead item at a tail away.
    pub(in crate::store) fn reclaim_tail(&mut self, class: usize, id: ItemId) {
        let is_fetched = self.item(id).has(item::FETCHED);
        let counters = &mut self.classes[class].counters;
        counters.reclaimed += 1;
        if !is_fetched {
            counters.expired_unfetched += 1;
        }
        self.unlink_unhashed(id);
    }
}
