//! Walks over items for those who want to see them: key dumps, `stats cachedump`, snapshots.

use crate::base::time::Now;

use super::Store;
use super::entry::ItemView;
use super::item;
use super::lru::Segment;
use super::partition::Partition;
use super::snapshot::ClassSnapshot;

/// Where a dump goes on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DumpCursor {
    partition: u32,
    bucket: u32,
}

impl Store {
    /// Visits live items of some classes (bit n is class n) for a key dump, at most about `items_max` per call; `None`
    /// when the dump is complete. Items that are there all the time are visited at least once, but for a dump that
    /// stands still for ten minutes while most items go: the index may then shrink.
    pub fn dump(
        &self,
        cursor: DumpCursor,
        classes: u64,
        items_max: usize,
        now: Now,
        each: &mut dyn FnMut(&ItemView<'_>),
    ) -> Option<DumpCursor> {
        let mut next = cursor;
        let mut visited = 0;
        while let Some(partition) = self.partitions.get(next.partition as usize) {
            let mut partition = partition.lock();
            partition.walked = now.seconds;
            while (next.bucket as usize) < partition.index.buckets() {
                if visited >= items_max {
                    return Some(next);
                }
                partition.index.walk_bucket(next.bucket as usize, |id| {
                    visited += 1;
                    let view = ItemView::new(&partition, id, partition.item(id));
                    let is_expired = view.exptime() != 0 && view.exptime() <= now.seconds;
                    if !is_expired && !partition.is_dead(id, now) && classes & (1 << view.class()) != 0 {
                        each(&view);
                    }
                });
                next.bucket += 1;
                visited += 1;
            }
            next = DumpCursor { partition: next.partition + 1, bucket: 0 };
        }
        None
    }

    /// Visits the items of a class' COLD segment from the newest on, partition by partition (`stats cachedump`), until
    /// `each` returns false; [`CACHEDUMP_ITEMS_MAX`] of a partition at most.
    pub fn cachedump(&self, class: u8, now: Now, each: &mut dyn FnMut(&ItemView<'_>) -> bool) {
        for partition in &self.partitions {
            let partition = partition.lock();
            let Some(state) = partition.classes.get(usize::from(class)) else {
                return;
            };
            let mut id = state.lists[Segment::Cold.index()].head;
            for _ in 0..CACHEDUMP_ITEMS_MAX {
                if id.is_none() {
                    break;
                }
                let view = ItemView::new(&partition, id, partition.item(id));
                let is_expired = view.exptime() != 0 && view.exptime() <= now.seconds;
                if !is_expired && !partition.is_dead(id, now) && !each(&view) {
                    return;
                }
                id = item::Item::new(partition.spans.slot(id)).next();
            }
        }
    }
}

/// Items that `stats cachedump` looks at in one hold of a partition's lock, shown or not: what fills its reply.
const CACHEDUMP_ITEMS_MAX: usize = 65536;

impl Partition {
    /// Adds this partition's share to a class' snapshot.
    pub(super) fn add_to(&self, class: &mut ClassSnapshot) {
        let number = usize::from(class.class);
        let state = &self.classes[number];
        for segment in Segment::ALL {
            let list = &state.lists[segment.index()];
            class.items[segment.index()] += list.items;
            class.mem_requested += list.bytes;
            if !list.tail.is_none() {
                let time = self.item(list.tail).time();
                let oldest = &mut class.tail_times[segment.index()];
                *oldest = if *oldest == 0 { time } else { (*oldest).min(time) };
            }
        }
        class.used_chunks += self.spans.used_slots(number);
        class.free_chunks += self.spans.free_bytes(number) / class.chunk_bytes;
        class.evicted_time = class.evicted_time.max(state.evicted_time);
        class.counters.add(&state.counters);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::tests::{now, set};
    use super::*;
    use crate::base::sync::Arc;
    use crate::store::lru::policy::Policy;

    /// Items that are not shown were looked at without end.
    #[test]
    fn a_cachedump_looks_at_a_bounded_number_of_items() {
        let store = Store::new(Config::default(), Arc::default());
        store.tune(|tuning| tuning.policy = Policy::Flat);
        for number in 0..CACHEDUMP_ITEMS_MAX as u32 + 10 {
            set(&store, &number.to_le_bytes(), b"", 0, 0, now(100)).expect("stored");
        }
        let mut seen = 0;
        store.cachedump(1, now(100), &mut |_| {
            seen += 1;
            true
        });
        assert_eq!(seen, CACHEDUMP_ITEMS_MAX);
    }
}
