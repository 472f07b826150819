//! The default policy: quick demotion of what is not fetched soon, lazy promotion of the rest.
//!
//! ```text
//!   new ──> HOT ──not fetched──> evicted, remembered as a ghost
//!            │                        │ stored again before long
//!         fetched                     v
//!            v                      WARM ──fetched──> its head
//!           COLD <──not fetched──────┘ ^
//!            │└────────fetched─────────┘
//!            └──not fetched──> evicted
//! ```
//! Most keys of a cache are never asked for again, so HOT is a short gate (a tenth of the class) in which a key has to
//! show that it is wanted; memcached would let it age through all of COLD. WARM and COLD together are a second-chance
//! queue in two parts. Decisions are made at the tails when something has to go: a fetch only sets a mark, and not even
//! that when it is set already. While HOT is over its share (memory is not full yet, or became free again) its tail goes
//! to COLD whether fetched or not. So the first items of a scan or loop longer than the cache stay and give hits, where
//! an LRU has none.
//!
//! What nobody ever fetched must not hold COLD for ever when nothing comes after it: one eviction in sixteen takes COLD's
//! tail rather than HOT's, if it was never fetched.
//!
//! The parts are known from 2Q (Johnson and Shasha, 1994), segmented LRU and S3-FIFO (Yang and others, 2023). Shares and
//! rules are those that came out best over the traces of `benches/`, without a bad case: more WARM wins a percent on some
//! and loses three on `orm_busy` at 1 %; a larger HOT loses on loops; ghosts of COLD lose.

use crate::base::hash::KeyHash;
use crate::base::time::Now;

use super::super::ids::ItemId;
use super::super::item;
use super::super::partition::Partition;
use super::Segment;
use super::policy::Preparation;

/// Share of a class' bytes for HOT.
const HOT_PERCENT: usize = 10;

/// Share of a class' bytes for WARM.
const WARM_PERCENT: usize = 70;

/// HOT has at least this many items, so that in a small class a key still has a chance to be fetched.
const HOT_ITEMS_MIN: usize = 4;

/// A segment may be over its share by this part of it, and by [`SLACK_ITEMS`], before its tail moves without need.
const SLACK_DIVISOR: usize = 8;

/// See [`SLACK_DIVISOR`].
const SLACK_ITEMS: usize = 2;

/// Every so many evictions a tail of COLD that was never fetched goes first. One in 4 would give a loop's hits away at
/// 10 % of the footprint; one in 16 gives away those at 1 %.
const DRAIN_INTERVAL: u64 = 16;

/// Tails moved before an eviction takes what is there.
pub(super) const STEPS_MAX: usize = 64;

impl Partition {
    /// The segment a new item enters: WARM when its key was evicted lately. One that replaces another stays in its segment;
    /// in WARM and COLD it takes the other's very place, with the mark of a fetch, so that a store moves nothing.
    #[inline]
    pub(super) fn entry_segment_quick(&mut self, hash: KeyHash, previous: Option<Segment>) -> Segment {
        match previous {
            Some(segment @ (Segment::Warm | Segment::Cold)) => segment,
            Some(_) => Segment::Hot,
            None if self.ghosts.recall(hash) => Segment::Warm,
            None => Segment::Hot,
        }
    }

    /// A fetch of an item. In HOT it is marked as in memcached, fetched first and then active; elsewhere it is active at
    /// once.
    #[inline]
    pub(super) fn bump_quick(&mut self, id: ItemId, now: Now) {
        let item = self.item(id);
        let marks = item.marks();
        let is_main = matches!(item.segment(), Segment::Warm | Segment::Cold);
        if marks & item::FETCHED == 0 && !is_main {
            item::set_marks(self.spans.slot_mut(id), marks | item::FETCHED);
            return;
        }
        let time = self.shared.flush.touch_time(now);
        let slot = self.spans.slot_mut(id);
        item::set_marks(slot, marks | item::FETCHED | item::ACTIVE);
        item::set_time(slot, time);
    }

    /// Whether HOT or WARM is well over its share.
    #[inline]
    pub(super) fn is_unbalanced_quick(&self, class: usize) -> bool {
        self.is_well_over(class, Segment::Hot) || self.is_well_over(class, Segment::Warm)
    }

    fn is_well_over(&self, class: usize, segment: Segment) -> bool {
        let list = &self.classes[class].lists[segment.index()];
        let share = self.share_quick(class, segment);
        let limit = share + share / SLACK_DIVISOR;
        list.items > HOT_ITEMS_MIN && list.bytes > limit && list.bytes > limit + list.bytes / list.items * SLACK_ITEMS
    }

    fn share_quick(&self, class: usize, segment: Segment) -> usize {
        let percent = match segment {
            Segment::Hot => HOT_PERCENT,
            Segment::Warm => WARM_PERCENT,
            Segment::Cold | Segment::Temp => 100,
        };
        self.classes[class].bytes() / 100 * percent
    }

    /// Moves the tail of HOT or WARM on if the segment is well over its share; false when it stays.
    pub(super) fn pull_tail_quick(&mut self, class: usize, segment: Segment, now: Now) -> bool {
        let tail = self.classes[class].lists[segment.index()].tail;
        if tail.is_none() || self.pins.reason(tail).is_some() {
            return false;
        }
        if self.is_dead(tail, now) {
            self.reclaim_tail(class, tail);
            return true;
        }
        let is_over = self.is_well_over(class, segment);
        if is_over {
            self.move_tail(class, segment);
        }
        is_over
    }

    /// Moves the tail of a segment where its marks say: to WARM when it is active in WARM or COLD, else to COLD.
    fn move_tail(&mut self, class: usize, from: Segment) {
        let tail = self.classes[class].lists[from.index()].tail;
        let marks = self.item(tail).marks();
        let counters = &mut self.classes[class].counters;
        let to = if from == Segment::Hot || marks & item::ACTIVE == 0 {
            counters.moves_to_cold += 1;
            Segment::Cold
        } else if from == Segment::Warm {
            counters.moves_within_lru += 1;
            Segment::Warm
        } else {
            counters.moves_to_warm += 1;
            Segment::Warm
        };
        item::set_marks(self.spans.slot_mut(tail), marks & !item::ACTIVE);
        self.relink(to, tail);
    }

    /// Gives second chances at the tails until one is found that has none; after [`STEPS_MAX`] of them COLD's goes.
    pub(super) fn prepare_eviction_quick(&mut self, class: usize, now: Now) -> Preparation {
        let state = &self.classes[class];
        let cold_tail = state.lists[Segment::Cold.index()].tail;
        let is_drain_due = state.counters.evicted.is_multiple_of(DRAIN_INTERVAL);
        if is_drain_due && !cold_tail.is_none() && !self.item(cold_tail).has(item::FETCHED) {
            return Preparation::Take(Segment::Cold);
        }
        for _ in 0..STEPS_MAX {
            let from = self.next_source(class);
            let tail = self.classes[class].lists[from.index()].tail;
            if tail.is_none() || self.pins.reason(tail).is_some() {
                return Preparation::Take(from);
            }
            if self.is_dead(tail, now) {
                self.reclaim_tail(class, tail);
                return Preparation::Reclaimed;
            }
            let marks = self.item(tail).marks();
            let is_spared = match from {
                Segment::Hot => marks & item::FETCHED != 0 || self.is_well_over(class, Segment::Hot),
                Segment::Warm => true,
                Segment::Cold | Segment::Temp => marks & item::ACTIVE != 0,
            };
            if !is_spared {
                return Preparation::Take(from);
            }
            self.move_tail(class, from);
        }
        Preparation::Take(Segment::Cold)
    }

    /// The segment whose tail an eviction looks at next.
    fn next_source(&self, class: usize) -> Segment {
        let lists = &self.classes[class].lists;
        let [hot, warm, cold] = [Segment::Hot, Segment::Warm, Segment::Cold].map(|segment| &lists[segment.index()]);
        let is_hot_due = hot.items >= HOT_ITEMS_MIN && hot.bytes >= self.share_quick(class, Segment::Hot);
        if is_hot_due || (hot.items > 0 && warm.items + cold.items == 0) {
            Segment::Hot
        } else if warm.items > 0 && (cold.items == 0 || warm.bytes > self.share_quick(class, Segment::Warm)) {
            Segment::Warm
        } else {
            Segment::Cold
        }
    }

    /// An item of this segment is being evicted.
    #[inline]
    pub(in crate::store) fn remember_victim(&mut self, hash: KeyHash, segment: Segment) {
        if segment == Segment::Hot && self.tuning.policy == super::policy::Policy::QuickDemotion {
            self.ghosts.remember(hash, self.index.len());
        }
    }
}
