//! The store against a naive model: random operations from a printed seed, with so little memory that every edge is hit.
//! A miss is always allowed; a hit must be what was stored last.

use std::collections::HashMap;

use crate::base::sizes::PAGE_BYTES;

use super::slab::budget::page_memory_bytes;
use super::value::{NewValue, Value};
use super::*;

/// A small generator, so that a seed is all there is to a run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

pub(super) fn now(seconds: u32) -> Now {
    Now { seconds, epoch: 1_700_000_000 }
}

pub(super) fn filled(length: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes: Vec<u8> = seed.to_le_bytes().iter().copied().cycle().take(length).collect();
    if let Some(last) = bytes.last_mut() {
        *last = random.next(256) as u8;
    }
    bytes
}

pub(super) fn set(
    store: &Store,
    key: &[u8],
    value: &[u8],
    flags: u32,
    exptime: u32,
    now: Now,
) -> Result<u64, StoreError> {
    let hash = store.hash(key);
    let large = match store.fit(key.len(), value.len(), flags) {
        Fit::TooLarge => return Err(StoreError::TooLarge),
        Fit::Inline => None,
        Fit::Large => {
            let mut buffer = store.large_buffer(key.len(), value.len(), flags, now)?;
            assert_eq!(buffer.fill(value), value.len());
            Some(buffer)
        }
    };
    let value = match large {
        Some(buffer) => NewValue::Large(buffer),
        None => NewValue::Bytes(value),
    };
    store.entry(key, hash, now, |entry| {
        entry.insert(NewItem { flags, exptime, cas: None, value, marks: Marks::default() })
    })
}

pub(super) fn get(store: &Store, key: &[u8], now: Now) -> Option<(Vec<u8>, u32, u64)> {
    store.entry(key, store.hash(key), now, |entry| {
        entry.bump();
        let item = entry.item()?;
        assert_eq!(item.key(), key);
        let mut bytes = Vec::new();
        item.value().copy_to(&mut bytes);
        Some((bytes, item.flags(), item.cas()))
    })
}

#[derive(Clone)]
struct Expected {
    value: Vec<u8>,
    flags: u32,
    cas: u64,
    exptime: u32,
}

/// Runs random operations; returns the store's evictions.
fn run(config: Config, seed: u64, steps: usize, sizes: &[usize]) -> u64 {
    let store = Store::new(config, Arc::default());
    let mut random = Random(seed);
    let mut model: HashMap<Vec<u8>, Expected> = HashMap::new();
    let mut seconds = 100;
    let mut hits = 0;
    for step in 0..steps {
        let moment = now(seconds);
        let key = format!("key{}", random.next(3000)).into_bytes();
        match random.next(100) {
            0..45 => {
                let size = sizes[random.next(sizes.len() as u64) as usize];
                let size = size - random.next((size as u64 / 4).max(1)) as usize;
                let value = filled(size, step as u64 + 1);
                let flags = if random.next(2) == 0 { 0 } else { step as u32 };
                let exptime = if random.next(10) == 0 { seconds + 1 + random.next(20) as u32 } else { 0 };
                let cas = set(&store, &key, &value, flags, exptime, moment)
                    .unwrap_or_else(|error| panic!("seed {seed} step {step}: {size} bytes: {error:?}"));
                model.insert(key, Expected { value, flags, cas, exptime });
            }
            45..90 => {
                if let Some((value, flags, cas)) = get(&store, &key, moment) {
                    hits += 1;
                    let expected = model.get(&key).unwrap_or_else(|| panic!("seed {seed} step {step}: resurrected"));
                    assert!(expected.exptime == 0 || expected.exptime > seconds, "seed {seed} step {step}: expired");
                    assert!(value == expected.value, "seed {seed} step {step}: another value");
                    assert_eq!((flags, cas), (expected.flags, expected.cas), "seed {seed} step {step}");
                }
            }
            90..95 => {
                store.entry(&key, store.hash(&key), moment, |entry| entry.remove());
                model.remove(&key);
            }
            95 => {
                let wide = u64::MAX - step as u64;
                let is_there = store.entry(&key, store.hash(&key), moment, |entry| {
                    entry.set_cas(wide);
                    entry.item().is_some()
                });
                if is_there {
                    model.get_mut(&key).expect("present").cas = wide;
                }
            }
            96 => {
                let classes = i32::from(store.class_largest());
                let pick = |random: &mut Random| random.next(classes as u64 + 1) as i32;
                let (source, target) = (pick(&mut random), pick(&mut random));
                let _ = store.reassign(if random.next(3) == 0 { -1 } else { source }, target, moment);
            }
            97 if random.next(50) == 0 => {
                store.flush(None, moment);
                model.clear();
            }
            98 if random.next(20) == 0 => seconds += random.next(5) as u32,
            _ => {
                let _ = store.crawl(u64::MAX, moment);
                let _ = store.maintain(0, 1, moment);
            }
        }
    }
    // What a flush covers is dead at once, but linked until somebody meets it; a dump does not show it.
    store.maintain(0, 1, now(seconds));
    let snapshot = store.snapshot();
    assert_eq!(snapshot.curr_items, snapshot.classes.iter().map(ClassSnapshot::item_count).sum::<usize>());
    let mut dumped = 0;
    let mut cursor = Some(DumpCursor::default());
    while let Some(from) = cursor {
        cursor = store.dump(from, u64::MAX, 100, now(1), &mut |_| dumped += 1);
    }
    assert_eq!(dumped, snapshot.curr_items);
    assert!(hits > 0, "seed {seed}: only {hits} hits");
    snapshot.classes.iter().map(|class| class.counters.evicted).sum()
}

fn small(partitions: usize) -> Config {
    Config { memory_limit_bytes: 4 << 20, partitions, ..Config::default() }
}

/// [`small`] with a policy that evicts the oldest items, fetched or not.
fn small_lru(partitions: usize) -> Config {
    let mut config = small(partitions);
    config.tuning.policy = Policy::Segmented;
    config
}

#[test]
fn it_keeps_what_was_stored_last() {
    for seed in 1..=3 {
        run(small(1), seed, 40_000, &[10, 100, 1000]);
        run(small(4), seed, 40_000, &[10, 100, 1000, 5000]);
    }
}

#[test]
fn it_evicts_and_never_fails_while_sizes_change() {
    for seed in 1..=2 {
        for partitions in [1, 4] {
            assert!(run(small(partitions), seed, 20_000, &[9000, 15_000, 300]) > 0);
            assert!(run(small(partitions), seed, 4_000, &[20_000, 100_000, 900_000, 50]) > 0);
            let chunked = Config { slab_chunk_max: 16384, ..small(partitions) };
            assert!(run(chunked, seed, 6_000, &[16_300, 15_000, 30_000, 200_000]) > 0);
        }
    }
}

#[test]
fn a_flat_lru_evicts_in_order() {
    let mut config = small(1);
    config.tuning.policy = Policy::Flat;
    config.tuning.has_maintainer = false;
    let store = Store::new(config, Arc::default());
    let value = vec![7; 66_560];
    for number in 0..80u32 {
        set(&store, format!("k{number}").as_bytes(), &value, 0, 0, now(100)).expect("stored");
    }
    let present: Vec<bool> =
        (0..80u32).map(|number| get(&store, format!("k{number}").as_bytes(), now(100)).is_some()).collect();
    let first = present.iter().position(|&is_there| is_there).expect("some");
    assert_eq!(first, 80 - 48);
    assert!(present[first..].iter().all(|&is_there| is_there));
}

#[test]
fn memory_comes_back_when_the_limit_falls() {
    let config = Config { memory_limit_bytes: 16 << 20, ..small(2) };
    let store = Store::new(config, Arc::default());
    for number in 0..20_000u32 {
        set(&store, format!("k{number}").as_bytes(), &[1; 1000], 0, 0, now(100)).expect("stored");
    }
    assert_eq!(store.snapshot().malloced_bytes, 16 << 20);
    store.set_memory_limit(8 << 20);
    for step in 0..2000 {
        store.maintain(0, 1, now(100 + step / 100));
    }
    assert_eq!(store.snapshot().malloced_bytes, 8 << 20);
}

/// More may be in use than is allowed, after the limit fell or while something is borrowed, and all of it free chunks of
/// large values. Only as many of those were given up as a set needs, one where two or more had to go, and it was refused.
#[test]
fn a_set_gives_up_all_the_free_chunks_it_needs() {
    for slab_chunk_max in [16384, 65536] {
        let config = Config { memory_limit_bytes: 8 << 20, slab_chunk_max, ..small(1) };
        let store = Store::new(config, Arc::default());
        let value = [1; 1000];
        let class = usize::from(store.class_of(store.item_bytes(6, value.len(), 0)));
        // Its first page, which a class gets whatever else there is, is in use.
        assert!(store.shared.budget.take(class, page_memory_bytes(PAGE_BYTES)));
        let key = |number: u32| format!("large{number}").into_bytes();
        for number in 0..200 {
            set(&store, &key(number), &[2; 60_000], 0, 0, now(100)).expect("stored");
        }
        for number in 0..200 {
            store.entry(&key(number), store.hash(&key(number)), now(100), |entry| entry.remove());
        }
        let mut borrowed = 0;
        while store.shared.budget.borrow(class, 4096) {
            borrowed += 4096;
        }
        assert!(borrowed > 6 * slab_chunk_max, "{borrowed} bytes borrowed");
        assert_eq!(set(&store, b"small0", &value, 0, 0, now(100)).map(drop), Ok(()), "chunks of {slab_chunk_max}");
    }
}

/// A partition with nothing in it asked the others for spans and for items of its class, but not for the large values whose
/// ends filled the first page of that class: its first small value was refused though all of these could be evicted.
#[test]
fn a_partition_without_items_gets_memory_of_large_values_elsewhere() {
    for (automove, partitions) in [(0, 2), (1, 2), (0, 4), (1, 4)] {
        let (page_bytes, slab_chunk_max) = (4096, 1024);
        let config = Config { memory_limit_bytes: 16 * page_bytes, page_bytes, slab_chunk_max, ..small(partitions) };
        let store = Store::new(config, Arc::default());
        store.tune(|tuning| tuning.automove = automove);
        let small = [1; 200];
        let class = usize::from(store.class_of(store.item_bytes(3, small.len(), 0)));
        // An end of 200 bytes each, until these fill a page and the rest of the chunks all other memory.
        for key in keys_of(&store, 0, "large").take(64) {
            set(&store, &key, &[2; 1024 + 200], 0, 0, now(100)).expect("stored");
        }
        let used = store.shared.budget.counts().used;
        assert!(used[class] + 1024 > page_memory_bytes(page_bytes), "{used:?}");
        let key = keys_of(&store, 1, "").next().expect("a key");
        let stored = set(&store, &key, &small, 0, 0, now(100)).map(drop);
        assert_eq!(stored, Ok(()), "automove {automove}, {partitions} partitions");
    }
}

/// One partition had borrowed a span against another one of the class, which it had emptied but for a step; both were more than
/// the class' page, and the span being emptied was nobody's to take: in the other partition a value was refused.
#[test]
fn a_span_that_another_partition_empties_can_be_had() {
    let (page_bytes, slab_chunk_max) = (4096, 1024);
    let config = Config {
        memory_limit_bytes: 16 * page_bytes,
        page_bytes,
        slab_chunk_max,
        slab_sizes: Some(vec![96, 400, 800]),
        has_slab_reassign: false,
        ..small(2)
    };
    let store = Store::new(config, Arc::default());
    let set_in = |partition: usize, number: usize, length: usize| {
        let key = keys_of(&store, partition, "").nth(number).expect("a key");
        set(&store, &key, &vec![1; length], 0, 0, now(100)).map(drop)
    };
    // All memory is chunks of large values, whose ends have another class.
    for number in 0..40 {
        assert_eq!(set_in(number % 2, number, 3 * 1024 + 200), Ok(()));
    }
    let class = usize::from(store.class_of(store.item_bytes(3, 400, 0)));
    // The class' page goes to and fro, and is divided for the one size that is stored.
    for (number, partition) in [(50, 1), (51, 0), (52, 1)] {
        assert_eq!(set_in(partition, number, 400), Ok(()));
    }
    // This needs a larger slot.
    assert_eq!(set_in(1, 53, 600), Ok(()));
    let counts = store.shared.budget.counts();
    assert!(counts.used[class] > counts.pages[class] * counts.page_memory_bytes(), "nothing is borrowed: {counts:?}");
    assert_eq!(set_in(0, 54, 400), Ok(()));
}

/// The end of a large value kept its class' only page from a span when it was free as well: it was given up only when free
/// chunks made a whole span, or behind an eviction, and there was nothing left to evict.
#[test]
fn the_end_of_a_large_value_that_is_gone_makes_room() {
    let (page_bytes, slab_chunk_max) = (4096, 1024);
    let slab_sizes = Some(vec![96, 400, 800]);
    let config = Config { memory_limit_bytes: 16 * page_bytes, page_bytes, slab_chunk_max, slab_sizes, ..small(1) };
    let store = Store::new(config, Arc::default());
    for number in 0_u32..40 {
        set(&store, &number.to_le_bytes(), &[1; 3 * 1024 + 200], 0, 0, now(100)).expect("stored");
    }
    store.tune(|tuning| tuning.automove = 0);
    set(&store, b"end", &[1; 1024 + 600], 0, 0, now(100)).expect("stored");
    store.flush(None, now(100));
    let class = usize::from(store.class_of(store.item_bytes(5, 500, 0)));
    assert_eq!((store.snapshot().curr_items, store.shared.chunks.counts(class)), (0, (0, 1)));
    assert_eq!(set(&store, b"small", &[1; 500], 0, 0, now(100)).map(drop), Ok(()));
}

/// The last items that could go were dead and in HOT, while COLD was empty: the segmented LRU threw them away on its way to a
/// victim, found none, and the small value that one of their ends had kept out was refused though that was free by now.
#[test]
fn large_values_that_are_dead_make_room() {
    for partitions in [1, 2] {
        let (page_bytes, slab_chunk_max) = (4096, 1024);
        let slab_sizes = Some(vec![96, 400, 800]);
        let memory_limit_bytes = 16 * page_bytes;
        let mut config = Config { memory_limit_bytes, page_bytes, slab_chunk_max, slab_sizes, ..small_lru(partitions) };
        (config.has_slab_reassign, config.tuning.has_maintainer) = (false, false);
        let store = Store::new(config, Arc::default());
        // Of 21 three are left when five and a victim have gone at a time. One of them has an end, which is on the only page
        // of its class.
        for (number, key) in keys_of(&store, 0, "large").take(21).enumerate() {
            let end = if number == 20 { 200 } else { 0 };
            set(&store, &key, &vec![1; 3 * 1024 + end], 0, 101, now(100)).expect("stored");
        }
        let class = usize::from(store.class_of(store.item_bytes(5, 255, 0)));
        let counts = store.shared.budget.counts();
        assert_eq!((counts.pages[class], counts.is_full(), store.snapshot().curr_items), (1, true, 21));
        // With two partitions, what has to go is in the other one.
        let key = keys_of(&store, partitions - 1, "").next().expect("a key");
        assert_eq!(set(&store, &key, &[1; 255], 0, 0, now(200)).map(drop), Ok(()), "{partitions} partitions");
    }
}

/// Memory in chunks of large values was counted nowhere, and the allocator kept what it had once got: 121 MB were resident at
/// `-m 64` when sizes changed between 16 KiB and 64 KiB.
#[test]
fn memory_in_chunks_is_counted_and_given_back() {
    let limit = 16 << 20;
    for slab_chunk_max in [4096, 512 << 10] {
        let config = Config { memory_limit_bytes: limit, slab_chunk_max, ..small(1) };
        let store = Store::new(config, Arc::default());
        let Shared { budget, chunks, .. } = &*store.shared;
        for (regime, size) in [70, 18_000, 40_000, 1000, 60_000, 24_000, 300, 33_000].into_iter().enumerate() {
            for number in 0..2 * limit / (size + 100) {
                let key = format!("{regime}-{number}").into_bytes();
                set(&store, &key, &vec![regime as u8; size], 0, 0, now(100)).expect("stored");
            }
            let (mapped, allocated) = budget.held();
            let from_allocator = chunks.bytes_of(|chunk_bytes| !chunks.is_mapped(chunk_bytes));
            assert_eq!(allocated, from_allocator, "{size} bytes in chunks of {slab_chunk_max}");
            assert!(mapped >= chunks.bytes_of(|chunk_bytes| chunks.is_mapped(chunk_bytes)));
            // A huge page and what is borrowed may come on top.
            let held = mapped + allocated;
            assert!(held <= limit + limit / 64 + (2 << 20) + (1 << 19), "{size} bytes: {held} bytes held");
            if size > 16384 && slab_chunk_max > 65536 {
                assert_eq!(allocated, 0, "{size} bytes: what the allocator gets it keeps");
            }
        }
    }
}

/// Once the index was on top of the limit, with small items 18 % of it, and stayed as large as it had ever been.
#[test]
fn the_index_counts_against_the_limit_and_gives_memory_back() {
    let limit = 16 << 20;
    let store = Store::new(Config { memory_limit_bytes: limit, ..small(2) }, Arc::default());
    for number in 0..500_000u32 {
        set(&store, format!("k{number:07}").as_bytes(), b"1", 0, 0, now(100)).expect("stored");
    }
    let full = store.snapshot();
    assert!(full.hash_bytes > 2 << 20, "{}", full.hash_bytes);
    assert!(full.malloced_bytes < limit, "{} of {limit} bytes in pages", full.malloced_bytes);
    let taken = full.malloced_bytes + full.hash_bytes;
    // What the ghosts take is reserved, and comes with the first eviction.
    assert!(taken > limit - limit / 32 && taken < limit + limit / 64 + (2 << 20), "{taken} bytes");
    for number in 0..500_000u32 {
        let key = format!("k{number:07}").into_bytes();
        store.entry(&key, store.hash(&key), now(100), |entry| entry.remove());
    }
    for _ in 0..1000 {
        let _ = store.maintain(0, 1, now(100));
    }
    let empty = store.snapshot();
    assert!(empty.hash_bytes < 256 << 10, "{} bytes for {} items", empty.hash_bytes, empty.curr_items);
}

/// Slots came in steps of at least 8 bytes, of an eighth of a class mostly: values of one size lost 4 % to them.
#[test]
fn values_of_one_size_fill_memory() {
    for value_bytes in [10, 77, 100, 333, 500, 1111, 4000] {
        let limit = 16 << 20;
        let store = Store::new(Config { memory_limit_bytes: limit, ..small(1) }, Arc::default());
        let (value, item_bytes) = (vec![1; value_bytes], item::HEADER_BYTES + 20 + value_bytes);
        for number in 0..2 * limit / item_bytes {
            set(&store, format!("key-{number:016}").as_bytes(), &value, 0, 0, now(100)).expect("stored");
        }
        let snapshot = store.snapshot();
        let used = snapshot.curr_items * item_bytes;
        let pages = snapshot.malloced_bytes;
        assert!(used * 100 > pages * 98, "values of {value_bytes} bytes: items of {used} bytes in {pages}");
    }
}

/// A slot that is a little roomier than the item needs is kept when the item is stored again.
#[test]
fn an_overwrite_stays_in_its_slot() {
    let store = Store::new(small(1), Arc::default());
    let place = |store: &Store| {
        let (key, partition) = (b"key", store.partitions[0].lock());
        partition.find(key, store.hash(key)).expect("there")
    };
    set(&store, b"key", &[1; 200], 0, 0, now(100)).expect("stored");
    let first = place(&store);
    for value_bytes in [200, 199, 200] {
        set(&store, b"key", &vec![2; value_bytes], 0, 0, now(100)).expect("stored");
        assert_eq!(place(&store), first, "{value_bytes}");
    }
    assert_eq!(get(&store, b"key", now(100)).map(|got| got.0), Some(vec![2; 200]));
}

/// Spans of some slots had become so large that sixteen evictions of large values did not make one: small items of the
/// class emptied each other's spans while the old large values stayed.
#[test]
fn old_large_values_make_room_for_small_ones_of_their_class() {
    let config = Config { memory_limit_bytes: 16 << 20, slab_chunk_max: 4096, ..small_lru(1) };
    let store = Store::new(config, Arc::default());
    for number in 0..2000 {
        set(&store, format!("large{number}").as_bytes(), &[1; 11_000], 0, 0, now(100)).expect("stored");
    }
    for number in 0..1000 {
        set(&store, format!("small{number}").as_bytes(), &[2; 3000], 0, 0, now(101)).expect("stored");
    }
    let is_there = |number: &u32| get(&store, format!("small{number}").as_bytes(), now(101)).is_some();
    let held = (0..1000).filter(is_there).count();
    assert!(held > 950, "{held} of 1000");
}

#[test]
fn large_values_are_views_of_chunks() {
    let store = Store::new(small(1), Arc::default());
    let value = filled(700_000, 5);
    set(&store, b"big", &value, 0, 0, now(100)).expect("stored");
    let held = store.entry(b"big", store.hash(b"big"), now(100), |entry| match entry.item().map(|item| item.value()) {
        Some(Value::Large(large)) => large.clone(),
        other => panic!("not large: {other:?}"),
    });
    store.entry(b"big", store.hash(b"big"), now(100), |entry| entry.remove());
    let mut bytes = Vec::new();
    Value::Large(&held).copy_to(&mut bytes);
    assert!(bytes == value, "the value changed under a reader");
}

#[test]
fn a_full_class_of_chunks_gives_a_page_up() {
    // Once the mover stepped for ever: the class had no chunk free and one span of small slots besides.
    let config = Config { memory_limit_bytes: 12 << 20, slab_chunk_max: 16384, ..small(1) };
    let store = Store::new(config, Arc::default());
    let evictions =
        |store: &Store| -> u64 { store.snapshot().classes.iter().map(|class| class.counters.evicted).sum() };
    for (size, name) in [(15_000, 'b'), (2000, 's'), (30_000, 'c')] {
        let before = evictions(&store);
        let mut number = 0;
        while evictions(&store) == before {
            set(&store, format!("{name}{number}").as_bytes(), &vec![1; size], 0, 0, now(100)).expect("stored");
            number += 1;
        }
    }
    for pages in 1..6 {
        assert_eq!(store.reassign(23, 0, now(100)), Reassign::Running);
        for step in 0..2000 {
            store.maintain(0, 1, now(100 + step / 100));
        }
        assert_eq!(store.snapshot().counters.slabs_moved, pages);
    }
}

/// For a page of chunks that an operator wanted the items that were touched longest ago were evicted, though memory was not full.
/// Mostly these were the very ones on that page, the oldest, and nothing was there to be kept.
#[test]
fn what_is_on_a_page_of_chunks_that_goes_is_kept_while_there_is_memory() {
    let config = Config { memory_limit_bytes: 12 << 20, slab_chunk_max: 4096, ..small_lru(1) };
    let store = Store::new(config, Arc::default());
    let value = |number: u32| vec![number as u8; 2 * 4096];
    // Ten pages, of which the last is half full.
    let count: u32 = 9 * 128 + 64;
    for number in 0..count {
        set(&store, &number.to_le_bytes(), &value(number), 0, 0, now(100)).expect("stored");
    }
    let class = store.class_largest();
    let move_page = |number: u64| {
        assert_eq!(store.reassign(i32::from(class), 0, now(100)), Reassign::Running);
        while store.snapshot().is_reassigning {
            let _ = store.maintain(0, 1, now(100));
        }
        let snapshot = store.snapshot();
        assert_eq!(snapshot.counters.slabs_moved, number);
        let evicted: u64 = snapshot.classes.iter().map(|class| class.counters.evicted).sum();
        let pages = store.shared.budget.counts().pages[usize::from(class)];
        (pages, snapshot.pool_pages, snapshot.counters.reassign_chunk_rescues, evicted)
    };
    assert_eq!([move_page(1), move_page(2)], [(10, 1, 256, 0), (10, 2, 512, 0)]);
    // Now all pages are somewhere: what the class has more than nine pages is evicted, and a third page holds others.
    assert_eq!(move_page(3), (9, 3, 640, 64));
    for number in 0..count {
        let found = get(&store, &number.to_le_bytes(), now(100)).map(|(found, ..)| found);
        assert_eq!(found, (number >= 64).then(|| value(number)), "{number}");
    }
}

/// The keys `PREFIX0`, `PREFIX1`... of one partition.
fn keys_of(store: &Store, partition: usize, prefix: &str) -> impl Iterator<Item = Vec<u8>> {
    let keys = (0..).map(move |number: u32| format!("{prefix}{number}").into_bytes());
    keys.filter(move |key| std::ptr::eq(store.partition(store.hash(key)), &raw const *store.partitions[partition]))
}

fn class_of(store: &Store, key: &[u8], value: &[u8]) -> i32 {
    i32::from(store.class_of(store.item_bytes(key.len(), value.len(), 0)))
}

/// The mover chose the span it would empty next and marked it in its next step only. In between, a set in another
/// thread could drop that very span and reuse its number for its own class; the mover then emptied the new span and
/// credited it to the old class.
#[test]
fn a_span_that_the_mover_has_chosen_stays() {
    for (full, other) in [(0, 1), (1, 0)] {
        let store = Store::new(small(2), Arc::default());
        let (small_value, other_value) = ([1; 100], [2; 1000]);
        for number in 0..40_000u32 {
            set(&store, format!("a{number:06}").as_bytes(), &small_value, 0, 0, now(100)).expect("stored");
        }
        for key in keys_of(&store, full, "b").take(1200) {
            set(&store, &key, &other_value, 0, 0, now(100)).expect("stored");
        }
        assert_eq!(store.reassign(class_of(&store, b"a000000", &small_value), 1, now(100)), Reassign::Running);
        let _ = store.maintain(0, 1, now(100));
        for key in keys_of(&store, other, "b").take(3) {
            set(&store, &key, &other_value, 0, 0, now(100)).expect("stored");
        }
        for _ in 0..300 {
            let _ = store.maintain(0, 1, now(100));
        }
        assert!(!store.snapshot().is_reassigning);
        for class in 1..store.shared.bins.classes() {
            let bytes: usize = store.partitions.iter().map(|partition| partition.lock().spans.bytes(class)).sum();
            let used = store.shared.budget.counts().used[class];
            assert_eq!(used, bytes, "class {class}");
        }
    }
}

/// The page was in the pool when the move began and was taken by a set before it could be moved: the move waited for
/// another page in the pool, for ever, and every further `slabs reassign` was answered BUSY.
#[test]
fn a_move_of_a_page_that_is_gone_ends() {
    let store = Store::new(Config { memory_limit_bytes: 16 << 20, ..small(1) }, Arc::default());
    let value = [1; 1000];
    let mut number = 0;
    let mut add = |count: u32| {
        for _ in 0..count {
            number += 1;
            set(&store, format!("k{number:06}").as_bytes(), &value, 0, 0, now(100)).expect("stored");
        }
    };
    add(1500);
    let class = class_of(&store, b"k000001", &value);
    for key in 1..=1400u32 {
        let key = format!("k{key:06}").into_bytes();
        store.entry(&key, store.hash(&key), now(100), |entry| entry.remove());
    }
    assert_eq!(store.reassign(class, 0, now(100)), Reassign::Running);
    let steps = |count: u32| {
        for _ in 0..count {
            let _ = store.maintain(0, 1, now(100));
        }
    };
    steps(500);
    assert_eq!((store.snapshot().pool_pages, store.snapshot().is_reassigning), (1, false));
    assert_eq!(store.reassign(0, class + 1, now(100)), Reassign::Running);
    add(2000);
    assert_eq!(store.snapshot().pool_pages, 0);
    steps(500);
    assert!(!store.snapshot().is_reassigning);
}

/// A span with more items than a step looks at, none of which found another slot, was taken for one that is being
/// emptied: the move never evicted and never ended.
#[test]
fn a_move_without_free_slots_ends() {
    let store = Store::new(Config { memory_limit_bytes: 64 << 20, ..small(1) }, Arc::default());
    let value = [1; 40];
    let class = class_of(&store, b"k000001", &value);
    let pages = |store: &Store| store.shared.budget.counts().used[usize::try_from(class).expect("a class")];
    let mut number = 0;
    while pages(&store) < 2 << 20 || store.partitions[0].lock().spans.free_bytes(class as usize) > 1024 {
        number += 1;
        set(&store, format!("k{number:06}").as_bytes(), &value, 0, 0, now(100)).expect("stored");
    }
    assert_eq!(store.reassign(class, class + 1, now(100)), Reassign::Running);
    for _ in 0..1000 {
        let _ = store.maintain(0, 1, now(100));
    }
    assert!(!store.snapshot().is_reassigning);
}

/// In the second of a delayed flush a new item is dead as soon as it is stored. The LRU's upkeep behind the store threw
/// it away, and the visit went on with a free slot: `mg key N30` linked that into a list.
#[test]
fn a_new_item_outlives_its_visit() {
    let store = Store::new(small(1), Arc::default());
    store.flush(Some(101), now(100));
    for number in 0..10 {
        let key = format!("key{number}").into_bytes();
        store.entry(&key, store.hash(&key), now(100), |entry| {
            let value = NewValue::Bytes(b"value");
            let new = NewItem { flags: 0, exptime: 0, cas: None, value, marks: Marks::default() };
            entry.insert(new).expect("stored");
            assert_eq!(entry.item().expect("linked").key(), key);
            entry.set_exptime(200);
            entry.bump();
            entry.bump();
            entry.refresh();
        });
    }
    let snapshot = store.snapshot();
    assert_eq!(snapshot.curr_items, snapshot.classes.iter().map(ClassSnapshot::item_count).sum::<usize>());
}

/// The share of the newest `newest` of the keys `PREFIX0`... that is held.
fn held(store: &Store, prefix: &str, count: u32, newest: u32) -> f64 {
    let keys = (count - newest..count).map(|number| format!("{prefix}{number}").into_bytes());
    keys.filter(|key| get(store, key, now(100)).is_some()).count() as f64 / f64::from(newest)
}

/// Memory in use, in bytes, and pages as users see them.
fn memory(store: &Store) -> (usize, usize) {
    let counts = store.shared.budget.counts();
    (counts.used.iter().sum(), counts.malloced_bytes)
}

/// Value sizes that changed found each class with the page it got above the limit: a full store held what it held
/// before, whatever came, and grew by a page for each class. All within a second, as the clock here stands still.
#[test]
fn memory_follows_the_sizes() {
    for partitions in [1, 4] {
        let limit = 16 << 20;
        let store = Store::new(Config { memory_limit_bytes: limit, ..small_lru(partitions) }, Arc::default());
        for (regime, size) in [70, 450, 6000, 150, 100_000, 1000, 30_000, 70].into_iter().enumerate() {
            let count = 2 * limit as u32 / (size + 100);
            let prefix = format!("{regime}-");
            for number in 0..count {
                let key = format!("{prefix}{number}").into_bytes();
                // A class divides its items by size: each finds a slot all the same.
                let value = vec![regime as u8; (size + number % (size / 2)) as usize];
                set(&store, &key, &value, 0, 0, now(100)).expect("stored");
            }
            let share = held(&store, &prefix, count, count / 8);
            assert!(share > 0.85, "{partitions} partitions, {size} bytes: {share} of the newest held");
            let (used, malloced) = memory(&store);
            assert!(used <= limit + (1 << 19), "{size} bytes: {used} bytes used");
            assert!(malloced <= limit + (20 << 20), "{size} bytes: {malloced} bytes in pages");
        }
    }
}

/// An item in a class was evicted with the whole span that it was in, new or old, when a store found no slot of its own
/// size within its class.
#[test]
fn a_full_class_gives_up_its_oldest_items() {
    for automove in [0, 1] {
        let mut config = Config { memory_limit_bytes: 16 << 20, ..small_lru(1) };
        config.tuning.automove = automove;
        let store = Store::new(config, Arc::default());
        let mut random = Random(1);
        for number in 0..400_000u32 {
            let value = vec![1; 40 + random.next(60) as usize];
            set(&store, format!("k{number}").as_bytes(), &value, 0, 0, now(100)).expect("stored");
        }
        let share = held(&store, "k", 400_000, 50_000);
        assert!(share > 0.95, "automove {automove}: {share}");
    }
}

/// With the automover off a class keeps its pages while others come and go, as in memcached.
#[test]
fn pages_stay_with_the_automover_off() {
    for tune in
        [|config: &mut Config| config.tuning.automove = 0, |config: &mut Config| config.has_slab_reassign = false]
    {
        let mut config = Config { memory_limit_bytes: 16 << 20, ..small_lru(2) };
        tune(&mut config);
        let store = Store::new(config, Arc::default());
        for (prefix, size) in [("a", 1000), ("b", 5000)] {
            for number in 0..20_000u32 {
                set(&store, format!("{prefix}{number}").as_bytes(), &vec![1; size], 0, 0, now(100)).expect("stored");
            }
        }
        let pages =
            |key: &[u8], size| store.shared.budget.counts().pages[class_of(&store, key, &vec![1; size]) as usize];
        assert_eq!((pages(b"a19999", 1000), pages(b"b19999", 5000)), (16, 1));
        assert!(held(&store, "a", 20_000, 10_000) > 0.9);
    }
}

/// The work behind a store is bounded: in all but the first ones of a class it is little.
#[test]
fn a_store_evicts_little_at_a_time() {
    let store = Store::new(Config { memory_limit_bytes: 16 << 20, ..small(1) }, Arc::default());
    let evicted =
        |store: &Store| -> u64 { store.partitions[0].lock().classes.iter().map(|class| class.counters.evicted).sum() };
    for number in 0..300_000u32 {
        set(&store, format!("a{number}").as_bytes(), &[1; 20], 0, 0, now(100)).expect("stored");
    }
    let mut counts = Vec::new();
    for number in 0..10_000u32 {
        let before = evicted(&store);
        let size = [3000, 4000, 6000, 9000][number as usize % 4];
        set(&store, format!("b{number}").as_bytes(), &vec![1; size], 0, 0, now(100)).expect("stored");
        counts.push(evicted(&store) - before);
    }
    counts.sort_unstable();
    let (most, worst) = (counts[9990], counts[9999]);
    assert!(most <= 300 && worst <= 16_000, "{most} evictions for 10 of 10 000 stores, {worst} for one");
}

/// `flush_all` threw all items of the current second away under one hold of each partition's lock: 20 ms for 70,000 of them.
#[test]
fn a_flush_holds_a_lock_for_a_bounded_number_of_items() {
    let store = Store::new(Config { partitions: 1, ..Config::default() }, Arc::default());
    let count = FLUSHED_ITEMS_MAX + 1000;
    for number in 0..count {
        set(&store, &number.to_le_bytes(), b"value", 0, 0, now(100)).expect("room");
    }
    store.shared.flush.flush_now(now(100));
    let flushed = store.partitions[0].lock().flush_recent(FLUSHED_ITEMS_PER_HOLD, now(100));
    assert_eq!((flushed, store.snapshot().curr_items), (FLUSHED_ITEMS_PER_HOLD, count - flushed));
    // What is left after the most that one flush does is dead all the same.
    store.flush(None, now(100));
    assert_eq!(store.snapshot().curr_items, count - flushed - FLUSHED_ITEMS_MAX);
    assert!((0..count).all(|number| get(&store, &number.to_le_bytes(), now(100)).is_none()));
    assert_eq!(store.snapshot().curr_items, 0);
}

/// Clients that began values and never ended them could hold all memory.
#[test]
fn values_on_their_way_in_leave_memory_to_others() {
    let store = Store::new(Config { memory_limit_bytes: 16 << 20, ..Config::default() }, Arc::default());
    let begun: Vec<_> = std::iter::from_fn(|| store.large_buffer(5, 1_000_000, 0, now(100)).ok()).take(100).collect();
    assert_eq!((begun.len(), store.starvations()), (12, 1));
    for number in 0..1000_u32 {
        set(&store, &number.to_le_bytes(), &[0; 1000], 0, 0, now(100)).expect("room");
    }
    assert!((0..1000_u32).all(|number| get(&store, &number.to_le_bytes(), now(100)).is_some()));
    drop(begun);
    assert_eq!(set(&store, b"large", &filled(1_000_000, 1), 0, 0, now(100)).map(drop), Ok(()));
}

/// The first stayed; the second counted what the page mover evicted.
#[test]
fn a_reset_forgets_the_age_of_what_was_evicted_and_a_mover_reclaims_nothing_for_a_store() {
    let store = Store::new(small(1), Arc::default());
    let large = vec![1; 60_000];
    let class = usize::from(store.class_of(store.item_bytes(4, large.len(), 0)));
    let class = store.shared.chunks.plan(store.item_bytes(4, large.len(), 0), large.len()).class.max(class);
    for number in 0..200_u32 {
        set(&store, &number.to_le_bytes(), &large, 0, 0, now(100 + number)).expect("stored");
    }
    let facts = |store: &Store| {
        let snapshot = store.snapshot();
        let class = snapshot.classes.iter().find(|it| usize::from(it.class) == class).expect("it is in use");
        (class.evicted_time, class.counters.direct_reclaims)
    };
    let (age, reclaims) = facts(&store);
    assert!(age > 0 && reclaims > 0);
    assert!(store.evict_oldest(class, now(400)));
    assert_eq!(facts(&store).1, reclaims);
    store.reset_counters();
    assert_eq!(facts(&store), (0, 0));
}
