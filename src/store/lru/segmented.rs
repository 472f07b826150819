//! memcached's segmented LRU: what a fetch does, what leaves a segment's tail.
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
use super::policy::{Preparation, TAILS_MAX};

impl Partition {
    /// A fetch of an item.
    #[inline]
    pub(super) fn bump_segmented(&mut self, id: ItemId, now: Now) {
        let item = self.item(id);
        let marks = item.marks();
        if marks & item::ACTIVE != 0 {
            return;
        }
        if marks & item::FETCHED == 0 {
            item::set_marks(self.spans.slot_mut(id), marks | item::FETCHED);
            return;
        }
        let is_cold = item.segment() == Segment::Cold;
        let time = self.shared.flush.touch_time(now);
        let slot = self.spans.slot_mut(id);
        item::set_marks(slot, marks | item::ACTIVE);
        item::set_time(slot, time);
        if is_cold {
            self.warm_up(id);
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

    /// An item's time was refreshed without a fetch (memcached's `do_item_update`).
    pub(super) fn refresh_segmented(&mut self, id: ItemId) {
        let item = self.item(id);
        if item.segment() == Segment::Cold && item.has(item::ACTIVE) {
            self.warm_up(id);
        }
    }

    /// Whether HOT or WARM holds more than its share of the class.
    #[inline]
    pub(super) fn is_unbalanced_segmented(&self, class: usize) -> bool {
        let state = &self.classes[class];
        state.lists[Segment::Hot.index()].bytes > self.share(class, Segment::Hot)
            || state.lists[Segment::Warm.index()].bytes > self.share(class, Segment::Warm)
    }

    fn share(&self, class: usize, segment: Segment) -> usize {
        let percent = match segment {
            Segment::Hot => self.tuning.hot_lru_percent,
            Segment::Warm => self.tuning.warm_lru_percent,
            Segment::Cold | Segment::Temp => 100,
        };
        self.classes[class].bytes() / 100 * percent as usize
    }

    /// One step at the tail of HOT or WARM; false when the tail stays. `is_forced` treats both as over their share, to
    /// fill COLD.
    pub(super) fn pull_tail_segmented(&mut self, class: usize, segment: Segment, now: Now, is_forced: bool) -> bool {
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

    /// Fills COLD with a few tails of HOT and WARM when nothing is in it, unless one of them is dead: that is enough.
    pub(super) fn prepare_eviction_segmented(&mut self, class: usize, now: Now) -> Preparation {
        if self.classes[class].lists[Segment::Cold.index()].items == 0 {
            let mut moves = 0;
            for segment in [Segment::Hot, Segment::Warm] {
                while moves < TAILS_MAX {
                    if self.reclaim_dead_tail(class, segment, now) {
                        return Preparation::Reclaimed;
                    }
                    if !self.pull_tail_segmented(class, segment, now, true) {
                        break;
                    }
                    moves += 1;
                }
            }
        }
        Preparation::Take(Segment::Cold)
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
}
