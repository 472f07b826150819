//! What a partition does in idle turns, in bounded steps: keep the LRU's segments in balance, throw dead tails away, and
//! sweep the index for dead items (the crawler), on request or by itself once a minute.

use crate::base::time::Now;
use crate::stats::events::class as event_class;

use super::ids::ItemId;
use super::item;
use super::lru::Segment;
use super::partition::Partition;

/// Moves per class and step.
const MOVES_MAX: usize = 500;

/// Buckets the crawler looks at in a step.
const CRAWL_BUCKETS_PER_STEP: usize = 256;

/// Moves of tails that a store does for its own class.
const SETTLE_MOVES_MAX: usize = 2;

/// Buckets by which the index shrinks in a step.
const SHRINK_BUCKETS_PER_STEP: usize = 256;

/// Seconds after a step of a key dump in which it is taken to be under way.
const WALK_SECONDS_MAX: u32 = 600;

/// Seconds between sweeps that nobody asked for.
const SWEEP_INTERVAL_SECONDS: u32 = 60;

/// The crawler's state in a partition.
#[derive(Default)]
pub(super) struct Sweep {
    /// Classes being crawled, bit n is class n; 0 when idle.
    classes: u64,
    bucket: usize,
    /// When the last sweep began, coarse seconds; 0 before the first.
    started: u32,
    /// Items looked at, and thrown away, by class, in this crawl.
    seen: Vec<(u64, u64)>,
}

/// How much there was to do in a step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Activity {
    /// Nothing.
    Idle,
    /// Something.
    Some,
    /// As much as a step may do; there may be more.
    Full,
}

impl Partition {
    /// After a store: keeps the segments of the item's class near their shares.
    #[inline]
    pub(super) fn settle(&mut self, class: usize, now: Now) {
        if self.tuning.has_maintainer && self.is_unbalanced(class) {
            self.balance(class, now, SETTLE_MOVES_MAX);
        }
    }

    /// One step of maintenance.
    pub(super) fn maintain(&mut self, now: Now) -> Activity {
        let mut activity = Activity::Idle;
        if self.pay_idly(now) {
            activity = Activity::Full;
        }
        if self.tuning.has_maintainer {
            self.counters.lru_maintainer_juggles += 1;
            for class in 1..self.classes.len() {
                activity = activity.max(self.maintain_class(class, now));
            }
        }
        activity = activity.max(self.crawl_step(now));
        activity.max(self.shrink_index(now))
    }

    /// Gives memory of the index back when most items have gone, but not under a walk, which would miss items.
    fn shrink_index(&mut self, now: Now) -> Activity {
        let is_walked = self.walked != 0 && now.seconds.saturating_sub(self.walked) < WALK_SECONDS_MAX;
        if !self.index.is_sparse() || is_walked || self.is_crawling() {
            return Activity::Idle;
        }
        self.buckets_peak = self.buckets_peak.max(self.index.buckets());
        for _ in 0..SHRINK_BUCKETS_PER_STEP {
            if !self.index.is_sparse() || !self.index.shrink() {
                break;
            }
        }
        self.charge_index();
        Activity::Some
    }

    fn maintain_class(&mut self, class: usize, now: Now) -> Activity {
        if self.classes[class].lists.iter().all(|list| list.items == 0) {
            return Activity::Idle;
        }
        let mut moves = self.balance(class, now, MOVES_MAX);
        for segment in [Segment::Cold, Segment::Temp] {
            while moves < MOVES_MAX {
                let tail = self.classes[class].lists[segment.index()].tail;
                if tail.is_none() || self.pins.reason(tail).is_some() || !self.is_dead(tail, now) {
                    break;
                }
                self.reclaim_tail(class, tail);
                moves += 1;
            }
        }
        match moves {
            0 => Activity::Idle,
            MOVES_MAX.. => Activity::Full,
            _ => Activity::Some,
        }
    }

    /// Starts a crawl of some classes; false when one is in progress.
    pub(super) fn start_crawl(&mut self, classes: u64, now: Now) -> bool {
        if self.sweep.classes != 0 {
            return false;
        }
        self.sweep = Sweep { classes, bucket: 0, started: now.seconds, seen: vec![(0, 0); self.classes.len()] };
        true
    }

    /// Whether a crawl is in progress.
    pub(super) fn is_crawling(&self) -> bool {
        self.sweep.classes != 0
    }

    fn crawl_step(&mut self, now: Now) -> Activity {
        if self.sweep.classes == 0 {
            if !self.tuning.has_crawler || !self.tuning.has_maintainer {
                return Activity::Idle;
            }
            if self.sweep.started == 0 {
                self.sweep.started = now.seconds;
            }
            if self.len() == 0 || now.seconds.saturating_sub(self.sweep.started) < SWEEP_INTERVAL_SECONDS {
                return Activity::Idle;
            }
            self.counters.lru_crawler_starts += 1;
            self.start_crawl(u64::MAX, now);
        }
        let end = (self.sweep.bucket + CRAWL_BUCKETS_PER_STEP).min(self.index.buckets());
        let mut dead = Vec::new();
        for bucket in self.sweep.bucket..end {
            self.crawl_bucket(bucket, now, &mut dead);
        }
        for id in dead {
            self.crawl_away(id);
        }
        self.sweep.bucket = end;
        if end == self.index.buckets() {
            self.finish_crawl(now);
            return Activity::Some;
        }
        Activity::Full
    }

    fn crawl_bucket(&mut self, bucket: usize, now: Now, dead: &mut Vec<ItemId>) {
        let mut sweep = std::mem::take(&mut self.sweep);
        let items_max = u64::from(self.tuning.crawler_items_max);
        self.index.walk_bucket(bucket, |id| {
            let class = self.facts(id).class;
            let seen = &mut sweep.seen[class];
            if sweep.classes & (1 << class) == 0 || (items_max != 0 && seen.0 >= items_max) {
                return;
            }
            seen.0 += 1;
            if self.is_dead(id, now) && self.pins.reason(id).is_none() {
                seen.1 += 1;
                dead.push(id);
            }
        });
        self.sweep = sweep;
    }

    fn crawl_away(&mut self, id: ItemId) {
        let class = self.facts(id).class;
        let is_fetched = self.item(id).has(item::FETCHED);
        let counters = &mut self.classes[class].counters;
        counters.crawler_reclaimed += 1;
        if !is_fetched {
            counters.expired_unfetched += 1;
        }
        self.unlink_unhashed(id);
    }

    fn finish_crawl(&mut self, now: Now) {
        self.sweep.classes = 0;
        let seen = std::mem::take(&mut self.sweep.seen);
        for (class, (examined, reclaimed)) in seen.into_iter().enumerate().filter(|(_, seen)| seen.0 > 0) {
            self.classes[class].counters.crawler_items_checked += examined;
            if self.shared.events.is_watched(event_class::SYSEVENTS) {
                let elapsed = now.seconds.saturating_sub(self.sweep.started);
                self.shared.events.emit(event_class::SYSEVENTS, |line| {
                    line.extend_from_slice(
                        format!(
                            "type=lru_crawler crawler={class} lru=cold low_mark=0 next_reclaims=0 since_run=0 \
                             next_run={SWEEP_INTERVAL_SECONDS} elapsed={elapsed} examined={examined} \
                             reclaimed={reclaimed}"
                        )
                        .as_bytes(),
                    );
                });
            }
        }
    }

    /// In the flat LRU memcached's search for memory meets a dead item before the lookup does: it counts as reclaimed.
    pub(super) fn recount_as_reclaimed(&mut self, found: super::entry::Found) {
        match found {
            super::entry::Found::Expired => self.counters.get_expired -= 1,
            _ => self.counters.get_flushed -= 1,
        }
        self.classes[1].counters.reclaimed += 1;
    }

    /// `flush_all` at once: throws away the newest items, those of the current second, as memcached does, at most
    /// `items_max` of them; the others are dead by the mark and go when they are met. Returns how many went.
    pub(super) fn flush_recent(&mut self, items_max: usize, now: Now) -> usize {
        let mut flushed = 0;
        for class in 1..self.classes.len() {
            for segment in Segment::ALL {
                loop {
                    let head = self.classes[class].lists[segment.index()].head;
                    if head.is_none() || self.item(head).time() < now.seconds || !self.is_dead(head, now) {
                        break;
                    }
                    if flushed == items_max {
                        return flushed;
                    }
                    self.unlink_unhashed(head);
                    flushed += 1;
                }
            }
        }
        flushed
    }

    /// Moves the live items of a span elsewhere, at most `items_max` of them; see `mover`.
    pub(super) fn evacuate(
        &mut self,
        span: usize,
        items_max: usize,
        is_evicting: bool,
        now: Now,
        tally: &mut Tally,
    ) -> Evacuated {
        self.spans.start_leaving(span);
        let mut from = 0;
        let mut status = None;
        let mut has_moved = false;
        for _ in 0..items_max {
            let Some(id) = self.spans.next_live(span, from) else {
                return match status {
                    None => Evacuated::Empty,
                    Some(status) => Evacuated::Stuck(status),
                };
            };
            from = id.slot() + 1;
            if let Some(reason) = self.pins.reason(id) {
                tally.busy_items += 1;
                status = Some(reason);
            } else if self.is_dead(id, now) {
                self.unlink_unhashed(id);
                tally.inline_reclaim += 1;
                has_moved = true;
            } else if self.rescue(id, is_evicting, now, tally) {
                has_moved = true;
            } else {
                status = Some("from_lru");
            }
        }
        match status {
            Some(status) if !has_moved => Evacuated::Stuck(status),
            _ => Evacuated::More,
        }
    }

    /// Copies an item to another slot that it fits; false when there is none. With `is_evicting` a few others make room for
    /// it, and when what they leave is too small it is evicted itself.
    fn rescue(&mut self, id: ItemId, is_evicting: bool, now: Now, tally: &mut Tally) -> bool {
        for _ in 0..EVICTIONS_PER_RESCUE {
            if self.move_elsewhere(id, tally) {
                return true;
            }
            tally.busy_nomem += 1;
            if !is_evicting || !self.evict_from(self.facts(id).class, now) {
                return false;
            }
            if item::is_free(self.spans.slot(id)) {
                // The eviction took the item itself.
                return true;
            }
        }
        if self.move_elsewhere(id, tally) {
            return true;
        }
        // What made room were dead items, where nothing may be evicted.
        let has_evictions = self.shared.config.has_evictions;
        if has_evictions {
            self.evict(id, now);
        }
        has_evictions
    }

    /// Gets an item out of its span without evicting another.
    pub(super) fn rescue_step(&mut self, id: ItemId, now: Now, tally: &mut Tally) -> Rescue {
        if self.pins.reason(id).is_some() {
            tally.busy_items += 1;
            return Rescue::Pinned;
        }
        if self.is_dead(id, now) {
            self.unlink_unhashed(id);
            tally.inline_reclaim += 1;
            return Rescue::Done;
        }
        if self.move_elsewhere(id, tally) { Rescue::Done } else { Rescue::NoSlot }
    }

    fn move_elsewhere(&mut self, id: ItemId, tally: &mut Tally) -> bool {
        // By its own size: its slot may be a roomier one, of which there are few.
        let bytes = self.item(id).bytes();
        let (class, _) = self.spans.place(id);
        let row = self.shared.bins.row(class);
        let Some(target) = self.spans.take_between(class, row.bin_of(bytes), row.count() - 1) else { return false };
        let hash = self.shared.hasher.hash(self.item(id).key());
        let facts = self.facts(id);
        let segment = self.item(id).segment();
        self.spans.copy(id, target, bytes);
        self.classes[facts.class].lists[segment.index()].moved(&mut self.spans, id, target);
        self.index.replace(hash.0, id, target);
        self.pins.moved(id, target);
        self.spans.give_back(id);
        tally.rescues += 1;
        true
    }
}

/// Evictions that may make room for an item that has to leave its span.
const EVICTIONS_PER_RESCUE: usize = 4;

/// What an attempt to get an item out of its span came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rescue {
    /// It is elsewhere, or was dead.
    Done,
    /// There is no other slot for it.
    NoSlot,
    /// It must stay where it is.
    Pinned,
}

/// What emptying a span came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Evacuated {
    /// All slots are free: remove it.
    Empty,
    /// There is more to move.
    More,
    /// Items stay, for this reason.
    Stuck(&'static str),
}

/// What the mover counts on the way.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Tally {
    pub(super) rescues: u64,
    pub(super) inline_reclaim: u64,
    pub(super) busy_items: u64,
    pub(super) busy_nomem: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Tally) {
        self.rescues += other.rescues;
        self.inline_reclaim += other.inline_reclaim;
        self.busy_items += other.busy_items;
        self.busy_nomem += other.busy_nomem;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sync::Arc;
    use crate::store::tests::{now, set};
    use crate::store::{Config, Policy, Store};

    /// A store of one partition without a crawler, with so many items that die at a time.
    fn store(items: u32, exptime: u32) -> Store {
        let mut config = Config::default();
        config.tuning.policy = Policy::Segmented;
        config.tuning.has_crawler = false;
        let store = Store::new(config, Arc::default());
        (0..items).for_each(|number| _ = set(&store, &number.to_le_bytes(), b"value", 0, exptime, now(100)));
        store
    }

    #[test]
    fn a_step_reclaims_a_bounded_number_of_dead_tails() {
        let store = store(4 * MOVES_MAX as u32, 150);
        let mut partition = store.partitions[0].lock();
        let reclaimed = |partition: &Partition| partition.classes[1].counters.reclaimed;
        for step in 1..=4 {
            assert_eq!(partition.maintain(now(200)), Activity::Full);
            assert_eq!(reclaimed(&partition), step * MOVES_MAX as u64);
        }
        assert_eq!(partition.maintain(now(200)), Activity::Idle);
    }

    #[test]
    fn a_step_of_the_crawler_looks_at_a_bounded_number_of_buckets() {
        let store = store(40_000, 0);
        let mut partition = store.partitions[0].lock();
        let buckets = partition.index.buckets();
        assert!(buckets > 2 * CRAWL_BUCKETS_PER_STEP, "{buckets} buckets");
        partition.start_crawl(u64::MAX, now(100));
        assert_eq!(partition.crawl_step(now(100)), Activity::Full);
        assert_eq!(partition.sweep.bucket, CRAWL_BUCKETS_PER_STEP);
        let seen: u64 = partition.sweep.seen.iter().map(|seen| seen.0).sum();
        assert!(seen > 0 && seen < 20 * CRAWL_BUCKETS_PER_STEP as u64, "{seen} items");
        let steps = (2..).find(|_| partition.crawl_step(now(100)) != Activity::Full);
        assert_eq!(steps, Some(buckets.div_ceil(CRAWL_BUCKETS_PER_STEP)));
    }

    #[test]
    fn the_index_shrinks_in_steps_and_under_no_walk() {
        let store = store(40_000, 0);
        for number in 0..40_000_u32 {
            store.entry(&number.to_le_bytes(), store.hash(&number.to_le_bytes()), now(100), |entry| entry.remove());
        }
        let _ = store.dump(Default::default(), u64::MAX, 1, now(100), &mut |_| {});
        let mut partition = store.partitions[0].lock();
        let buckets = partition.index.buckets();
        assert!(partition.index.is_sparse() && buckets > 2 * SHRINK_BUCKETS_PER_STEP);
        assert_eq!(partition.shrink_index(now(100 + WALK_SECONDS_MAX - 1)), Activity::Idle);
        assert_eq!(partition.index.buckets(), buckets);
        assert_eq!(partition.shrink_index(now(100 + WALK_SECONDS_MAX)), Activity::Some);
        assert_eq!(partition.index.buckets(), buckets - SHRINK_BUCKETS_PER_STEP);
    }

    #[test]
    fn a_store_moves_few_tails_of_its_class() {
        let store = store(1000, 0);
        let mut partition = store.partitions[0].lock();
        let moves = |partition: &Partition| partition.classes[1].counters.moves_to_cold;
        // The share of HOT is less at once than it was.
        partition.tuning.hot_lru_percent = 1;
        let before = moves(&partition);
        partition.settle(1, now(100));
        assert_eq!(moves(&partition) - before, SETTLE_MOVES_MAX as u64);
    }
}
