//! The eviction policy in force, and the questions a partition asks it: where an item enters, what a fetch does, whether
//! the lists are in balance, and who goes next.
//!
//! All policies keep their items in the same four lists, so that a policy may be changed while the server runs.

use crate::base::hash::KeyHash;
use crate::base::time::Now;

use super::super::ids::ItemId;
use super::super::item;
use super::super::partition::Partition;
use super::Segment;

/// Which items go when memory is full.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Policy {
    /// HOT is a short gate: who was not fetched when he leaves it is evicted at once, who comes back soon after goes to
    /// WARM. See the file of that name.
    #[default]
    QuickDemotion,
    /// memcached's HOT, WARM and COLD.
    Segmented,
    /// memcached's single list per class.
    Flat,
}

impl Policy {
    /// All policies, the default first.
    pub const ALL: [Policy; 3] = [Policy::QuickDemotion, Policy::Segmented, Policy::Flat];

    /// As options, commands and statistics call it.
    pub fn name(self) -> &'static str {
        match self {
            Policy::QuickDemotion => "quick_demotion",
            Policy::Segmented => "segmented",
            Policy::Flat => "flat",
        }
    }

    /// The policy of a name.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name().as_bytes() == name)
    }

    /// Whether it uses more lists than one (memcached's `lru_segmented`).
    #[inline]
    pub fn is_segmented(self) -> bool {
        self != Policy::Flat
    }
}

/// Tail items looked at when the ones before are pinned.
pub(super) const TAILS_MAX: usize = 5;

impl Partition {
    /// The segment a stored item enters. `previous` is the segment of the item it replaces.
    #[inline]
    pub(in crate::store) fn entry_segment(
        &mut self,
        hash: KeyHash,
        previous: Option<Segment>,
        exptime: u32,
        now: Now,
    ) -> Segment {
        let tuning = &self.tuning;
        if !tuning.policy.is_segmented() {
            return Segment::Cold;
        }
        let is_temporary =
            tuning.has_temp_lru && exptime != 0 && exptime.saturating_sub(now.seconds) <= tuning.temporary_ttl_seconds;
        if is_temporary {
            Segment::Temp
        } else if tuning.policy == Policy::QuickDemotion {
            self.entry_segment_quick(hash, previous)
        } else {
            Segment::Hot
        }
    }

    /// A fetch of an item with these marks. One that has all marks already stays as it is.
    #[inline(always)]
    pub(in crate::store) fn bump(&mut self, id: ItemId, marks: u8, now: Now) {
        const ALL: u8 = item::FETCHED | item::ACTIVE;
        if marks & ALL != ALL || self.tuning.policy == Policy::Flat {
            self.mark_fetched(id, now);
        }
    }

    fn mark_fetched(&mut self, id: ItemId, now: Now) {
        match self.tuning.policy {
            Policy::QuickDemotion => self.bump_quick(id, now),
            Policy::Segmented => self.bump_segmented(id, now),
            Policy::Flat => self.bump_flat(id, now),
        }
    }

    /// Whether an item of this segment that is stored again keeps its place in the list, with a mark instead.
    #[inline]
    pub(in crate::store) fn stays_when_stored(&self, segment: Segment) -> bool {
        self.tuning.policy == Policy::QuickDemotion && segment != Segment::Hot
    }

    /// Refreshes an item's place without a fetch (memcached's `do_item_update`).
    pub(in crate::store) fn refresh(&mut self, id: ItemId, now: Now) {
        if self.tuning.policy == Policy::Flat {
            return self.refresh_flat(id, now);
        }
        let time = self.shared.flush.touch_time(now);
        item::set_time(self.spans.slot_mut(id), time);
        if self.tuning.policy == Policy::Segmented {
            self.refresh_segmented(id);
        }
    }

    /// Whether HOT or WARM holds more than it should.
    #[inline]
    pub(in crate::store) fn is_unbalanced(&self, class: usize) -> bool {
        match self.tuning.policy {
            Policy::QuickDemotion => self.is_unbalanced_quick(class),
            Policy::Segmented => self.is_unbalanced_segmented(class),
            Policy::Flat => false,
        }
    }

    /// Moves tails of HOT and WARM where they belong, at most `moves_max` of them; returns how many were moved or
    /// thrown away.
    pub(in crate::store) fn balance(&mut self, class: usize, now: Now, moves_max: usize) -> usize {
        let mut moves = 0;
        for segment in [Segment::Hot, Segment::Warm] {
            while moves < moves_max && self.pull_tail(class, segment, now) {
                moves += 1;
            }
        }
        moves
    }

    fn pull_tail(&mut self, class: usize, segment: Segment, now: Now) -> bool {
        match self.tuning.policy {
            Policy::QuickDemotion => self.pull_tail_quick(class, segment, now),
            Policy::Segmented => self.pull_tail_segmented(class, segment, now, false),
            Policy::Flat => false,
        }
    }

    /// Puts the lists of a class in the order in which evictions should take from them.
    pub(in crate::store) fn prepare_eviction(&mut self, class: usize, now: Now) -> Preparation {
        match self.tuning.policy {
            Policy::QuickDemotion => self.prepare_eviction_quick(class, now),
            Policy::Segmented => self.prepare_eviction_segmented(class, now),
            Policy::Flat => Preparation::Take(Segment::Cold),
        }
    }

    /// The item of a class to be evicted next: the tail of `first`, else of another list. TEMP comes last: as far as
    /// memcached knows it is never evicted, but here a set does not fail before that.
    pub(in crate::store) fn victim(&mut self, class: usize, first: Segment) -> Option<ItemId> {
        [first, Segment::Cold, Segment::Hot, Segment::Warm, Segment::Temp]
            .into_iter()
            .find_map(|segment| self.unpinned_tail(class, segment))
    }

    fn unpinned_tail(&mut self, class: usize, segment: Segment) -> Option<ItemId> {
        let mut id = self.classes[class].lists[segment.index()].tail;
        for _ in 0..TAILS_MAX {
            if id.is_none() {
                return None;
            }
            if self.pins.reason(id).is_none() {
                return Some(id);
            }
            self.classes[class].counters.lrutail_reflocked += 1;
            id = self.item(id).prev();
        }
        None
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

/// What preparing an eviction came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) enum Preparation {
    /// A dead item was thrown away on the way: there is room.
    Reclaimed,
    /// The tail of this segment goes.
    Take(Segment),
}
