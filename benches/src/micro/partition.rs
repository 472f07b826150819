//! The store as commands use it: one visit to a key, under the lock of its partition. A `find` is the lock, the index and
//! the comparison of the key, and nothing else.

use std::hint::black_box;

use slabstash::base::hash::KeyHash;
use slabstash::base::sync::Arc;
use slabstash::base::time::Now;
use slabstash::stats::events::EventHub;
use slabstash::store::value::NewValue;
use slabstash::store::{Config, Found, Marks, NewItem, Store};

use crate::load::data::Data;
use crate::micro::{Item, Prepared, item};
use crate::random::Random;

/// From the hash to an eviction.
pub const ITEMS: &[Item] = &[
    item("key-hash", hash),
    item("find-hit-1k", || find(1_000, Found::Hit)),
    item("find-hit-10k", || find(10_000, Found::Hit)),
    item("find-hit-100k", || find(100_000, Found::Hit)),
    item("find-miss-1k", || find(1_000, Found::Miss)),
    item("find-miss-10k", || find(10_000, Found::Miss)),
    item("find-miss-100k", || find(100_000, Found::Miss)),
    item("insert-1k", || insert(1_000)),
    item("insert-10k", || insert(10_000)),
    item("insert-100k", || insert(100_000)),
    item("get-hit", get),
    item("set-overwrite", overwrite),
    item("set-evicting", set_evicting),
    item("set-in-place", overwrite_in_place),
    item("delete-and-insert", delete_and_insert),
];

/// A store with the items `0..count` of [`DATA`].
struct Filled {
    store: Store,
    next: u64,
}

impl Filled {
    fn new(count: u64, memory_mib: usize) -> Filled {
        let config = Config { memory_limit_bytes: memory_mib << 20, ..Config::default() };
        let mut filled = Filled { store: Store::new(config, Arc::new(EventHub::default())), next: 0 };
        (0..count).for_each(|_| filled.insert_next());
        filled
    }

    /// Keys that are in the store, or are not, in a random order.
    fn keys(&self, found: Found) -> Vec<Key> {
        let mut random = Random::new(1);
        let first = if found == Found::Hit { 0 } else { self.next };
        (0..VISITS).map(|_| self.key(first + random.below(self.next))).collect()
    }

    fn key(&self, id: u64) -> Key {
        let mut bytes = Vec::new();
        DATA.write_key(id, &mut bytes);
        Key { hash: self.store.hash(&bytes), bytes }
    }

    fn insert_next(&mut self) {
        let key = self.key(self.next);
        set(&self.store, &key);
        self.next += 1;
    }
}

struct Key {
    bytes: Vec<u8>,
    hash: KeyHash,
}

fn hash() -> Prepared {
    let filled = Filled::new(1, MEMORY_MIB);
    Prepared::each(filled.keys(Found::Miss), move |key| {
        black_box(filled.store.hash(&key.bytes));
    })
}

fn find(count: u64, expected: Found) -> Prepared {
    let filled = Filled::new(count, MEMORY_MIB);
    Prepared::each(filled.keys(expected), move |key| {
        let found = filled.store.entry(&key.bytes, key.hash, NOW, |entry| entry.found());
        assert_eq!(found, expected);
    })
}

/// New keys, while the index grows.
fn insert(count: u64) -> Prepared {
    let filled = Filled::new(count, MEMORY_MIB);
    let keys: Vec<Key> = (0..2 * VISITS).map(|index| filled.key(count + index)).collect();
    let mut keys = keys.into_iter();
    let work = move || keys.by_ref().take(VISITS as usize).for_each(|key| set(&filled.store, black_box(&key)));
    Prepared { operations: VISITS, work: Box::new(work) }
}

/// All that a get does to a store: find, count, mark for the LRU, copy the value out.
fn get() -> Prepared {
    let filled = Filled::new(10_000, MEMORY_MIB);
    let mut out = Vec::with_capacity(2 * VALUE_BYTES);
    Prepared::each(filled.keys(Found::Hit), move |key| {
        out.clear();
        filled.store.entry(&key.bytes, key.hash, NOW, |entry| {
            entry.count_get_hit();
            if let Some(item) = entry.item() {
                item.value().copy_to(&mut out);
            }
            entry.bump();
        });
        assert_eq!(out.len(), VALUE_BYTES);
    })
}

fn overwrite() -> Prepared {
    let filled = Filled::new(10_000, MEMORY_MIB);
    Prepared::each(filled.keys(Found::Hit), move |key| set(&filled.store, key))
}

/// New keys into a store that is full, so that each of them costs another its place.
fn set_evicting() -> Prepared {
    let mut filled = Filled::new(0, EVICTING_MIB);
    let evictions = |store: &Store| store.snapshot().classes.iter().map(|class| class.counters.evicted).sum::<u64>();
    while evictions(&filled.store) < VISITS {
        (0..VISITS).for_each(|_| filled.insert_next());
    }
    let keys: Vec<Key> = (0..2 * VISITS).map(|index| filled.key(filled.next + index)).collect();
    let mut keys = keys.into_iter();
    let work = move || keys.by_ref().take(VISITS as usize).for_each(|key| set(&filled.store, black_box(&key)));
    Prepared { operations: VISITS, work: Box::new(work) }
}

/// What incr does when the number of digits stays.
fn overwrite_in_place() -> Prepared {
    let filled = Filled::new(10_000, MEMORY_MIB);
    Prepared::each(filled.keys(Found::Hit), move |key| {
        filled.store.entry(&key.bytes, key.hash, NOW, |entry| entry.overwrite_number(black_box(&VALUE)));
    })
}

fn delete_and_insert() -> Prepared {
    let filled = Filled::new(10_000, MEMORY_MIB);
    Prepared::each(filled.keys(Found::Hit), move |key| {
        filled.store.entry(&key.bytes, key.hash, NOW, |entry| entry.remove());
        set(&filled.store, key);
    })
}

fn set(store: &Store, key: &Key) {
    let value = NewValue::Bytes(&VALUE);
    let item = NewItem { flags: 0, exptime: 0, cas: None, value, marks: Marks::default() };
    let stored = store.entry(&key.bytes, key.hash, NOW, |entry| entry.insert(item));
    assert!(stored.is_ok(), "{stored:?}");
}

const NOW: Now = Now { seconds: 100, epoch: 1_700_000_000 };
const VALUE_BYTES: usize = 100;
const VALUE: [u8; VALUE_BYTES] = [b'x'; VALUE_BYTES];
const DATA: Data = Data {
    keys: u64::MAX,
    key: crate::load::data::KeyShape::Short,
    value: crate::load::data::ValueSize::Fixed(VALUE_BYTES),
};
const VISITS: u64 = 5000;
/// Room for all items of every store that is not to evict.
const MEMORY_MIB: usize = 64;
const EVICTING_MIB: usize = 2;
