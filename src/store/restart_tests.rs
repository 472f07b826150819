//! A store that is taken apart and put together again is the same store: every item, every mark, and the order of the lists.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::lru::Segment;
use super::value::NewValue;
use super::*;

/// A small generator, so that a seed is all there is to a run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// An item with all that is to be kept.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Row {
    value: Vec<u8>,
    flags: u32,
    exptime: u32,
    time: u32,
    cas: u64,
    marks: u8,
    class: u8,
}

fn at(seconds: u32) -> Now {
    Now { seconds, epoch: 1_700_000_000 }
}

fn config(policy: Policy, partitions: usize) -> Config {
    let tuning = Tuning { policy, has_temp_lru: true, ..Tuning::default() };
    Config { memory_limit_bytes: 64 << 20, item_size_max: 4 << 20, partitions, tuning, ..Config::default() }
}

fn value_of(store: &Store, key: &[u8], bytes: &[u8], flags: u32) -> Option<LargeBuffer> {
    (store.fit(key.len(), bytes.len(), flags) == Fit::Large).then(|| {
        let mut buffer = store.import_buffer(key.len(), bytes.len(), flags).expect("memory");
        assert_eq!(buffer.fill(bytes), bytes.len());
        buffer
    })
}

fn set(store: &Store, key: &[u8], bytes: &[u8], flags: u32, exptime: u32, now: Now) -> u64 {
    let value = value_of(store, key, bytes, flags).map_or(NewValue::Bytes(bytes), NewValue::Large);
    let item = NewItem { flags, exptime, cas: None, value, marks: Marks::default() };
    store.entry(key, store.hash(key), now, |entry| entry.insert(item)).expect("stored")
}

/// Stores, reads, deletes and marks at random for a while; returns the time at the end.
fn live(store: &Store, seed: u64, steps: u64) -> Now {
    let mut random = Random(seed);
    let mut seconds = 100;
    for step in 0..steps {
        let key = format!("key{}", random.next(2000)).into_bytes();
        let now = at(seconds);
        match random.next(100) {
            0..40 => {
                let size = match random.next(200) {
                    0 => 1_200_000 + random.next(100_000),
                    1..4 => 17_000 + random.next(100_000),
                    _ => random.next(900),
                };
                let bytes: Vec<u8> = (0..size).map(|byte| (byte + step) as u8).collect();
                let flags = if random.next(2) == 0 { 0 } else { step as u32 };
                let exptime = if random.next(4) == 0 { seconds + 1 + random.next(300) as u32 } else { 0 };
                set(store, &key, &bytes, flags, exptime, now);
            }
            40..90 => store.entry(&key, store.hash(&key), now, |entry| entry.bump()),
            90..93 => store.entry(&key, store.hash(&key), now, |entry| entry.remove()),
            93 => store.entry(&key, store.hash(&key), now, |entry| entry.set_cas(u64::MAX - step)),
            94 => {
                let marks = Marks { is_stale: true, is_win_sent: random.next(2) == 0, is_binary_key: true };
                store.entry(&key, store.hash(&key), now, |entry| entry.set_marks(marks));
            }
            95..98 => seconds += random.next(3) as u32,
            _ => {
                store.maintain(0, 1, now);
            }
        }
    }
    at(seconds)
}

/// Keys and items by class and segment.
type Lists = BTreeMap<(usize, usize), Vec<(Vec<u8>, Row)>>;

/// Live items in each list of a partition, from the coldest on.
fn lists(store: &Store, partition: usize, now: Now) -> Lists {
    let partition = store.partitions[partition].lock();
    let mut lists = BTreeMap::new();
    for (class, state) in partition.classes.iter().enumerate() {
        for segment in Segment::ALL {
            let mut rows = Vec::new();
            let mut id = state.lists[segment.index()].tail;
            while !id.is_none() {
                let item = partition.item(id);
                let mut value = Vec::new();
                partition.value(id).copy_to(&mut value);
                let (flags, exptime, time, cas) = (item.flags(), item.exptime(), item.time(), item.cas());
                let is_live = (exptime == 0 || exptime > now.seconds) && !partition.shared.flush.is_covered(time, now);
                if is_live {
                    let row = Row { value, flags, exptime, time, cas, marks: item.marks(), class: class as u8 };
                    rows.push((item.key().to_vec(), row));
                }
                id = item.prev();
            }
            if !rows.is_empty() {
                lists.insert((class, segment.index()), rows);
            }
        }
    }
    lists
}

fn items(store: &Store, now: Now) -> BTreeMap<Vec<u8>, Row> {
    let partitions = 0..store.partition_count();
    partitions.flat_map(|number| lists(store, number, now).into_values().flatten()).collect()
}

/// Items as they come out of a store.
fn export(store: &Store, now: Now) -> Vec<(Vec<u8>, SavedItem<'static>, Vec<u8>)> {
    let mut rows = Vec::new();
    for number in 0..store.partition_count() {
        let flow = store.export(number, now, &mut |item, value| {
            let mut bytes = Vec::new();
            value.copy_to(&mut bytes);
            rows.push((item.key.to_vec(), SavedItem { key: b"", ..*item }, bytes));
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
    }
    assert_eq!(store.snapshot().curr_items, 0);
    rows
}

/// A new store with those items, put in in random order.
fn import(config: Config, mut rows: Vec<(Vec<u8>, SavedItem<'_>, Vec<u8>)>, state: &SavedState, now: Now) -> Store {
    let mut random = Random(rows.len() as u64);
    for place in 1..rows.len() {
        rows.swap(place, random.next(place as u64 + 1) as usize);
    }
    let store = Store::new(config, Arc::default());
    store.restore_state(state);
    for (key, item, bytes) in &rows {
        let item = SavedItem { key, ..*item };
        let value = value_of(&store, key, bytes, item.flags).map_or(NewValue::Bytes(bytes), NewValue::Large);
        assert_eq!(store.import(&item, value, now), Imported::Stored);
    }
    (0..store.partition_count()).for_each(|number| store.finish_import(number));
    store
}

#[track_caller]
fn check(policy: Policy, before: usize, after: usize, seed: u64) {
    let store = Store::new(config(policy, before), Arc::default());
    let now = live(&store, seed, 8000);
    let (kept, order) = (items(&store, now), lists(&store, 0, now));
    assert!(kept.len() > 500 && kept.values().any(|row| row.value.len() > 1_000_000), "seed {seed}: {}", kept.len());
    let state = store.saved_state();
    let rows = export(&store, now);
    assert_eq!(rows.len(), kept.len(), "seed {seed}");
    let again = import(config(policy, after), rows, &state, now);
    let back = items(&again, now);
    assert!(back == kept, "seed {seed}: {} of {} items are the same", back.len(), kept.len());
    if (before, after) == (1, 1) {
        assert!(lists(&again, 0, now) == order, "seed {seed}: another order");
    }
    let narrow = kept.values().map(|row| row.cas).filter(|cas| *cas < 1 << 48).max();
    for key in 0..50 {
        let cas = set(&again, format!("key{key}").as_bytes(), b"new", 0, 0, now);
        assert!(Some(cas) > narrow, "seed {seed}");
    }
    // What was put together is as good as what grew.
    live(&again, seed + 1, 2000);
    let snapshot = again.snapshot();
    assert_eq!(snapshot.curr_items, snapshot.classes.iter().map(ClassSnapshot::item_count).sum::<usize>());
}

#[test]
fn items_marks_and_order_come_back() {
    for policy in Policy::ALL {
        check(policy, 1, 1, 1);
        check(policy, 4, 4, 2);
    }
    check(Policy::QuickDemotion, 1, 8, 3);
    check(Policy::Segmented, 8, 1, 4);
}

#[test]
fn lists_of_several_partitions_are_merged_by_rank() {
    let store = Store::new(config(Policy::Flat, 4), Arc::default());
    for number in 0..4000 {
        set(&store, format!("key{number:04}").as_bytes(), b"value", 0, 0, at(100));
    }
    let state = store.saved_state();
    let again = import(config(Policy::Flat, 1), export(&store, at(100)), &state, at(100));
    let lists = lists(&again, 0, at(100));
    let keys: Vec<usize> = lists
        .values()
        .flatten()
        .map(|(key, _)| str::from_utf8(&key[3..]).expect("digits").parse().expect("a number"))
        .collect();
    assert_eq!(keys.len(), 4000);
    let strayed = keys.iter().enumerate().map(|(place, key)| place.abs_diff(*key)).max();
    assert!(strayed < Some(300), "{strayed:?}");
}

#[test]
fn what_died_meanwhile_does_not_come_back() {
    let store = Store::new(config(Policy::Segmented, 2), Arc::default());
    set(&store, b"short", b"1", 0, 110, at(100));
    set(&store, b"long", b"2", 0, 200, at(100));
    set(&store, b"flushed", b"3", 0, 0, at(100));
    store.flush(Some(150), at(100));
    let state = store.saved_state();
    let rows = export(&store, at(105));
    assert_eq!(rows.len(), 3);
    let again = Store::new(config(Policy::Segmented, 2), Arc::default());
    again.restore_state(&state);
    let outcome = |seconds: u32| -> Vec<Imported> {
        let import = |(key, item, bytes): &(Vec<u8>, SavedItem<'_>, Vec<u8>)| {
            again.import(&SavedItem { key, ..*item }, NewValue::Bytes(bytes), at(seconds))
        };
        let mut outcome: Vec<_> = rows.iter().map(|row| (row.0.clone(), import(row))).collect();
        outcome.sort();
        outcome.into_iter().map(|(_, imported)| imported).collect()
    };
    use Imported::{Dead, Stored, Twice};
    // flushed, long, short
    assert_eq!(outcome(110), [Stored, Stored, Dead]);
    assert_eq!(outcome(110), [Twice, Twice, Dead]);
    // The delayed flush has come due.
    assert_eq!(outcome(149), [Dead, Dead, Dead]);
    assert_eq!(again.snapshot().oldest_live, 149);
}

#[test]
fn what_does_not_fit_is_left_out() {
    let store = Store::new(Config { memory_limit_bytes: 4 << 20, ..Config::default() }, Arc::default());
    let value = [b'v'; 1000];
    for number in 0..20_000 {
        set(&store, format!("key{number}").as_bytes(), &value, 0, 0, at(100));
    }
    let kept = store.snapshot().curr_items;
    let state = store.saved_state();
    let rows = export(&store, at(100));
    let fill = |memory_limit_bytes: usize| {
        let again = Store::new(Config { memory_limit_bytes, ..Config::default() }, Arc::default());
        again.restore_state(&state);
        let import = |(key, item, bytes): &(Vec<u8>, SavedItem<'_>, Vec<u8>)| {
            again.import(&SavedItem { key, ..*item }, NewValue::Bytes(bytes), at(100))
        };
        let left_out = rows.iter().filter(|row| import(row) == Imported::NoRoom).count();
        again.finish_import(0);
        assert_eq!(again.snapshot().curr_items + left_out, kept);
        let evicted: u64 = again.snapshot().classes.iter().map(|class| class.counters.evicted).sum();
        assert_eq!(evicted, 0);
        // It goes on as any full store does.
        for number in 0..3000 {
            set(&again, format!("more{number}").as_bytes(), &value, 0, 0, at(100));
        }
        left_out
    };
    // What comes back in another order fills the last spans in another way.
    assert!(fill(4 << 20) <= kept / 100);
    assert!(fill(2 << 20) > kept / 3);
}

#[test]
fn the_level_of_the_hash_table_never_falls() {
    let store = Store::new(Config::default(), Arc::default());
    assert_eq!(store.snapshot().hash_power, 16);
    for number in 0..1u32 << 17 {
        set(&store, &number.to_le_bytes(), b"", 0, 0, at(100));
    }
    assert_eq!(store.snapshot().hash_power, 17);
    for number in 0..1u32 << 17 {
        let key = number.to_le_bytes();
        store.entry(&key, store.hash(&key), at(100), |entry| entry.remove());
    }
    for _ in 0..1000 {
        store.maintain(0, 1, at(100));
    }
    let snapshot = store.snapshot();
    assert!(snapshot.hash_bytes < 100_000, "{}", snapshot.hash_bytes);
    assert_eq!(snapshot.hash_power, 17);
    let again = Store::new(Config::default(), Arc::default());
    again.restore_state(&store.saved_state());
    assert_eq!(again.snapshot().hash_power, 17);
}
