//! The most frequent store of all: a value of the same length over the present one. What [`Partition::insert`] does then
//! comes down to writing the item's bytes.

use crate::base::time::Now;

use super::ids::ItemId;
use super::item::{self, Item};
use super::lru::Segment;
use super::lru::policy::Policy;
use super::partition::Partition;

impl Partition {
    /// Stores a value over the present item `id` of the same key, if that has the same shape and neither has client flags:
    /// then slot, class and bytes stay as they are, and mostly the place in the list. Does what [`Partition::insert`] would,
    /// but that it leaves an item in a slot that is larger than it needs, and returns the class; `None`, with nothing done,
    /// when that has to.
    #[inline(always)]
    pub(super) fn overwrite(&mut self, id: ItemId, value: &[u8], exptime: u32, now: Now) -> Option<usize> {
        let tuning = &self.tuning;
        let stays = tuning.policy == Policy::QuickDemotion && (exptime == 0 || !tuning.has_temp_lru);
        if !stays || id.is_none() || !self.pins.is_empty() || item::is_wide_cas(self.cas_next) {
            return None;
        }
        let class = self.spans.place(id).0;
        let slot = self.spans.slot_mut(id);
        let present = Item::new(slot);
        let segment = present.segment();
        if !present.is_plain(value.len()) || !matches!(segment, Segment::Warm | Segment::Cold) {
            return None;
        }
        let bytes = self.shared.item_bytes(present.key_bytes(), value.len(), false);
        let cas = self.cas_next;
        self.cas_next += self.cas_step;
        item::overwrite(slot, exptime, self.shared.flush.touch_time(now), cas, segment.bits() | item::ACTIVE, value);
        self.counters.total_items += 1;
        self.rebalance.note_store(class, bytes);
        Some(class)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Random, filled, get, now, set};
    use super::super::value::NewValue;
    use super::super::*;

    /// [`Entry::overwrite_plain`] if it does, else an insert; whether it did.
    fn overwrite(store: &Store, key: &[u8], value: &[u8], exptime: u32, now: Now) -> bool {
        store.entry(key, store.hash(key), now, |entry| {
            let is_done = entry.overwrite_plain(value, exptime).is_some();
            if !is_done {
                let value = NewValue::Bytes(value);
                entry
                    .insert(NewItem { flags: 0, exptime, cas: None, value, marks: Marks::default() })
                    .expect("there is memory");
            }
            is_done
        })
    }

    /// What users can see of a store, and in which order its items would go.
    fn seen(store: &Store, keys: u64, now: Now) -> String {
        let items = (0..keys).map(|key| {
            let key = format!("key{key}").into_bytes();
            store.entry(&key, store.hash(&key), now, |entry| {
                entry.item().map(|item| (item.cas(), item.exptime(), item.last_access(), item.marks(), item.class()))
            })
        });
        let items: Vec<_> = items.collect();
        let values: Vec<_> = (0..keys).map(|key| get(store, format!("key{key}").as_bytes(), now)).collect();
        format!("{items:?} {values:?} {:?}", store.snapshot())
    }

    fn check(tuning: &Tuning) {
        let config = || Config {
            partitions: 1,
            memory_limit_bytes: 2 << 20,
            hash_seed: Some(1),
            tuning: tuning.clone(),
            ..Config::default()
        };
        let stores = [config(), config()].map(|config| Store::new(config, Arc::default()));
        let mut random = Random(5);
        let mut overwritten = 0;
        for step in 0..20_000_u32 {
            let now = now(100 + step / 100);
            let key = format!("key{}", random.next(3000)).into_bytes();
            let value = filled([40, 40, 40, 41, 900][random.next(5) as usize], step.into());
            let flags = u32::from(random.next(20) == 0);
            let exptime = if random.next(4) == 0 { now.seconds + 1 + random.next(50) as u32 } else { 0 };
            match random.next(3) {
                0 => assert_eq!(get(&stores[0], &key, now), get(&stores[1], &key, now)),
                1 => {
                    for store in &stores {
                        set(store, &key, &value, flags, exptime, now).expect("there is memory");
                    }
                }
                _ => {
                    overwritten += u32::from(overwrite(&stores[0], &key, &value, exptime, now));
                    set(&stores[1], &key, &value, 0, exptime, now).expect("there is memory");
                }
            }
        }
        assert!(overwritten > 200, "{overwritten}");
        // Which items go depends on the order of the lists and on marks that nothing shows.
        for number in 0..3000_u32 {
            for store in &stores {
                set(store, format!("new{number}").as_bytes(), &[0; 900], 0, 0, now(301)).expect("there is memory");
            }
        }
        assert!(stores[0].snapshot().classes.iter().any(|class| class.counters.evicted > 0));
        let [one, other] = stores.map(|store| seen(&store, 3000, now(400)));
        assert!(one == other, "{one}\n{other}");
    }
    #[test]
    fn an_overwrite_is_the_insert_that_it_replaces() {
        check(&Tuning::default());
        check(&Tuning { has_temp_lru: true, temporary_ttl_seconds: 20, ..Tuning::default() });
    }
}
