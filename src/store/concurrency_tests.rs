//! The whole store, shared: workers that store, read and maintain while operators move pages, flush, crawl, tune and look.
//! shuttle chooses at every lock and atomic which thread goes on (see [`model`](crate::base::sync::model)); a thread that
//! waits for another for ever is found as well.
//!
//! A key has one writer, who knows what it stored last: a miss is always allowed, another value never. Readers of all
//! keys check that a value is its key's, whole, and no older than one they have seen.

use crate::base::sync::model::{check, thread};
use crate::base::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::stats::events::class;

use super::tests::{Random, get, now, set};
use super::{Arc, Config, Policy, Store, StoreError};

const KEYS: u64 = 12;

fn key(writer: u64, number: u64) -> Vec<u8> {
    format!("{writer}:{number}").into_bytes()
}

/// Says whose it is and how old, in every eight bytes.
fn value(writer: u64, number: u64, version: u64, length: usize) -> Vec<u8> {
    let word = (writer << 56 | number << 40 | version).to_le_bytes();
    word.into_iter().cycle().take(length.max(8)).collect()
}

/// The version of a value that is `writer`'s key `number`'s.
#[track_caller]
fn version(found: &[u8], writer: u64, number: u64) -> u64 {
    let word = u64::from_le_bytes(found[..8].try_into().expect("eight bytes"));
    assert_eq!((word >> 56, (word >> 40) & 0xffff), (writer, number), "another key's value");
    let version = word & 0xff_ffff_ffff;
    assert!(found == value(writer, number, version, found.len()), "a torn value");
    version
}

fn little(partitions: usize) -> Config {
    Config {
        memory_limit_bytes: 1 << 20,
        slab_chunk_max: 16 << 10,
        item_size_max: 256 << 10,
        partitions,
        ..Config::default()
    }
}

/// A worker: its own keys, a look at the other's, its share of the maintenance. Returns how many stores were refused.
fn work(store: &Store, writer: u64, sizes: &[usize], steps: u64) -> u64 {
    let mut random = Random(writer + 1);
    let (mut stored, mut seen) = ([None; KEYS as usize], [0; KEYS as usize]);
    let mut refused = 0;
    for step in 1..=steps {
        let number = random.next(KEYS);
        let place = number as usize;
        let at = now(100 + step as u32 / 8);
        let own = key(writer, number);
        match random.next(10) {
            0..5 => {
                let length = sizes[random.next(sizes.len() as u64) as usize];
                stored[place] = match set(store, &own, &value(writer, number, step, length), 0, 0, at) {
                    Ok(_) => Some(step),
                    Err(StoreError::NoMemory) => {
                        refused += 1;
                        stored[place]
                    }
                    Err(error) => panic!("{length} bytes: {error:?}"),
                };
            }
            5..7 => {
                if let Some((found, ..)) = get(store, &own, at) {
                    assert_eq!(Some(version(&found, writer, number)), stored[place], "not what was stored last");
                }
            }
            7 => {
                if let Some((found, ..)) = get(store, &key(1 - writer, number), at) {
                    let version = version(&found, 1 - writer, number);
                    assert!(version >= seen[place], "an older value than before");
                    seen[place] = version;
                }
            }
            8 => {
                store.entry(&own, store.hash(&own), at, |entry| entry.remove());
                stored[place] = None;
            }
            _ => {
                let _ = store.maintain(writer as usize, 2, at);
            }
        }
    }
    refused
}

/// What is counted is what is there, and without items no memory is in use but what is kept for more.
fn check_sums(store: &Store) {
    let at = now(10_000);
    let snapshot = store.snapshot();
    let listed: usize = snapshot.classes.iter().map(|class| class.item_count()).sum();
    assert_eq!(listed, snapshot.curr_items, "items in lists, and counted");
    let spans =
        |class: usize| -> usize { store.partitions.iter().map(|partition| partition.lock().spans.bytes(class)).sum() };
    let counts = store.shared.budget.counts();
    for class in 1..counts.used.len() {
        let (live, free) = store.shared.chunks.counts(class);
        let used = spans(class) + (live + free) * store.shared.chunks.cost(class);
        assert_eq!(counts.used[class], used, "bytes of class {class}, counted and there");
    }
    store.flush(None, at);
    for writer in 0..2 {
        for number in 0..KEYS {
            let key = key(writer, number);
            assert_eq!(get(store, &key, at), None, "flushed");
        }
    }
    assert_eq!(store.snapshot().curr_items, 0);
    assert!((1..counts.used.len()).all(|class| store.shared.chunks.counts(class).0 == 0), "a chunk that nobody holds");
}

/// Two workers and `disturb`, which is called until they are done. Returns how many stores were refused.
fn run(config: Config, sizes: &'static [usize], steps: u64, disturb: fn(&Arc<Store>, u64)) -> u64 {
    let store = Arc::new(Store::new(config, Arc::default()));
    let working = Arc::new(AtomicUsize::new(2));
    let workers = [0, 1].map(|writer| {
        let (store, working) = (Arc::clone(&store), Arc::clone(&working));
        thread::spawn(move || {
            let refused = work(&store, writer, sizes, steps);
            working.fetch_sub(1, Ordering::SeqCst);
            refused
        })
    });
    let mut turn = 0;
    while working.load(Ordering::SeqCst) > 0 {
        disturb(&store, turn);
        turn += 1;
    }
    let refused = workers.into_iter().map(|worker| worker.join().expect("no panic")).sum();
    check_sums(&store);
    refused
}

#[test]
fn small_values_while_pages_move_and_the_crawler_runs() {
    check(|| {
        run(little(2), &[20, 300, 3000, 9000], 60, |store, turn| {
            let at = now(100 + turn as u32);
            match turn % 6 {
                0 => _ = store.reassign(-1, 1 + turn as i32 % 20, at),
                1 => _ = store.crawl(u64::MAX, at),
                2 => _ = store.maintain(0, 1, at),
                3 => _ = store.snapshot(),
                4 => store.set_memory_limit((1 << 20) << (turn / 6 % 2)),
                _ => _ = store.move_step(at),
            }
        });
    });
}

#[test]
fn large_values_while_memory_goes_from_class_to_class() {
    check(|| {
        let refused = run(little(2), &[20_000, 60_000, 3000, 120_000], 40, |store, turn| {
            let at = now(100 + turn as u32);
            match turn % 4 {
                0 => _ = store.reassign(-1, 0, at),
                1 => _ = store.maintain(0, 1, at),
                2 => _ = store.move_step(at),
                _ => _ = store.snapshot(),
            }
        });
        assert!(refused <= 4, "{refused} stores refused");
    });
}

#[test]
fn policies_change_and_everything_is_flushed() {
    check(|| {
        run(little(4), &[20, 3000, 30_000], 50, |store, turn| {
            let at = now(100 + turn as u32);
            match turn % 5 {
                0 => {
                    let policy = [Policy::QuickDemotion, Policy::Segmented, Policy::Flat][turn as usize / 5 % 3];
                    store.tune(|tuning| (tuning.automove, tuning.policy) = (turn as u32 / 5 % 3, policy));
                }
                1 => store.flush(None, at),
                2 => store.flush(Some(at.seconds + 2), at),
                3 => store.reset_counters(),
                _ => _ = store.reassign(1, 5, at),
            }
        });
    });
}

/// A get that had found an item when a flush began touched it when the flush had set its mark, so that the item counted as
/// stored after the flush, and was found from then on.
#[test]
fn a_flush_that_was_answered_is_seen_by_all() {
    check(|| {
        let store = Arc::new(Store::new(little(2), Arc::default()));
        let at = now(100);
        (0..KEYS).for_each(|number| _ = set(&store, &key(0, number), &value(0, number, 1, 500), 0, 0, at));
        let is_flushed = Arc::new(AtomicBool::new(false));
        let (flushing, flag) = (Arc::clone(&store), Arc::clone(&is_flushed));
        let flushing = thread::spawn(move || {
            flushing.flush(None, at);
            flag.store(true, Ordering::SeqCst);
        });
        for round in 0..2 * KEYS {
            let number = round % KEYS;
            let is_late = is_flushed.load(Ordering::SeqCst);
            let found = get(&store, &key(0, number), at);
            assert!(!is_late || found.is_none(), "found after the flush");
            if is_late {
                assert!(set(&store, &key(1, number), &value(1, number, round, 500), 0, 0, at).is_ok());
                assert!(get(&store, &key(1, number), at).is_some(), "stored after the flush");
            }
        }
        flushing.join().expect("no panic");
    });
}

/// Watchers come and go while evictions are told from deep inside visits.
#[test]
fn watchers_come_and_go() {
    check(|| {
        run(little(2), &[9000, 30_000], 40, |store, _| {
            let woken = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&woken);
            let wake = Arc::new(move || flag.store(true, Ordering::SeqCst));
            let events = &store.shared.events;
            let mut subscription = events.subscribe(class::EVICTIONS, 8192, wake).expect("a place");
            let _ = store.maintain(0, 2, now(100));
            thread::yield_now();
            let has_events = subscription.has_events();
            assert!(!has_events || woken.load(Ordering::SeqCst), "lines that nobody was woken for");
            let mut lines = Vec::new();
            subscription.drain_to(&mut lines);
            assert!(lines.is_empty() || lines.ends_with(b"\n"), "a torn line");
        });
    });
}
